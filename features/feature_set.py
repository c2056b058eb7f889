"""A set of declared features: names, look-up, sentences, and a user's own features from TOML."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from features.declare import DeclarationError, Events, Feature


class FeatureSet:
    """Features in a fixed order. Raises DeclarationError if a name repeats or a ratio names an unknown one."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self.features = tuple(features)
        self.names = tuple(f.name for f in self.features)
        self._by_name = {f.name: f for f in self.features}
        if len(self._by_name) < len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise DeclarationError(f"declared twice: {', '.join(twice)}")
        for one in self.features:
            for part in one.of or ():
                if part not in self._by_name:
                    raise DeclarationError(f"{one.name} is a ratio of {part}, which nobody declares")

    def feature(self, name: str) -> Feature:
        """The declaration of a feature. Raises KeyError naming near misses if there is none."""
        if name not in self._by_name:
            near = difflib.get_close_matches(name, self.names, 3)
            raise KeyError(f"no feature {name}" + (f"; do you mean {', '.join(near)}?" if near else ""))
        return self._by_name[name]

    def sentence(self, name: str, values: Mapping[str, float]) -> str:
        """The feature's sentence with a customer's values; parts that nobody knows read as a dash."""
        return self.feature(name).sentence.format_map(_Spoken(values))

    def with_file(self, path: Path) -> FeatureSet:
        """This set and the features of a TOML file of `[[feature]]` tables, with Feature's fields as keys."""
        with open(path, "rb") as handle:
            tables = tomllib.load(handle).get("feature", [])
        return FeatureSet((*self.features, *(_declared(table, path) for table in tables)))


class _Unknown(float):
    def __format__(self, spec: str) -> str:
        return "–"


class _Money(float):
    def __format__(self, spec: str) -> str:
        return f"{self / 100:,.2f}"


class _Spoken(dict[str, float]):
    """Values as people say them: unknown ones as a dash, cents as money."""

    def __init__(self, values: Mapping[str, float]) -> None:
        super().__init__((name, _spoken(name, value)) for name, value in values.items())

    def __missing__(self, key: str) -> float:
        return _Unknown("nan")


def _spoken(name: str, value: float) -> float:
    if value != value:
        return _Unknown("nan")
    return _Money(value) if "_cents" in name else value


def _declared(table: dict[str, Any], path: Path) -> Feature:
    fields = dict(table)
    named = fields.get("name", "a feature without a name")
    fields.setdefault("sentence", f"{named} is {{{named}:.1f}}")
    fields.setdefault("unit", "")
    fields.setdefault("description", "")
    for key in ("of", "levels"):
        if key in fields:
            fields[key] = tuple(fields[key])
    if "events" in fields:
        fields["events"] = _events(fields["events"])
    try:
        return Feature(**fields)
    except TypeError as cause:
        raise DeclarationError(f"{path}: {named}: {cause}") from cause


def _events(table: dict[str, Any]) -> Events:
    return Events(tuple(table["verbs"]), tuple(table.get("channels", ())), table.get("human"))

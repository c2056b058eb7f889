"""A set of declared features: names, look-up, sentences, and a user's own features from TOML or Python."""

from __future__ import annotations

import calendar
import dataclasses
import difflib
import re
import runpy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from features.codes import area_letters, country_letters
from features.currencies import CURRENCIES, in_units
from features.declare import AGGREGATES, DeclarationError, Events, Feature

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


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
        """This set and the features of a file: TOML with `[[feature]]` tables, Feature's fields as keys, or Python
        (`.py`) with a list `FEATURES` of declarations (features/declare.py), which TOML may also name: `python = PATH`.

        Raises DeclarationError naming the file and the feature that is wrong.
        """
        if path.suffix == ".py":
            return self._and(_of_module(path), path)
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
            raise DeclarationError(f"the features of {path} cannot be read: {cause}") from cause
        tables, python = told.pop("feature", []), told.pop("python", None)
        if told:
            raise DeclarationError(f"{path}: {min(told)} is not known; declare each feature as a table [[feature]]")
        if python is not None and not isinstance(python, str):
            raise DeclarationError(f"{path}: python is {python!r}; name a file")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise DeclarationError(f"{path}: declare each feature as a table [[feature]]")
        own = [] if python is None else _of_module(path.parent / python)
        return self._and([*own, *(_declared(table, path) for table in tables)], path)

    def _and(self, own: Sequence[Feature], path: Path) -> FeatureSet:
        """This set and a file's features, or what is wrong, with the file's name."""
        taken = sorted({one.name for one in own} & set(self.names))
        if taken:
            raise DeclarationError(f"{path}: {', '.join(taken)} comes with the product; give yours another name")
        try:
            return FeatureSet((*self.features, *own))
        except DeclarationError as wrong:
            raise DeclarationError(f"{path}: {wrong}") from wrong


def _of_module(path: Path) -> list[Feature]:
    try:
        told = runpy.run_path(str(path)).get("FEATURES")
    except Exception as cause:  # whatever the file does wrong, it is told where
        raise DeclarationError(f"the features of {path} cannot be read: {type(cause).__name__}: {cause}") from cause
    if not isinstance(told, list | tuple) or not all(isinstance(one, Feature) for one in told):
        raise DeclarationError(f"{path}: declare a list FEATURES of features.declare.Feature")
    for one in told:
        _check_name(one.name, path)
    return list(told)


def _check_name(name: Any, path: Path) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DeclarationError(f"{path}: {name!r} is no name for a feature; use small letters, digits and _")


class _Unknown(float):
    def __format__(self, spec: str) -> str:
        return "–"


class _Money(float):
    def __format__(self, spec: str) -> str:
        return in_units(self, CURRENCIES.home)


class _Country(float):
    def __format__(self, spec: str) -> str:
        return country_letters(self)


class _Area(float):
    def __format__(self, spec: str) -> str:
        return area_letters(self)


class _Weekday(float):
    def __format__(self, spec: str) -> str:
        return calendar.day_name[int(self) % 7]


class _YesOrNo(float):
    def __format__(self, spec: str) -> str:
        return "yes" if self else "no"


class _Spoken(dict[str, float]):
    """Values as people say them: unknown ones as a dash, cents as money."""

    def __init__(self, values: Mapping[str, float]) -> None:
        super().__init__((name, spoken(name, value)) for name, value in values.items())

    def __missing__(self, key: str) -> float:
        return _Unknown("nan")


def spoken(name: str, value: float) -> float:
    """A feature's value that formats itself as people say it: money, days and places by name, unknown as a dash."""
    if value != value:
        return _Unknown("nan")
    if name in {"country_code", "postal_area"}:
        return _Country(value) if name == "country_code" else _Area(value)
    if name.endswith("_weekday"):
        return _Weekday(value)
    if name == "is_lead":
        return _YesOrNo(value)
    return _Money(value) if "_cents" in name else value


def _declared(table: dict[str, Any], path: Path) -> Feature:
    fields = dict(table)
    named = fields.get("name", "")
    fields.setdefault("sentence", f"{named} is {{{named}:.1f}}")
    fields.setdefault("unit", "")
    fields.setdefault("description", "")
    for key in ("of", "levels", "also"):
        if key in fields:
            fields[key] = tuple(fields[key])
    _check_name(named, path)
    known = [one.name for one in dataclasses.fields(Feature)]
    for key in fields:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            told = f"do you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise DeclarationError(f"{path}: {named}: there is no key {key!r}; {told}")
    if "aggregate" not in fields:
        raise DeclarationError(f"{path}: {named}: `aggregate` is missing; use {', '.join(sorted(AGGREGATES))}")
    if "events" in fields:
        fields["events"] = _events(fields["events"], f"{path}: {named}")
    try:
        return Feature(**fields)
    except (TypeError, ValueError) as cause:
        told = str(cause) if str(cause).startswith(f"{named}: ") else f"{named}: {cause}"  # a Feature names itself
        raise DeclarationError(f"{path}: {told}") from cause


def _events(table: Any, where: str) -> Events:
    if not isinstance(table, dict) or not isinstance(table.get("verbs"), list):
        raise DeclarationError(f'{where}: write events as {{ verbs = ["ordered"] }}, verbs or names of events')
    unknown = sorted(table.keys() - {"verbs", "channels", "human", "priced"})
    if unknown:
        raise DeclarationError(f"{where}: events has no {', '.join(unknown)}; it has verbs, channels, human and priced")
    channels, human, priced = table.get("channels", ()), table.get("human"), table.get("priced", False)
    return Events(tuple(table["verbs"]), tuple(channels), human, priced)

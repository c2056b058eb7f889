"""What is wrong with the settings, in a line: which one, where it was written, what is wrong, what there is instead.

Never the value: it may be a password.
"""

from __future__ import annotations

import json
import logging
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from service.settings import Settings, config_file

log = logging.getLogger(__name__)
_PREFIX, _INSIDE = "OPPORTUNE_", "__"
OTHER_VARIABLES = ("CONFIG", "DEBUG", "PURE", "EMBEDDING_MODEL")
Place = tuple[str | int, ...]


def in_words(error: ValidationError) -> str:
    """The first fault of `Settings`, and how many more there are."""
    first, *more = error.errors(include_url=False, include_input=False, include_context=False)
    place = tuple(part for part in first["loc"] if part != "[key]")  # pydantic's, of a wrong name in a table
    name = ".".join(map(str, place)) or "settings"
    wrong = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        wrong = f"there is no such setting{_instead(place)}"
    elif first["type"] in {"model_type", "dict_type"}:
        wrong = f"must be a table; write [{name}] and its settings below"
    return f"{name}{source_of(*place)}: {wrong}{f'; and {len(more)} more' if more else ''}"


def source_of(*place: str | int) -> str:
    """ " (in …)", naming the variables or the file that a value comes from; nothing of a default."""
    written = " and ".join(written_at(place, os.environ, _file()))
    return f" (in {written})" if written else ""


def no_json(section: str, environment: Mapping[str, str]) -> str:
    """Of a variable for a list or a table, within `section`, that pydantic-settings could not read."""
    names = [name for name, place in _variables(environment) if place[0] == section.lower()]
    broken = [name for name in names if _json(environment[name]) is None]
    return f"{' or '.join(broken or names)}: lists and tables are written as JSON, and this is none"


def written_at(place: Place, environment: Mapping[str, str], file: Mapping[str, Any]) -> Iterator[str]:
    """Where the values at a place (and inside it) come from: a variable goes before the file."""
    wanted = tuple(str(part).lower() for part in place)
    whole = False
    for name, told in sorted(_variables(environment)):
        over = len(told) <= len(wanted) and told == wanted[: len(told)]
        if over and (len(told) == len(wanted) or _is_in(_json(environment[name]), place[len(told) :])):
            whole = True
            yield name
        elif wanted and told[: len(wanted)] == wanted:
            yield name
    if not whole and _is_in(file, place):
        yield str(config_file())


def unknown_variables(names: Iterable[str]) -> dict[str, str]:
    """Those that are meant for us but that nothing reads, and what may be meant: "; do you mean …?", or nothing."""
    known = [*(name.upper() for name in Settings.model_fields), *OTHER_VARIABLES]
    ours = {name: name.upper().removeprefix(_PREFIX) for name in names if name.upper().startswith(_PREFIX)}
    unknown = {name: rest.partition(_INSIDE)[0] for name, rest in ours.items()}
    return {name: _near(rest, known, _PREFIX) for name, rest in unknown.items() if rest not in known}


def warn_of_unknown_variables() -> None:
    """In the log of what runs for long: a variable that nothing reads is a setting that does not hold."""
    for name, instead in sorted(unknown_variables(os.environ).items()):
        log.warning("%s is no setting, so it does nothing%s", name, instead)


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in environment:
        if name.upper().startswith(_PREFIX):
            yield name, tuple(name[len(_PREFIX) :].lower().split(_INSIDE))


def _is_in(file: Any, place: Place) -> bool:
    for part in place:
        if isinstance(file, list) and isinstance(part, int):
            file = file[part] if part < len(file) else None
        elif isinstance(file, dict) and part in file:
            file = file[part]
        else:  # a fault about what is missing lies in what is there
            return isinstance(file, dict) and part == place[-1] and len(place) > 1
    return bool(place)


def _file() -> Mapping[str, Any]:
    path = config_file()
    return tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _instead(place: Place) -> str:
    """Where such a setting is, or what is written alike; else all that there is."""
    name, known = str(place[-1]), _names_beside(place)
    if len(place) > 1 and name in Settings.model_fields:
        alone = _table(Settings.model_fields[name].annotation) is None
        return f"; {name} stands at the top of the file, before the first [table]" if alone else f"; write [{name}]"
    tables = [table for table, field in Settings.model_fields.items() if name in _names(field.annotation)]
    if len(place) == 1 and len(tables) == 1:
        return f" outside of a table; it belongs into [{tables[0]}]"
    return _near(name, known) or f"; there are {', '.join(known)}"


def _near(name: str, known: Sequence[str], prefix: str = "") -> str:
    found = get_close_matches(name, known, 1)
    return f"; do you mean {prefix}{found[0]}?" if found else ""


def _names_beside(place: Place) -> tuple[str, ...]:
    """The settings of the table in which a place lies."""
    table: Any = Settings
    for part in place[:-1]:
        fields = _table(table).model_fields if _table(table) is table else {}
        table = fields[part].annotation if part in fields else _within(table)
    return _names(table)


def _names(annotation: Any) -> tuple[str, ...]:
    table = _table(annotation)
    return () if table is None else tuple(table.model_fields)


def _within(annotation: Any) -> Any:
    """What a list or a table of tables holds."""
    return get_args(annotation)[-1] if get_origin(annotation) in (list, dict) else annotation


def _table(annotation: Any) -> Any:
    """The class of settings that an annotation is or holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _table(one)) is not None), None)

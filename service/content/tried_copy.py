"""All checks of copy, and a try: what passes them can be rendered for every reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.content.fill import Filled, RenderError, Values
from service.content.guardrails import SAMPLE_NAMES, Check, Rules, check_copy
from service.content.render import compile_copy

_FORM = frozenset({"fields", "merge_tags", "payload"})
"""Checks that say already why copy cannot be rendered."""


def try_copy(
    channel: str,
    locale: str,
    fields: Mapping[str, str],
    offer: Mapping[str, Any] | None = None,
    rules: Rules | None = None,
) -> list[Check]:
    """`check_copy`'s verdicts; where the copy cannot be rendered all the same, `merge_tags` fails."""
    checks = check_copy(channel, locale, fields, offer, rules)
    if any(not check.passed and check.name in _FORM for check in checks):
        return checks
    try:
        compiled = compile_copy(channel, locale, fields, offer or {})
        for names in (SAMPLE_NAMES, {}):
            compiled.render(Filled(Values(names), lambda: (rules or Rules()).sample_link))
    except RenderError as trouble:
        told = f"cannot be filled in: {str(trouble).splitlines()[0]}"
        return [Check("merge_tags", False, told) if check.name == "merge_tags" else check for check in checks]
    return checks

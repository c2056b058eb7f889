"""What is wrong with a form, in the form's own words: people know its labels, not the fields of the API."""

from __future__ import annotations

from collections.abc import Mapping

from service.errors import FieldError, Invalid


def in_words_of(labels: Mapping[str, str], fault: Invalid) -> Invalid:
    """The same fault; `labels`: how the form calls what begins with such a path. Other fields keep their paths."""
    errors = [FieldError(_label(labels, one.field), one.detail) for one in fault.errors]
    return Invalid(f"{errors[0].field}: {errors[0].detail}" if len(errors) == 1 else "This is to be mended", errors)


def _label(labels: Mapping[str, str], path: str) -> str:
    return next((label for start, label in labels.items() if path.startswith(start)), path)

from __future__ import annotations

import pytest

from service.errors import Unavailable, cause_of


def raised(cause: Exception) -> Unavailable:
    error = Unavailable("the database does not answer now")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('FATAL:  database "shop" does not exist\nmore', ' (FATAL:  database "shop" does not exist)'),
        ("failed to resolve host 'rest-of-word@db': unknown", " (failed to resolve host …@db': unknown)"),
        ("", ""),
    ],
)
def test_the_drivers_words_are_told_without_what_may_be_a_password(said: str, told: str) -> None:
    assert cause_of(raised(OSError(said))) == told


def test_an_error_without_a_cause_has_no_words() -> None:
    assert cause_of(Unavailable("away")) == ""

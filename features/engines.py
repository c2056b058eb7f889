"""Where the buckets of a long piece of work are done: here one after another, or by Ray (`ray_engine.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


class Engine(Protocol):
    """Calls a function with each item and gives the results as they come, in any order.

    The first error ends the work and is raised.
    """

    def __call__(self, function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]: ...


def one_by_one(function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """In this process, in order."""
    return map(function, items)

"""What follows from an object that many decisions share, made once for it and found again by identity. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

_REMEMBERED = 256
K = TypeVar("K")
T = TypeVar("T")


class Remembered(Generic[K, T]):
    """What a function makes of an object, once for each (the same one, not an equal one), which is never changed."""

    def __init__(self, make: Callable[[K], T]) -> None:
        self._make = make
        self._known: dict[int, tuple[K, T]] = {}

    def __call__(self, of: K) -> T:
        found = self._known.get(id(of))
        if found is None or found[0] is not of:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[id(of)] = (of, self._make(of))
        return found[1]

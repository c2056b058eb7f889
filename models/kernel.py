"""Trees by the compiled part (`_kernel.c`), where it was built: numpy's numbers, to the bit, several times as fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from features.compiled import compiled
from models.quick_trees import Columns, FeatureMasks, Ints, Masks, QuickTrees, Trees

Floats = npt.NDArray[np.float64]
LAYOUT = 8
"""Raised with that of `_kernel.c` when a function takes other arguments."""


KERNEL = compiled("models._kernel", LAYOUT)


def fastest(tables: QuickTrees | None) -> Trees | None:
    """The same trees by the kernel, where there is one."""
    return KernelTrees(tables) if tables is not None and KERNEL is not None else tables


class KernelTrees:
    """Trees by the kernel; see `quick_trees.Trees`. A row of masks is bytes, padded."""

    def __init__(self, tables: QuickTrees) -> None:
        self.tables = tables
        none = FeatureMasks(np.empty(0), np.empty((0, len(tables.start)), tables.kind))
        parts = [tables.features.get(feature, none) for feature in range(tables.width)]
        # The row behind the last threshold is the one for NaN.
        thresholds = [np.append(part.thresholds, np.nan) for part in parts if len(part.table)]
        effects = tables.leaf_effects
        self._forest = KERNEL.Forest(
            len(tables.start),
            tables.kind.itemsize,
            tables.bias,
            np.cumsum([0, *(len(part.table) for part in parts)]),
            np.concatenate([np.empty(0), *thresholds]),
            np.concatenate([none.table, *(part.table for part in parts)]),
            tables.values,
            effects.first,
            effects.feature,
            effects.effect,
        )
        self._stride = self._forest.stride()

    def __reduce__(self) -> tuple[Any, ...]:
        return KernelTrees, (self.tables,)

    def masks(self, columns: Columns, values: Floats) -> Masks:
        out = np.empty((len(values), self._stride), np.uint8)
        self._forest.masks(np.asarray(columns, np.int64), _plain(values), out)
        return out

    def raw_score(self, rows: Floats) -> Floats:
        out = np.empty(len(rows))
        self._forest.raw_score(_plain(rows), out)
        return out

    def contributions(self, rows: Floats) -> Floats:
        out = np.empty((len(rows), self.tables.width + 1))
        self._forest.contributions(_plain(rows), out)
        return out

    def weigh(self, columns: Columns, cross: Floats, customers: Masks, offers: Masks, channels: Masks | None) -> Floats:
        n, m = cross.shape[:2]
        told = np.empty(0, np.uint8) if channels is None else channels
        out = np.empty((n, m, 1 if channels is None else len(channels) // max(n, 1)))
        self._forest.weigh(np.asarray(columns, np.int64), _plain(cross), customers, offers, told, out)
        return out

    def effects(
        self,
        columns: Columns,
        cross: Floats,
        customers: Masks,
        offers: Masks,
        channels: Masks | None,
        asked: Ints,
    ) -> Floats:
        told = np.empty(0, np.uint8) if channels is None else channels
        out = np.empty((len(asked), self.tables.width))
        self._forest.effects(np.asarray(columns, np.int64), _plain(cross), customers, offers, told, asked, out)
        return out


def _plain(values: Floats) -> Floats:
    return np.ascontiguousarray(values, np.float64)

"""Small trees scored by bit masks, without walking them: QuickScorer (Lucchese et al., SIGIR 2015), in numpy.

Each inner node that a row fails rules out the leaves of its left subtree; the leaf reached is the first that nobody
ruled out. What a feature's value rules out depends on nothing else, so it is a row of a table, found by one search
among the feature's thresholds: features that many rows share (the customer's, the offer's) are looked up once.
Path contributions (Saabas) are sums over leaves, so they are a table too. `kernel.py` does the same faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Masks = npt.NDArray[Any]
Columns = Sequence[int] | Ints

MOST_LEAVES = 64
MOST_BYTES = 64 * 2**20
"""Of a model's tables; larger models are walked."""
CHUNK = 1 << 20
"""Masks (rows x trees) that are looked at together."""
ADDED_AT_ONCE = 128
"""Rows whose leaves are added together: so many stay in the processor's cache."""
FEW_ROWS = 8


ZERO = np.float64(np.float32(1e-35))  # LightGBM's kZeroThreshold, a float there


class Nodes(Protocol):
    """What is read of a `models.trees.TreeModel`: its nodes side by side."""

    @property
    def feature_names(self) -> tuple[str, ...]: ...
    @property
    def roots(self) -> Ints: ...
    @property
    def feature(self) -> Ints: ...
    @property
    def threshold(self) -> Floats: ...
    @property
    def left(self) -> Ints: ...
    @property
    def right(self) -> Ints: ...
    @property
    def value(self) -> Floats: ...
    @property
    def categorical(self) -> Bools: ...
    def goes_left(self, values: Floats, nodes: Any) -> Bools: ...


@dataclass(frozen=True, slots=True)
class FeatureMasks:
    """What each value of one feature leaves: `table` (len(thresholds) + 1, trees).

    Row i: for thresholds[i - 1] < value <= thresholds[i], the last of which is infinite; then one for NaN (which
    sorts behind everything).
    """

    thresholds: Floats
    table: Masks


@dataclass(frozen=True, slots=True)
class Effects:
    """How far the path to each leaf moves the score: leaf i has entries first[i] to first[i + 1] (feature, effect)."""

    first: Ints
    feature: Ints
    effect: Floats

    def of(self, leaves: Ints, width: int) -> Floats:
        """Sums over the leaves of each row (n, trees), in their order, by feature: (n, width)."""
        n, begin = len(leaves), self.first[leaves]
        count = self.first[leaves + 1] - begin
        entry = np.repeat((begin.ravel() + count.ravel() - count.cumsum()), count.ravel()) + np.arange(count.sum())
        row = np.repeat(np.arange(n), count.sum(axis=1))
        told = np.bincount(row * width + self.feature[entry], self.effect[entry], n * width)
        return np.asarray(told.reshape(n, width), np.float64)


class Trees(Protocol):
    """Scores and explanations of rows, and of customers, offers and channels together."""

    def masks(self, columns: Columns, values: Floats) -> Masks:
        """What these features leave of each tree: values (n, columns) to n masks, to be joined by `&`."""

    def raw_score(self, rows: Floats) -> Floats:
        """Scores of rows (n, features), (n,): leaves added in the order of the trees, as LightGBM does."""

    def contributions(self, rows: Floats) -> Floats:
        """Path contributions of rows (n, features): (n, features + 1), the bias last."""

    def weigh(self, columns: Columns, cross: Floats, customers: Masks, offers: Masks, channels: Masks | None) -> Floats:
        """Scores (n, m, c) of every customer, offer and channel.

        `cross` (n, m, columns): values of `columns` (-1: of no feature). The others are masks: of n customers, of m
        offers, and of n x c pairs of customer and channel, the channels of a customer side by side; None: c is 1.
        """

    def effects(
        self,
        columns: Columns,
        cross: Floats,
        customers: Masks,
        offers: Masks,
        channels: Masks | None,
        asked: Ints,
    ) -> Floats:
        """Path contributions (k, features), without the bias, of k (customer, offer, channel) of what `weigh` takes."""


@dataclass(frozen=True, slots=True)
class QuickTrees:
    """The tables of a model; see `Trees`. Leaf i of tree t is t * (bits of `kind`) + i in `values` and `effects`."""

    features: dict[int, FeatureMasks]
    values: Floats
    leaf_effects: Effects
    bias: float
    kind: np.dtype[Any]
    width: int
    start: Ints

    def masks(self, columns: Columns, values: Floats) -> Masks:
        """(n, trees)."""
        left: Masks | None = None
        for place, column in enumerate(columns):
            known = self.features.get(column)
            if known is not None:
                told = known.table.take(known.thresholds.searchsorted(values[:, place]), axis=0)
                left = told if left is None else np.bitwise_and(left, told, out=left)
        if left is None:
            return np.full((len(values), len(self.start)), np.iinfo(self.kind).max, self.kind)
        return left

    def raw_score(self, rows: Floats) -> Floats:
        parts = [self._scores(self._leaves(self.masks(range(self.width), some))) for some in self._blocks(rows)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def contributions(self, rows: Floats) -> Floats:
        told = np.full((len(rows), self.width + 1), self.bias)
        at = 0
        for some in self._blocks(rows):
            leaves = self._leaves(self.masks(range(self.width), some))
            told[at : at + len(some), :-1] = self.leaf_effects.of(leaves, self.width)
            at += len(some)
        return told

    def weigh(self, columns: Columns, cross: Floats, customers: Masks, offers: Masks, channels: Masks | None) -> Floats:
        n, m, wide = cross.shape
        c = 1 if channels is None else len(channels) // max(n, 1)
        both = self.masks(columns, cross.reshape(n * m, wide)).reshape(n, m, 1, -1)
        both &= customers[:, None, None]
        both &= offers[None, :, None]
        if channels is not None:
            both = both & channels.reshape(n, 1, c, -1)
        return self._scores(self._leaves(both.reshape(-1, len(self.start)))).reshape(n, m, c)

    def effects(
        self,
        columns: Columns,
        cross: Floats,
        customers: Masks,
        offers: Masks,
        channels: Masks | None,
        asked: Ints,
    ) -> Floats:
        customer, offer, channel = asked.T
        left = self.masks(columns, cross[customer, offer]) & customers[customer] & offers[offer]
        if channels is not None:
            left &= channels.reshape(len(customers), -1, left.shape[1])[customer, channel]
        return self.leaf_effects.of(self._leaves(left), self.width)

    def _blocks(self, rows: Floats) -> Iterator[Floats]:
        step = max(1, CHUNK // max(len(self.start), 1))
        return (rows[at : at + step] for at in range(0, len(rows), step))

    def _leaves(self, masks: Masks) -> Ints:
        """The leaf that each row reaches in each tree (n, trees)."""
        lowest = masks & (~masks + self.kind.type(1))
        exponent = lowest.astype(np.float64 if self.kind.itemsize > 4 else np.float32)
        if self.kind.itemsize > 4:
            return np.asarray((exponent.view(np.int64) >> 52) - 1023 + self.start, np.int64)
        return np.asarray((exponent.view(np.int32) >> 23) - 127 + self.start, np.int64)

    def _scores(self, leaves: Ints) -> Floats:
        blocks = range(0, max(len(leaves), 1), ADDED_AT_ONCE)
        return np.concatenate([_in_order(self.values.take(leaves[at : at + ADDED_AT_ONCE])) for at in blocks])


def _in_order(told: Floats) -> Floats:
    """(n, trees) to (n,): strictly one tree after another; along a row, `sum` would add pairwise."""
    if len(told) < FEW_ROWS:
        return np.asarray(told.cumsum(axis=1)[:, -1])
    return np.asarray(np.ascontiguousarray(told.T).sum(axis=0))  # row upon row, many sums side by side


def quick_trees(model: Nodes) -> QuickTrees | None:
    """The tables of a model; None where it has categories, too many leaves or too many thresholds for them."""
    if not len(model.roots) or model.categorical.any():
        return None
    trees = [_leaves_of(model, int(root)) for root in model.roots]
    most = max(len(leaves) for leaves, _ in trees)
    kind = next((np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64) if most <= bits), None)
    if kind is None or most > MOST_LEAVES:
        return None
    inner = [node for _, spans in trees for node in spans]
    splits = len({(int(model.feature[node]), float(model.threshold[node])) for node in inner})
    if (splits + 4 * len(model.feature_names)) * len(trees) * kind.itemsize > MOST_BYTES:
        return None
    bits = 8 * kind.itemsize
    slot = np.concatenate([tree * bits + np.arange(len(leaves)) for tree, (leaves, _) in enumerate(trees)])
    values = np.zeros(len(trees) * bits)
    values[slot] = model.value[np.array([leaf for leaves, _ in trees for leaf in leaves], np.int64)]
    by_feature: dict[int, list[tuple[int, int, int, int]]] = {}
    for tree, (_, spans) in enumerate(trees):
        for node, (low, high) in spans.items():
            by_feature.setdefault(int(model.feature[node]), []).append((node, tree, low, high))
    features = {feature: _feature_masks(model, nodes, len(trees), kind) for feature, nodes in by_feature.items()}
    return QuickTrees(
        features,
        values,
        _effects(model, slot, len(values)),
        float(model.value[model.roots].sum()),
        kind,
        len(model.feature_names),
        np.arange(len(trees)) * bits,
    )


def _leaves_of(model: Nodes, root: int) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """A tree's leaves from left to right, and of each inner node the span of leaves under its left child."""
    leaves: list[int] = []
    spans: dict[int, tuple[int, int]] = {}

    def visit(node: int) -> None:
        left, right = int(model.left[node]), int(model.right[node])
        if left == node:
            leaves.append(node)
            return
        low = len(leaves)
        visit(left)
        spans[node] = (low, len(leaves))
        visit(right)

    visit(root)
    return leaves, spans


def _feature_masks(
    model: Nodes, nodes: Sequence[tuple[int, int, int, int]], trees: int, kind: np.dtype[Any]
) -> FeatureMasks:
    # What counts as zero may count as missing: it has rows of its own.
    zero = [np.nextafter(-ZERO, -np.inf), ZERO]
    thresholds = np.unique(np.concatenate([model.threshold[[node for node, *_ in nodes]] + 0.0, zero, [np.inf]]))
    table = np.full((len(thresholds) + 1, trees), np.iinfo(kind).max, kind)
    values = np.append(thresholds, np.nan)
    for node, tree, low, high in nodes:
        fails = ~model.goes_left(values, node)
        table[fails, tree] &= kind.type(~(((1 << high) - 1) ^ ((1 << low) - 1)) & int(np.iinfo(kind).max))
    return FeatureMasks(thresholds, table)


def _effects(model: Nodes, slot: Ints, slots: int) -> Effects:
    """How far the path to each leaf moves the score, by the features it splits on."""
    paths: list[dict[int, float]] = []

    def visit(node: int, so_far: dict[int, float]) -> None:
        left, right = int(model.left[node]), int(model.right[node])
        if left == node:
            paths.append(so_far)
            return
        feature = int(model.feature[node])
        for child in (left, right):
            moved = so_far.get(feature, 0.0) + float(model.value[child] - model.value[node])
            visit(child, so_far | {feature: moved})

    for root in model.roots:
        visit(int(root), {})
    counts = np.zeros(slots, np.int64)
    counts[slot] = [len(path) for path in paths]
    return Effects(
        np.concatenate([[0], counts.cumsum()]),
        np.array([feature for path in paths for feature in path], np.int64),
        np.array([effect for path in paths for effect in path.values()], np.float64),
    )

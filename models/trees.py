"""LightGBM's text model, scored exactly in numpy and explained along its paths; LightGBM is not needed.

The decision rules follow LightGBM's `include/LightGBM/tree.h` (`NumericalDecision`, `CategoricalDecision`), the
explanation is Saabas' path contribution (treeinterpreter, 2014): each split's change of the node's mean counts
for the feature that it split on, so that the contributions and the bias sum to the score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.kernel import fastest
from models.quick_trees import ZERO, Trees, quick_trees

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2
CHUNK = 2048


class TreeFormatError(ValueError):
    """The text is no LightGBM model, or uses a part that this reader does not score (linear leaves, classes)."""


@dataclass(frozen=True, slots=True)
class TreeModel:
    """All nodes of all trees side by side. A leaf is its own child, so a fixed number of steps reaches it.

    `words` holds the bit sets of the categorical splits; `word_start` and `word_count` place a node's set in it.
    """

    feature_names: tuple[str, ...]
    roots: Ints
    depth: int
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    value: Floats
    categorical: Bools
    default_left: Bools
    missing: Ints
    word_start: Ints
    word_count: Ints
    words: Ints
    quick: Trees | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quick", fastest(quick_trees(self)))

    def raw_score(self, rows: Floats) -> Floats:
        """Scores of `rows` (n, features) on the raw scale (log-odds for a binary objective), shape (n,).

        Equal to `Booster.predict(rows, raw_score=True)` bit for bit: leaves are added in the order of the trees.
        """
        self._check(rows)
        if self.quick is not None:
            return self.quick.raw_score(rows)
        chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
        scores = [self._sum_leaves(self.value[self._walk(chunk)]) for chunk in chunks]
        return np.concatenate(scores) if scores else np.zeros(0)

    def contributions(self, rows: Floats) -> Floats:
        """Path contributions, shape (n, features + 1): the last column is the bias; each row sums to its score."""
        self._check(rows)
        if self.quick is not None:
            return self.quick.contributions(rows)
        width = len(self.feature_names)
        result = np.zeros((len(rows), width + 1))
        result[:, width] = self.value[self.roots].sum()
        for index, row in enumerate(rows):
            nodes = self.roots[None, :]
            for _ in range(self.depth):
                children = self._step(row[None, :], nodes)
                change = self.value[children] - self.value[nodes]
                result[index, :width] += np.bincount(self.feature[nodes[0]], change[0], minlength=width)
                nodes = children
        return result

    def _check(self, rows: Floats) -> None:
        if rows.ndim != 2 or rows.shape[1] != len(self.feature_names):
            raise ValueError(f"rows have shape {rows.shape}; {len(self.feature_names)} features are needed")

    @staticmethod
    def _sum_leaves(leaves: Floats) -> Floats:
        # A cumulative sum adds strictly one after another; `sum` adds pairwise and differs in the last bit.
        return np.cumsum(leaves, axis=1)[:, -1] if leaves.shape[1] else np.zeros(len(leaves))

    def _walk(self, rows: Floats) -> Ints:
        nodes = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        for _ in range(self.depth):
            nodes = self._step(rows, nodes)
        return nodes

    def goes_left(self, values: Floats, nodes: Ints | int) -> Bools:
        """Whether each value goes left at its node (LightGBM's `NumericalDecision`); shapes broadcast."""
        missing = self.missing[nodes]
        nan = np.isnan(values)
        plain = np.where(nan & (missing != MISSING_NAN), 0.0, values)
        absent = ((missing == MISSING_ZERO) & (np.abs(plain) <= ZERO)) | ((missing == MISSING_NAN) & nan)
        with np.errstate(invalid="ignore"):
            return np.where(absent, self.default_left[nodes], plain <= self.threshold[nodes])

    def _step(self, rows: Floats, nodes: Ints) -> Ints:
        """The children that `rows` (n, features) go to from `nodes` (n, trees)."""
        values = np.take_along_axis(rows, self.feature[nodes], axis=1)
        goes_left = self.goes_left(values, nodes)
        if len(self.words):
            at = np.nonzero(self.categorical[nodes])
            goes_left[at] = self._in_set(nodes[at], values[at])
        return np.where(goes_left, self.left[nodes], self.right[nodes])

    def _in_set(self, nodes: Ints, values: Floats) -> Bools:
        limit = self.word_count[nodes] * 32
        # Truncated towards zero as in C; NaN, negative and unseen categories are in no set and go right.
        known = np.isfinite(values) & (values > -1) & (values < limit)
        category = np.where(known, values, 0.0).astype(np.int64)
        word = self.words[np.minimum(self.word_start[nodes] + category // 32, len(self.words) - 1)]
        inside: Bools = known & ((word >> (category % 32)) & 1).astype(bool)
        return inside


def parse_trees(text: str) -> TreeModel:
    """The model in LightGBM's text format (`Booster.model_to_string()`). Raises TreeFormatError."""
    header, blocks = _blocks(text)
    names = tuple(header["feature_names"].split())
    if int(header.get("num_tree_per_iteration", "1")) != 1:
        raise TreeFormatError("the model has several trees an iteration (classes); only one score is read here")
    return _join(names, [_tree(block) for block in blocks])


def _blocks(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    if not text.startswith("tree\n"):
        raise TreeFormatError("the text does not begin with 'tree': it is no LightGBM model")
    blocks: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        if line == "end of trees":
            return blocks[0], blocks[1:]
        key, separator, value = line.partition("=")
        if key == "Tree":
            blocks.append({})
        elif separator:
            blocks[-1][key] = value
    raise TreeFormatError("the model's text is cut short: 'end of trees' is missing")


@dataclass(slots=True)
class _Tree:
    """One tree: its inner nodes first, then its leaves; children count from its own first node."""

    depth: int
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    value: Floats
    kind: Ints
    word_start: Ints
    word_count: Ints
    words: Ints


def _tree(block: dict[str, str]) -> _Tree:
    if int(block.get("is_linear", "0")):
        raise TreeFormatError("the trees have linear leaves; train with linear_tree=false")
    leaves = int(block["num_leaves"])
    inner = leaves - 1
    left, right = (_children(_ints(block, key, inner), inner) for key in ("left_child", "right_child"))
    kind, threshold = _ints(block, "decision_type", inner), _floats(block, "threshold", inner)
    is_set = (kind & 1).astype(bool)
    start, count = np.zeros(inner, np.int64), np.zeros(inner, np.int64)
    if is_set.any():
        bounds = _ints(block, "cat_boundaries")
        index = threshold[is_set].astype(np.int64)
        start[is_set], count[is_set] = bounds[index], np.diff(bounds)[index]
    value, depth = _node_means(left, right, _floats(block, "leaf_value", leaves), _leaf_counts(block, leaves))
    own = np.arange(inner, inner + leaves)
    pad = np.zeros(leaves, np.int64)
    return _Tree(
        depth,
        np.concatenate([_ints(block, "split_feature", inner), pad]),
        np.concatenate([np.where(is_set, 0.0, threshold), pad.astype(np.float64)]),
        np.concatenate([left, own]),
        np.concatenate([right, own]),
        value,
        np.concatenate([kind, pad]),
        np.concatenate([start, pad]),
        np.concatenate([count, pad]),
        _ints(block, "cat_threshold") if is_set.any() else np.zeros(0, np.int64),
    )


def _children(children: Ints, inner: int) -> Ints:
    """LightGBM writes leaf k as ~k; here leaf k stands behind the inner nodes."""
    return np.where(children >= 0, children, inner + ~children)


def _leaf_counts(block: dict[str, str], leaves: int) -> Floats:
    counts = _floats(block, "leaf_count", leaves) if block.get("leaf_count") else np.ones(leaves)
    return np.maximum(counts, 1e-12)


def _node_means(left: Ints, right: Ints, leaf_value: Floats, leaf_count: Floats) -> tuple[Floats, int]:
    """Each node's mean leaf value over its training rows, and the tree's depth.

    Computed from the leaves: the file's own `internal_value` is rounded to six digits.
    """
    inner = len(left)
    value, weight = np.concatenate([np.zeros(inner), leaf_value]), np.concatenate([np.zeros(inner), leaf_count])
    height = np.zeros(inner + len(leaf_value), np.int64)
    for node in _deepest_first(left, right):
        a, b = left[node], right[node]
        weight[node] = weight[a] + weight[b]
        value[node] = (weight[a] * value[a] + weight[b] * value[b]) / weight[node]
        height[node] = 1 + max(height[a], height[b])
    return value, int(height[0])


def _deepest_first(left: Ints, right: Ints) -> Iterator[int]:
    order, inner = [0] if len(left) else [], len(left)
    for node in order:
        order.extend(int(child) for child in (left[node], right[node]) if child < inner)
    return reversed(order)


def _ints(block: dict[str, str], key: str, expected: int | None = None) -> Ints:
    return _numbers(block, key, expected, np.dtype(np.int64)).astype(np.int64)


def _floats(block: dict[str, str], key: str, expected: int) -> Floats:
    return _numbers(block, key, expected, np.dtype(np.float64)).astype(np.float64)


def _numbers(block: dict[str, str], key: str, expected: int | None, kind: np.dtype) -> npt.NDArray:  # type: ignore[type-arg]
    numbers = np.array(block.get(key, "").split(), dtype=kind)
    if expected is not None and len(numbers) != expected:
        raise TreeFormatError(f"{key} has {len(numbers)} numbers where the tree needs {expected}")
    return numbers


def _join(names: tuple[str, ...], trees: list[_Tree]) -> TreeModel:
    sizes = np.array([len(tree.value) for tree in trees], np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64) if trees else np.zeros(0, np.int64)
    word_offsets = np.concatenate([[0], np.cumsum([len(tree.words) for tree in trees])]).astype(np.int64)
    shifted = list(zip(trees, offsets, word_offsets, strict=False))
    empty: list[Ints] = [np.zeros(0, np.int64)]
    kind = np.concatenate([tree.kind for tree in trees] or empty)
    return TreeModel(
        feature_names=names,
        roots=offsets,
        depth=max((tree.depth for tree in trees), default=0),
        feature=np.concatenate([tree.feature for tree in trees] or empty),
        threshold=np.concatenate([tree.threshold for tree in trees] or [np.zeros(0)]),
        left=np.concatenate([tree.left + offset for tree, offset, _ in shifted] or empty),
        right=np.concatenate([tree.right + offset for tree, offset, _ in shifted] or empty),
        value=np.concatenate([tree.value for tree in trees] or [np.zeros(0)]),
        categorical=(kind & 1).astype(bool),
        default_left=(kind & 2).astype(bool),
        missing=(kind >> 2) & 3,
        word_start=np.concatenate([tree.word_start + offset for tree, _, offset in shifted] or empty),
        word_count=np.concatenate([tree.word_count for tree in trees] or empty),
        words=np.concatenate([tree.words for tree in trees] or empty),
    )

"""Which products the same customers buy: item-item likeness, what the first stage finds offers by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from features.products import ManyProducts
from models.candidates import Together

Ints = npt.NDArray[np.int64]

BUYERS = 5
PRODUCTS = 20_000
A_CUSTOMER = 100
NEAR = 20
SHRINKAGE = 10.0
"""Buyers in common count as if there were so many fewer: few of them are chance."""


def fit_together(bought: ManyProducts) -> Together:
    """For each product the NEAR others whose buyers are most alike (shrunk cosine), of what customers bought.

    Of each customer the A_CUSTOMER products ordered most, of products the PRODUCTS that most bought, at least BUYERS.
    """
    owner, key = _most_ordered(bought)
    products, column, buyers = np.unique(key, return_inverse=True, return_counts=True)
    order = np.argsort(-buyers, kind="stable")
    kept = np.sort(order[: min(int((buyers >= BUYERS).sum()), PRODUCTS)])
    if not len(kept):
        return Together.none()
    new = np.full(len(products), -1)
    new[kept] = np.arange(len(kept))
    inside = new[column] >= 0
    shape = (len(bought.start) - 1, len(kept))
    ones = np.ones(int(inside.sum()), np.float32)
    has = csr_matrix((ones, (owner[inside], new[column[inside]])), shape=shape)
    common = (has.T @ has).tocsr()
    common.setdiag(0)
    common.eliminate_zeros()
    row = np.repeat(np.arange(len(kept)), np.diff(common.indptr))
    count = buyers[kept].astype(np.float64)
    shrunk = common.data * (common.data / (common.data + SHRINKAGE))
    likeness = (shrunk / np.sqrt(count[row] * count[common.indices])).astype(np.float32)
    first = _first_of_each(row, likeness, NEAR)
    start = np.concatenate([[0], np.cumsum(np.bincount(row[first], minlength=len(kept)))])
    return Together(products[kept], start, products[kept][common.indices[first]], likeness[first])


def _most_ordered(bought: ManyProducts) -> tuple[Ints, Ints]:
    """(customer, product) of the products that each customer ordered most."""
    owner = bought.owner()
    order = np.lexsort((bought.key, -bought.orders, owner))
    place = np.arange(len(order)) - np.repeat(bought.start[:-1], np.diff(bought.start))
    kept = order[place < A_CUSTOMER]
    return owner[kept], bought.key[kept]


def _first_of_each(row: Ints, value: npt.NDArray[np.float32], most: int) -> Ints:
    """The places of the `most` highest values of each row (ascending), highest first."""
    order = np.lexsort((-value, row))
    start = np.searchsorted(row, np.arange(int(row.max(initial=-1)) + 1))
    place = np.arange(len(order)) - start[row[order]]
    return order[place < most]

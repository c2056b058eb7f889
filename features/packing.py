"""A customer's state as bytes: a layout number, counts, then the arrays one after another."""

from __future__ import annotations

import numpy as np
import orjson

from features.declare import MINUTE
from features.finalize import Floats, Ints
from features.plan import Plan
from features.products import Bought, ProductOrders
from features.state import Entries, State

_UNIT = 5 * MINUTE
"""Tiles begin at whole multiples of the finest hop, so their times fit 32 bits."""
_HEADER = 11


def pack(state: State, plan: Plan) -> bytes:
    """The row of a state; `unpack` gives an equal state back."""
    text = orjson.dumps([state.zone, state.categories])
    held, bought, young = state.products, state.bought, state.young
    counts = (len(state.categories), len(state.archive_key), len(state.tile_key), len(young), len(state.seen),
              len(held.key), len(bought))  # fmt: skip
    header = (_signed(plan.signature), len(text), state.watermark, state.applied, *counts)
    wide = np.concatenate((
        header, state.first, state.last, state.trait_time, state.trait_value.view(np.int64), state.category_last,
        state.archive_value, state.tile_value, young.time, young.known, young.value,
        state.seen.view(np.int64), bought.time, bought.known,
    ))  # fmt: skip
    narrow = np.concatenate((state.tile_time // _UNIT, held.key, held.orders, bought.key)).astype(np.int32)
    keys = np.concatenate((state.archive_key, state.tile_key, young.key)).astype(np.uint16)
    return b"".join((wide.tobytes(), narrow.tobytes(), keys.tobytes(), text))


def _signed(signature: int) -> int:
    return signature - (1 << 64) if signature >> 63 else signature


def signature_of(row: bytes) -> int:
    """The layout (Plan.signature) that a row was packed with."""
    return int.from_bytes(row[:8], "little")


def watermark_of(row: bytes) -> int:
    """The latest receipt that the state of a row has taken."""
    return int.from_bytes(row[16:24], "little", signed=True)


def unpack(row: bytes, plan: Plan) -> State:
    """The state of a row. The arrays of a state are its own. Call only if `signature_of` is the plan's."""
    head: list[int] = np.frombuffer(row, np.int64, _HEADER).tolist()
    _, text, watermark, applied, categories, archive, tiles, young, seen, held, bought = head
    tracked, traits = len(plan.tracked), len(plan.traits)
    lengths = (tracked, tracked, traits, traits, categories, archive, tiles, young, young, young, seen, bought, bought)
    wide = np.frombuffer(row, np.int64, sum(lengths), _HEADER * 8).copy()
    at, parts = 0, []
    for length in lengths:
        parts.append(wide[at : at + length])
        at += length
    offset = (_HEADER + at) * 8
    times = np.frombuffer(row, np.int32, tiles, offset).astype(np.int64) * _UNIT
    offset += 4 * tiles
    products: Ints = np.frombuffer(row, np.int32, 2 * held + bought, offset).astype(np.int64)
    offset += 4 * len(products)
    keys: Ints = np.frombuffer(row, np.uint16, archive + tiles + young, offset).astype(np.int64)
    zone, names = orjson.loads(row[len(row) - text :])
    values: Floats = parts[3].view(np.float64)
    return State(
        parts[0], parts[1], parts[2], values, watermark, applied, zone, names, parts[4],
        keys[:archive], parts[5], keys[archive : archive + tiles], times, parts[6],
        Entries(keys[archive + tiles :], parts[7], parts[8], parts[9]),
        ProductOrders(products[:held], products[held : 2 * held]),
        Bought(products[2 * held :], parts[11], parts[12]),
        parts[10].view(np.uint64),
    )  # fmt: skip

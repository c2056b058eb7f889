"""The candidates of a decision, as (position of the offer, channel), with what hangs on them alone. Pure.

Most decisions weigh one of a few sets of candidates, so a set is made once (`eligibility.candidates`), and so are the
columns that follow from it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import orjson

from service.offers.offer import Offer

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Pairs(tuple[tuple[int, str], ...]):
    """Candidates in the order of the offers, then of the channels asked for. Never changed."""

    _told: tuple[tuple[Offer, ...], Terms] | None = None

    @cached_property
    def positions(self) -> Ints:
        """(n,) of the offers."""
        return np.fromiter((position for position, _ in self), np.int64, len(self))

    @cached_property
    def channels(self) -> list[str | None]:
        """(n + 1,): sending nothing, last, has none."""
        return [*(channel for _, channel in self), None]

    @cached_property
    def distinct_channels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(channel for _, channel in self))

    @cached_property
    def channel_numbers(self) -> Ints:
        """(n,): the place of each one's channel in `distinct_channels`."""
        number = {channel: place for place, channel in enumerate(self.distinct_channels)}
        return np.fromiter((number[channel] for _, channel in self), np.int64, len(self))

    def terms(self, offers: tuple[Offer, ...]) -> Terms:
        """What the offers themselves bring to the formula, remembered for the offers asked about last."""
        told = self._told  # offers and terms change together: threads share these pairs
        if told is None or told[0] is not offers:
            told = self._told = (offers, Terms(self, offers))
        return told[1]


class Terms:
    """`value`, `cost`, `priority` (n,) of candidates (`columns`: all three), names of their offers (n + 1,).

    `as_json`: names as a record has them.
    """

    def __init__(self, pairs: Pairs, offers: tuple[Offer, ...]) -> None:
        told = [(offer.value, offer.cost, offer.priority) for offer in offers]
        self.columns = np.ascontiguousarray(np.array(told, np.float64).reshape(-1, 3)[pairs.positions].T)
        self.value, self.cost, self.priority = self.columns
        self.names: list[str | None] = [*(offers[position].offer_id for position, _ in pairs), None]
        self.as_json = columns_json(self.names, pairs.channels)


def columns_json(offers: list[str | None], channels: list[str | None]) -> bytes:
    """Names of offers and of channels, then each candidate's numbers in them, as members of a JSON list."""
    offer_of = {name: place for place, name in enumerate(dict.fromkeys(offers))}
    channel_of = {name: place for place, name in enumerate(dict.fromkeys(channels))}
    told = [
        list(offer_of),
        list(channel_of),
        list(map(offer_of.__getitem__, offers)),
        list(map(channel_of.__getitem__, channels)),
    ]
    return orjson.dumps(told)[1:-1]

"""The one currency in which money is added up, and what an amount in another one is worth in it.

Money in the home currency counts as it is. Money in a currency with a rate counts at that rate, as whole minor units,
half up. Money in any other currency is not counted: the event is, its amounts are as if they were not said. Money that
names no currency is in the home currency.

The settings `currency` and `[currencies]` reach this module by the variables that also override them
(OPPORTUNE_CURRENCY, OPPORTUNE_CURRENCIES), read once, in every process alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Self

import orjson

HOME_VARIABLE, RATES_VARIABLE = "OPPORTUNE_CURRENCY", "OPPORTUNE_CURRENCIES"
HOME = "USD"
"""The home currency where nothing is set."""
LIMIT = 10**13
"""Amounts beyond this (minor units) are not counted: sums of many stay exact in 64 bits."""
# ISO 4217: currencies whose minor unit is not a hundredth.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
_SCALES = MappingProxyType(dict.fromkeys(_WHOLE.split(), 1) | dict.fromkeys(_THOUSANDTHS.split(), 1000))


def minor_scale(code: str) -> int:
    """Minor units in one unit of a currency (ISO 4217): 100 for most, 1 for JPY, 1000 for KWD."""
    return _SCALES.get(code, 100)


def in_units(amount: float, code: str) -> str:
    """An amount in minor units as people write it: 123456 is "1,234.56" in USD, "123,456" in JPY."""
    scale = minor_scale(code)
    return f"{amount / scale:,.{len(str(scale)) - 1}f}"


@dataclass(frozen=True)
class Currencies:
    """`rates`: how many units of the home currency one unit of another is worth."""

    home: str = HOME
    rates: Mapping[str, Decimal] = field(default_factory=dict)

    @classmethod
    def from_environment(cls) -> Self:
        rates = orjson.loads(os.environ.get(RATES_VARIABLE) or "{}")
        return cls(os.environ.get(HOME_VARIABLE) or HOME, {code: Decimal(str(rate)) for code, rate in rates.items()})

    def environment(self) -> dict[str, str]:
        """The variables that make `from_environment` give this."""
        rates = {code: str(rate) for code, rate in sorted(self.rates.items())}
        return {HOME_VARIABLE: self.home, RATES_VARIABLE: orjson.dumps(rates).decode()}

    def counts(self, code: str | None) -> bool:
        """Whether money in this currency is counted."""
        return code is None or self.rate(code) is not None

    def rate(self, code: str) -> Decimal | None:
        """What one unit is worth; None if it is not counted."""
        return Decimal(1) if code == self.home else self.rates.get(code)

    def in_home(self, amount: int | None, code: str | None) -> int | None:
        """An amount (minor units) in minor units of the home currency; None if it is not counted."""
        if amount is None or code is None or code == self.home:
            return amount
        rate = self.rates.get(code)
        if rate is None:
            return None
        worth = _converted(amount, self._minor_rate(code, rate))
        return worth if -LIMIT <= worth <= LIMIT else None

    def _minor_rate(self, code: str, rate: Decimal) -> Fraction:
        return Fraction(rate) * minor_scale(self.home) / minor_scale(code)

    def __repr__(self) -> str:
        """The same for the same money, whatever order the rates came in."""
        return f"{self.home} {sorted((code, str(rate)) for code, rate in self.rates.items())}"


def _converted(amount: int, rate: Fraction) -> int:
    """Half up, in whole numbers."""
    return (2 * amount * rate.numerator + rate.denominator) // (2 * rate.denominator)


CURRENCIES: Currencies
"""Those of this process, read when first asked for: the settings, which set the variables, use this module too."""


@cache
def _of_this_process() -> Currencies:
    return Currencies.from_environment()


def __getattr__(name: str) -> Currencies:
    if name == "CURRENCIES":
        return _of_this_process()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

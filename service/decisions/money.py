"""Amounts in words. Pure."""

from __future__ import annotations


def money(value: float) -> str:
    """An amount; small ones with more digits."""
    told = f"{value:,.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.4f}"
    return told if float(told.replace(",", "")) else told.removeprefix("-")

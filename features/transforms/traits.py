"""What a profile says, as numbers: the latest value of a trait from `identify`.

A trait whose values have an order is declared with `levels`: its value is the place in the list. Values not in
the list that begin with or hold a number count as that number (`25-34` is 25, `100-124K` is 100).
"""

from __future__ import annotations

from features.declare import Feature


def _trait(name: str, words: str, unit: str, levels: tuple[str, ...] = (), sentence: str | None = None) -> Feature:
    return Feature(
        name,
        "last",
        f"{words[0].upper()}{words[1:]}, as the profile last said.",
        sentence or f"{words} {{{name}:.0f}}",
        unit,
        column=name,
        levels=levels,
    )


FEATURES: tuple[Feature, ...] = (
    _trait("household_size", "household size", "people", sentence="household of {household_size:.0f}"),
    _trait("household_kids", "children in the household", "people", sentence="{household_kids:.0f} children"),
    _trait("age_band", "lower end of the age band", "years", sentence="aged {age_band:.0f} or more"),
    _trait(
        "income_band",
        "lower end of the income band in thousands",
        "thousands",
        sentence="income of {income_band:.0f} thousand or more",
    ),
    _trait("company_size", "company size", "people", sentence="company of {company_size:.0f} people"),
    _trait(
        "role_level",
        "level of the role (0 intern to 6 head)",
        "level",
        ("intern", "junior", "senior", "lead", "manager", "director", "executive"),
    ),
    _trait("lead_score", "lead score that a sales system gave", "points"),
)

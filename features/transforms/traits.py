"""What a profile says, as numbers: the latest value of a trait from `identify`.

A trait whose values have an order is declared with `levels`: its value is the place in the list. Values not in
the list that begin with or hold a number count as that number (`25-34` is 25, `100-124K` is 100). What a company is
comes by `identify` (`company`) or by `group`.
"""

from __future__ import annotations

from features.declare import Feature


def _trait(
    name: str,
    words: str,
    unit: str,
    levels: tuple[str, ...] = (),
    sentence: str | None = None,
    also: tuple[str, ...] = (),
    reading: str = "number",
) -> Feature:
    return Feature(
        name,
        "last",
        f"{words[0].upper()}{words[1:]}, as the profile last said.",
        sentence or f"{words} {{{name}:.0f}}",
        unit,
        column=name,
        levels=levels,
        also=also,
        reading=reading,
    )


FEATURES: tuple[Feature, ...] = (
    _trait("household_size", "household size", "people", sentence="household of {household_size:.0f}"),
    _trait("household_kids", "children in the household", "people", sentence="{household_kids:.0f} children"),
    _trait(
        "age_band", "age, or lower end of the age band", "years", sentence="aged {age_band:.0f} or more", also=("age",)
    ),
    _trait(
        "income_band",
        "lower end of the income band in thousands",
        "thousands",
        sentence="income of {income_band:.0f} thousand or more",
    ),
    _trait(
        "company_size",
        "company size",
        "people",
        sentence="company of {company_size:.0f} people",
        also=("employees", "employee_count", "company.employees", "company.employee_count", "company.size"),
    ),
    _trait(
        "role_level",
        "level of the role (0 intern to 6 head)",
        "level",
        (
            "intern|trainee|apprentice|student|working student",
            "junior|assistant|associate|coordinator|account executive|executive assistant",
            "senior|specialist|analyst|engineer|consultant|expert",
            "lead|principal|team lead|supervisor",
            "manager|head",
            "director|vp|vice president|svp|evp",
            "executive|chief|ceo|cto|cfo|coo|cmo|cio|cdo|president|founder|co-founder|owner|partner|managing director",
        ),
        also=("role", "title", "job_title", "jobTitle", "position"),
        reading="words",
    ),
    _trait(
        "is_lead",
        "whether the profile lists a lead",
        "yes or no",
        ("false", "true"),
        sentence="listed as a lead: {is_lead}",
        also=("lead", "isLead"),
    ),
    _trait("lead_score", "lead score that a sales system gave", "points"),
)

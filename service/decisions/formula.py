"""What an action is expected to earn, with the figures that it is made of: a formula that can be added up. Pure.

The formula itself: see `arbitration`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.decisions.arbitration import tiredness
from service.decisions.case import Case
from service.decisions.money import money

_OUTCOMES = {"click": "a click", "redemption": "a redemption"}


def terms_of(case: Case) -> dict[str, Any]:
    """What the formula takes from offers (`offers`, by id), and from the customer's last messages (`patience`, by
    channel), as a record shows them.
    """
    return {
        "offers": {
            offer.offer_id: {"value": offer.value, "cost": offer.cost, "priority": offer.priority}
            for offer in case.offers
        },
        "patience": dict(zip(case.channels, tiredness(case, case.channels), strict=True)),
    }


def formula(record: Mapping[str, Any], weighed: Sequence[Mapping[str, Any]], place: int) -> str:
    """The formula of the candidate at a place of those weighed. `record` is that of the decision, as the API shows it.

    Example: a chance of 8.3% that it leads to an order, times its value (12.50), less its cost (0.40) and what one more
    message costs in patience (0.01), all that times its priority (2).
    """
    one, terms = weighed[place], record["terms"]
    offer, patience = terms["offers"].get(one["offer_id"]), terms["patience"][one["channel"]]
    if offer is None:
        return "what its offer was worth then is not known any more"
    less = [
        *([f"its cost ({money(offer['cost'])})"] if offer["cost"] else ()),
        *([f"what one more message costs in patience ({money(patience)})"] if patience else ()),
    ]
    taken = f", less {' and '.join(less)}" if less else ""
    times = f", all that times its priority ({offer['priority']:g})" if offer["priority"] != 1 else ""
    return f"{', plus '.join(_earned(record, one, offer['value'], place))}{taken}{times}"


def _earned(record: Mapping[str, Any], one: Mapping[str, Any], value: float, place: int) -> Iterator[str]:
    rules, uplift = record["policy"]["rules"], record.get("uplift")
    weight = rules.get("goal_conversion", 1.0)
    weighted = f" and the weight of orders ({weight:g})" if weight != 1 else ""
    if uplift is None:
        chance = f"a chance of {_exact(one['probability'])} that it leads to an order"
    else:
        chance = f"the {_exact(uplift[place])} by which sending raises the chance of an order"
    yield f"{chance}, times its value ({money(value)}){weighted}"
    for name, chances in record["goals"].items() if record.get("goals") else ():
        yield f"a chance of {_exact(chances[place])} of {_OUTCOMES[name]}, times {money(rules[f'goal_{name}'])}"


def _exact(share: float) -> str:
    """A share of 1 with three digits."""
    return f"{100 * share:.3g}%"

"""`python -m training.world`: a table of what policies are worth in the world. No service needed."""

from __future__ import annotations

import argparse
import sys

from training.world.policies import POLICIES
from training.world.trial import Trial, try_policy


def main(arguments: list[str] | None = None) -> int:
    """Prints one line a policy; `random` and `best` are always run, because the others are measured between them."""
    parser = argparse.ArgumentParser(prog="python -m training.world", description=__doc__)
    parser.add_argument("--policy", action="append", choices=[*POLICIES, "all"], help="repeatable; default: all")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args(arguments)
    if asked.days < 1 or asked.customers < 1:
        parser.error("--days and --customers must be at least 1")
    names = set(asked.policy or ["all"])
    wanted = [name for name in POLICIES if "all" in names or name in names | {"random", "best"}]
    trials = [try_policy(name, asked.days, asked.customers, asked.seed) for name in wanted]
    print(table(trials))
    return 0


def table(trials: list[Trial]) -> str:
    """The trials as text: value of a decision, lift over random, share of the gap from random to best closed."""
    worth = {trial.policy: trial.value for trial in trials}
    low, high = worth["random"], worth["best"]
    header = (
        f"{'policy':<14}{'decisions':>10}{'sent':>8}{'value':>9}{'lift':>8}{'gap closed':>12}{'sales':>8}{'left':>6}"
    )
    rows = [
        f"{t.policy:<14}{t.decisions:>10}{t.sent:>8}{t.value:>9.3f}"
        f"{_ratio(t.value, low):>8}{_share(t.value, low, high):>12}{t.conversions:>8}{t.unsubscribed:>6}"
        for t in trials
    ]
    note = "value: mean true expected value of a decision; lift: over random; left: unsubscribed. All simulated."
    return "\n".join([header, *rows, note])


def _ratio(value: float, low: float) -> str:
    return f"x{value / low:.2f}" if low > 0 else "-"


def _share(value: float, low: float, high: float) -> str:
    return f"{(value - low) / (high - low):.0%}" if high > low else "-"


if __name__ == "__main__":
    sys.exit(main())

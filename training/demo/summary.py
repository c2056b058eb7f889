"""The report as a person reads it at the end of the demo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from training.demo.report import DecisionSection, ModelSection, Report
from training.demo.speak import Speaker


def print_summary(speaker: Speaker, found: Report) -> None:
    """Tables on a terminal, plain lines elsewhere; each heading says whether its figures are real or simulated."""
    data = found["data"]
    _head(speaker, "Data (real)")
    speaker.say(
        f"{data['what']}: {data['transactions']:,} transactions of {data['households']:,} households, "
        f"{data['campaigns']} campaigns, {data['redemptions']:,} redemptions; {data['first_day']} to {data['last_day']}"
    )
    speaker.say(f"{found['features']['count']} features of {found['features']['customers']:,} customers")
    _head(speaker, "Models on later data (real)")
    _rows(speaker, ("model", "figure", "ours", "baseline", "its figure", "verdict"), map(_model, found["models"]))
    _head(speaker, "Decisions (real households, invented addresses)")
    for decision in found["decisions"]:
        _decision(speaker, decision)
    if found["world"] is not None:
        _world(speaker, found["world"])
    if found["experiment"] is not None:
        _head(speaker, "A/B test in the journey (simulated)")
        speaker.say(str(found["experiment"].get("sentence") or found["experiment"].get("verdict") or "no result yet"))
    _head(speaker, "Look")
    for name, address in found["addresses"].items():
        speaker.say(f"{name:<12} {address}")
    speaker.say(f"Took {found['seconds']:.0f} s: " + ", ".join(_step(row) for row in found["timings"]))


def _step(row: Mapping[str, Any]) -> str:
    return f"{row['name']} {'reused' if row['reused'] else format(row['seconds'], '.0f') + ' s'}"


def _head(speaker: Speaker, text: str) -> None:
    speaker.console.print()
    speaker.console.print(f"[bold]{text}[/bold]")


def _rows(speaker: Speaker, names: Sequence[str], rows: Any) -> None:
    if not speaker.console.is_terminal:
        for row in rows:
            speaker.say("; ".join(f"{name} {cell}" for name, cell in zip(names, row, strict=True)))
        return
    table = Table(*names)
    for row in rows:
        table.add_row(*row)
    speaker.console.print(table)


def _model(model: ModelSection) -> tuple[str, ...]:
    version = f"{model['name']} v{model['version']}" if model["version"] else model["name"]
    ours, its = (_figure(model[which]) for which in ("value", "baseline_value"))
    return version, model["metric_title"], ours, model["baseline_name"] or "-", its, model["verdict"]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _decision(speaker: Speaker, decision: DecisionSection) -> None:
    speaker.say(f"{decision['customer']}, {decision['who']} (arm {decision['arm']}):")
    if not decision["actions"]:
        speaker.say("  nothing is sent")
    for action in decision["actions"][:1]:
        chance = "" if action["probability"] is None else f", {action['probability']:.1%} likely"
        speaker.say(f"  {action['offer']} by {action['channel']} at {action['send_at']}{chance}")
        for reason in action["reasons"]:
            speaker.say(f"    because: {reason}")
    if decision["degraded"]:
        speaker.say(f"  without: {', '.join(decision['degraded'])}")


def _world(speaker: Speaker, world: Mapping[str, Any]) -> None:
    _head(speaker, f"{world['days']} days in the world (simulated; the truth is known)")
    named = {**world["arms"], "model, untrained": world["model_untrained"], "model, trained": world["model_trained"]}
    names = ("arm", "decisions", "true value of a decision", "lift over random", "of the gap to the best")
    _rows(speaker, names, [(arm, *_arm(figures)) for arm, figures in named.items() if figures["decisions"]])
    speaker.say(f"a random choice {world['random']:.3f}, the best there is {world['best']:.3f}")
    for measured in world.get("impact", ()):
        speaker.say(f"as the service measured it by itself: {measured['sentence']}")
    journey = world["journey"]
    told = f"{journey['arrived']} messages arrived, {journey['sales']} of these led to an order"
    speaker.say(f"journey: {journey['enrolled']} enrolled, {told}")


def _arm(figures: Mapping[str, Any]) -> tuple[str, ...]:
    lift = "-" if figures["lift"] is None else f"x{figures['lift']:.2f}"
    gap = "-" if figures["gap_closed"] is None else f"{figures['gap_closed']:.0%}"
    return f"{figures['decisions']:,}", f"{figures['value']:.3f}", lift, gap

"""What a version of the send-time model is shown with: plots and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.presence import Presence
from models.send_time import SendTimeModel
from models.week import HOURS
from training.gate import Findings

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def send_time_plots(model: SendTimeModel) -> dict[str, Figure]:
    """By file name; without a message there is no response to draw."""
    plots = {"presence.png": presence_plot(model.presence)}
    return plots | {"channels.png": channels_plot(model)} if model.channels else plots


def presence_plot(presence: Presence) -> Figure:
    """The types of weeks, each with its share of customers."""
    drawing, axis = _week("Types of weeks", "presence, 1 is every hour alike")
    for profile, share in zip(presence.profiles, presence.shares, strict=True):
        axis.plot(profile * HOURS, linewidth=1, label=f"{share:.0%} of customers")
    drawing.legend(fontsize=7, loc="outside lower center", ncols=len(presence.shares))
    return drawing


def channels_plot(model: SendTimeModel) -> Figure:
    """Response by hour of sending, a line a channel."""
    drawing, axis = _week("Response by hour of sending", "responses a message")
    for channel, curve in sorted(model.channels.items()):
        axis.plot(curve.rate, linewidth=1, label=channel)
    drawing.legend(fontsize=7, loc="outside lower center", ncols=len(model.channels))
    return drawing


def _week(title: str, what: str) -> tuple[Figure, Any]:
    """A plot over the hours of the week; its legend goes below, for lines reach everywhere."""
    drawing = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    FigureCanvasAgg(drawing)
    axis = drawing.subplots()
    axis.set(xlabel="local hour of the week; a day begins at its name, at 00:00", ylabel=what, title=title)
    axis.set_xticks(range(0, HOURS, 24), DAYS, ha="left")
    axis.set_xlim(0, HOURS)
    axis.grid(axis="x", linewidth=0.4)
    return drawing, axis


def card(
    model: SendTimeModel,
    found: Findings,
    described: Mapping[str, object],
) -> str:
    plain = found.rivals["overall_best_hours"]
    return "\n".join(
        [
            "# opportune-send-time: the best hour to send",
            "",
            "## Purpose",
            "The probability of a human response by local hour of sending, for one person and channel. For choosing "
            "hours among those that rules allow; not a permission to send.",
            "",
            "## Who is scored",
            "Everybody who may be profiled. Who may not gets everybody's hours, and is not learnt from.",
            "",
            "## Learnt from",
            *(f"- {key.replace('_', ' ')}: {value}" for key, value in described.items()),
            "",
            "## How good, on later data that it had not seen",
            "| | model | overall best hours |",
            "|---|---|---|",
            *(
                f"| {key.replace('_', ' ')} | {value:.4f} | {_shown(plain.get(key))} |"
                for key, value in found.metrics.items()
            ),
            "",
            "## Verdict of the gate",
            found.verdict.text,
            "",
            "## Limits",
            "- A customer's old hours fade: they count half after 180 days.",
            "- Hours in which nothing was ever sent are judged by when people order and answer, not by responses.",
            "- Where the customer's zone is not known or not valid, the default zone is used and the answer says so.",
            f"- The number of types of weeks found: {len(model.presence.shares)}.",
            "",
        ]
    )


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"

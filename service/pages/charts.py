"""Charts as inline SVG, made here: no script, no outside resource. Each has a name for those who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 640


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `low` and `high` are the ends of an interval, `ours` makes it stand out."""

    label: str
    value: float
    text: str
    ours: bool = False
    low: float | None = None
    high: float | None = None


def bar_chart(title: str, bars: Sequence[Bar], start: float = 0.0) -> Markup:
    """Horizontal bars from `start`, longest label first in the margin."""
    if not bars:
        return Markup("")
    margin = min(260, 20 + 8 * max(len(bar.label) for bar in bars))
    room = WIDTH - margin - 16 - 8 * max(len(bar.text) for bar in bars)
    top = max(max(bar.value, bar.high if bar.high is not None else bar.value) for bar in bars)
    span = (top - start) or 1.0
    rows = [_bar(bar, 8 + 30 * place, margin, room, start, span) for place, bar in enumerate(bars)]
    return _svg(title, 30 * len(bars) + 12, rows)


def _bar(bar: Bar, y: int, margin: int, room: int, start: float, span: float) -> Markup:
    def x(value: float) -> float:
        return margin + max(0.0, min(1.0, (value - start) / span)) * room

    end = x(bar.value)
    kind = "bar ours" if bar.ours else "bar"
    parts = [
        Markup('<text class="label" x="{}" y="{}" text-anchor="end">{}</text>').format(margin - 8, y + 16, bar.label),
        Markup('<rect class="{}" x="{}" y="{}" width="{:.1f}" height="20" rx="2"/>').format(
            kind, margin, y, max(1.0, end - margin)
        ),
    ]
    if bar.low is not None and bar.high is not None:
        parts.append(
            Markup('<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
                x(bar.low), x(bar.high), y + 10, y + 10
            )
        )
        end = max(end, x(bar.high))
    parts.append(Markup('<text class="value" x="{:.1f}" y="{}">{}</text>').format(end + 6, y + 16, bar.text))
    return Markup("").join(parts)


def calibration_chart(title: str, points: Sequence[tuple[float, float, int]]) -> Markup:
    """Promised against observed shares; on the diagonal a promise is kept. `points`: (promised, observed, n)."""
    if not points:
        return Markup("")
    size, edge, room = 300, 44, 10  # room: no dot is cut off at the edges
    top = max(max(promised, observed) for promised, observed, _ in points) or 1.0
    most = max(n for _, _, n in points) or 1

    def at(value: float) -> float:
        return value / top * (size - edge - room)

    dots = [
        Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(
            edge + at(promised), size - edge - at(observed), 3 + 5 * (n / most) ** 0.5
        )
        for promised, observed, n in points
    ]
    frame = [
        Markup('<line class="axis" x1="{0}" y1="{1}" x2="{2}" y2="{1}"/>').format(edge, size - edge, size),
        Markup('<line class="axis" x1="{0}" y1="0" x2="{0}" y2="{1}"/>').format(edge, size - edge),
        Markup('<line class="ideal" x1="{}" y1="{}" x2="{}" y2="0"/>').format(edge, size - edge, size),
        Markup('<text class="label" x="{}" y="{}" text-anchor="end">promised {:.0%}</text>').format(
            size, size - edge + 18, top
        ),
        Markup('<text class="label" x="{}" y="12">observed {:.0%}</text>').format(edge + 6, top),
    ]
    return _svg(title, size, [*frame, *dots], width=size + 10, kind="chart square")


def line_chart(title: str, series: Sequence[tuple[str, Sequence[float]]], height: int = 200) -> Markup:
    """Lines over equal steps, each named at its end."""
    values = [value for _, line in series for value in line]
    if not values:
        return Markup("")
    low, high = min(0.0, min(values)), max(values)
    span, room = (high - low) or 1.0, WIDTH - 140
    lines: list[Markup] = []
    for number, (name, line) in enumerate(series):
        step = room / max(1, len(line) - 1)
        points = [(10 + step * i, height - 12 - (value - low) / span * (height - 24)) for i, value in enumerate(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        lines.append(Markup('<polyline class="line line{}" points="{}"/>').format(number % 4, path))
        lines.append(
            Markup('<text class="label" x="{:.1f}" y="{:.1f}">{}</text>').format(
                points[-1][0] + 6, points[-1][1] + 4, name
            )
        )
    return _svg(title, height, lines)


def _svg(title: str, height: int, parts: Sequence[Markup], width: int = WIDTH, kind: str = "chart") -> Markup:
    return Markup('<svg class="{}" role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
        kind, escape(title), width, height, Markup("").join(parts)
    )

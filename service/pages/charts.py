"""Charts as inline SVG, made here: no script, no outside resource. Each has a name for those who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from service.pages.words import figure

BAR = 42
"""Height of a bar with its label, in pixels."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `low` and `high` are the ends of an interval, `ours` makes it stand out."""

    label: str
    value: float
    text: str
    ours: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """An estimate with the ends of its interval."""

    label: str
    value: float
    low: float
    high: float
    text: str


def span_chart(title: str, spans: Sequence[Span]) -> Markup:
    """Intervals beside the line of 0, each below its label and figure: one that does not touch the line is sure."""
    if not spans:
        return Markup("")
    low, high = min(0.0, *(span.low for span in spans)), max(0.0, *(span.high for span in spans))
    wide = (high - low) or 1.0

    def at(value: float) -> float:
        return 2 + 96 * (value - low) / wide

    rows = [
        Markup(
            '<text class="label" x="0" y="{0}">{1}</text><text class="value" x="100%" y="{0}" text-anchor="end">{2}'
            '</text><line class="whisker" x1="{3:.2f}%" x2="{4:.2f}%" y1="{5}" y2="{5}"/>'
            '<circle class="dot" cx="{6:.2f}%" cy="{5}" r="5"/>'
        ).format(BAR * n + 14, span.label, span.text, at(span.low), at(span.high), BAR * n + 27, at(span.value))
        for n, span in enumerate(spans)
    ]
    tall = BAR * len(spans)
    zero = Markup('<line class="ideal" x1="{0:.2f}%" x2="{0:.2f}%" y1="18" y2="{1}"/>').format(at(0), tall)
    said = "; ".join(f"{span.label} {span.text}, {span.low:,.2f} to {span.high:,.2f}" for span in spans)
    return Markup('<svg class="chart" role="img" aria-label="{}" width="100%" height="{}">{}</svg>').format(
        f"{title}: {said}", tall, zero + Markup("").join(rows)
    )


def bar_chart(title: str, bars: Sequence[Bar]) -> Markup:
    """Horizontal bars from 0, each below its label and figure: lengths are shares, so letters keep their size."""
    if not bars:
        return Markup("")
    longest = max(0.0, *(max(bar.value, bar.high if bar.high is not None else bar.value) for bar in bars)) or 1.0
    rows = [_bar(bar, BAR * place, longest) for place, bar in enumerate(bars)]
    told = f"{title}: {'; '.join(f'{bar.label} {bar.text}{_between(bar)}' for bar in bars)}"
    return Markup('<svg class="chart" role="img" aria-label="{}" width="100%" height="{}">{}</svg>').format(
        told, BAR * len(bars), Markup("").join(rows)
    )


def _between(bar: Bar) -> str:
    return "" if bar.low is None or bar.high is None else f", between {figure(bar.low)} and {figure(bar.high)}"


def _bar(bar: Bar, y: int, longest: float) -> Markup:
    def share(value: float) -> float:
        return max(0.0, min(100.0, 100 * value / longest))

    parts = [
        Markup('<text class="label" x="0" y="{}">{}</text>').format(y + 14, bar.label),
        Markup('<text class="value" x="100%" y="{}" text-anchor="end">{}</text>').format(y + 14, bar.text),
        Markup('<rect class="{}" x="0" y="{}" width="{:.2f}%" height="12" rx="2"/>').format(
            "bar ours" if bar.ours else "bar", y + 19, max(0.3, share(bar.value))
        ),
    ]
    if bar.low is not None and bar.high is not None:
        parts.append(
            Markup('<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}"/>').format(
                share(bar.low), share(bar.high), y + 34, y + 34
            )
        )
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
    return Markup('<svg class="chart square" role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>').format(
        f"{title}: {'; '.join(_kept(*point) for point in points)}", size + 10, size, Markup("").join([*frame, *dots])
    )


def _kept(promised: float, observed: float, count: int) -> str:
    return f"promised {promised:.1%}, observed {observed:.1%} of {count:,}"


def line_chart(title: str, series: Sequence[tuple[str, Sequence[float]]], across: tuple[str, str]) -> Markup:
    """Lines over equal steps, from the lowest value (or 0) to the highest; `across` names the first and last step."""
    values = [value for _, line in series for value in line]
    if not values:
        return Markup("")
    low, high = min(0, min(values)), max(values)
    span = (high - low) or 1.0
    names = [
        Markup('<span class="key line{}">{}</span>').format(number % 4, name) for number, (name, _) in enumerate(series)
    ]
    lines = [
        Markup('<polyline class="line line{}" points="{}"/>').format(number % 4, _points(line, low, span))
        for number, (_, line) in enumerate(series)
    ]
    return Markup(
        '<div class="lines" role="img" aria-label="{}"><p class="keys">{}</p><span>{}</span><span class="low">{}</span>'
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none">{}</svg><span class="first">{}</span>'
        '<span class="last">{}</span></div>'
    ).format(
        f"{title}, {across[0]} to {across[1]}: {'; '.join(_run(name, line) for name, line in series if line)}",
        Markup(" ").join(names), figure(high), figure(low), Markup("").join(lines), *across,
    )  # fmt: skip


def _run(name: str, line: Sequence[float]) -> str:
    first, last, low, high = (figure(value) for value in (line[0], line[-1], min(line), max(line)))
    return f"{name} from {first} to {last}, lowest {low}, highest {high}"


def _points(line: Sequence[float], low: float, span: float) -> str:
    step = 100 / max(1, len(line) - 1)
    return " ".join(f"{step * i:.2f},{100 - (value - low) / span * 100:.2f}" for i, value in enumerate(line))

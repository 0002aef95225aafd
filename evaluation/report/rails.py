"""Charts of one line per row, as text with rails between: the type stays legible at any width, and a reader aloud reads it.

A rail is an axis of 0 to 100 percent of whatever width there is; marks on it are bars, whiskers and dots.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from evaluation.report.axes import Axis, short

LEFT, RIGHT = 2.0, 98.0
LEAST = 12.0
"""Percent between the labels of two ticks."""


@dataclass(frozen=True)
class Bar:
    """From `low` to `high` in values; kind: a class of the style sheet (bar, pale, whisker)."""

    low: float
    high: float
    kind: str
    tip: str = ""


@dataclass(frozen=True)
class Row:
    """title, with the classes of its colour; bars and dots, (value, class); value: the text at the end."""

    title: str
    classes: str
    bars: Sequence[Bar] = ()
    dots: Sequence[tuple[float, str]] = ()
    value: str = ""


def ticks(axis: Axis) -> list[tuple[float, str]]:
    """(percent, label) of the ticks that have room for their labels."""
    kept: list[float] = []
    for tick in axis.ticks():
        if not kept or abs(axis.at(tick) - axis.at(kept[-1])) >= LEAST:
            kept.append(tick)
    return [(round(axis.at(tick), 2), short(tick)) for tick in kept]


def chart(rows: Iterable[Row], axis: Axis, label: str, rules: Sequence[tuple[float, str]] = ()) -> Markup:
    """Rows on one axis; rules: (value, what it is) of upright dashed lines through all of them."""
    marked = ticks(axis)
    grid = "".join(f'<i class="tick" style="left:{place:g}%"></i>' for place, _ in marked)
    grid += "".join(f'<i class="rule" style="left:{axis.at(value):.2f}%"></i>' for value, _ in rules)
    lines = []
    for row in rows:
        marks = "".join(_bar(bar, axis) for bar in row.bars)
        marks += "".join(f'<i class="{kind}" style="left:{axis.at(at):.2f}%"></i>' for at, kind in row.dots)
        lines.append(
            f'<div class="row {row.classes}"><span class="name">{escape(row.title)}</span>'
            f'<span class="rail" aria-hidden="true">{grid}{marks}</span><span class="value">{escape(row.value)}</span></div>'
        )
    below = "".join(f'<span style="left:{place:g}%">{escape(name)}</span>' for place, name in marked)
    above = "".join(f'<span style="left:{axis.at(value):.2f}%">{escape(name)}</span>' for value, name in rules)
    top = f'<div class="scale rules"><span></span><span class="marks">{above}</span></div>' if rules else ""
    return Markup(
        f'<div class="rails">{top}{"".join(lines)}<div class="scale" aria-hidden="true"><span></span>'
        f'<span class="marks">{below}</span></div><p class="axis">{escape(label)}</p></div>'
    )


def _bar(bar: Bar, axis: Axis) -> str:
    left, right = axis.at(bar.low), axis.at(bar.high)
    tip = f' title="{escape(bar.tip)}"' if bar.tip else ""
    return f'<i class="{bar.kind}" style="left:{left:.2f}%;width:{right - left:.2f}%"{tip}></i>'


def finite(value: float | None) -> bool:
    """Whether a value can be drawn."""
    return value is not None and math.isfinite(value)

"""Dots with intervals as a column of the leaderboard: every row's on one axis, and how many rows it may stand behind.

Places are percentages of the column's width, so that the column is as wide as the screen allows and its type stays legible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.report.axes import span
from evaluation.report.rails import LEFT, RIGHT, finite, ticks
from evaluation.standings import RANKED, Standing

HELD_OUT = "held-out"


@dataclass(frozen=True)
class Mark:
    """A row's place on the axis, in percent: its value, and where its interval begins and how long it is."""

    dot: float
    left: float
    width: float


@dataclass(frozen=True)
class Column:
    """label: what the axis shows; ticks: (percent, label), and grid: those without a label as well; target: the place of real
    clips, and what it is called; marks: row name -> Mark.
    """

    label: str
    ticks: Sequence[tuple[float, str]]
    grid: Sequence[float]
    marks: Mapping[str, Mark]
    target: float | None
    target_label: str


def column(lines: Sequence[Standing], metric: Mapping[str, Any]) -> Column | None:
    """One measure of all rows that have a finite value; None where none has."""
    key = metric["key"]
    known = {line.name: line.cells[key] for line in lines if finite(line.cells[key].value)}
    if not known:
        return None
    ends = [end for cell in known.values() for end in (cell.low, cell.value, cell.high) if end is not None]
    axis = span(
        [end for end in ends if end > 0] if min(c.value or 0.0 for c in known.values()) > 0 else ends, LEFT, RIGHT
    )
    if not axis.log:
        axis = span(ends, LEFT, RIGHT, zero=True)
    marks = {}
    for name, cell in known.items():
        low, high = (cell.value if end is None else end for end in (cell.low, cell.high))
        left = axis.at(low or 0.0)
        marks[name] = Mark(round(axis.at(cell.value or 0.0), 2), round(left, 2), round(axis.at(high or 0.0) - left, 2))
    real = next((line for line in lines if line.name.partition("/")[0] == HELD_OUT and line.name in marks), None)
    unit = f" ({metric['unit']})" if metric.get("unit") else ""
    return Column(
        label=metric["name"] + unit + (", log scale" if axis.log else ""),
        ticks=[(place, name) for place, name in ticks(axis) if real is None or abs(place - marks[real.name].dot) > 14],
        grid=[round(axis.at(tick), 2) for tick in axis.ticks()],
        marks=marks,
        target=marks[real.name].dot if real else None,
        target_label=real.title.partition(" ")[0] if real else "",
    )


def ranks(lines: Sequence[Standing], key: str) -> dict[str, tuple[float, float]]:
    """Row name -> (left, width) in percent of its rank interval, among the rows that it is ranked with."""
    found = {}
    together: dict[tuple[Any, ...], int] = {}
    for line in lines:
        if line.cells[key].rank:
            together[line.cells[key].comparable] = together.get(line.cells[key].comparable, 0) + 1
    for line in lines:
        cell = line.cells[key]
        if cell.rank and line.kind in RANKED:
            total, (low, high) = together[cell.comparable], cell.rank
            found[line.name] = (round(100 * (low - 1) / total, 2), round(100 * (high - low + 1) / total, 2))
    return found

"""Fidelity against variety: precision and recall, density and coverage, with the place where a perfect generator would be."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evaluation.report.axes import Axis, circle, grid_x, grid_y, stroke, svg, text, upright
from evaluation.report.labels import Box, place
from evaluation.report.looks import Look, cell, details, heard, reason
from evaluation.report.section import Figure, Group, Section, Table
from evaluation.standings import Cell, Standing
from evaluation.wording import half_width, number, shown_digits

NAMED = ("planes", "Fidelity and variety", "Faithful and varied: precision and recall, density and coverage")
ABOUT = (
    "Up: its clips lie where real ones do (precision, density). To the right: real clips have generated ones near "
    "them (recall, coverage). Dashed: what a perfect generator scores at these counts; beyond it is not better. Low "
    "at the right is noise with a few hits, high at the left is a generator that says little, and says it well. "
    "Crosses are 95 % intervals."
)
WIDTH, HIGH, LEFT, RIGHT, BASE, TOP = 600.0, 460.0, 56.0, 588.0, 416.0, 12.0


class Pair(NamedTuple):
    """The keys of a plane's two axes."""

    across: str
    up: str
    title: str


PAIRS = (
    Pair("v1/recall", "v1/precision", "Precision over recall"),
    Pair("v1/coverage", "v1/density", "Density over coverage"),
)


def section(lines: Sequence[Standing], looks: Mapping[str, Look]) -> Section:
    """Both planes in the classifier's features; those of other ears folded."""
    shown = [line for line in lines if line.row.get("role") != "dataset"]
    groups, tables = [], []
    for ears, key in heard(shown, PAIRS[0].across) or heard(shown, PAIRS[1].across):
        suffix = f"@{ears}" if "@" in key else ""
        pairs = [Pair(pair.across + suffix, pair.up + suffix, pair.title) for pair in PAIRS]
        figures = [figure for pair in pairs if (figure := _figure(shown, looks, pair))]
        if figures:
            of = f" in the features of {ears}" if ears else ""
            groups.append(Group(figures, of.strip().capitalize(), folded=bool(ears)))
            tables.append(_table(shown, looks, pairs, f"The planes in numbers{of}"))
    if not groups:
        return Section(*NAMED, missing=reason(lines, PAIRS[0].up))
    return Section(*NAMED, ABOUT, groups, tables)


def _figure(lines: Sequence[Standing], looks: Mapping[str, Look], pair: Pair) -> Figure | None:
    known = [(line, x, y) for line in lines if (x := cell(line, pair.across)) and (y := cell(line, pair.up))]
    if not known:
        return None
    nulls = [_null(known, pair.across), _null(known, pair.up)]
    x_axis = _axis([x for _, x, _ in known], nulls[0], LEFT, RIGHT)
    y_axis = _axis([y for *_, y in known], nulls[1], BASE, TOP)
    parts = [grid_x(x_axis, TOP, BASE), grid_y(y_axis, LEFT, RIGHT)]
    if nulls[0] is not None:
        parts.append(stroke(x_axis.at(nulls[0]), TOP, x_axis.at(nulls[0]), BASE, "diagonal"))
    if nulls[1] is not None:
        parts.append(stroke(LEFT, y_axis.at(nulls[1]), RIGHT, y_axis.at(nulls[1]), "diagonal"))
    points = [(x_axis.at(x.value or 0.0), y_axis.at(y.value or 0.0)) for _, x, y in known]
    crosses = []
    for (standing, x, y), (px, py) in zip(known, points, strict=True):
        look, drawn = looks[standing.name], ""
        if x.low is not None and x.high is not None:
            drawn += stroke(x_axis.at(x.low), py, x_axis.at(x.high), py, "span")
            crosses.append(Box(x_axis.at(x.low), py - 1, x_axis.at(x.high), py + 1))
        if y.low is not None and y.high is not None:
            drawn += stroke(px, y_axis.at(y.low), px, y_axis.at(y.high), "span")
            crosses.append(Box(px - 1, y_axis.at(y.high), px + 1, y_axis.at(y.low)))
        drawn += circle(px, py, 4.6, "dot", f"{look.title}: {_value(x)}, {_value(y)}")
        parts.append(f'<g class="{look.classes}">{drawn}</g>')
    together = _together(points)
    names = [", ".join(looks[known[i][0].name].title for i in members) for members in together]
    bounds = Box(LEFT + 3, TOP, RIGHT, BASE - 3)
    for members, name, label in zip(
        together, names, place([points[m[0]] for m in together], names, bounds, crosses), strict=True
    ):
        px, py = points[members[0]]
        leader = stroke(px, py, label.x, label.y - 4, "leader") if label.far else ""
        colour = looks[known[members[0]][0].name].classes
        parts.append(f'<g class="{colour}">{leader}{text(label.x, label.y, name, label.anchor, "name")}</g>')
    across, up = (key.rpartition("/")[2].partition("@")[0] for key in pair[:2])
    scales = [name + (", square-root scale" if axis.root else "") for name, axis in ((across, x_axis), (up, y_axis))]
    parts += [text((LEFT + RIGHT) / 2, HIGH - 8, scales[0], "middle", "axis"), upright(13, (TOP + BASE) / 2, scales[1])]
    told = "; ".join(f"{looks[one.name].title} {across} {_value(x)}, {up} {_value(y)}" for one, x, y in known)
    return Figure(pair.title, svg(WIDTH, HIGH, parts, f"{pair.title}: {told}"), _told(nulls, (across, up)))


def _null(known: Sequence[tuple[Standing, Cell, Cell]], key: str) -> float | None:
    """What a perfect generator scores, at the counts of most rows."""
    found = [value for line, *_ in known if (value := details(line, key).get("null")) is not None]
    return float(max(found, key=found.count)) if found else None


def _axis(cells: Sequence[Cell], null: float | None, start: float, end: float) -> Axis:
    """From 0; by the square root where most rows would else crowd at the origin. A share's ends at 1."""
    most = max([null or 0.0] + [found.high if found.high is not None else found.value or 0.0 for found in cells])
    most = 1.0 if 0.5 < most <= 1 else most * 1.06 or 1.0
    crowded = sum((found.value or 0.0) < 0.15 * most for found in cells) > len(cells) / 2 and len(cells) > 5
    return Axis(0.0, most, start, end, root=crowded)


def _together(points: Sequence[tuple[float, float]], near: float = 4.0) -> list[list[int]]:
    """Points that lie on one another, which share a label; by their numbers."""
    found: list[list[int]] = []
    for i, (x, y) in enumerate(points):
        home = next((group for group in found if math.dist(points[group[0]], (x, y)) < near), None)
        if home is None:
            found.append([i])
        else:
            home.append(i)
    return found


def _told(nulls: Sequence[float | None], names: Sequence[str]) -> str:
    told = [f"{name} {number(null, 3)}" for null, name in zip(nulls, names, strict=True) if null is not None]
    return f"A perfect generator, at the count of most rows: {', '.join(told)}." if told else ""


def _value(found: Cell | None) -> str:
    if found is None:
        return "–"
    digits = shown_digits(found, 3)
    return f"{number(found.value, digits)} {half_width(found, digits)}".strip()


def _table(lines: Sequence[Standing], looks: Mapping[str, Look], pairs: Sequence[Pair], title: str) -> Table:
    keys = [key for pair in pairs for key in (pair.up, pair.across)]
    head = [""]
    for key in keys:
        head += [key.partition("/")[2].partition("@")[0], "if perfect"]
    rows = []
    for line in lines:
        if any(cell(line, key) for key in keys):
            texts = [looks[line.name].title]
            for key in keys:
                null = details(line, key).get("null")
                texts += [_value(cell(line, key)), number(null, 3)]
            rows.append(texts)
    return Table(title, head, rows)

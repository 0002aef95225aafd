"""FID against 1/M: what more samples would give, and where the lines of two models cross."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from evaluation.report.axes import Axis, circle, grid_x, grid_y, path, span, stroke, svg, text, with_room
from evaluation.report.labels import HEIGHT, LETTER, apart
from evaluation.report.looks import Look, cell, details, heard, models, reason
from evaluation.report.section import Figure, Group, Section, Table
from evaluation.report.tracks import HELD_OUT
from evaluation.standings import Cell, Standing
from evaluation.wording import half_width, number, shown_digits

KEY, OWN = "v1/fid/infinity", "v1/fid"
NAMED = ("infinity", "More samples", "FID against the number of samples")
ABOUT = (
    "FID is too high by about a constant over the number of samples M, and the constant is the model's own. Each dot "
    "is a mean over random subsets of M samples; a line through them leads to infinitely many, at the left edge, "
    "where bars are 95 % intervals. Where two lines cross, the count alone has decided who was ahead."
)
WIDTH, HIGH, TOP, BOTTOM = 1000.0, 440.0, 14.0, 46.0


@dataclass(frozen=True)
class Line:
    """One row: the fit, its intercept as a cell, and FID itself."""

    standing: Standing
    look: Look
    sizes: Sequence[int]
    fid: Sequence[float]
    slope: float
    about: Mapping[str, Any]
    infinity: Cell
    own: Cell | None


def section(lines: Sequence[Standing], looks: Mapping[str, Look]) -> Section:
    """The plot for the classifier's features; below it, folded, for those of other ears."""
    found = heard(lines, KEY)
    if not found:
        return Section(*NAMED, missing=reason(lines, KEY))
    figures, tables = [], []
    for ears, key in found:
        rows = _lines(lines, looks, key, OWN + key.removeprefix(KEY))
        if rows:
            of = f" in the features of {ears}" if ears else ""
            # What has an alarm is ranked with nobody, and would stretch the axis.
            drawn = [row for row in rows if not row.look.alarm] or rows
            left_out = ", ".join(row.look.title for row in rows if row not in drawn)
            note = f"Not drawn, but in the table: {left_out}." if left_out else ""
            figures.append(Figure(f"FID and its extrapolation{of}", _plot(drawn, f"FID over 1/M{of}"), note, wide=True))
            tables.append(_table(rows, f"The extrapolation in numbers{of}"))
    if not figures:
        return Section(*NAMED, missing="the sizes that it was measured at are not recorded")
    groups = [Group(figures[:1])] + [Group([one], one.title, folded=True) for one in figures[1:]]
    return Section(*NAMED, ABOUT, groups, tables)


def _lines(lines: Sequence[Standing], looks: Mapping[str, Look], key: str, own: str) -> list[Line]:
    found = []
    for standing in (*models(lines), *(one for one in lines if one.name.partition("/")[0] == HELD_OUT)):
        about, infinity = details(standing, key), cell(standing, key)
        if infinity is not None and about.get("sizes"):
            fit = (about["sizes"], about["fid"], float(about["slope"]), about)
            found.append(Line(standing, looks[standing.name], *fit, infinity, cell(standing, own)))
    return found


def _plot(rows: Sequence[Line], about: str) -> Markup:
    names = [f"{row.look.title}  {_value(row.infinity)}" for row in rows]
    left, right, base = LETTER * max(map(len, names)) + 40, WIDTH - 52, HIGH - BOTTOM
    x_axis = Axis(0.0, max(1 / min(row.sizes) for row in rows) * 1.03, left, right)
    y_axis = span([value for row in rows for value in (*row.fid, row.infinity.value or 0.0)], base, TOP)
    sizes = sorted({size for row in rows for size in row.sizes})
    ticks = with_room([(0.0, "∞"), *((1 / size, f"{size:,}") for size in (sizes[0], sizes[-1], *sizes))], x_axis)
    parts = [grid_x(x_axis, TOP, base, ticks), grid_y(y_axis, left, right, labels_right=True)]
    for row in rows:
        value, at_zero = row.infinity.value or 0.0, x_axis.at(0)
        fitted = [(x, value + row.slope * x) for x in (i / 60 / min(row.sizes) for i in range(61))]
        drawn = path([(x_axis.at(x), y_axis.at(y)) for x, y in fitted if y_axis.low <= y <= y_axis.high], "fit")
        for size, fid in zip(row.sizes, row.fid, strict=True):
            tip = f"{row.look.title}: {fid:.2f} at {size:,} samples"
            drawn += circle(x_axis.at(1 / size), y_axis.at(fid), 2.6, "point", tip)
        low, *_, high = _ends(row.infinity)
        drawn += stroke(at_zero, y_axis.at(low), at_zero, y_axis.at(high), "span")
        drawn += circle(at_zero, y_axis.at(value), 4.2, "dot", f"{row.look.title} {_value(row.infinity)}")
        parts.append(f'<g class="{row.look.classes}">{drawn}</g>')
    places = apart([y_axis.at(row.infinity.value or 0.0) for row in rows], HEIGHT + 2, TOP + 4, base)
    for row, name, y in zip(rows, names, places, strict=True):
        label = text(left - 26, y + 4, name, "end", "name")
        leader = stroke(left - 22, y, left - 6, y_axis.at(row.infinity.value or 0.0), "leader")
        parts.append(f'<g class="{row.look.classes}">{leader}{label}</g>')
    named = "; ".join(f"{row.look.title} {_value(row.infinity)}" for row in rows)
    scale = ", FID on a log scale" if y_axis.log else ""
    parts.append(text((left + right) / 2, HIGH - 8, f"samples M, spaced by 1/M{scale}", "middle", "axis"))
    return svg(WIDTH, HIGH, parts, f"{about}. At infinity: {named}", "wide")


def _ends(found: Cell) -> list[float]:
    """Lower end, value and upper end of what is known."""
    value = found.value or 0.0
    return [value if found.low is None else found.low, value, value if found.high is None else found.high]


def _value(found: Cell) -> str:
    digits = shown_digits(found, 2)
    return f"{number(found.value, digits)} {half_width(found, digits)}".strip()


def _table(rows: Sequence[Line], title: str) -> Table:
    head = ("", "FID", "samples", "FID at infinity", "slope", "R²", "smallest subset", "its mean FID")
    return Table(title, head, [_cells(row) for row in rows])


def _cells(row: Line) -> list[str]:
    about: Mapping[str, Any] = row.about
    smallest = min(range(len(row.sizes)), key=lambda i: row.sizes[i])
    fit = "–" if about.get("r_squared") is None else f"{about['r_squared']:.4f}"
    own = _value(row.own) if row.own else "–"
    return [
        row.look.title,
        own,
        f"{max(row.sizes):,}",
        _value(row.infinity),
        number(row.slope, 0),
        fit,
        f"{row.sizes[smallest]:,}",
        number(row.fid[smallest], 2),
    ]

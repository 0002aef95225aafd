"""IS and AM taken apart: what is owed to sure answers, and what to varied ones; and which classes were heard how often."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from statistics import NormalDist

from markupsafe import Markup

from evaluation.report.axes import Axis, grid_y, rect, shortened, strokes, svg
from evaluation.report.looks import Look, cell, details, reason
from evaluation.report.rails import LEFT, RIGHT, Bar, Row, chart
from evaluation.report.section import Figure, Group, Section, Table
from evaluation.standings import Cell, Standing
from evaluation.wording import half_width, number, shown_digits

IS, AM, BALANCE, CONFIDENCE = "v1/is", "v1/am", "v1/am/balance", "v1/am/confidence"
REAL = "real"
NAMED = ("parts", "IS and AM", "Sure and varied: IS and AM in parts")
ABOUT = "A good generator makes clips that the classifier recognizes, and each class as often as the corpus has it."
IS_NOTE = (
    "A bar begins at the mean entropy of a single clip's classes (0: the classifier is sure of every clip) and ends "
    "at the entropy of all clips together. Its length is log IS: sure of each, and varied, is long. Whiskers: 95 % "
    "intervals of its beginning and of its length."
)
AM_NOTE = "Solid: imbalance of classes. Pale: the mean entropy of a clip. Whisker: 95 % interval of the sum."
HEARD = (
    "Share of each class, with simultaneous 95 % intervals (Goodman 1965). The black steps are the corpus's shares; a "
    "bar whose interval misses its step is orange."
)


def section(
    lines: Sequence[Standing], looks: Mapping[str, Look], histograms: Mapping[str, Mapping[str, float]]
) -> Section:
    """Bars of the parts of every row that has them, then the histograms."""
    shown = [line for line in lines if line.row.get("role") != "dataset"]
    figures, tables = [], []
    varied = [line for line in shown if cell(line, IS) and cell(line, CONFIDENCE)]
    if varied:
        figures.append(Figure("IS as a length", _inception(varied, looks), IS_NOTE))
    missed = [line for line in shown if all(cell(line, key) for key in (AM, BALANCE, CONFIDENCE))]
    if missed:
        figures.append(Figure("AM as a sum", _sum(missed, looks), AM_NOTE))
        tables.append(_table(missed, looks))
    bars = [
        Figure(
            "Real clips" if name == REAL else looks[name].title,
            histogram(counts, histograms.get(REAL), f"Classes heard in {name}"),
            colour="grey" if name == REAL else looks[name].classes,
        )
        for name in (REAL, *(line.name for line in lines))
        if (counts := histograms.get(name)) and sum(counts.values())
    ]
    if not figures and not bars:
        return Section(*NAMED, missing=reason(lines, BALANCE))
    groups = [Group(figures)] if figures else []
    groups += [Group(bars, "What the classifier heard", HEARD)] if bars else []
    return Section(*NAMED, ABOUT if figures else "", groups, tables)


def _inception(lines: Sequence[Standing], looks: Mapping[str, Look]) -> Markup:
    """From the mean entropy of a clip to the entropy of all clips together; log IS is the difference."""
    classes = max(int(details(line, IS).get("classes", 0)) for line in lines)
    rows, ends = [], [0.0]
    for line in lines:
        confidence, score = line.cells[CONFIDENCE], line.cells[IS]
        start, length = confidence.value or 0.0, math.log(score.value or 1.0)
        length_interval = [
            Bar(start + math.log(bar.low), start + math.log(bar.high), bar.kind) for bar in _whisker(score)
        ]
        whiskers = _whisker(confidence) + length_interval
        tip = f"mean entropy {start:.3f}, entropy of the mean {start + length:.3f} nats"
        rows.append(_row(line, looks, [Bar(start, start + length, "bar", tip), *whiskers], score))
        ends += [end for bar in (*whiskers, Bar(start, start + length, "")) for end in (bar.low, bar.high)]
    most = max(*ends, math.log(classes) if classes else 0.0)
    rule = [(math.log(classes), f"all {classes} classes alike")] if classes else []
    return chart(rows, Axis(0.0, most * 1.02, LEFT, RIGHT), "nats", rule)


def _sum(lines: Sequence[Standing], looks: Mapping[str, Look]) -> Markup:
    rows = []
    for line in lines:
        balance, unsure, total = (line.cells[key].value or 0.0 for key in (BALANCE, CONFIDENCE, AM))
        parts = [
            Bar(0.0, balance, "bar", f"imbalance {balance:.3f}"),
            Bar(balance, total, "pale", f"unsureness {unsure:.3f}"),
        ]
        rows.append(_row(line, looks, [*parts, *_whisker(line.cells[AM])], line.cells[AM]))
    most = max(bar.high for row in rows for bar in row.bars)
    return chart(rows, Axis(0.0, most * 1.02 or 1.0, LEFT, RIGHT), "nats: 0 is a perfect generator")


def _whisker(found: Cell) -> list[Bar]:
    return [] if found.low is None or found.high is None else [Bar(found.low, found.high, "whisker")]


def _row(line: Standing, looks: Mapping[str, Look], bars: Sequence[Bar], found: Cell) -> Row:
    digits = shown_digits(found, 2)
    value = f"{number(found.value, digits)} {half_width(found, digits)}".strip()
    return Row(looks[line.name].title, looks[line.name].classes, bars, value=value)


def _table(lines: Sequence[Standing], looks: Mapping[str, Look]) -> Table:
    rows = []
    for line in lines:
        texts = [looks[line.name].title]
        for key in (IS, AM, BALANCE, CONFIDENCE):
            found = line.cells.get(key)
            texts.append(_interval(found) if found else "–")
        rows.append(texts)
    return Table("The parts in numbers", ("", "IS", "AM (nats)", "imbalance", "unsureness"), rows)


def _interval(found: Cell) -> str:
    if found.value is None:
        return "–"
    low, high = number(found.low, 3), number(found.high, 3)
    return f"{number(found.value, 3)} ({low} to {high})" if found.low is not None else number(found.value, 3)


def histogram(counts: Mapping[str, float], real: Mapping[str, float] | None, label: str) -> Markup:
    """Shares of classes with simultaneous 95 % intervals; the outlines are the corpus's shares, or even ones."""
    total, names = sum(counts.values()), list(counts)
    shares = {name: 1 / len(names) for name in names}
    if real and sum(real.values()):
        shares = {name: real.get(name, 0.0) / sum(real.values()) for name in names}
    spans = goodman(list(counts.values()))
    width, height, left, base, top = 330.0, 165.0, 44.0, 123.0, 10.0
    axis = Axis(0.0, max(*(high for _, high in spans), *shares.values()) * 1.05, base, top)
    step = (width - left - 8) / len(names)
    parts = [grid_y(axis, left, width - 8, shares=True)]
    whiskers, steps = [], []
    for i, (name, (low, high)) in enumerate(zip(names, spans, strict=True)):
        x, y, share = left + step * (i + 0.5), axis.at(counts[name] / total), axis.at(shares[name])
        off = not low <= shares[name] <= high
        tip = f"{name}: {counts[name]:,} of {total:,}, corpus {100 * shares[name]:.1f} %"
        parts.append(rect(x - step * 0.36, y, step * 0.72, base - y, "bar off" if off else "bar", tip))
        whiskers.append((x, axis.at(low), x, axis.at(high)))
        steps.append((x - step * 0.44, share, x + step * 0.44, share))
        if step >= 14:
            place = f"translate({x + 4:.1f} {base + 12:.1f}) rotate(-40)"
            parts.append(
                f'<text transform="{place}" text-anchor="end" class="tick">{escape(shortened(name, 7))}</text>'
            )
    parts += [strokes(whiskers, "whisker thin"), strokes(steps, "expected")]
    told = ", ".join(f"{name} {counts[name]:,}" for name in names)
    return svg(width, height, parts, f"{label}: {told}")


def goodman(counts: Sequence[float], level: float = 0.05) -> list[tuple[float, float]]:
    """Simultaneous intervals of the shares of a multinomial (Goodman 1965): Wilson's, each at level / C."""
    z = NormalDist().inv_cdf(1 - level / (2 * len(counts)))
    return [wilson(count, sum(counts), z) for count in counts]


def wilson(count: float, total: float, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    share, scale = count / total, 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)

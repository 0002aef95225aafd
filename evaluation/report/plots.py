"""The page's plots, drawn as plain SVG: lines, dots with intervals, bars.

Colours are classes of the page's style sheet (`model`, `given`, `control`, `accent`, `faint`), so a plot follows light and dark
and prints well; matplotlib would fix its colours and weigh ten times as much. Every text goes through `escape`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

TITLE = 27  # letters of a title that the plot of intervals has room for


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis: values low..high on pixels start..end, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; what lies beyond the axis lands on its end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        if not self.log:
            return nice_ticks(self.low, self.high)
        exponents = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
        decades = [10.0**exponent for exponent in exponents]
        if self.high / self.low > 1000:
            return decades
        every = [factor * power for power in (decades[0] / 10, *decades) for factor in (1, 2, 5)] if decades else []
        return [tick for tick in every if self.low <= tick <= self.high]


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values from low to high, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * index for index in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A tick's label: 0.01, 2.5, 40, 10k, 3M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (10 if letter == "k" else 1):
            return f"{value / size:g}{letter}".replace("-", "−")
    return f"{value:.6g}".replace("-", "−")


def shortened(text: str, most: int) -> str:
    """The text, or what there is room for."""
    return text if len(text) <= most else text[: most - 1] + "…"


def intervals(
    rows: Sequence[tuple[str, float, float | None, float | None, str]], label: str, format_value: Callable[[float], str]
) -> Markup:
    """Dots with whiskers, a line per row: (title, value, low, high, class of its colour). Log scale for wide ranges."""
    values = [value for _, value, *_ in rows]
    ends = [end for _, value, low, high, _ in rows for end in (low, value, high) if end is not None]
    log = min(values) > 0 and max(values) / min(values) > 20
    width, left, right, step, top = 1000.0, 200.0, 90.0, 30.0, 8.0
    height = top + step * len(rows) + 38
    if log:
        axis = Axis(
            min(value for value in ends + values if value > 0) / 1.3, max(ends) * 1.3, left, width - right, True
        )
    else:
        low = min(0.0, *ends)
        axis = Axis(low, (max(ends) - low or 1.0) * 1.05 + low, left, width - right)
    base = top + step * len(rows)
    parts = [_grid_x(axis, top, base)]
    for index, (title, value, lower, upper, colour) in enumerate(rows):
        y = top + step * (index + 0.5)
        parts.append(_text(left - 14, y + 4, shortened(title, TITLE), "end", "label"))
        if lower is not None and upper is not None:
            parts.append(_line(axis.at(lower), y, axis.at(upper), y, f"whisker {colour}"))
        parts.append(f'<circle cx="{axis.at(value):.1f}" cy="{y:.1f}" r="4.5" class="dot {colour}"/>')
        parts.append(_text(width - right + 12, y + 4, format_value(value), "start", "tick"))
    parts.append(
        _text((left + width - right) / 2, base + 34, label + (" (log scale)" if log else ""), "middle", "axis")
    )
    named = ", ".join(f"{title} {format_value(value)}" for title, value, *_ in rows)
    return _svg(width, height, parts, f"{label}: {named}", "wide")


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float | None]]], unit: str, label: str) -> Markup:
    """Lines over training steps: name -> (steps, values); missing and non-finite values are left out of the line."""
    points = {
        name: [(x, y) for x, y in zip(*pair, strict=True) if y is not None and math.isfinite(y)]
        for name, pair in lines.items()
    }
    everything = [point for line in points.values() for point in line]
    if not everything:
        return Markup("")
    width, height, left, right, top, bottom = 330.0, 210.0, 44.0, 10.0, 12.0, 40.0
    ys = [y for _, y in everything]
    margin = (max(ys) - min(ys) or abs(max(ys)) or 1.0) * 0.06
    x_axis = Axis(0, max(x for x, _ in everything) or 1, left, width - right)
    y_axis = Axis(min(ys) - margin, max(ys) + margin, height - bottom, top)
    parts = [_grid_y(y_axis, left, width - right), _grid_x(x_axis, height - bottom, height - bottom)]
    for (_, line), colour in zip(points.items(), ("faint", "accent"), strict=False):
        path = "L".join(f"{x_axis.at(x):.1f} {y_axis.at(y):.1f}" for x, y in _thinned(line))
        if path:
            parts.append(f'<path d="M{path}" class="curve {colour}"/>')
    parts.append(_text((left + width - right) / 2, height - 4, "training step", "middle", "axis"))
    return _svg(width, height, parts, f"{label}: {', '.join(points)} in {unit or 'loss'} over training steps")


def calibration(bins: Sequence[Mapping[str, float]]) -> Markup:
    """Accuracy over confidence, a dot per bin with its area by the share of clips; the diagonal is perfect."""
    width, height, left, bottom, top = 300.0, 270.0, 44.0, 40.0, 12.0
    x_axis, y_axis = Axis(0, 1, left, width - 12), Axis(0, 1, height - bottom, top)
    parts = [_grid_y(y_axis, left, width - 12), _grid_x(x_axis, height - bottom, height - bottom)]
    parts.append(_line(x_axis.at(0), y_axis.at(0), x_axis.at(1), y_axis.at(1), "diagonal"))
    filled = [one for one in bins if one["count"] > 0]
    total = sum(one["count"] for one in filled) or 1
    for one in filled:
        x, y = x_axis.at(one["confidence"]), y_axis.at(one["accuracy"])
        radius = 3 + 11 * math.sqrt(one["count"] / total)
        tip = f"confidence {one['confidence']:.3f}, accuracy {one['accuracy']:.3f}, {one['count']:,} clips"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="dot accent soft"><title>{tip}</title></circle>'
        )
    parts.append(_text((left + width) / 2, height - 4, "confidence", "middle", "axis"))
    parts.append(f'<text transform="translate(11 {height / 2 - 12:.0f}) rotate(-90)" class="axis mid">accuracy</text>')
    return _svg(width, height, parts, "Calibration: accuracy over confidence")


def bars(counts: Mapping[str, float], label: str) -> Markup:
    """A histogram over classes with 95 % Wilson intervals; the dashed line is an even share."""
    total = sum(counts.values())
    if not total:
        return Markup("")
    width, height, left, bottom, top = 330.0, 165.0, 40.0, 42.0, 10.0
    spans = {name: wilson(count, total) for name, count in counts.items()}
    high = max(*(upper for _, upper in spans.values()), 1 / len(counts)) * 1.05
    y_axis = Axis(0, high, height - bottom, top)
    step = (width - left - 8) / len(counts)
    parts = [_grid_y(y_axis, left, width - 8, percent=True)]
    for index, (name, count) in enumerate(counts.items()):
        x, y = left + step * index, y_axis.at(count / total)
        middle, (low, upper) = x + step / 2, spans[name]
        parts.append(
            f'<rect x="{x + step * 0.14:.1f}" y="{y:.1f}" width="{step * 0.72:.1f}" '
            f'height="{max(0.0, height - bottom - y):.1f}" class="bar"><title>{escape(name)}: {count:,}</title></rect>'
        )
        parts.append(_line(middle, y_axis.at(low), middle, y_axis.at(upper), "whisker thin"))
        if step >= 14:
            text = shortened(name, 7)
            place = f"translate({middle + 4:.1f} {height - bottom + 12:.1f}) rotate(-40)"
            parts.append(f'<text transform="{place}" text-anchor="end" class="tick">{escape(text)}</text>')
    even = y_axis.at(1 / len(counts))
    parts.append(_line(left, even, width - 8, even, "diagonal"))
    return _svg(width, height, parts, f"{label}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))


def wilson(count: float, total: float, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    share, scale = count / total, 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def _thinned(line: list[tuple[float, float]], most: int = 300) -> list[tuple[float, float]]:
    """At most about `most` points, the last one kept: a page needs no more, and curves may hold 100,000."""
    step = max(1, math.ceil(len(line) / most))
    return line if step == 1 else [*line[:-1:step], line[-1]]


def _grid_x(axis: Axis, top: float, bottom: float) -> str:
    lines = [_line(axis.at(tick), top, axis.at(tick), bottom, "grid") for tick in axis.ticks()] if top < bottom else []
    return "".join(lines + [_text(axis.at(tick), bottom + 16, short(tick), "middle", "tick") for tick in axis.ticks()])


def _grid_y(axis: Axis, left: float, right: float, percent: bool = False) -> str:
    drawn = ""
    for tick in axis.ticks():
        label = f"{100 * tick:.3g}%" if percent else short(tick)
        drawn += _line(left, axis.at(tick), right, axis.at(tick), "grid")
        drawn += _text(left - 7, axis.at(tick) + 4, label, "end", "tick")
    return drawn


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str], label: str, kind: str = "") -> Markup:
    return Markup(
        f'<svg class="plot {kind}" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )

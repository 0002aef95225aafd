"""What every plot is made of: axes with their ticks, and the SVG elements that are drawn with them.

Plots are plain SVG whose colours are classes of the page's style sheet, so that a plot follows light and dark and prints well;
matplotlib would fix its colours and weigh ten times as much. Every text goes through `escape`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDE = 20.0
"""An axis whose largest value is more than so many times its smallest is logarithmic."""


@dataclass(frozen=True)
class Axis:
    """Values low..high on pixels start..end, linear, logarithmic, or (root, for shares from 0 on) by their square root."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    root: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; what lies beyond the axis lands on its end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        elif self.root:
            share = math.sqrt(max(0.0, value) / self.high)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values on the axis."""
        if self.root:
            power = 10.0 ** math.floor(math.log10(self.high))
            steps = [factor * power for factor in (0, 0.02, 0.1, 0.2, 0.5, 1, 2, 4, 7)]
            return [step for step in steps if step <= self.high]
        if not self.log:
            return nice_ticks(self.low, self.high, about)
        exponents = range(math.floor(math.log10(self.low)), math.floor(math.log10(self.high) + 1e-9) + 1)
        decades = [10.0**exponent for exponent in exponents]
        factors = (1,) if self.high / self.low > 1000 else (1, 2, 5)
        found = [factor * power for power in decades for factor in factors]
        found = [tick for tick in found if self.low <= tick <= self.high]
        return found if len(found) > 1 else nice_ticks(self.low, self.high, about)


def span(values: Iterable[float], start: float, end: float, *, zero: bool = False, log: bool | None = None) -> Axis:
    """An axis that holds the finite ones of these values with a margin, and, if asked for, zero.

    log: None chooses a logarithmic one where the values are positive and spread WIDE, unless zero is asked for
    """
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    positive = low > 0
    if (positive and high / low > WIDE and not zero) if log is None else (log and positive):
        return Axis(low / 1.15, high * 1.15, start, end, True)
    low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    margin = (high - low or abs(high) or 1.0) * 0.05
    return Axis(low if zero and low == 0 else low - margin, high if zero and high == 0 else high + margin, start, end)


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


def percent(value: float) -> str:
    """A tick's label: 5 %."""
    return f"{100 * value:.3g} %"


def with_room(ticks: Sequence[tuple[float, str]], axis: Axis, letter: float = 7.0) -> list[tuple[float, str]]:
    """The ticks whose labels do not touch the one before; earlier entries win."""
    kept: list[tuple[float, str]] = []
    for value, name in ticks:
        if all(abs(axis.at(value) - axis.at(v)) > letter * (len(name) + len(n)) / 2 + 6 for v, n in kept):
            kept.append((value, name))
    return kept


def shortened(text: str, most: int) -> str:
    """The text, or what there is room for."""
    return text if len(text) <= most else text[: most - 1] + "…"


def grid_x(axis: Axis, top: float, bottom: float, label: Sequence[tuple[float, str]] | None = None) -> str:
    """Upright lines and labels below them, at the axis's ticks or where `label` says."""
    ticks = [(tick, short(tick)) for tick in axis.ticks()] if label is None else label
    lines = [stroke(axis.at(tick), top, axis.at(tick), bottom, "grid") for tick, _ in ticks] if top < bottom else []
    return "".join(lines + [text(axis.at(tick), bottom + 16, name, "middle", "tick") for tick, name in ticks])


def grid_y(axis: Axis, left: float, right: float, shares: bool = False, labels_right: bool = False) -> str:
    """Level lines with labels beside them, left or right; shares are labelled in percent."""
    drawn = ""
    for tick in axis.ticks():
        drawn += stroke(left, axis.at(tick), right, axis.at(tick), "grid")
        at, anchor = (right + 7, "start") if labels_right else (left - 7, "end")
        drawn += text(at, axis.at(tick) + 4, percent(tick) if shares else short(tick), anchor, "tick")
    return drawn


def place(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def strokes(lines: Iterable[tuple[float, float, float, float]], kind: str) -> str:
    """Many straight lines (x1, y1, x2, y2), level or upright ones, of one class as a single path; "" for none."""
    joined = ""
    for x1, y1, x2, y2 in lines:
        end = f"V{place(y2)}" if x1 == x2 else f"H{place(x2)}" if y1 == y2 else f"L{place(x2)} {place(y2)}"
        joined += f"M{place(x1)} {place(y1)}{end}"
    return f'<path d="{joined}" class="{kind}"/>' if joined else ""


def stroke(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line of a class."""
    return f'<line x1="{place(x1)}" y1="{place(y1)}" x2="{place(x2)}" y2="{place(y2)}" class="{kind}"/>'


def path(points: Iterable[tuple[float, float]], kind: str) -> str:
    """A line through points; "" for none."""
    joined = "L".join(f"{place(x)} {place(y)}" for x, y in points)
    return f'<path d="M{joined}" class="{kind}"/>' if joined else ""


def circle(x: float, y: float, radius: float, kind: str, tip: str = "") -> str:
    """A dot, with what a pointer resting on it is told."""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<circle cx="{place(x)}" cy="{place(y)}" r="{place(radius)}" class="{kind}">{title}</circle>'


def rect(x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> str:
    """A bar, with what a pointer resting on it is told."""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    size = f'width="{place(width)}" height="{place(max(0.0, height))}"'
    return f'<rect x="{place(x)}" y="{place(y)}" {size} class="{kind}">{title}</rect>'


def text(x: float, y: float, words: str, anchor: str, kind: str) -> str:
    """A word at a place."""
    return f'<text x="{place(x)}" y="{place(y)}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def upright(x: float, y: float, words: str) -> str:
    """The name of a level axis, read from below."""
    return f'<text transform="translate({x:.0f} {y:.0f}) rotate(-90)" class="axis mid">{escape(words)}</text>'


def svg(width: float, height: float, parts: Sequence[str], label: str, kind: str = "") -> Markup:
    """The plot; label: what it says, for those who cannot see it."""
    return Markup(
        f'<svg class="plot {kind}" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def thinned(points: Sequence[tuple[float, float]], most: int = 300) -> list[tuple[float, float]]:
    """At most about `most` of the points, the last one kept: a page needs no more, and curves may hold 100,000."""
    step = max(1, math.ceil(len(points) / most))
    return list(points) if step == 1 else [*points[:-1:step], points[-1]]

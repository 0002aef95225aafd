"""How the numbers of a leaderboard are worded: digits, intervals, arrows, ranks, and the footnotes that a cell needs.

The markdown, the terminal table and the HTML report share these, so that one number looks the same everywhere.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.standings import Cell, Standing

ARROWS = {"lower": "↓", "higher": "↑"}
SECTIONS = (("models", ("measured", "imported")), ("published", ("published",)), ("controls", ("control",)))
EXPLAINED = {
    "models": "",
    "published": "As published, not measured here.",
    "controls": "Not competitors: held-out real clips show what a perfect generator would score at its count, "
    "noise and silence what a broken one scores.",
}


def footnotes(
    lines: Sequence[Standing], metrics: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """(row name, metric key) -> [(letter, text)]: what must be known before two cells of a column are compared."""
    found: dict[str, str] = {}
    marks: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for metric in metrics:
        key = metric["key"]
        cells = {line.name: line.cells[key] for line in lines if line.cells[key].value is not None}
        competing = [cells[line.name].counts for line in lines if line.cells[key].rank]
        usual = Counter(competing).most_common(1)[0][0] if competing else None
        for name, cell in cells.items():
            texts = [_over(metric["name"], cell)] if cell.space else []
            if usual and cell.counts != usual and any(cell.counts):
                kinds = zip(cell.counts[::-1], ("generated", "reference"), strict=True)
                over = " and ".join(f"{count(clips)} {kind}" for clips, kind in kinds if clips)
                texts.append(f"over {over} clips, unlike most rows: not ranked with them.")
            if cell.version != metric.get("version") and cell.version is not None and metric.get("version"):
                texts.append(f"{metric['name']} by version {cell.version}; the current one is {metric['version']}.")
            for text in (*texts, *cell.warnings):
                letter = found.setdefault(text, _letter(len(found)))
                marks.setdefault((name, key), []).append((letter, text))
    return marks


def _over(name: str, cell: Cell) -> str:
    """What a likelihood is over, and what the histogram of the quantized values alone would need."""
    entropies = {run["score"].get("details", {}).get("unigram_entropy") for run in cell.runs} - {None}
    unigram = f" Histogram alone (unigram entropy): {number(entropies.pop(), 3)}." if len(entropies) == 1 else ""
    return f"{name} over {cell.space}; only equal ones are compared.{unigram}"


def letters(marks: Mapping[tuple[str, str], list[tuple[str, str]]]) -> dict[str, str]:
    """The footnotes themselves, letter -> text, each once and in order."""
    return {letter: text for notes in marks.values() for letter, text in notes}


def number(value: float | None, digits: int) -> str:
    """A number for reading: fixed digits, ∞ for what is not finite, – for nothing."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else "∞" if value > 0 else "-∞"
    return f"{value:,.{digits}f}"


def half_width(cell: Cell, digits: int) -> str:
    """`±0.12`, `±<0.01` where the interval is narrower than the digits show, and nothing where there is none."""
    if cell.half is None or not math.isfinite(cell.half):
        return ""
    smallest = 10.0**-digits
    return f"±<{smallest:.{digits}f}" if 0 < cell.half < smallest / 2 else f"±{cell.half:,.{digits}f}"


def count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def rank(cell: Cell) -> str:
    if cell.rank is None:
        return ""
    low, high = cell.rank
    return f"{low}" if low == high else f"{low}–{high}"


def heading(metric: Mapping[str, Any]) -> str:
    return f"{metric['name']} {ARROWS.get(metric.get('better', ''), '')}".strip()


def _letter(index: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    text = ""
    while index >= 0:
        text, index = chr(ord("a") + index % 26) + text, index // 26 - 1
    return text

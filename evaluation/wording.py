"""How the numbers of a leaderboard are worded: digits, intervals, arrows, ranks, and the footnotes that a cell needs.

The markdown, the terminal table and the HTML report share these, so that one number looks the same everywhere.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.standings import (
    ALARM,
    ALARMED,
    NOT_APPLICABLE,
    NOT_MEASURED,
    RANKED,
    Cell,
    Standing,
    groups,
    headline,
)

ARROWS = {"lower": "↓", "higher": "↑", "target": "→"}
WAYS = {"lower": "lowest", "higher": "highest", "target": "closest to real"}
SECTIONS = (("models", ("measured", "imported")), ("published", ("published",)), ("controls", ("control",)))
EXPLAINED = {
    "models": "",
    "published": "As published, not measured here.",
    "controls": "Not competitors: held-out real clips show what a perfect generator would score at its count, "
    "noise and silence what a broken one scores; the splits, all of their clips.",
    "traps": "Sets with which a generator could get good numbers and should not: no measure that likes one of them can be "
    f"trusted alone. {ALARM} says that some measure has noticed.",
}

APART = "Rows over different numbers of samples are ranked apart: how few there are biases most measures."
CONDITIONAL = (
    "Conditional rows are ranked apart: their samples were given something, the beginning of a real clip or a class."
)
ALARMS = (
    f"Rows with {ALARM} stand last and have no rank, whatever their numbers: they copy real clips, or have collapsed."
)


def sections(lines: Sequence[Standing], key: str) -> list[tuple[str, str, list[Standing]]]:
    """(section, what its lines have in common, its lines): a section `models` for every group that is ranked apart."""
    found = [("models", label, members) for label, members in groups(lines, key)]
    for name, kinds in SECTIONS[1:]:
        members = [line for line in lines if line.kind in kinds]
        traps = [line for line in members if line.row.get("role") == "trap"]
        parts = ((name, [line for line in members if line not in traps]), ("traps", traps))
        found += [(part, "", chosen) for part, chosen in parts if chosen]
    return found


def explained(section: str, lines: Sequence[Standing]) -> str:
    """What must be known of a section of the leaderboard; "" where nothing must."""
    if section == "models" and all(line.alarms for line in lines):
        return ALARMS
    return CONDITIONAL if section == "models" and any(line.mark for line in lines) else EXPLAINED[section]


def alarms(lines: Sequence[Standing]) -> list[str]:
    """What is told of each model with an alarm, a sentence for each; nothing of controls, some of which are made for it."""
    return [f"{line.marked}: {'; '.join(line.alarms)}" for line in lines if line.kind in RANKED and line.alarms]


def inapplicable(metrics: Sequence[Mapping[str, Any]], most: int = 99) -> list[str]:
    """Which measures mean nothing of this corpus, a sentence for each reason, with the first `most`; [] where none does."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        if reason := metric.get("not_applicable"):
            found.setdefault(reason, []).append(metric["name"])
    named = {
        reason: ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
        for reason, names in found.items()
    }
    return [f"{NOT_APPLICABLE.capitalize()}, since {reason}: {names}." for reason, names in named.items()]


def shown(cell: Cell, metric: Mapping[str, Any]) -> str:
    """A cell's value for reading; `not applicable` where its measure means nothing of this corpus."""
    if cell.value is None and metric.get("not_applicable"):
        return NOT_APPLICABLE
    return number(cell.value, shown_digits(cell, int(metric.get("digits", 3))))


def unmeasured(lines: Sequence[Standing], metric: Mapping[str, Any]) -> list[str]:
    """Why a model has no value of the measure that sorts, a sentence for each."""
    told = []
    for line in lines:
        cell = line.cells[metric["key"]]
        if line.kind in RANKED and (cell.value is None or not math.isfinite(cell.value)):
            without = "no " + metric["name"] if cell.value is None else f"{metric['name']} is {number(cell.value, 0)}"
            told.append(f"{line.marked}: {without}" + (f": {cell.reason}" if cell.reason else ""))
    return told


def traps(lines: Sequence[Standing]) -> str:
    """Which of the traps some measure has noticed, and which none has; "" where there are none."""
    noticed = {line.title: bool(line.alarms) for line in lines if line.row.get("role") == "trap"}
    caught = ", ".join(title for title, seen in noticed.items() if seen)
    missed = ", ".join(title for title, seen in noticed.items() if not seen)
    words = [f"raise an alarm: {caught}"] * bool(caught) + [f"raise none: {missed}"] * bool(missed)
    return f"Traps, in leaderboard.md: {'; '.join(words)}" if words else ""


def apart(lines: Sequence[Standing], key: str) -> list[str]:
    """Why the models stand in several groups, a sentence for each reason; [] where they stand in one."""
    members = [chosen[0] for label, chosen in groups(lines, key) if label not in ("", NOT_MEASURED, ALARMED)]
    reasons = [APART] if len({line.cells[key].comparable[:-1] for line in members}) > 1 else []
    return reasons + ([CONDITIONAL] if any(line.mark for line in members) else [])


def verdict(lines: Sequence[Standing], metric: Mapping[str, Any]) -> str:
    """A sentence or two for each group that is ranked apart; they say no more than the intervals allow."""
    unnamed = (NOT_MEASURED, ALARMED)
    found = [(label, members) for label, members in groups(lines, metric["key"]) if label not in unnamed]
    models = [line for line in lines if line.kind in RANKED]
    unranked = [line for line in models if not line.alarms and line.cells[metric["key"]].rank is None]
    alarmed = [line.title for line in models if line.alarms]
    rest = f" Not ranked: {len(unranked)} of {len(models)}, for the reasons in the table." if unranked else ""
    rest += f" {ALARM} Last, and not ranked: {', '.join(alarmed)}." if alarmed else ""
    if not found or len(unranked) + len(alarmed) == len(models):
        return f"No generator is ranked.{rest}" if alarmed else "No generator has been measured yet."
    if len(found) == 1 and not found[0][1][0].mark:
        return _verdict(found[0][1], metric) + rest
    told = [f"Over {label}: {_verdict(members, metric, alone=False)}" for label, members in found]
    return " ".join([*apart(lines, metric["key"]), *told]) + rest


def _verdict(members: Sequence[Standing], metric: Mapping[str, Any], alone: bool = True) -> str:
    ranked = [(line.title, rank) for line in members if (rank := line.cells[metric["key"]].rank)]
    name, way = metric["name"], WAYS[metric.get("better") or "lower"]
    if len(ranked) == 1:
        nobody = "There is nothing to rank it against but the controls."
        return f"One generator has been measured: {ranked[0][0]}. {nobody}" if alone else f"{ranked[0][0]} only."
    leading = [line for line in members if (rank := line.cells[metric["key"]].rank) and rank[0] == 1]
    names = {line.name for line in leading}
    if len(leading) == 1:  # nobody beats it, but its own interval may be too wide to beat everybody
        names |= set(leading[0].cells[metric["key"]].tied)
    first = [line.title for line in members if line.name in names]
    if len(first) == 1:
        return f"{first[0]} has the {way} {name}; the interval of its difference to every other excludes zero."
    *most, last = first
    board = "this leaderboard names no winner" if alone else "there is no winner"
    return f"{', '.join(most)} and {last} cannot be told apart in {name}: {board}."


def footnotes(
    lines: Sequence[Standing], metrics: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """(row name, metric key) -> [(letter, text)]: what must be known before two cells of a column are compared."""
    found: dict[str, str] = {}
    marks: dict[tuple[str, str], list[tuple[str, str]]] = {}
    first = headline(metrics)
    for metric in metrics:
        key = metric["key"]
        cells = {line.name: line.cells[key] for line in lines if line.cells[key].value is not None}
        usual = _usual_counts(lines, key, first)
        for name, cell in cells.items():
            texts = [_over(metric["name"], cell)] if cell.space else []
            if name in usual and cell.counts != usual[name] and any(cell.counts):
                kinds = zip(cell.counts[::-1], ("generated", "reference"), strict=True)
                over = " and ".join(f"{count(clips)} {kind}" for clips, kind in kinds if clips)
                texts.append(f"over {over} clips, unlike most rows beside it: ranked apart.")
            if cell.version != metric.get("version") and cell.version is not None and metric.get("version"):
                texts.append(f"{metric['name']} by version {cell.version}; the current one is {metric['version']}.")
            for text in (*texts, *cell.warnings):
                letter = found.setdefault(text, _letter(len(found)))
                marks.setdefault((name, key), []).append((letter, text))
    return marks


def _usual_counts(lines: Sequence[Standing], key: str, first: str) -> dict[str, tuple[int | None, int | None]]:
    """Model -> the counts of most models that are listed with it."""
    usual: dict[str, tuple[int | None, int | None]] = {}
    for _, members in groups(lines, first):
        counts = Counter(line.cells[key].counts for line in members if line.cells[key].rank)
        usual |= {line.name: counts.most_common(1)[0][0] for line in members if counts}
    return usual


def _over(name: str, cell: Cell) -> str:
    """What a likelihood is over, and what the histogram of the quantized values alone would need."""
    entropies = {run["score"].get("details", {}).get("unigram_entropy") for run in cell.runs} - {None}
    unigram = f" Histogram alone (unigram entropy): {number(entropies.pop(), 3)}." if len(entropies) == 1 else ""
    return f"{name} over {cell.space}; only equal ones are compared.{unigram}"


def letters(marks: Mapping[tuple[str, str], list[tuple[str, str]]]) -> dict[str, str]:
    """The footnotes themselves, letter -> text, each once and in order."""
    return {letter: text for notes in marks.values() for letter, text in notes}


def number(value: float | None, digits: int) -> str:
    """A number for reading: fixed digits, a real minus, ∞ for what is not finite, – for nothing."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else "∞" if value > 0 else "−∞"
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−" if text.strip("-0.") else "")


def shown_digits(cell: Cell, digits: int) -> int:
    """Decimals of a value and its ±: two significant digits of the half-width decide, and `digits` are the most.

    Of a published number those that were published.
    """
    if cell.decimals is not None:
        return cell.decimals
    if not cell.half or not math.isfinite(cell.half):
        return digits
    exponent = math.floor(math.log10(float(f"{cell.half:.1e}")))  # rounded first: 0.0996 is 0.10
    return min(digits, max(0, 1 - exponent))


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

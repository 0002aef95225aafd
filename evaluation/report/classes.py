"""Class by class: a heat map of the distance to the corpus's clips of each class, and of the variety within it."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from markupsafe import Markup

from evaluation.report.axes import shortened
from evaluation.report.looks import Look, details, heard, reason
from evaluation.report.section import Figure, Group, Section, Table
from evaluation.standings import Standing
from evaluation.wording import number

FID, VENDI = "v1/fid/per-class", "v1/vendi/per-class"
NAMED = ("classes", "Classes", "Class by class")
ABOUT = (
    "Darker is worse, on one scale for the whole map. Classes differ in how hard they are, so read along a row for "
    "what a generator cannot say, and down a column for who can. Few clips make FID too high: compare rows of equal "
    "counts."
)
VARIETY = (
    "Vendi score of a class's clips over that of real clips of the class, where as many clips are drawn in all. 1 is "
    "right; 0: the class is never made. More than 1 is more scattered than real clips are."
)
MOST = 40
BESIDE = 12
"""Classes that a heat map has room for, and one of two side by side."""


class Entry(NamedTuple):
    """One cell of a map: what it says, how bad that is (0 fine ... 1 worst; None: nothing is known), and more in words."""

    text: str
    shade: float | None
    tip: str


def section(lines: Sequence[Standing], looks: Mapping[str, Look], labels: Sequence[str]) -> Section:
    """labels: the names of the classes, by their index."""
    shown = [line for line in lines if line.row.get("role") != "dataset"]
    figures: dict[str, list[Figure]] = {}
    tables, most = [], 0
    for key, title, about, entries in (
        (FID, "FID of each class", "", _distances),
        (VENDI, "Variety within each class", VARIETY, _shares),
    ):
        for ears, found in heard(shown, key):
            known = [line for line in shown if details(line, found).get("classes")]
            indices = sorted({entry["class"] for line in known for entry in details(line, found)["classes"]})
            most = max(most, len(indices))
            if not 0 < len(indices) <= MOST:
                continue
            rows = entries([{e["class"]: e for e in details(line, found)["classes"]} for line in known], indices)
            means = [_mean(line, found) for line in known]
            names = [labels[i] if i < len(labels) else f"class {i}" for i in indices]
            plot = _map([looks[line.name] for line in known], names, rows, means, title)
            of = f"{title}, in the features of {ears}" if ears else title
            figures.setdefault(ears, []).append(Figure(of, plot, about, wide=len(indices) > BESIDE))
            tables.append(Table(f"{of}, with intervals", ("", *names), _numbers(known, found, indices, looks)))
    if not figures:
        many = f"{most} classes are more than a map has room for; metrics.json of each evaluation has their values"
        return Section(*NAMED, missing=many if most else reason(lines, FID))
    groups = [
        Group(found, f"In the features of {ears}" * bool(ears), folded=bool(ears)) for ears, found in figures.items()
    ]
    return Section(*NAMED, ABOUT, sorted(groups, key=lambda group: group.folded), tables)


def _numbers(lines: Sequence[Standing], key: str, indices: Sequence[int], looks: Mapping[str, Look]) -> list[list[str]]:
    rows = []
    for line in lines:
        entries = {entry["class"]: entry for entry in details(line, key)["classes"]}
        texts = [_interval(entries[i]) if i in entries else "–" for i in indices]
        rows.append([looks[line.name].title, *texts])
    return rows


def _interval(entry: Mapping[str, Any]) -> str:
    if entry.get("value") is None or entry.get("low") is None:
        return "–" if entry.get("value") is None else number(entry["value"], 2)
    return f"{number(entry['value'], 2)} ({number(entry['low'], 2)} to {number(entry['high'], 2)})"


def _distances(rows: Sequence[Mapping[int, Mapping[str, Any]]], indices: Sequence[int]) -> list[list[Entry]]:
    """FID, shaded by its logarithm between the map's least and largest."""
    known = [entry["value"] for row in rows for entry in row.values() if entry.get("value")]
    low, high = (math.log(min(known)), math.log(max(known))) if known and min(known) > 0 else (0.0, 0.0)
    return [[_distance(row.get(i), low, high) for i in indices] for row in rows]


def _distance(entry: Mapping[str, Any] | None, low: float, high: float) -> Entry:
    value = entry.get("value") if entry else None
    if entry is None or value is None:
        absent = entry is not None and entry.get("n_generated") == 0
        return Entry("none" if absent else "–", None, (entry or {}).get("reason", "not measured"))
    shade = (math.log(value) - low) / (high - low) if high > low and value > 0 else 0.0
    return Entry(number(value, 0 if value >= 100 else 1), shade, _tip(entry))


def _shares(rows: Sequence[Mapping[int, Mapping[str, Any]]], indices: Sequence[int]) -> list[list[Entry]]:
    """Variety over that of real clips, shaded by how far that is from 1: full for half or twice as much, and beyond."""
    return [[_share(row.get(i)) for i in indices] for row in rows]


def _share(entry: Mapping[str, Any] | None) -> Entry:
    value, target = (entry or {}).get("value"), (entry or {}).get("target")
    if entry is None or value is None or not target:
        return Entry("–", None, (entry or {}).get("reason", "not measured"))
    shade = min(1.0, abs(math.log2(value / target))) if value else 1.0
    return Entry(number(value / target, 2), shade, f"{_tip(entry)}; as many real clips {target:.2f}")


def _mean(line: Standing, key: str) -> str:
    ratio = details(line, key).get("ratio")
    return number(line.cells[key].value, 1) if ratio is None else number(ratio, 2)


def _tip(entry: Mapping[str, Any]) -> str:
    interval = f" ({entry['low']:.2f} to {entry['high']:.2f})" if entry.get("low") is not None else ""
    return f"{entry['value']:.2f}{interval}, {entry.get('n_generated', 0):,} generated clips"


def _map(
    looks: Sequence[Look], names: Sequence[str], rows: Sequence[Sequence[Entry]], means: Sequence[str], title: str
) -> Markup:
    head = "".join(f'<th scope="col"><span>{escape(shortened(name, 14))}</span></th>' for name in (*names, "mean"))
    lines = []
    for look, row, mean in zip(looks, rows, means, strict=True):
        cells = ""
        for name, entry in zip(names, row, strict=True):
            tip = escape(f"{look.title}, {name}: {entry.tip}")
            shade = "" if entry.shade is None else f' style="--shade:{entry.shade:.3f}"'
            cells += f'<td title="{tip}"{shade}>{entry.text}</td>'
        name = f'<th scope="row"><i class="swatch"></i>{escape(look.title)}</th>'
        lines.append(f'<tr class="{look.classes}">{name}{cells}<td class="mean">{mean}</td></tr>')
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}, scrolls sideways"><table class="heat">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )

"""Where the two protocols rank two models differently: what a reader of published tables would take home, and v1 denies.

A pair counts where v1 tells the two apart (the interval of their difference holds no zero). The published script gives no
intervals, so of its numbers the order alone counts; where it is a tie, nothing is said. Standard library only.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evaluation.differences import differences
from evaluation.standings import Standing

OURS, THEIRS = "v1/", "sashimi/"


class Disagreement(NamedTuple):
    """By v1 `better` is better than `worse` in the measure `key`, by the published script it is the other way round."""

    key: str
    better: str
    worse: str


def compared(lines: Sequence[Standing], metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[Disagreement]]:
    """v1's key of every measure in which both protocols have a pair that v1 tells apart -> the pairs they disagree on."""
    both = [m for m in metrics if m["key"].startswith(OURS) and any(_twin(m["key"]) in line.cells for line in lines)]
    by_name = {line.name: line for line in lines}
    found: dict[str, list[Disagreement]] = {}
    for pair in differences(lines, both):
        key, twin = pair["metric"], _twin(pair["metric"])
        names = (pair["a"], pair["b"]) if pair["better"] == pair["a"] else (pair["b"], pair["a"])
        better, worse = (by_name[name] for name in names)
        cells = [line.cells.get(twin) for line in (better, worse)]
        if not pair["clear"] or any(cell is None or cell.value is None for cell in cells):
            continue
        disagreed = found.setdefault(key, [])
        if worse.cells[twin].loss < better.cells[twin].loss:
            disagreed.append(Disagreement(key, better.title, worse.title))
    return found


def disagreements(lines: Sequence[Standing], metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences for the leaderboard; none where the protocols have no clear pair in common.

    "IS ranks A over B in v1, and B over A in the published script.", "FID and AM rank alike in both, in all pairs ..."
    """
    names = {metric["key"]: metric["name"] for metric in metrics}
    found = compared(lines, metrics)
    told = []
    for key, pairs in found.items():
        name = names.get(key, key)
        if len(pairs) == 1:
            better, worse = pairs[0].better, pairs[0].worse
            told.append(f"{name} ranks {better} over {worse} in v1, and {worse} over {better} in the published script.")
        elif pairs:
            listed = _and([f"{pair.better} over {pair.worse}" for pair in pairs])
            told.append(f"{name} ranks {listed} in v1, and each the other way round in the published script.")
    alike = [names.get(key, key) for key, pairs in found.items() if not pairs]
    if alike:
        verb = "rank" if len(alike) > 1 else "ranks"
        told.append(f"{_and(alike)} {verb} alike in both, wherever v1 tells two models apart.")
    return told


def _twin(key: str) -> str:
    return THEIRS + key.removeprefix(OURS)


def _and(texts: Sequence[str]) -> str:
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last

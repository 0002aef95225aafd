"""From rows of single evaluations to standings: seeds merged, every measure with its interval, ranks that admit ties.

Everything here reads JSON-like dicts, so that a `metrics.json` from disk is enough, and needs the standard library
only: the terminal summary at the end of a run calls it from a process that must stay light.

Ranks. Two rows of one measure are told apart where |a - b| > 1.96 sqrt(se_a^2 + se_b^2), the paired difference given
the reference that both share. A row's rank is an interval: from 1 + the number of rows that beat it, to the number of
rows that it does not beat. The bias of most measures depends on how many samples there are: rows over other counts,
by another version, or over another likelihood space are ranked apart, every group from 1. So are rows whose samples were
given something, the beginning of a real clip or a class: they have less to make up. The level is per pair; nothing is
corrected for the number of pairs. For scores over the same clips (NLL) the formula is conservative:
`uncertainty.difference` pairs the clips, but needs every clip's influence.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evaluation.seeds import Z, merge_seeds, over_seeds

RANKED = ("measured", "imported")
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Cell:
    """One measure of one row, over all of its seeds. Where there is no `value`, `reason` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    spread: float | None = None
    """Standard deviation between training seeds; None for a single seed."""
    method: str = ""
    reason: str = ""
    runs: tuple[Mapping[str, Any], ...] = ()
    """One per seed: seed, trained (the folder that `models.load` reads), source, digest, and score (the Score's JSON)."""
    space: str = ""
    """What a likelihood is over, e.g. "8-bit mu-law, unscaled"; values over different spaces are not compared."""
    counts: tuple[int | None, int | None] = (None, None)
    """Clips of the reference, generated samples."""
    version: int | None = None
    better: str = ""
    unit: str = ""
    comparable: tuple[Any, ...] = ()
    """Only cells with the same tuple are ranked against each other."""
    warnings: tuple[str, ...] = ()
    rank: tuple[int, int] | None = None
    tied: tuple[str, ...] = ()
    """Names of the ranked rows that this one cannot be told apart from."""

    @property
    def half(self) -> float | None:
        """Half the width of the interval, for `value ± half`."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Standing:
    """One line of the leaderboard."""

    name: str
    title: str
    kind: str
    row: Mapping[str, Any]
    seeds: tuple[Any, ...]
    cells: Mapping[str, Cell] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """`conditional: 0.25 s prefix` where the samples were given something; "" where they were given nothing."""
        return f"conditional: {self.row['conditional']}" if self.row.get("conditional") else ""

    @property
    def marked(self) -> str:
        """The title with its mark."""
        return f"{self.title} ({self.mark})" if self.mark else self.title


def standings(rows: Iterable[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]) -> list[Standing]:
    """The leaderboard's lines in order: models by the headline measure, then published rows, then controls.

    metrics: dicts with key, name, unit, better, digits, headline (in the main table; the first one sorts), version.
    Measures that only a row knows get a cell too (`complete_metrics`). Raises ValueError for rows that contradict each other.
    """
    merged = merge_seeds(rows)
    known = complete_metrics(merged, metrics)
    lines = []
    for row in merged:
        cells = {metric["key"]: _cell(row, metric) for metric in known}
        seeds = tuple(run.get("seed") for run in row["runs"])
        lines.append(Standing(row["name"], row.get("title") or row["name"], row["kind"], row, seeds, cells))
    for metric in known:
        lines = _ranked(lines, metric["key"])
    return _sorted(lines, headline(known))


def complete_metrics(rows: Iterable[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The metrics as given, then one entry for each score key that only the rows know, in alphabetical order."""
    known = [dict(metric) for metric in metrics]
    have = {metric["key"] for metric in known}
    extra = {
        key: score for row in rows for run in row["runs"] for key, score in run["scores"].items() if key not in have
    }
    for key, score in sorted(extra.items()):
        entry = {"key": key, "name": key, "digits": 3, "headline": False, "doc": ""}
        known.append(entry | {field: score.get(field, "") for field in ("unit", "better", "version")})
    return known


def headline(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Key of the measure that sorts the table: the first marked `headline`, else the first."""
    if not metrics:
        raise ValueError("a leaderboard needs at least one metric: none is given, and no row has a score.")
    return next((metric["key"] for metric in metrics if metric.get("headline")), metrics[0]["key"])


def main_columns(metrics: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(columns of the main table, the rest): what is marked `headline`; where nothing is, what is not a variant."""
    main = [dict(metric) for metric in metrics if metric.get("headline")]
    main = main or [dict(metric) for metric in metrics if metric["key"].count("/") < 2] or [dict(metrics[0])]
    return main, [dict(metric) for metric in metrics if metric["key"] not in {column["key"] for column in main}]


def separable(a: Cell, b: Cell) -> bool:
    """True where the 95 % interval of the difference of two cells does not hold zero."""
    if a.value is None or b.value is None or a.standard_error is None or b.standard_error is None:
        return False
    if a.comparable != b.comparable:
        return False
    return abs(a.value - b.value) > Z * math.hypot(a.standard_error, b.standard_error)


def groups(lines: Iterable[Standing], key: str) -> list[tuple[str, list[Standing]]]:
    """The models in groups that are ranked apart, each with what it has in common ("512 samples"; "" for the only one)."""
    found: dict[tuple[Any, ...] | None, list[Standing]] = {}
    for line in lines:
        if line.kind in RANKED:
            found.setdefault(line.cells[key].comparable if _known(line.cells[key]) else None, []).append(line)
    rest = found.pop(None, [])
    if len(found) < 2 and not any(members[0].mark for members in found.values()):
        return [("", together)] if (together := [*itertools.chain(*found.values(), rest)]) else []
    cells = [members[0].cells[key] for members in found.values()]
    versions = len({cell.version for cell in cells}) > 1
    named = []
    for cell, members in zip(cells, found.values(), strict=True):
        count = f"{cell.counts[1]:,} samples" if cell.counts[1] else "unknown counts"
        label = ", ".join(filter(None, (count, f"version {cell.version}" * versions, cell.space)))
        named.append((f"{label} ({members[0].mark})" if members[0].mark else label, members))
    return named + ([(NOT_MEASURED, rest)] if rest else [])


def _cell(row: Mapping[str, Any], metric: Mapping[str, Any]) -> Cell:
    key = metric["key"]
    runs = [
        {
            "seed": run.get("seed"),
            **{name: run.get(name, "") for name in ("trained", "source", "digest")},
            "score": score,
        }
        for run in row["runs"]
        if (score := run["scores"].get(key)) is not None and score.get("value") is not None
    ]
    total = len(row["runs"])
    if len(runs) < total:
        given = row.get("reasons", {}).get(key) or next(
            (reason for run in row["runs"] if (reason := run.get("reasons", {}).get(key))), ""
        )
        default = (
            "the model gives no exact likelihood" if key.split("/")[1:2] == ["nll"] else "not measured for this row"
        )
        reason = f"measured for {len(runs)} of {total} seeds" if runs else given or default
        return Cell(None, reason=reason, runs=tuple(runs))
    scores = [run["score"] for run in runs]
    first = scores[0]
    details = [score.get("details") or {} for score in scores]
    spaces = sorted({str(detail.get("likelihood_space", "")) for detail in details})
    counts = [(score.get("n_reference"), score.get("n_generated")) for score in scores]
    warnings = {text: None for detail in details for text in _texts(detail.get("warnings", detail.get("warning")))}
    return Cell(
        **over_seeds(scores),
        runs=tuple(runs),
        space=" / ".join(space for space in spaces if space),
        counts=counts[0],
        version=first.get("version"),
        better=first.get("better") or metric.get("better", ""),
        unit=first.get("unit") or metric.get("unit", ""),
        comparable=(
            tuple(spaces),
            tuple(sorted({repr((s.get("version"), c)) for s, c in zip(scores, counts, strict=True)})),
            row.get("conditional") or "",
        ),
        warnings=tuple(warnings),
    )


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else [str(text) for text in value or ()]


def _ranked(lines: list[Standing], key: str) -> list[Standing]:
    """The lines with the rank intervals of one measure filled in, in every group of comparable models."""
    competing = [(line.name, line.cells[key]) for line in lines if line.kind in RANKED and _known(line.cells[key])]
    known = [(name, cell, cell.value) for name, cell in competing if cell.value is not None]
    ranks = {}
    for name, mine, value in known:
        playing = [entry for entry in known if entry[1].comparable == mine.comparable]
        sign = -1 if mine.better == "higher" else 1
        others = [(other, theirs) for other, cell, theirs in playing if other != name and separable(mine, cell)]
        apart = {other for other, _ in others}
        better = sum(sign * (theirs - value) < 0 for _, theirs in others)
        tied = tuple(other for other, *_ in playing if other != name and other not in apart)
        ranks[name] = ((1 + better, 1 + better + len(tied)), tied)
    return [_with_rank(line, key, *ranks[line.name]) if line.name in ranks else line for line in lines]


def _known(cell: Cell) -> bool:
    return cell.value is not None and math.isfinite(cell.value)


def _with_rank(line: Standing, key: str, rank: tuple[int, int], tied: tuple[str, ...]) -> Standing:
    return replace(line, cells={**line.cells, key: replace(line.cells[key], rank=rank, tied=tied)})


def _sorted(lines: Iterable[Standing], key: str) -> list[Standing]:
    section = {"measured": 0, "imported": 0, "published": 1, "control": 2}

    def order(line: Standing) -> tuple[int, bool, bool, int, str, float, str]:
        cell = line.cells[key]
        known = _known(cell)
        value = (cell.value or 0.0) * (-1 if cell.better == "higher" else 1) if known else 0.0
        grouped = known and line.kind in RANKED
        group = (bool(line.mark), -(cell.counts[1] or 0), repr(cell.comparable)) if grouped else (False, 0, "")
        return section[line.kind], not known, *group, value, line.name

    return sorted(lines, key=order)

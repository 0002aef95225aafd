"""From rows of single evaluations to standings: seeds merged, every measure with its interval, ranks that admit ties.

Everything here reads JSON-like dicts, so that a `metrics.json` from disk is enough, and needs the standard library
only: the terminal summary at the end of a run calls it from a process that must stay light.

Ranks. Two rows of one measure are told apart where |a - b| > 1.96 sqrt(se_a^2 + se_b^2), the paired difference given
the reference that both share. A row's rank is an interval: from 1 + the number of rows that beat it, to the number of
rows that it does not beat. The bias of most measures depends on how many samples there are: rows over other counts,
by another version, or over another likelihood space are ranked apart, every group from 1. So are rows whose samples were
given something, the beginning of a real clip or a class: they have less to make up. The level is per pair; nothing is
corrected for the number of pairs. Where a row brings the standard error of its difference to another (`paired`, which
`evaluation/pairing.py` computes from the influence of every clip), that one counts in place of the root.

Alarms. A score may say in its details that its model copies the training set, or has collapsed (`alarm`). Such a row has
no rank in any measure, and nobody is ranked against it: its good values are not what they seem. It stands after all
others, with the alarm beside it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evaluation.seeds import Z, merge_seeds, over_seeds

RANKED = ("measured", "imported")
ALARM = "⚠"
NOT_MEASURED, ALARMED, NOT_APPLICABLE = "not measured", "not ranked: alarm", "not applicable"


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
    target: float | None = None
    """What the value should be close to, for a measure that is neither to be low nor high."""
    unit: str = ""
    comparable: tuple[Any, ...] = ()
    """Only cells with the same tuple are ranked against each other."""
    decimals: int | None = None
    """How many of them a published number has; None for a measured one."""
    warnings: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    """Sentences that say what the model does which no good value makes up for: it copies, or it has collapsed."""
    rank: tuple[int, int] | None = None
    tied: tuple[str, ...] = ()
    """Names of the ranked rows that this one cannot be told apart from."""

    @property
    def loss(self) -> float:
        """The value, turned so that less is better."""
        value = self.value or 0.0
        if self.better == "target":
            return abs(value - (self.target or 0.0))
        return -value if self.better == "higher" else value

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
    def alarms(self) -> list[str]:
        """What a reader must be told before any number of this row: of each kind (what stands before the colon) the first."""
        found: dict[str, str] = {}
        for text in (text for cell in self.cells.values() for text in cell.alarms):
            found.setdefault(text.partition(":")[0], text)
        return list(found.values())

    @property
    def ranked(self) -> bool:
        """Whether this line competes: a model's, without an alarm."""
        return self.kind in RANKED and not self.alarms

    @property
    def marked(self) -> str:
        """The title with its marks."""
        title = f"{self.title} ({self.mark})" if self.mark else self.title
        return f"{ALARM} {title}" if self.alarms else title


def standings(rows: Iterable[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]) -> list[Standing]:
    """The leaderboard's lines in order: models by the headline measure, those with an alarm, published rows, controls.

    metrics: dicts with key, name, unit, better, digits, headline (in the main table; the first one sorts), version, and
    `not_applicable` (why it means nothing of this corpus). Measures that only a row knows get a cell too (`complete_metrics`).
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
        source = (score.get("details") or {}).get("external")
        doc = f"Given by {source}, not measured here; not ranked." if source else ""
        entry = {"key": key, "name": key, "digits": 3, "headline": False, "doc": doc}
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


def separable(a: Cell, b: Cell, error: float | None = None) -> bool:
    """True where the 95 % interval of the difference of two cells does not hold zero. error: its standard error, if known"""
    if a.value is None or b.value is None or a.standard_error is None or b.standard_error is None:
        return False
    if a.comparable != b.comparable:
        return False
    return abs(a.loss - b.loss) > Z * (math.hypot(a.standard_error, b.standard_error) if error is None else error)


def paired(a: Standing, b: Standing, key: str) -> tuple[float, str] | None:
    """(standard error of the difference a - b, how it was computed), where one of the rows brings it."""
    for one, other in ((a, b), (b, a)):
        if known := one.row.get("paired", {}).get(key, {}).get(other.name):
            return known["standard_error"], known["method"]
    return None


def _error(a: Standing, b: Standing, key: str) -> float | None:
    known = paired(a, b, key)
    return known[0] if known else None


def groups(lines: Iterable[Standing], key: str) -> list[tuple[str, list[Standing]]]:
    """The models in groups that are ranked apart, each with what it has in common ("512 samples"; "" for the only one).

    Those with an alarm come after all that are ranked, and those without a value of this measure last.
    """
    lines = list(lines)
    alarmed = [line for line in lines if line.kind in RANKED and line.alarms]
    rest = [line for line in lines if line.ranked and not _known(line.cells[key])]
    last = [(label, members) for label, members in ((ALARMED, alarmed), (NOT_MEASURED, rest)) if members]
    return _comparable([line for line in lines if line.ranked and line not in rest], key) + last


def _comparable(lines: Iterable[Standing], key: str) -> list[tuple[str, list[Standing]]]:
    found: dict[tuple[Any, ...], list[Standing]] = {}
    for line in lines:
        found.setdefault(line.cells[key].comparable, []).append(line)
    if len(found) < 2 and not any(members[0].mark for members in found.values()):
        return [("", members) for members in found.values()]
    cells = [members[0].cells[key] for members in found.values()]
    versions = len({cell.version for cell in cells}) > 1
    named = []
    for cell, members in zip(cells, found.values(), strict=True):
        count = f"{cell.counts[1]:,} samples" if cell.counts[1] else "unknown counts"
        label = ", ".join(filter(None, (count, f"version {cell.version}" * versions, cell.space)))
        named.append((f"{label} ({members[0].mark})" if members[0].mark else label, members))
    return named


def _cell(row: Mapping[str, Any], metric: Mapping[str, Any]) -> Cell:
    key = metric["key"]
    runs = [
        {
            "seed": run.get("seed"),
            **{name: run.get(name, "") for name in ("trained", "source", "digest")},
            **run.get("others", {}).get(key.partition("@")[2], {}),  # `v1/fid@melproj` was measured elsewhere
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
        given = f"{NOT_APPLICABLE}: {metric['not_applicable']}" if metric.get("not_applicable") else given
        reason = f"measured for {len(runs)} of {total} seeds" if runs else given or default
        return Cell(None, reason=reason, runs=tuple(runs))
    scores = [run["score"] for run in runs]
    first = scores[0]
    details = [score.get("details") or {} for score in scores]
    spaces = sorted({str(detail.get("likelihood_space", "")) for detail in details})
    counts = [(score.get("n_reference"), score.get("n_generated")) for score in scores]
    warnings = {text: None for detail in details for text in _texts(detail.get("warnings", detail.get("warning")))}
    alarms = {text: None for detail in details for text in _texts(detail.get("alarm"))}
    return Cell(
        **over_seeds(scores),
        runs=tuple(runs),
        space=" / ".join(space for space in spaces if space),
        counts=counts[0],
        version=first.get("version"),
        better=first.get("better") or metric.get("better", ""),
        target=details[0].get("target"),
        decimals=details[0].get("decimals"),
        unit=first.get("unit") or metric.get("unit", ""),
        comparable=(
            tuple(spaces),
            tuple(sorted({repr((s.get("version"), c)) for s, c in zip(scores, counts, strict=True)})),
            row.get("conditional") or "",
        ),
        warnings=tuple(warnings),
        alarms=tuple(alarms),
    )


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else [str(text) for text in value or ()]


def _ranked(lines: list[Standing], key: str) -> list[Standing]:
    """The lines with the rank intervals of one measure filled in, in every group of comparable models."""
    known = [(line, line.cells[key]) for line in lines if line.ranked and _known(line.cells[key])]
    known = [(line, cell) for line, cell in known if cell.better]  # what others measured may not say which way is good
    ranks = {}
    for me, mine in known:
        playing = [(other, cell) for other, cell in known if cell.comparable == mine.comparable and other is not me]
        apart = {other.name for other, cell in playing if separable(mine, cell, _error(me, other, key))}
        better = sum(cell.loss < mine.loss for other, cell in playing if other.name in apart)
        tied = tuple(other.name for other, _ in playing if other.name not in apart)
        ranks[me.name] = ((1 + better, 1 + better + len(tied)), tied)
    return [_with_rank(line, key, *ranks[line.name]) if line.name in ranks else line for line in lines]


def _known(cell: Cell) -> bool:
    return cell.value is not None and math.isfinite(cell.value)


def _with_rank(line: Standing, key: str, rank: tuple[int, int], tied: tuple[str, ...]) -> Standing:
    return replace(line, cells={**line.cells, key: replace(line.cells[key], rank=rank, tied=tied)})


def _sorted(lines: Iterable[Standing], key: str) -> list[Standing]:
    section = {"measured": 0, "imported": 0, "published": 1, "control": 2}

    def order(line: Standing) -> tuple[int, bool, bool, bool, bool, int, str, float, str]:
        cell = line.cells[key]
        known = _known(cell)
        last = bool(line.alarms) if line.kind in RANKED else line.row.get("role") == "trap"
        grouped = known and line.ranked
        group = (bool(line.mark), -(cell.counts[1] or 0), repr(cell.comparable)) if grouped else (False, 0, "")
        unmeasured = line.ranked and not known  # after those with an alarm
        return section[line.kind], unmeasured, last, not known, *group, cell.loss if known else 0.0, line.name

    return sorted(lines, key=order)

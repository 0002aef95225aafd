"""Whether a result got worse: two leaderboards, or two evaluations, number by number, with the interval of every difference.

    a, b = results.read(before), results.read(after)
    print(show(compare(a, b), a.path, b.path))

A difference b - a has the standard error sqrt(se_a^2 + se_b^2): both were measured against the same reference, and each drew
samples of its own. For NLL, over the same clips, that is conservative. A number is *worse* where the whole 95 % interval of
the difference lies on its bad side, by more than the tolerance; nothing is corrected for the number of comparisons. A row
with an alarm (it copies, or has collapsed) that it did not have is worse as well, whichever measures are looked at.

Numbers of another classifier, of other clips, of another version of the measure, or over other counts are not compared: each
is an obstacle, which is named. Standard library only.
"""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluation.results import IncomparableError, Result
from evaluation.seeds import Z
from evaluation.standings import ALARM, main_columns
from evaluation.wording import number

WORSE, BETTER, EQUAL, UNCLEAR, NO_INTERVAL = "worse", "better", "equal", "not told apart", "no interval"
WITHIN = "within tolerance"
ALL = "all"
JUDGE = {
    "corpus": "corpus",
    "clips": "real clips",
    "classifier": "classifier",
    "classifier_digest": "weights of the classifier",
}
SAME = (
    ("version", "version of the measure"),
    ("n_reference", "number of reference clips"),
    ("n_generated", "number of generated clips"),
    ("likelihood_space", "what the likelihood is over"),
    ("better", "direction"),
)


@dataclass(frozen=True)
class Change:
    """One number in both results: values, their difference b - a with its interval (None without), and the verdict."""

    row: str
    key: str
    name: str
    digits: int
    a: float
    b: float
    half: float | None
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """changes: what could be compared; obstacles: what could not, and why; remarks: what else a reader should know;
    alarms: a sentence for each that a row has in b and had not in a; tolerances: what was allowed, as it was given.
    """

    changes: list[Change]
    obstacles: list[str]
    remarks: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    tolerances: list[str] = field(default_factory=list)

    @property
    def worse(self) -> list[Change]:
        return [change for change in self.changes if change.verdict == WORSE]

    @property
    def status(self) -> int:
        """0: nothing got worse; 1: something did; 2: something could not be compared, and nothing else got worse."""
        return 1 if self.worse or self.alarms else 2 if self.obstacles or not self.changes else 0


@dataclass(frozen=True)
class Tolerance:
    """How much worse may be: `0.5` in the unit of the measure, `2%` of the value before; metric: "" for all."""

    metric: str
    amount: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> "Tolerance":
        """`FID=0.5`, `2%`, ... Raises IncomparableError for anything else."""
        metric, _, amount = text.rpartition("=")
        relative = amount.endswith("%")
        try:
            value = float(amount.removesuffix("%"))
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise IncomparableError(f"--tolerance {text}: it is [METRIC=]AMOUNT, such as 0.5, FID=0.5 or IS=2%")
        return cls(metric, value / 100 if relative else value, relative)

    def __str__(self) -> str:
        amount = f"{self.amount * 100:g}%" if self.relative else f"{self.amount:g}"
        return f"{self.metric}={amount}" if self.metric else amount

    def at(self, value: float) -> float:
        return self.amount * abs(value) if self.relative else self.amount


def compare(
    a: Result,
    b: Result,
    measures: Iterable[str] = (),
    rows: Iterable[str] = (),
    tolerances: Sequence[Tolerance] = (),
    metrics: Sequence[Mapping[str, Any]] = (),
) -> Comparison:
    """Every number that both have, of the rows and measures that are named (the main table's, unless any are).

    metrics: descriptions, for results that bring none. Raises IncomparableError for unknown names, and where the two
    cannot be compared at all: other clips, another classifier, a leaderboard and a single evaluation.
    """
    _same_judge(a, b)
    if a.single != b.single:
        raise IncomparableError(
            f"{a.path} and {b.path}: one is a leaderboard, the other a single evaluation; give two of a kind"
        )
    known = {metric["key"]: metric for metric in (*metrics, *b.metrics, *a.metrics)}
    present = dict.fromkeys(key for result in (a, b) for row in result.rows.values() for key in row)
    described = [known.get(key, {"key": key, "name": key}) for key in [*(k for k in known if k in present), *present]]
    described = list({metric["key"]: metric for metric in described}.values())
    if not described:
        raise IncomparableError(f"{a.path} and {b.path} hold no number at all")
    chosen = _chosen(measures, described)
    by_key = {_find(t.metric, described)["key"] if t.metric else "": t for t in tolerances}
    changes, obstacles, alarms = [], [], []
    for name in _rows(rows, a, b):
        if name not in b.rows or name not in a.rows:
            obstacles.append(f"{name} is in {(a if name in a.rows else b).path} only")
            continue
        alarms += [f"{ALARM} {name} has an alarm that it had not: {text}" for text in _new_alarms(name, a, b)]
        for metric in chosen:
            key = metric["key"]
            mine, theirs = (result.rows[name].get(key, {}) for result in (a, b))
            if reason := _obstacle(mine, theirs):
                obstacles += [f"{name}, {metric['name']}: {reason}"] if reason != NOWHERE else []
                continue
            tolerance = by_key.get(key, by_key.get(""))
            changes.append(_change(name, metric, mine, theirs, tolerance))
    new = [name for name in b.rows if name not in a.rows]
    remarks = [f"Only in {b.path}, and not looked at: {', '.join(new)}."] if new and not list(rows) else []
    return Comparison(changes, obstacles, remarks, alarms, [str(tolerance) for tolerance in tolerances])


def show(comparison: Comparison, a: str, b: str) -> str:
    """The comparison as aligned text: a line per number, then what it comes to."""
    lines = [("row", "measure", "a", "b", "b - a", "95 % interval", "")]
    for change in comparison.changes:
        digits = change.digits
        difference = change.b - change.a
        signed = "+" * (difference > 0) + number(difference, digits)
        ends = [] if change.half is None else [number(difference + s * change.half, digits) for s in (-1, 1)]
        interval = f"[{', '.join(ends)}]" if ends else ""
        values = (number(change.a, digits), number(change.b, digits), signed, interval, change.verdict)
        lines.append((change.row, change.name, *values))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [f"a: {a}", f"b: {b}", ""] if comparison.changes else []
    for line in lines if comparison.changes else ():
        padded = enumerate(zip(line, widths, strict=True))
        cells = [text.ljust(width) if i in (0, 1, 6) else text.rjust(width) for i, (text, width) in padded]
        texts.append("  ".join(cells).rstrip())
    return "\n".join([*texts, "", *comparison.remarks, *comparison.alarms, _verdict(comparison)]).strip()


def _verdict(comparison: Comparison) -> str:
    compared, worse = len(comparison.changes), comparison.worse
    within = [change for change in comparison.changes if change.verdict == WITHIN]
    allowed = f" by more than the tolerance ({', '.join(comparison.tolerances)})" if comparison.tolerances else ""
    told = f" Worse within the tolerance: {_names(within)}." * bool(within)
    if alarms := len(comparison.alarms):
        told += f" {alarms} new alarm{'s' * (alarms > 1)}: that is worse."
    if worse:
        beyond = f"beyond the interval of the difference{allowed}"
        return f"{len(worse)} of {compared} numbers got worse, {beyond}: {_names(worse)}.{told}"
    if not compared:
        return f"Nothing could be compared.{told}"
    chance = f" By chance alone, about {compared / 40:.0f} would." if compared >= 40 else ""
    return f"None of {compared} numbers got worse beyond the interval of its difference{allowed}.{chance}{told}"


def _names(changes: Sequence[Change]) -> str:
    return ", ".join([f"{change.name} of {change.row}" for change in changes[:5]] + ["..."] * (len(changes) > 5))


def _new_alarms(name: str, a: Result, b: Result) -> list[str]:
    """Of each kind of alarm (what stands before the colon) that the row has in b only, the first sentence."""
    before = {text.partition(":")[0] for text in a.alarms.get(name, ())}
    after = {text.partition(":")[0]: text for text in reversed(b.alarms.get(name, ()))}
    return [after[kind] for kind in sorted(after.keys() - before)]


NOWHERE = "in neither"


def _obstacle(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Why two numbers cannot be compared; NOWHERE where there are none, "" where they can."""
    missing = [number for number in (a, b) if number.get("value") is None]
    if len(missing) == 2:
        return NOWHERE
    if missing:
        where = "b" if missing[0] is b else "a"
        reason = f": {missing[0]['reason']}" if missing[0].get("reason") else ""
        return f"there is no number in {where}{reason}"
    if a.get("conditional") != b.get("conditional"):
        return (
            f"the samples were given {a.get('conditional') or 'nothing'} in a, {b.get('conditional') or 'nothing'} in b"
        )
    for name, words in SAME:
        if a.get(name) != b.get(name):
            return f"another {words}: {a.get(name)} in a, {b.get(name)} in b"
    return ""


def _change(
    row: str, metric: Mapping[str, Any], a: Mapping[str, Any], b: Mapping[str, Any], tolerance: Tolerance | None
) -> Change:
    values = a["value"], b["value"]
    errors = a.get("standard_error"), b.get("standard_error")
    allowed = tolerance.at(values[0]) if tolerance else 0.0
    loss = _loss(b) - _loss(a)
    half = None if None in errors else Z * math.hypot(*(error for error in errors if error is not None))
    half = None if half is None or not math.isfinite(half) else half
    if values[0] == values[1]:
        verdict = EQUAL
    elif math.isinf(loss):
        verdict = WORSE if loss > 0 else BETTER
    elif math.isnan(loss) or (half is None and tolerance is None):
        verdict = NO_INTERVAL
    elif loss - (half or 0.0) > 0:
        verdict = WORSE if loss - (half or 0.0) > allowed else WITHIN
    else:
        verdict = BETTER if loss + (half or 0.0) < 0 else UNCLEAR
    return Change(row, metric["key"], metric["name"], int(metric.get("digits", 3)), *values, half, verdict)


def _loss(score: Mapping[str, Any]) -> float:
    """The value, turned so that less is better."""
    value = float(score["value"])
    if score.get("better") == "target":
        return abs(value - float(score["target"]))
    return -value if score.get("better") == "higher" else value


def _same_judge(a: Result, b: Result) -> None:
    for result in (a, b):
        if not result.judge:
            raise IncomparableError(
                f"{result.path} does not say which clips and classifier its numbers come from (it is from before that was "
                "written): run the benchmark again, and it will"
            )
    for name, words in JUDGE.items():
        mine, theirs = a.judge.get(name), b.judge.get(name)
        if mine != theirs:
            shown = [str(value)[:12] if name.endswith(("clips", "digest")) else str(value) for value in (mine, theirs)]
            raise IncomparableError(
                f"{a.path} and {b.path} are not comparable: the {words} of the one is {shown[0]}, of the other {shown[1]}"
            )


def _chosen(names: Iterable[str], described: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    names = list(names)
    if not names:
        return list(main_columns(described)[0])
    if ALL in names:
        return list(described)
    return list({metric["key"]: metric for metric in (_find(name, described) for name in names)}.values())


def _find(name: str, described: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A measure by its key, its key without protocol, or its name."""
    for metric in described:
        key = metric["key"]
        if name in (key, key.removeprefix("v1/")) or name.lower() in (metric["name"].lower(), key.removeprefix("v1/")):
            return metric
    spellings = [*(metric["name"] for metric in described), *(metric["key"] for metric in described)]
    near = difflib.get_close_matches(name, spellings, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise IncomparableError(
        f"there is no measure {name!r} here.{guess} There are: {', '.join(m['key'] for m in described)}; or all"
    )


def _rows(names: Iterable[str], a: Result, b: Result) -> list[str]:
    """The rows that are asked for, or those of `a`; a row that only the other one has is new, and no matter."""
    names = list(names)
    for name in names:
        if name not in a.rows and name not in b.rows:
            raise IncomparableError(
                f"there is no row {name!r} in {a.path} or {b.path}. There are: {', '.join({**a.rows, **b.rows})}"
            )
    return names or list(a.rows)

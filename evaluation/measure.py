"""The one call of a notebook, and the two halves of it that the pipeline keeps apart.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> real, generated = rng.normal(size=(500, 4)), rng.normal(0.5, 1.0, size=(400, 4))
    >>> scores = measure(real, generated)
    >>> scores["v1/fid"].n_generated, scores["v1/fid"].better
    (400, 'lower')
    >>> list(measure(real, generated, metrics=["FID"]))
    ['v1/fid']
    >>> scores.not_applicable["v1/is"]
    'no classes: there are no class probabilities (generated side)'

`prepare` does what depends on the reference alone, once per corpus and classifier; its dictionary of arrays goes into
an npz file and comes back for every model that is measured. `compute` does the rest.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from evaluation import comparison, gaussian
from evaluation import metrics as plugins
from evaluation.metrics.base import Metric, Undefined
from evaluation.sample_set import SampleSet
from evaluation.score import Score, UndefinedError

Prepared = Mapping[str, np.ndarray]
# What several metric files share: the reference's side of it, and the view of both sides that `compute` hands to them.
SHARED = {
    "comparison": (comparison.prepare, comparison.Comparison),
    "gaussian": (gaussian.prepare, gaussian.Gaussian),
}

PREPARED = "prepared"  # the mark of a metric file that keeps nothing of its own of the reference


class Scores(Mapping[str, Score]):
    """Metric key -> Score, in the benchmark's order; `not_applicable` says of the other metrics why they are absent."""

    def __init__(self, scores: Iterable[Score], not_applicable: Mapping[str, str] | None = None) -> None:
        self._scores = {score.key: score for score in scores}
        self.not_applicable = dict(not_applicable or {})

    def __getitem__(self, key: str) -> Score:
        if key not in self._scores:
            reason = self.not_applicable.get(key, f"there are {', '.join(self._scores) or 'no scores'}")
            raise KeyError(f"{key}: {reason}")
        return self._scores[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Metric key -> the score as JSON values."""
        return {key: score.to_json() for key, score in self._scores.items()}

    def __repr__(self) -> str:
        head = ("metric", "", "value", "± SE", "95 % interval", "real", "generated", "unit")
        rows = [head, *(_row(score) for score in self._scores.values())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        left = (0, 1, 7)
        lines = [
            "  ".join(
                cell.ljust(width) if i in left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines += [f"{score.key}: {warning}" for score in self._scores.values() for warning in score.warnings]
        lines += [f"{key}: not applicable: {reason}" for key, reason in self.not_applicable.items()]
        return "\n".join(lines)


def _row(score: Score) -> tuple[str, ...]:
    known = plugins.metrics().get(score.key)
    digits = known.digits if known else 3
    interval = f"[{score.low:.{digits}f}, {score.high:.{digits}f}]"
    numbers = (f"{score.value:.{digits}f}", f"{score.standard_error:.{digits}f}", interval)
    return score.key, score.arrow, *numbers, str(score.n_reference), str(score.n_generated), score.unit


class Applicability(NamedTuple):
    """True where a metric can be computed; elsewhere `reason` says why not."""

    possible: bool
    reason: str

    def __bool__(self) -> bool:
        return self.possible


def applicable(metric: Metric | str, reference: SampleSet | Prepared, generated: SampleSet) -> Applicability:
    """Whether `metric` can be computed from these; the reference as a SampleSet, or as `prepare` left it."""
    metric = plugins.find(metric) if isinstance(metric, str) else metric
    if isinstance(reference, SampleSet):
        reason = metric.obstacle(reference, "reference")
    elif metric.needs_reference and not _part(reference, plugins.owner(metric.key)):
        reason = f"the reference was prepared without {' and '.join(metric.needs_reference)}"
    else:
        reason = ""
    reason = reason or metric.obstacle(generated)
    return Applicability(not reason, reason)


def measure(real: Any, generated: Any, metrics: Iterable[str] | None = None) -> Scores:
    """Every metric, or those named, of generated clips against real ones.

    real, generated: a SampleSet, an (n, D) array of features, or (features, log_probabilities)
    metrics: keys ("v1/fid"), keys without protocol ("fid") or names ("FID"); None means all that apply

    Raises ValueError for an unknown metric, for a named one that does not apply, and where a metric is undefined.
    """
    real, generated = SampleSet.of(real), SampleSet.of(generated)
    chosen, reasons = _choose(metrics, real, generated)
    return _scores(prepare(real, chosen), generated, chosen, reasons, strict=metrics is not None)


def prepare(reference: SampleSet, metrics: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The reference's side of every metric that it can serve, or of those named: "file.array" -> array.

    Save with `np.savez(path, **prepared)`, and give `dict(np.load(path))` to `compute`.
    Raises ValueError where a metric is named that the reference cannot serve.
    """
    chosen = list(plugins.metrics().values()) if metrics is None else [plugins.find(name) for name in metrics]
    prepared: dict[str, np.ndarray] = {}
    shared: dict[str, None] = {}
    for file, module in plugins.modules().items():
        wanted = [metric for metric in chosen if metric in module.METRICS]
        if not wanted or (metrics is None and wanted[0].obstacle(reference, "reference")):
            continue
        own = module.prepare(reference) or {PREPARED: np.array(True)}
        prepared |= {f"{file}.{name}": array for name, array in own.items()}
        shared |= dict.fromkeys(_uses(module))
    for use in shared:
        prepared |= {f"{use}.{name}": array for name, array in SHARED[use][0](reference).items()}
    return prepared


def compute(prepared: Prepared, generated: SampleSet, metrics: Iterable[str] | None = None) -> Scores:
    """The scores of a generated set against a prepared reference; arguments and errors as in `measure`."""
    chosen, reasons = _choose(metrics, prepared, generated)
    return _scores(prepared, generated, chosen, reasons, strict=metrics is not None)


def _scores(
    prepared: Prepared, generated: SampleSet, chosen: list[str], reasons: dict[str, str], *, strict: bool
) -> Scores:
    """The scores of the chosen metrics; what is undefined joins the reasons, or, if strict, raises ValueError."""
    scores: list[Score] = []
    undefined: dict[str, str] = {}
    views: dict[str, Any] = {}
    for file, module in plugins.modules().items():
        if any(metric.key in chosen for metric in module.METRICS):
            for use in set(_uses(module)) - set(views):
                views[use] = SHARED[use][1](_part(prepared, use), generated)
            part = _part(prepared, file) | {use: views[use] for use in _uses(module)}
            try:
                found = module.compute(part, generated)
            except UndefinedError as error:
                found = [Undefined(metric.key, str(error)) for metric in module.METRICS]
            undefined |= {entry.key: entry.reason for entry in found if isinstance(entry, Undefined)}
            scores += [entry for entry in found if isinstance(entry, Score) and entry.key in chosen]
    undefined = {key: reason for key, reason in undefined.items() if key in chosen}
    if undefined and strict:
        raise ValueError("; ".join(f"{key} is undefined here: {reason}" for key, reason in undefined.items()))
    return Scores(scores, reasons | undefined)


def _choose(
    names: Iterable[str] | None, reference: SampleSet | Prepared, generated: SampleSet
) -> tuple[list[str], dict[str, str]]:
    """The keys to compute, and why the others are not."""
    if isinstance(names, str):
        raise ValueError(f"metrics is a list of names: [{names!r}]")
    asked = list(plugins.metrics().values()) if names is None else [plugins.find(name) for name in names]
    verdicts = {metric.key: applicable(metric, reference, generated) for metric in asked}
    reasons = {key: verdict.reason for key, verdict in verdicts.items() if not verdict}
    if reasons and names is not None:
        raise ValueError("; ".join(f"{key} is not applicable: {reason}" for key, reason in reasons.items()))
    return [key for key, verdict in verdicts.items() if verdict], reasons


def _uses(module: ModuleType) -> tuple[str, ...]:
    uses: tuple[str, ...] = getattr(module, "USES", ())
    return uses


def _part(prepared: Prepared, file: str) -> dict[str, Any]:
    """What one metric file prepared, under its own names."""
    return {key.removeprefix(f"{file}."): array for key, array in prepared.items() if key.startswith(f"{file}.")}

"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), with k = 5.

Around every real clip lies a ball out to its k-th nearest other real clip, around every generated clip one out to its k-th
nearest other generated clip. A clip lies in a ball if it is closer than the radius, strictly.

    precision  share of generated clips in a real ball              density   mean number of real balls around one, over k
    recall     share of real clips in a generated ball              coverage  share of real balls that hold a generated clip

`null` in the details is what a perfect generator scores at these counts: of coverage exactly 1 - prod_(i<k) (N-1-i)/(N+M-1-i),
of density 1, whatever the clips; of precision and recall what real clips left out of the reference, or out of parts of it of
M + 1 clips, score (None with fewer real clips). `v1/coverage/normalized` is coverage over its null: 1 is perfect at any counts,
where coverage itself cannot exceed some kM/N if M is small. The values with k = 3 are in the details, as `k3`.

Differs from the papers: Kynkäänniemi et al. take k = 3, and count a clip on the border; counts need not be equal. Density is
best near 1: sampling only where real clips lie densest gives more. How the intervals come about: `evaluation/balls.py`.
"""

from typing import Any

import numpy as np

from evaluation.balls import (
    chance_coverage,
    coverage_influence,
    coverage_variance,
    mean_interval,
    reached,
    share_interval,
)
from evaluation.comparison import BALLS, Comparison
from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import Interval, proportion_interval

VERSION = 1
USES = ("comparison",)
OTHER, K = BALLS
BY_NEIGHBOURS: dict[str, Any] = {
    "version": VERSION,
    "needs": ("features",),
    "needs_reference": ("features",),
    "minimum": 2 * (K + 1),  # so that in either half of the clips each has K others
    "digits": 3,
}
PRECISION = Metric(
    key="v1/precision",
    name="precision",
    better="higher",
    headline=False,
    doc="Share of generated clips that lie among real ones.",
    **BY_NEIGHBOURS,
)
RECALL = Metric(
    key="v1/recall",
    name="recall",
    better="higher",
    headline=False,
    doc="Share of real clips that lie among generated ones; grows with the number of samples.",
    **BY_NEIGHBOURS,
)
DENSITY = Metric(
    key="v1/density",
    name="density",
    better="target",
    headline=False,
    doc="How densely real clips lie around a generated one: 1 is right, more means typical sounds only.",
    **BY_NEIGHBOURS,
)
COVERAGE = Metric(
    key="v1/coverage",
    name="coverage",
    better="higher",
    headline=False,
    doc="Share of real clips that have a generated clip nearby; depends on both counts.",
    **BY_NEIGHBOURS,
)
NORMALIZED = Metric(
    key="v1/coverage/normalized",
    name="coverage (normalized)",
    better="higher",
    doc="Coverage over that of a perfect generator at the same counts: 1 is perfect.",
    **BY_NEIGHBOURS,
)
METRICS = (PRECISION, RECALL, DENSITY, COVERAGE, NORMALIZED)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing of its own: the radii are the comparison's."""
    PRECISION.require(reference, "reference")
    return {}


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score]:
    """Precision, recall, density, coverage, and coverage normalized."""
    PRECISION.require(generated)
    comparison: Comparison = prepared["comparison"]
    balls, n, m = comparison.across.balls[K], len(comparison.real), len(generated)
    value, other = (comparison.across.balls[k].values(k) for k in (K, OTHER))
    null, other_null = (nulls(comparison, k) for k in (K, OTHER))
    inside, around, halves = (balls.around_real > 0).astype(np.float64), balls.around_real / K, comparison.across.halves
    recall = share_interval(value["recall"], halves.variance(), n)
    coverage = share_interval(value["coverage"], coverage_variance(balls), n)
    wilson = "Wilson's interval for as many independent clips"
    evidence: dict[str, tuple[Interval, str, np.ndarray | None]] = {
        "precision": (proportion_interval(inside.sum(), m), "Wilson's interval for a share", inside - inside.mean()),
        "recall": (recall, f"scatter of random halves, {wilson}", None),
        "density": (mean_interval(around), "influence function, normal", around - around.mean()),
        "coverage": (coverage, f"inclusion-exclusion over shared balls, {wilson}", coverage_influence(balls)),
    }

    def score(metric: Metric, name: str, unit: float = 1.0, other_unit: float = 1.0) -> Score:
        interval, method, influence = evidence[name]
        with_other = {"value": other[name] / other_unit, "null": other_null[name] and other_null[name] / other_unit}
        target = {"target": 1.0} if metric is DENSITY else {}
        return metric.score(
            value[name] / unit,
            Interval(*(bound / unit for bound in interval)),
            f"{method}; reference held fixed",
            n_reference=n,
            n_generated=m,
            per_sample=None if influence is None else influence / unit,
            details={"k": K, "null": null[name] and null[name] / unit, "k3": with_other, **target},
        )

    plain = [score(metric, metric.name) for metric in METRICS[:-1]]
    return [*plain, score(NORMALIZED, "coverage", null["coverage"], other_null["coverage"])]


def nulls(comparison: Comparison, k: int) -> dict[str, Any]:
    """What a perfect generator scores at these counts, by name."""
    n, m = len(comparison.real), len(comparison.generated)
    parts = [reached(near.index, k) for near in comparison.part_neighbours if len(near.index) >= m]
    return {
        "precision": reached(comparison.prepared["nearest"], k),
        "recall": float(np.mean(parts)) if parts else None,
        "density": 1.0,
        "coverage": chance_coverage(n, m, k),
    }

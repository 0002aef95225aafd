"""AuthPct: how many generated clips are not closer to a training clip than that clip's own neighbour (Alaa et al. 2022).

    AuthPct = 100 · mean_i 1[ d(y_i, x*) > d(x*, NN(x*)) ],   x* the training clip nearest to y_i, NN(x*) the one nearest to x*

and, as a score of its own, the median of the distances d(y_i, x*), relative to that of held-out clips.

Differs from the paper: no clip is thrown out; and real clips that nothing was trained on do not reach 100, so that their value,
`target` in the details, is what is right. Below it generated clips hug training clips, above it they are unlike real ones.
Its interval is that of the generated clips; how well the held-out clips determine the target is `target_interval`.
`copies` and `alarm` in the details, which say that training clips were copied: `evaluation/copying.py`.
"""

import math
from typing import Any

import numpy as np
from scipy.special import bdtr

from evaluation import audit
from evaluation.metrics.base import Metric, Undefined
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import CONFIDENCE, Interval, Z, normal_interval, proportion_interval

VERSION = 1
USES = ("comparison",)
PAIRS = 20
BESIDE_HELD_OUT: dict[str, Any] = {
    "version": VERSION,
    "better": "target",
    "needs": ("features",),
    "needs_reference": ("features", "held_out.features"),
    "minimum": 6,  # the fewest whose order statistics hold the median with 95 %
    "headline": False,
}
AUTHPCT = Metric(
    key="v1/authpct",
    name="AuthPct",
    unit="%",
    digits=1,
    doc="Clips that are not closer to a training clip than its own nearest neighbour; right is what held-out clips give.",
    **BESIDE_HELD_OUT,
)
NEAREST = Metric(
    key="v1/nearest",
    name="nearest training clip",
    digits=3,
    doc="Median distance to the nearest training clip, as a multiple of that of held-out clips; 1 is right.",
    **BESIDE_HELD_OUT,
)
METRICS = (AUTHPCT, NEAREST)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """count (): the neighbours themselves are those of the comparison."""
    AUTHPCT.require(reference, "reference")
    return {"count": np.array(len(reference))}


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score | Undefined]:
    """AuthPct and the median distance. Raises ValueError where the dimension of the features is not the reference's."""
    AUTHPCT.require(generated)
    if "count" not in prepared:  # the comparison is there for other metrics
        return [Undefined(metric.key, "the reference was prepared without held-out clips") for metric in METRICS]
    comparison = prepared["comparison"]
    near, radii, known = comparison.across.nearest, comparison.radii[:, 0], comparison.prepared
    ours, theirs = near.distance[:, 0], known["held_out_distance"][:, 0]
    counted: dict[str, Any] = {"n_reference": int(prepared["count"]), "n_generated": len(ours)}

    authentic = is_authentic(near.distance, near.index, radii)
    expected = is_authentic(known["held_out_distance"], known["held_out_nearest"], radii)
    copies = comparison.copies
    share = AUTHPCT.score(
        100 * float(authentic.mean()),
        _percent(authentic),
        "Wilson's interval for a proportion",
        **counted,
        per_sample=100 * (authentic - authentic.mean()),
        details={
            "target": 100 * float(expected.mean()),
            "target_interval": [*_percent(expected)[:2]],
            "copies": copies.to_json(),
            **({"alarm": copies.alarm} if copies.alarm else {}),
        },
    )
    middle, target = float(np.median(ours)), float(np.median(theirs))
    if not target:
        return [
            share,
            Undefined(NEAREST.key, "half of the held-out clips are copies of training clips, so their distance is 0"),
        ]
    errors = [median_interval(clips).standard_error / target for clips in (ours, theirs)]
    errors[1] *= middle / target
    details = {
        "target": 1.0,
        "shared_standard_error": errors[1],
        "medians": {"generated": middle, "held_out": target, "training": float(np.median(radii))},
        "curves": audit.distance_curves(ours, theirs, radii),
        "pairs": audit.closest(ours, near.index[:, 0], PAIRS),
    }
    method = "order statistics of both medians, delta method, normal"
    interval = normal_interval(middle / target, math.hypot(*errors))
    return [share, NEAREST.score(middle / target, interval, method, **counted, details=details)]


def is_authentic(distance: np.ndarray, index: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(n,) whether a clip is farther from its nearest training clip than that clip's nearest neighbour is, strictly.

    distance, index: (n, k) the nearest training clips, ascending; of several that are equally near, the loneliest counts.
    """
    equally = distance == distance[:, :1]
    return distance[:, 0] > np.where(equally, radii[index], -np.inf).max(axis=1)


def _percent(hits: np.ndarray) -> Interval:
    return Interval(*(100 * bound for bound in proportion_interval(int(hits.sum()), len(hits))))


def median_interval(values: np.ndarray) -> Interval:
    """Of the median, between the order statistics that hold it with 95 % or more; its width gives the standard error."""
    ordered, n = np.sort(values), len(values)
    below = int(np.count_nonzero(bdtr(np.arange(n // 2), n, 0.5) <= (1 - CONFIDENCE) / 2))
    low, high = float(ordered[max(0, below - 1)]), float(ordered[min(n - 1, n - below)])
    return Interval(low, high, (high - low) / (2 * Z))

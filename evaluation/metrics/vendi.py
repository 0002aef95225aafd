"""The Vendi score: how many entirely different clips would be as diverse (Friedman & Dieng 2023).

    Vendi = exp( - sum_a l_a log l_a ),   l the eigenvalues of K / M, K_ij = y_i'y_j / |y_i||y_j|

computed from Z'Z / M, Z the rows y_i / |y_i|, where D < M: its eigenvalues other than 0 are the same. From 1 (all clips alike)
to min(M, D); it grows with M, and features of one sign keep it low. Right is what as many real clips give: `target`, the mean
over random parts of the reference. Orders q other than 1 (Pasarkar & Dieng 2024) are in the details.

Differs from the paper: a target, an interval. Eigenvalues that are 0 but for rounding are left out.
The influence of y is -z' log(Z'Z / M) z minus its mean, z = y / |y|; the interval is normal on the log scale.

`near_copies` and `alarm` in the details, which say that a generator has collapsed: `evaluation/diversity.py`.
"""

import math
from typing import Any

import numpy as np

from evaluation import diversity
from evaluation.comparison import Comparison
from evaluation.metrics.base import Metric, Undefined
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import log_interval, standard_error

VERSION = 1
USES = ("comparison",)
ORDERS = (0.5, 1, 2, math.inf)
VENDI = Metric(
    key="v1/vendi",
    name="Vendi",
    version=VERSION,
    better="target",
    needs=("features",),
    needs_reference=("features",),
    minimum=6,  # the comparison knows five neighbours of every clip
    headline=False,
    doc="How many entirely different clips would be as diverse; right is what as many real clips give.",
)
METRICS = (VENDI,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing of its own: the reference's features are the comparison's."""
    VENDI.require(reference, "reference")
    return {}


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score | Undefined]:
    """Vendi; undefined where a clip has no direction."""
    VENDI.require(generated)
    comparison: Comparison = prepared["comparison"]
    if reason := diversity.without_direction(comparison):
        return [Undefined(VENDI.key, reason)]
    n, m = len(comparison.real), len(generated)
    shares, influence = diversity.decompose(generated.array("features"))
    real = [diversity.spectrum(comparison.real.features[part[:m]]) for part in comparison.parts]
    orders = {
        str(q): {
            "value": diversity.vendi(shares, q),
            "target": float(np.mean([diversity.vendi(part, q) for part in real])),
        }
        for q in ORDERS
    }
    value, target = orders["1"]["value"], orders["1"]["target"]
    copies, real_copies = diversity.near_copies(comparison)
    alarm = diversity.collapse(value, target, copies, real_copies, m)
    warnings = comparison.warnings + few(n, m)
    return [
        VENDI.score(
            value,
            log_interval(value, standard_error(influence)),
            "influence function, normal on the log scale",
            n_reference=n,
            n_generated=m,
            per_sample=value * influence,
            details={
                "target": target,
                "ratio": value / target,
                "orders": orders,
                "near_copies": copies,
                "near_copies_real": real_copies,
                **({"alarm": alarm} if alarm else {}),
                **({"warnings": warnings} if warnings else {}),
            },
        )
    ]


def few(n: int, m: int) -> list[str]:
    """What a reader must be told where the reference is smaller than the generated set."""
    text = f"the target is that of {n} real clips, the value that of {m} generated ones, which is larger by itself"
    return [text] if n < m else []

"""AM: the activation maximization score (Zhou et al. 2018), and the two parts that it adds up.

    AM = KL(p_train || p_gen) + mean_i H(p_i),   p_train, p_gen: mean class probabilities;   >= 0, lower is better

`balance`, the first part, says whether all classes are drawn as often as in the corpus; `confidence`, the second,
whether each clip is recognizable. Nats. Differs from the paper: both parts are shown, and an interval.
Balance is too high by up to (C - 1) / 2n; confidence is unbiased. The influence of clip i on balance is
1 - sum_c p_train,c p_ic / p_gen,c, on confidence H(p_i) minus the mean; the training marginal is held fixed.
`alarm` in the details: exp H(p_gen), the number of classes that are made, less one, is below a tenth of the corpus' less one.
"""

import math
from typing import Any

import numpy as np

from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet, expected_logs
from evaluation.score import Score, UndefinedError
from evaluation.uncertainty import normal_interval, standard_error

VERSION = 1
COLLAPSED = 0.1
NEEDS = ("log_probabilities",)
AM = Metric(
    key="v1/am",
    name="AM",
    version=VERSION,
    better="lower",
    needs=NEEDS,
    needs_reference=NEEDS,
    unit="nats",
    doc="Classes as frequent as in the corpus, and every clip recognizable: balance + confidence.",
)
BALANCE = Metric(
    key="v1/am/balance",
    name="AM balance",
    version=VERSION,
    better="lower",
    needs=NEEDS,
    needs_reference=NEEDS,
    unit="nats",
    digits=3,
    headline=False,
    doc="KL divergence from the corpus's class frequencies to the generated ones.",
)
CONFIDENCE = Metric(
    key="v1/am/confidence",
    name="AM confidence",
    version=VERSION,
    better="lower",
    needs=NEEDS,
    needs_reference=NEEDS,
    unit="nats",
    digits=3,
    headline=False,
    doc="Mean entropy of the class probabilities of a generated clip.",
)
METRICS = (AM, BALANCE, CONFIDENCE)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """log_marginal (C,) nats, count ()."""
    AM.require(reference, "reference")
    return {"log_marginal": reference.log_marginal, "count": np.array(len(reference))}


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score]:
    """AM, balance, confidence. Raises UndefinedError where no clip gives a class of the corpus any probability."""
    AM.require(generated)
    log_q, log_p = prepared["log_marginal"], generated.log_marginal
    if len(log_q) != len(log_p):
        raise ValueError(f"v1/am: the reference has {len(log_q)} classes and the generated set {len(log_p)}")
    occurs = np.exp(log_q) > 0
    if np.isneginf(log_p[occurs]).any():
        missing = np.flatnonzero(occurs & np.isneginf(log_p)).tolist()
        raise UndefinedError(
            f"v1/am is infinite: all generated clips give probability exactly zero to classes {missing}, which the "
            "corpus has; take log_probabilities from log_softmax in float64, not the log of a float32 softmax"
        )
    q = np.exp(log_q)[occurs]
    balance = float(expected_logs(q, log_q[occurs]) - expected_logs(q, log_p[occurs]))
    balance_influence = 1 - np.exp(generated.log_probabilities64[:, occurs] - log_p[occurs]) @ q
    confidence = float(generated.entropies.mean())
    confidence_influence = generated.entropies - confidence

    parts: dict[str, Any] = {"balance": balance, "confidence": confidence}
    classes, of_corpus = (math.exp(-float(expected_logs(np.exp(log), log))) for log in (log_p, log_q))
    if classes - 1 < COLLAPSED * (of_corpus - 1):
        parts["alarm"] = f"has collapsed: it makes {classes:.2f} classes, and the corpus has {of_corpus:.2f}"
    return [
        _score(AM, balance + confidence, balance_influence + confidence_influence, prepared, parts),
        _score(BALANCE, balance, balance_influence, prepared, {}),
        _score(CONFIDENCE, confidence, confidence_influence, prepared, {}),
    ]


def _score(
    metric: Metric, value: float, influence: np.ndarray, prepared: dict[str, np.ndarray], details: dict[str, Any]
) -> Score:
    return metric.score(
        value,
        normal_interval(value, standard_error(influence)),
        "influence function, normal; training marginal held fixed",
        n_reference=int(prepared["count"]),
        n_generated=len(influence),
        per_sample=influence,
        details=details,
    )

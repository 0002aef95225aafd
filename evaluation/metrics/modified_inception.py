"""mIS: the modified Inception Score (Gurumurthy et al. 2017, "DeLiGAN"), exactly.

    mIS = exp( mean_ij KL(p_i || p_j) )

The mean over all n^2 pairs needs no pairs:  mean_i sum_c p_ic log p_ic  -  sum_c (mean_i p_ic)(mean_j log p_jc).

Differs from the paper: pooled over all clips, as in the published SC09 tables; DeLiGAN averages it per class, and so
does `modified_inception_per_class.py`.
Differs from the SC09 script: that takes 10,000 random pairs, which alone scatters mIS by several percent.
Pairs i = j count, as they do there; `without_self_pairs` in the details is the mean over i != j (log times n/(n-1)).
Heavy-tailed: one class that one clip rules out with p = 1e-30 outweighs hundreds of clips. It therefore needs
log-probabilities from a log-softmax in float64; an exact zero is an error, not a value to be clamped.
"""

import numpy as np

from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet
from evaluation.score import Score, UndefinedError
from evaluation.uncertainty import log_interval, standard_error

VERSION = 1
LARGEST_LOG = 600.0  # exp(709) is the largest float64; this leaves room for the interval
MIS = Metric(
    key="v1/mis",
    name="mIS",
    version=VERSION,
    better="higher",
    needs=("log_probabilities",),
    digits=1,
    doc="How far apart the class probabilities of two clips are, on average; heavy-tailed, favours overconfidence.",
)
METRICS = (MIS,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing: mIS looks at generated clips alone."""
    return {}


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score]:
    """mIS of the generated class probabilities. Raises UndefinedError where one is exactly zero, or mIS beyond float64."""
    MIS.require(generated)
    n = len(generated)
    log_value, influence = log_mis(generated)
    value = np.exp(log_value)
    return [
        MIS.score(
            value,
            log_interval(value, standard_error(influence)),
            "influence function, normal on the log scale",
            n_generated=n,
            per_sample=value * influence,
            details={"log": log_value, "without_self_pairs": float(np.exp(log_value * n / (n - 1)))},
        )
    ]


def log_mis(samples: SampleSet) -> tuple[float, np.ndarray]:
    """log mIS and the (n,) influence of each clip on it. Raises UndefinedError as `compute` does."""
    p, log_p, n = samples.probabilities, samples.log_probabilities64, len(samples)
    if np.isneginf(log_p).any():
        rows = np.flatnonzero(np.isneginf(log_p).any(axis=1))
        raise UndefinedError(
            f"v1/mis (mIS) is infinite: {len(rows)} of {n} clips give a class probability exactly zero, first row "
            f"{rows[0]}; take log_probabilities from log_softmax in float64, not the log of a float32 softmax"
        )
    mean_p, mean_log_p = p.mean(axis=0), log_p.mean(axis=0)
    overlap = mean_p @ mean_log_p
    log_value = float(-samples.entropies.mean() - overlap)
    if log_value > LARGEST_LOG:
        raise UndefinedError(
            f"v1/mis = exp({log_value:.0f}) is beyond float64: the classifier is never in doubt; calibrate it"
        )
    own = -samples.entropies + samples.entropies.mean()
    return log_value, own - (p @ mean_log_p - overlap) - (log_p @ mean_p - overlap)

"""IS: the Inception Score (Salimans et al. 2016, section 4) over the whole set, with the classifier's classes.

    IS = exp( mean_i KL(p_i || p) ),   p = mean_i p_i;   1 (all clips alike, or all uncertain) ... number of classes

Differs from the paper: the whole set at once instead of ten splits (those are `inception_splits.py`).
p comes from the same clips, so log IS is too low by up to (C - 1) / 2n. The influence of clip i on log IS is
KL(p_i || p) - log IS: what it does to p itself has no effect of first order.
"""

import numpy as np

from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet, expected_logs
from evaluation.score import Score
from evaluation.uncertainty import log_interval, standard_error

VERSION = 1
IS = Metric(
    key="v1/is",
    name="IS",
    version=VERSION,
    better="higher",
    needs=("log_probabilities",),
    doc="Clips are recognized with confidence and all classes occur: 1 to the number of classes.",
)
METRICS = (IS,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing: IS looks at generated clips alone."""
    return {}


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score]:
    """IS of the generated class probabilities."""
    IS.require(generated)
    divergences = divergences_from_marginal(generated)
    value = np.exp(divergences.mean())
    influence = divergences - divergences.mean()
    return [
        IS.score(
            value,
            log_interval(value, standard_error(influence)),
            "influence function, normal on the log scale",
            n_generated=len(generated),
            per_sample=value * influence,
            details={"classes": generated.probabilities.shape[1]},
        )
    ]


def divergences_from_marginal(samples: SampleSet) -> np.ndarray:
    """(n,) nats: KL(p_i || p), p the mean of the p_i."""
    return -samples.entropies - expected_logs(samples.probabilities, samples.log_marginal)

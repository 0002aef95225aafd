"""NLL: how many bits per timestep a generator needs for real clips that it was not trained on.

    NLL = - sum_i log2 p(clip_i) / sum_i timesteps_i

over the held-out clips, counting their valid timesteps: zero padding is easy to predict and would flatter everybody.
It reads `held_out.log_likelihood` of the generated set, never the likelihood that samples have under their own model.

Only numbers over the same space (quantization and scaling) mean the same thing; `likelihood_space` in the details says
which, and `uncertainty.difference` refuses to mix them. A ratio of sums, so its standard error is that of a ratio
estimator (Cochran 1977, ch. 6) with the clip as unit: timesteps within a clip are not independent. Clips of one
speaker are treated as independent.
"""

import math
from typing import Any

import numpy as np

from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval, standard_error

VERSION = 1
NLL = Metric(
    key="v1/nll",
    name="NLL",
    version=VERSION,
    better="lower",
    needs=("held_out.log_likelihood", "held_out.timesteps", "held_out.likelihood_space"),
    unit="bits/timestep",
    digits=3,
    doc="Bits per timestep for held-out clips; comparable only over the same quantization and scaling.",
)
METRICS = (NLL,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing: the clips that are asked about come with their likelihoods."""
    return {}


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score]:
    """NLL of the held-out clips under the generator."""
    NLL.require(generated)
    clips = generated.held_out
    assert clips is not None  # `require` has seen to it
    bits = -clips.array("log_likelihood").astype(np.float64) / math.log(2)
    timesteps = clips.array("timesteps").astype(np.float64)
    value = float(bits.sum() / timesteps.sum())
    influence = (bits - value * timesteps) / timesteps.mean()
    details: dict[str, Any] = {"likelihood_space": clips.likelihood_space, "timesteps": int(timesteps.sum())}
    if clips.unigram_entropy is not None:
        details["unigram_entropy"] = float(clips.unigram_entropy)
    return [
        NLL.score(
            value,
            normal_interval(value, standard_error(influence)),
            "ratio estimator, clips as units, normal",
            n_reference=len(clips),
            per_sample=influence,
            details=details,
        )
    ]

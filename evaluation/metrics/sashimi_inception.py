"""IS and mIS as the SaShiMi release's script reports them (Goel et al. 2022): protocol `sashimi`.

    IS = exp( mean_c KL(p_.c / sum_i p_ic || 1 / n) ) over the first half of a shuffled set;  not the Inception Score
    mIS = exp( mean KL(p_i || p_j) ) over 10,000 random pairs

The published SC09 tables are in these numbers, and they are for reading those: `docs/metrics.md` says how they mislead.
The formulas are in `evaluation/sashimi_protocol.py`.
Differs from the script: standard errors. Where it prints nan or inf there is no score, but the reason.
IS is smooth in the clips of its half: influence function, zero for the others. The pairs of mIS are a random sample of
all pairs, so its variance is that of the exact mIS plus that of one pair / 10,000.
"""

import math

import numpy as np

from evaluation import sashimi_protocol as script
from evaluation.metrics import modified_inception
from evaluation.metrics.base import Metric, Undefined
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import log_interval, standard_error

VERSION = 1
NEEDS = ("log_probabilities",)
IS = Metric(
    key="sashimi/is",
    name="IS (script)",
    version=VERSION,
    better="higher",
    needs=NEEDS,
    headline=False,
    doc="Not the Inception Score: summed over the wrong axis, it rises when a class is rare.",
)
MIS = Metric(
    key="sashimi/mis",
    name="mIS (script)",
    version=VERSION,
    better="higher",
    needs=NEEDS,
    digits=1,
    headline=False,
    doc="mIS from 10,000 random pairs instead of all; scatters by several percent.",
)
METRICS = (IS, MIS)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing: they look at generated clips alone."""
    return {}


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score | Undefined]:
    """Both numbers, each a Score, or Undefined where the script prints nan or inf."""
    IS.require(generated)
    probabilities = script.float32(generated.probabilities)
    return [_is(probabilities), _mis(generated, probabilities)]


def _is(probabilities: np.ndarray) -> Score | Undefined:
    value, (n, classes) = script.inception(probabilities), probabilities.shape
    if math.isnan(value):
        missing = np.logical_or(*(half.sum(axis=0) == 0 for half in script.inception_halves(probabilities)))
        where = ", ".join(map(str, np.flatnonzero(missing)))
        return Undefined(
            IS.key, f"the script prints nan: one half of its clips gives no probability to classes {where}"
        )
    influence = value * script.inception_influence(probabilities)
    too_much = f"{value:.1f} is more than the {classes} classes, which IS cannot be: it is summed over the wrong axis"
    return IS.score(
        value,
        log_interval(value, standard_error(influence) / value),
        "influence function over the script's half, normal on the log scale",
        n_generated=n,
        per_sample=influence,
        details={"clips_used": n // 2} | ({"warnings": [too_much]} if value > classes else {}),
    )


def _mis(generated: SampleSet, probabilities: np.ndarray) -> Score | Undefined:
    value = script.modified_inception(probabilities)
    if not math.isfinite(value):
        return Undefined(MIS.key, "the script prints inf: a float32 probability is exactly zero, or mIS beyond float32")
    try:
        (exact,) = modified_inception.compute({}, generated)
    except ValueError as error:
        return Undefined(MIS.key, f"the script prints {value:.1f}, which its pairs happened to allow: {error}")
    pairs = float(script.pair_divergences(probabilities).std()) / math.sqrt(script.PAIRS)
    return MIS.score(
        value,
        log_interval(value, math.hypot(exact.standard_error / exact.value, pairs)),
        f"influence function, and the variance of {script.PAIRS:,} pairs; normal on the log scale",
        n_generated=len(probabilities),
        per_sample=None if exact.per_sample is None else exact.per_sample * (value / exact.value),
        details={"exact": exact.value, "standard_error_of_pairs": value * pairs},
    )

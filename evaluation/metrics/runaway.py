"""Runaway noise: the share of samples that degenerate into noise somewhere; of which, and from when on, is told of each.

What is noise, over time and beside real clips, is defined in `evaluation/runaway.py`: windows of half a second that are loud
and flatter than real ones ever are. The threshold comes from real clips that are neither the reference nor held out (the
validation split), so that the rows of the splits show how often real clips are flagged: hardly ever.

Source: spectral flatness after Gray & Markel (1974); the threshold is a conformal one (Vovk et al. 2005). Differs: the papers
on raw-audio generation report the failure (SaShiMi's of SampleRNN and WaveNet on music), and none measures it.
The interval is Wilson's (1927), whose half-width is called 1.96 standard errors.
"""

import numpy as np

from evaluation import runaway
from evaluation.metrics.base import Metric, Undefined
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import proportion_interval

VERSION = 1
LIMITS = ("level", "flatness", "bound", "clips")

RUNAWAY = Metric(
    key="v1/runaway",
    name="runaway noise",
    version=VERSION,
    better="lower",
    needs=("waveforms", "sample_rate"),
    needs_reference=("calibration.waveforms", "calibration.sample_rate"),
    minimum=2,
    digits=3,
    headline=False,
    doc="Share of clips that degenerate into noise: half a second as loud as real clips and flatter than they are.",
)
METRICS = (RUNAWAY,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """The limits that real clips set, and sample_rate, all ()."""
    RUNAWAY.require(reference, "reference")
    real = reference.calibration
    assert real is not None
    limits = runaway.calibrate(runaway.windows(real.array("waveforms"), real.sample_rate))
    return {name: np.array(getattr(limits, name)) for name in LIMITS} | {"sample_rate": np.array(real.sample_rate)}


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score | Undefined]:
    """The share. Raises ValueError where the sides are at different sample rates."""
    RUNAWAY.require(generated)
    limits = limits_of(prepared)
    if limits.obstacle:
        return [Undefined(RUNAWAY.key, limits.obstacle)]
    found = find(prepared, generated)
    count, n = int(found.noisy.sum()), len(generated)
    details = {name: getattr(limits, name) for name in LIMITS} | {"noisy": count}
    if count:
        details["median_onset"] = float(np.median(found.onset[found.noisy]))
    interval = proportion_interval(count, n)
    return [
        RUNAWAY.score(
            count / n,
            interval,
            "Wilson's interval for a proportion",
            n_reference=limits.clips,
            n_generated=n,
            per_sample=found.noisy - count / n,
            details=details,
        )
    ]


def limits_of(prepared: dict[str, np.ndarray]) -> runaway.Limits:
    """The limits that `prepare` wrote."""
    values = {name: float(prepared[name]) for name in LIMITS}
    return runaway.Limits(**values | {"clips": int(values["clips"])})  # type: ignore[arg-type]


def find(prepared: dict[str, np.ndarray], generated: SampleSet) -> runaway.Found:
    """What is found in each clip, in the whole of those that are longer than what else is measured of them.

    Raises ValueError where the sides are at different sample rates.
    """
    if generated.sample_rate != (rate := int(prepared["sample_rate"])):
        raise ValueError(
            f"v1/runaway: the real clips are at {rate} Hz and the generated set at {generated.sample_rate}"
        )
    codes = generated.array("waveforms") if generated.whole is None else generated.whole
    return runaway.find(runaway.windows(codes, rate), limits_of(prepared))

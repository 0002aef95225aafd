"""FID, AM and NDB as the SaShiMi release's script reports them (Goel et al. 2022): protocol `sashimi`.

The published SC09 tables are in these numbers, and they are for reading those. What each of them is and where it
misleads is in `docs/metrics.md`; the formulas are in `evaluation/sashimi_protocol.py`.
Differs from the script: standard errors. Where it prints nan or inf there is no score, but the reason.
FID and AM are v1's up to rounding (sums in float32), and so are their influences. NDB's standard error is from the chance
that a bin would be found different in another draw, by the binomial law at its generated share, as if bins were
independent; it is up to half too wide where both sides have the same distribution.
"""

import math
from typing import Any

import numpy as np

from evaluation import sashimi_protocol as script
from evaluation.metrics import activation_maximization, frechet
from evaluation.metrics.base import Metric, Undefined
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval

VERSION = 1
USES = ("gaussian",)
NEEDS = ("features", "log_probabilities")

FID = Metric(
    key="sashimi/fid",
    name="FID (script)",
    version=VERSION,
    better="lower",
    needs=NEEDS,
    needs_reference=NEEDS,
    digits=3,
    headline=False,
    doc="FID as the published script computes it: FID up to rounding.",
)
AM = Metric(
    key="sashimi/am",
    name="AM (script)",
    version=VERSION,
    better="lower",
    needs=NEEDS,
    needs_reference=NEEDS,
    unit="nats",
    digits=2,
    headline=False,
    doc="AM as the published script computes it: AM up to rounding.",
)
NDB = Metric(
    key="sashimi/ndb",
    name="NDB (script)",
    version=VERSION,
    better="lower",
    needs=NEEDS,
    needs_reference=NEEDS,
    digits=2,
    headline=False,
    doc="Share of 50 bins (k-means) that hold too many or too few generated clips.",
)
METRICS = (FID, AM, NDB)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """mean (D,) and marginal (C,) of the reference, float32 as the script's; log_marginal (C,), count (): as AM's.

    Of NDB centres (50, D) and bins (50,), the number of clips in each; empty where there are fewer than 50 clips.
    """
    FID.require(reference, "reference")
    features = reference.array("features").astype(np.float32)
    centres = script.fit_bins(features) if len(features) >= script.BINS else features[:0]
    return {
        **activation_maximization.prepare(reference),
        "mean": features.mean(axis=0),
        "marginal": script.float32(reference.probabilities).mean(axis=0),
        "centres": centres,
        "bins": script.bin_counts(features, centres) if len(centres) else np.zeros(0, np.int64),
    }


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score | Undefined]:
    """The three numbers, each a Score, or Undefined where the script prints nan or inf."""
    FID.require(generated)
    probabilities = script.float32(generated.probabilities)
    features = generated.array("features").astype(np.float32)
    return [
        _fid(prepared, generated, features),
        _am(prepared, generated, probabilities),
        _ndb(prepared, features),
    ]


def _fid(prepared: dict[str, Any], generated: SampleSet, features: np.ndarray) -> Score:
    (ours,) = frechet.compute(prepared, generated)
    shift = features.mean(axis=0) - prepared["mean"]
    value = float(shift @ shift) + ours.details["covariance_term"]
    return _like(FID, ours, value, {"warnings": ours.warnings} if ours.warnings else {})


def _am(prepared: dict[str, Any], generated: SampleSet, probabilities: np.ndarray) -> Score | Undefined:
    value = script.activation_maximization(prepared["marginal"], probabilities)
    if not math.isfinite(value):
        return Undefined(
            AM.key, "the script prints inf: no clip gives a class of the corpus a float32 probability above 0"
        )
    return _like(AM, activation_maximization.compute(prepared, generated)[0], value, {})


def _like(metric: Metric, ours: Score, value: float, details: dict[str, list[str]]) -> Score:
    """The script's value with the standard error of ours."""
    return metric.score(
        value,
        normal_interval(value, ours.standard_error),
        ours.method,
        n_reference=ours.n_reference,
        n_generated=ours.n_generated,
        per_sample=ours.per_sample,
        details=details,
    )


def _ndb(prepared: dict[str, Any], features: np.ndarray) -> Score | Undefined:
    bins = prepared["bins"]
    if not len(bins) or not bins.all():
        return Undefined(
            NDB.key, f"the script needs {script.BINS} bins with a reference clip in each, and there are fewer"
        )
    counts = script.bin_counts(features, prepared["centres"])
    value = script.number_of_different_bins(bins, counts)
    return NDB.score(
        value,
        normal_interval(value, script.standard_error_of_ndb(bins, counts)),
        "binomial law of every bin, normal; reference held fixed",
        n_reference=int(prepared["count"]),
        n_generated=len(features),
    )

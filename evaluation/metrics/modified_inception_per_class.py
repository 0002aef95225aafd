"""mIS per class: the modified Inception Score within each class, averaged (Gurumurthy et al. 2017, "DeLiGAN").

    mean_c exp( mean_ij KL(p_i || p_j) ),   i, j over the clips of class c;   1 and up

How different the class probabilities of two clips of one class are: the variety within classes, or the classifier's doubt.

Differs from the paper: there more is better. But noise, of which the classifier is unsure, scores far above speech: the aim
is what real clips give, the held-out ones where the reference has them. All pairs, exactly, pairs i = j included.
A clip's class is its label where labels are known, else the most probable class; within the latter, probabilities differ
less, so the target is of classes found in the same way. `classes` in the details has one entry for each. A class of fewer
than two clips has no value: the mean is over the others, and a warning says so. As heavy-tailed as mIS, per class.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from evaluation.classes import LEAST, Part, classes_of, left_out, mean_over
from evaluation.metrics.base import Metric, Undefined
from evaluation.metrics.modified_inception import log_mis
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import log_interval, standard_error

VERSION = 1
NEEDS = ("log_probabilities",)
PER_CLASS = Metric(
    key="v1/mis/per-class",
    name="mIS per class",
    version=VERSION,
    better="target",
    needs=NEEDS,
    needs_reference=NEEDS,
    headline=False,
    doc="How far apart the class probabilities of two clips of one class are, on average over classes.",
)
METRICS = (PER_CLASS,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """What real clips give, by_label () and by_probability () of their classes, NaN where undefined; of real_clips () clips,
    the held-out ones where there are any; count ().
    """
    PER_CLASS.require(reference, "reference")
    held_out = reference.held_out
    real = reference if held_out is None or held_out.log_probabilities is None else held_out
    by_probability = SampleSet(log_probabilities=real.log_probabilities)
    by_label = None if real.labels is None else replace(by_probability, labels=real.labels)
    return {
        "by_label": np.array(np.nan if by_label is None else _mean(by_label)),
        "by_probability": np.array(_mean(by_probability)),
        "real_clips": np.array(len(real)),
        "count": np.array(len(reference)),
    }


def _mean(samples: SampleSet) -> float:
    """The mean over classes; NaN where it is undefined."""
    try:
        parts = of_classes(samples)[0]
    except ValueError:
        return np.nan
    return mean_over(parts, len(samples)).value if parts else np.nan


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score | Undefined]:
    """The mean over classes; Undefined where no class has two clips, one has an exact zero, or real clips have no value."""
    PER_CLASS.require(generated)
    target = float(prepared["by_probability" if generated.labels is None else "by_label"])
    if np.isnan(target):
        return [Undefined(PER_CLASS.key, "real clips have no value to aim at: too few, exact zeros, or no labels")]
    try:
        parts, absent = of_classes(generated)
    except ValueError as error:
        return [Undefined(PER_CLASS.key, str(error))]
    if not parts:
        return [Undefined(PER_CLASS.key, f"no class has {LEAST} clips")]
    mean = mean_over(parts, len(generated))
    entries = [part.to_json() for part in parts] + absent
    details: dict[str, Any] = {"target": target, "target_clips": int(prepared["real_clips"])}
    details["classes"] = sorted(entries, key=lambda entry: entry["class"])
    if warnings := left_out(absent, len(parts)):
        details["warnings"] = warnings
    return [
        PER_CLASS.score(
            mean.value,
            log_interval(mean.value, mean.standard_error / mean.value),
            "influence functions, classes independent, normal on the log scale",
            n_reference=int(prepared["count"]),
            n_generated=len(generated),
            per_sample=mean.influence,
            details=details,
        )
    ]


def of_classes(samples: SampleSet) -> tuple[list[Part], list[dict[str, Any]]]:
    """Every class's mIS, and an entry for each class without one. Raises ValueError where a probability is exactly zero, or
    a label is no class of the classifier.
    """
    parts: list[Part] = []
    absent: list[dict[str, Any]] = []
    log_probabilities, classes = samples.array("log_probabilities"), classes_of(samples)
    if classes.max() >= log_probabilities.shape[1]:
        raise ValueError(
            f"there are labels up to {classes.max()}, and {log_probabilities.shape[1]} class probabilities"
        )
    for c in range(log_probabilities.shape[1]):
        rows = np.flatnonzero(classes == c)
        if len(rows) < LEAST:
            reason = f"{len(rows)} generated clips, at least {LEAST} are needed"
            absent.append({"class": c, "value": None, "reason": reason, "n_generated": len(rows)})
        else:
            log_value, influence = log_mis(SampleSet(log_probabilities=log_probabilities[rows]))
            value = float(np.exp(log_value))
            interval = log_interval(value, standard_error(influence))
            parts.append(Part(c, value, interval, rows, value * influence, {}))
    return parts, absent

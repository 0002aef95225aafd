"""Vendi per class: how diverse the clips of each class are, averaged over classes (Friedman & Dieng 2023; dgm-eval).

    mean_c Vendi( clips of class c ),   0 for a class without clips

Over all clips Vendi mostly counts classes; this says whether the clips of one class differ. A generated clip's class is its
label where the model was told one, else the most probable class; a reference clip's is its label. Right is what real clips
give: `target`, the mean over random parts of the reference with as many clips in all, so that a class that is drawn too rarely,
or never, counts as less diverse. `classes` in the details has one entry for each class of the corpus.

Differs from the paper: an average beside the classes' values, a target, an interval; how many clips a class has is held fixed.
"""

from typing import Any

import numpy as np

from evaluation.classes import Part, classes_of, mean_over
from evaluation.comparison import Comparison
from evaluation.diversity import decompose, spectrum, vendi, without_direction
from evaluation.metrics.base import Undefined
from evaluation.metrics.frechet_per_class import ByClass
from evaluation.metrics.vendi import few
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import log_interval, normal_interval, standard_error

VERSION = 1
USES = ("comparison",)
PER_CLASS = ByClass(
    key="v1/vendi/per-class",
    name="Vendi per class",
    version=VERSION,
    better="target",
    needs=("features",),
    needs_reference=("features", "labels"),
    minimum=6,  # the comparison knows five neighbours of every clip
    headline=False,
    doc="How diverse the clips of one class are, on average; right is what as many real clips give.",
)
METRICS = (PER_CLASS,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """classes (N,) of the reference's clips."""
    PER_CLASS.require(reference, "reference")
    return {"classes": classes_of(SampleSet(labels=reference.labels))}


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score | Undefined]:
    """The mean over the classes of the reference; undefined where a clip has no direction."""
    PER_CLASS.require(generated)
    comparison: Comparison = prepared["comparison"]
    if reason := without_direction(comparison):
        return [Undefined(PER_CLASS.key, reason)]
    features, classes, m = generated.array("features"), classes_of(generated), len(generated)
    numbers, counts = np.unique(prepared["classes"], return_counts=True)
    real = [(comparison.real.features[part[:m]], prepared["classes"][part[:m]]) for part in comparison.parts]

    parts: list[Part] = []
    entries: list[dict[str, Any]] = []
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        rows = np.flatnonzero(classes == number)
        about = {"target": float(np.mean([_vendi(x[of == number]) for x, of in real])), "n_reference": count}
        if len(rows):
            shares, influence = decompose(features[rows])
            value = vendi(shares)
            se = standard_error(influence) if len(rows) > 1 else 0.0
            parts.append(Part(number, value, log_interval(value, se), rows, value * influence, about))
            entries.append(parts[-1].to_json())
        else:
            entries.append({"class": number, "value": 0.0, "reason": "no clip of this class", "n_generated": 0} | about)

    target = float(np.mean([entry["target"] for entry in entries]))
    value, se, influence = 0.0, 0.0, np.zeros(m)
    if parts:
        mean, present = mean_over(parts, m), len(parts) / len(entries)
        value, se, influence = mean.value * present, mean.standard_error * present, mean.influence * present
    return [
        PER_CLASS.score(
            value,
            normal_interval(value, se),
            "influence functions, classes independent, normal; the classes' counts held fixed",
            n_reference=len(comparison.real),
            n_generated=m,
            per_sample=influence,
            details={"target": target, "ratio": value / target, "classes": entries, **_warnings(entries, comparison)},
        )
    ]


def _vendi(features: np.ndarray) -> float:
    return vendi(spectrum(features)) if len(features) else 0.0


def _warnings(entries: list[dict[str, Any]], comparison: Comparison) -> dict[str, list[str]]:
    warnings = few(len(comparison.real), len(comparison.generated))
    if absent := [str(entry["class"]) for entry in entries if not entry["n_generated"]]:
        warnings.append(f"no clip of class {', '.join(absent)}, which counts as 0")
    return {"warnings": warnings} if warnings else {}

"""FID per class: how far the generated clips of each class are from real clips of that class, and the mean over classes.

    mean_c FID(reference clips labelled c, generated clips of class c)

A generated clip's class is its label where the model was told one, else the most probable class; a reference clip's is its
label. `classes` in the details has one entry for each class of the corpus: value, interval, counts and warnings, or the
reason why there is no value: a class of fewer than two clips has no covariance. The mean is over the classes that have a
value, each counting the same, and warns where one has none: a generator that skips a class is not punished here.

Source: intra-class FID of conditional generators (Miyato & Koyama 2018). Differs from the paper: classes may be the
classifier's guess, which is then the distance within what it hears as that class; intervals.
FID's bias, about c / M, is that of a class's few clips, so the mean is far above FID: compare equal counts only.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation import gaussian
from evaluation.classes import LEAST, Part, classes_of, left_out, mean_over
from evaluation.metrics.base import Metric, Undefined
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval, standard_error

VERSION = 1


@dataclass(frozen=True)
class ByClass(Metric):
    """A metric of clips whose class is known from labels or from probabilities."""

    def obstacle(self, samples: SampleSet, side: str = "generated") -> str:
        """As every metric's; and that a generated set has neither labels nor probabilities."""
        reason = super().obstacle(samples, side)
        if not reason and side == "generated" and samples.labels is None and samples.log_probabilities is None:
            return "no classes: there are neither labels nor class probabilities (generated side)"
        return reason


PER_CLASS = ByClass(
    key="v1/fid/per-class",
    name="FID per class",
    version=VERSION,
    better="lower",
    needs=("features",),
    needs_reference=("features", "labels"),
    digits=3,
    headline=False,
    doc="Mean over classes of the FID between generated and training clips of that class; biased upward more than FID.",
)
METRICS = (PER_CLASS,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Of the classes 0 to C - 1: means (C, D), roots (C, r, D) with zeros below the last row, counts (C,); count ()."""
    PER_CLASS.require(reference, "reference")
    features, classes = reference.array("features"), classes_of(SampleSet(labels=reference.labels))
    counts, d = np.bincount(classes), features.shape[1]
    means, roots = np.zeros((len(counts), d)), np.zeros((len(counts), min(counts.max(), d), d))
    for c in np.flatnonzero(counts >= LEAST):
        found = gaussian.prepare(SampleSet(features[classes == c]))
        means[c], roots[c, : len(found["root"])] = found["mean"], found["root"]
    return {"means": means, "roots": roots, "counts": counts, "count": np.array(len(reference))}


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score | Undefined]:
    """The mean over classes; Undefined where no class has two clips on both sides."""
    PER_CLASS.require(generated)
    classes, counts, n = classes_of(generated), prepared["counts"], len(generated)
    parts: list[Part] = []
    absent: list[dict[str, Any]] = []
    for c in np.flatnonzero(counts).tolist():
        rows = np.flatnonzero(classes == c)
        if len(rows) < LEAST or counts[c] < LEAST:
            sides = f"{len(rows)} generated and {counts[c]} reference clips, at least {LEAST} are needed"
            absent.append({"class": c, "value": None, "reason": sides, "n_generated": len(rows)})
        else:
            parts.append(_of_one(prepared, c, rows, generated))
    if not parts:
        return [Undefined(PER_CLASS.key, f"no class has {LEAST} generated clips and {LEAST} reference clips")]
    mean = mean_over(parts, n)
    return [
        PER_CLASS.score(
            mean.value,
            normal_interval(mean.value, mean.standard_error),
            "influence functions, classes independent, normal; reference held fixed; the bias is not in it",
            n_reference=int(prepared["count"]),
            n_generated=n,
            per_sample=mean.influence,
            details=_details(parts, absent, classes, prepared),
        )
    ]


def _of_one(prepared: dict[str, Any], c: int, rows: np.ndarray, generated: SampleSet) -> Part:
    count = int(prepared["counts"][c])
    part = {"mean": prepared["means"][c], "root": prepared["roots"][c, :count], "count": np.array(count)}
    found = gaussian.Gaussian(part, SampleSet(generated.array("features")[rows]))
    value, influence = found.distance.value, found.distance.influence
    interval = normal_interval(value, standard_error(influence))
    return Part(c, value, interval, rows, influence, {"n_reference": count, "warnings": found.warnings})


def _details(parts: list[Part], absent: list[dict[str, Any]], classes: np.ndarray, prepared: dict[str, Any]) -> Any:
    entries = [part.to_json() for part in parts] + absent
    details: dict[str, Any] = {"classes": sorted(entries, key=lambda entry: entry["class"])}
    warnings, d = left_out(absent, len(parts)), prepared["means"].shape[1]
    if few := [part for part in parts if min(len(part.rows), part.details["n_reference"]) <= d]:
        least = min(len(part.rows) for part in few)
        warnings.append(
            f"biased: {len(few)} of {len(parts)} classes have no more clips than the {d} feature dimensions; the "
            f"smallest has {least} generated clips"
        )
    if alike := [
        str(part.number) for part in parts if any(w.startswith("degenerate") for w in part.details["warnings"])
    ]:
        warnings.append(f"degenerate: all generated clips of class {', '.join(alike)} have the same features")
    if strays := int(np.isin(classes, np.flatnonzero(prepared["counts"]), invert=True).sum()):
        warnings.append(f"{strays} generated clips are of a class that the reference lacks, and are left out")
    return details | ({"warnings": warnings} if warnings else {})

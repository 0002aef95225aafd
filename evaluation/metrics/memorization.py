"""C_T: are generated clips closer to the training clips than held-out clips are? (Meehan, Chaudhuri & Dasgupta 2020)

    C_T = sum_c P(c) Z_c / sum_c P(c),   Z_c = (U_c - nm/2 + 1/2) / sqrt(nm (n + m + 1) / 12)

over the cells c of a partition of the training clips that hold more than 20 generated ones; P(c) the share of the held-out
clips, U_c the Mann-Whitney U of the m generated against the n held-out clips of the cell in their distance to the nearest
training clip. 0: like held-out clips; far below 0: copies; far above: worse than real. Z grows with the number of clips, so
`v1/ct/auc` is its effect size: the probability that a generated clip is closer to the training set than a held-out one.

Differs from the paper: the nearest training clip may lie in another cell; cells are those of k-means in the 64 leading
principal components, three as in dgm-eval, or fewer where one would hold less than 20 held-out clips.
Intervals hold the chance of both samples, generated and held-out, by influence functions (for the AUC: DeLong et al. 1988); the
training set is fixed. `shared_standard_error` in the details is the part that all models judged by these clips have in common.
"""

import math
from typing import Any

import numpy as np

from evaluation import kmeans
from evaluation.data_copying import data_copying, exceeding
from evaluation.metrics.base import Metric, Undefined
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval, standard_error

VERSION = 1
USES = ("comparison",)
CELLS, LEAST, RESTARTS = 3, 20, 10
FAR = -3.0  # the paper's rule of thumb
BESIDE_HELD_OUT: dict[str, Any] = {
    "version": VERSION,
    "better": "target",
    "needs": ("features",),
    "needs_reference": ("features", "held_out.features"),
    "minimum": CELLS * LEAST + 1,  # so that one cell holds more than 20
}
CT = Metric(
    key="v1/ct",
    name="C_T",
    doc="Distance to the training clips beside that of held-out clips: 0 is right, far below it are copies.",
    **BESIDE_HELD_OUT,
)
AUC = Metric(
    key="v1/ct/auc",
    name="C_T AUC",
    digits=3,
    headline=False,
    doc="Probability that a generated clip is closer to the training clips than a held-out clip is: 0.5 is right.",
    **BESIDE_HELD_OUT,
)
METRICS = (CT, AUC)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """mean (D,), basis (D, d) and centres (k, d) of the cells; held_out_cells: the held-out clips' cells; count ()."""
    CT.require(reference, "reference")
    assert reference.held_out is not None  # `require` has seen to it
    space = kmeans.space(reference.array("features"))
    points, others = (space.points(clips.array("features")) for clips in (reference, reference.held_out))
    for k in range(CELLS, 0, -1):
        centres = kmeans.kmeans(points, k, 0, RESTARTS).centres
        cells = kmeans.nearest(others, centres)
        if np.bincount(cells, minlength=len(centres)).min() >= LEAST:
            break
    return {**space._asdict(), "centres": centres, "held_out_cells": cells, "count": np.array(len(points))}


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score | Undefined]:
    """C_T and its effect size. Raises ValueError where the dimension of the features is not the reference's."""
    CT.require(generated)
    if "count" not in prepared:  # the comparison is there for other metrics
        return [Undefined(metric.key, "the reference was prepared without held-out clips") for metric in METRICS]
    comparison = prepared["comparison"]
    near, held_out, training = comparison.across.nearest, comparison.prepared["held_out_distance"], comparison.radii
    points = kmeans.Space(prepared["mean"], prepared["basis"]).points(generated.array("features"))
    cells = kmeans.nearest(points, prepared["centres"])
    ours, theirs = near.distance[:, 0], held_out[:, 0]

    found = data_copying(ours, cells, theirs, prepared["held_out_cells"], LEAST)
    details: dict[str, Any] = {
        "target": 0.0,
        "cells": [cell._asdict() for cell in found.cells],
        "shared_standard_error": standard_error(found.held_out_influence),
        "closer_than_training": float(exceeding(ours, training[:, 0]).mean()),
    }
    if found.value < FAR and not comparison.copies.alarm:
        details["warnings"] = [_reading(details["closer_than_training"])]

    ranks, real_ranks = exceeding(ours, theirs), 1 - exceeding(theirs, ours)
    auc = float(ranks.mean())
    counted: dict[str, Any] = {"n_reference": int(prepared["count"]), "n_generated": len(ours)}
    return [
        CT.score(
            found.value,
            normal_interval(found.value, math.hypot(*map(standard_error, (found.influence, found.held_out_influence)))),
            "influence function over generated and held-out clips, normal",
            **counted,
            per_sample=found.influence,
            details=details,
        ),
        AUC.score(
            auc,
            normal_interval(auc, math.hypot(standard_error(ranks - auc), standard_error(real_ranks - auc))),
            "DeLong, over generated and held-out clips, normal",
            **counted,
            per_sample=ranks - auc,
            details={"target": 0.5, "shared_standard_error": standard_error(real_ranks - auc)},
        ),
    ]


def _reading(closer: float) -> str:
    """What a low C_T means without copies; closer: the probability to be closer to a training clip than the others are."""
    if closer > 0.5:
        return "closer to training clips than these are to each other, but hardly copies: typical sounds, or few different ones"
    return "closer to training clips than held-out clips are, but no closer than these are to each other: no sign of copying"

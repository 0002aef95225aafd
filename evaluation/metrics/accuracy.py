"""Accuracy: how often the classifier hears the class that a clip is meant to be, and how sure of itself it is.

    accuracy   = share of clips whose most probable class is their label
    confidence = mean over clips of the largest class probability

Labels exist where a model was told which class to make, and of real clips: the accuracy on held-out ones is what perfect
clips would have. Of a generator that was told nothing there are none, and neither score. Confidence needs no label, but is
of use beside accuracy only: where it is larger, the classifier believes more than it should. That is in the details:
`probability_of_label`, `cross_entropy` in nats, and the expected calibration error with its bins (Guo et al. 2017, eq. 3; 15
bins of equal width), each (low, high] with its count, mean confidence and accuracy; `per_class` has one entry for every class.

Source: the classification accuracy score of conditional samples (Ravuri & Vinyals 2019). Differs from the paper: that trains
a classifier on samples and tests it on real clips; here it is the benchmark's, trained on real clips and heard on samples.
Intervals: Wilson's (1927) for accuracy, whose half-width is called 1.96 standard errors; normal for confidence.
A generator that was guided by the classifier, or makes one clear clip per class, scores high: see recall and coverage.
"""

from typing import Any

import numpy as np

from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval, proportion_interval, standard_error

VERSION = 1
BINS = 15
NEEDS = ("log_probabilities", "labels")
ACCURACY = Metric(
    key="v1/accuracy",
    name="accuracy",
    version=VERSION,
    better="higher",
    needs=NEEDS,
    digits=3,
    headline=False,
    doc="Share of clips that the classifier hears as the class that they are meant to be.",
)
CONFIDENCE = Metric(
    key="v1/accuracy/confidence",
    name="confidence",
    version=VERSION,
    better="higher",
    needs=NEEDS,
    digits=3,
    headline=False,
    doc="Mean probability that the classifier gives to the class that it hears.",
)
METRICS = (ACCURACY, CONFIDENCE)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing: accuracy looks at generated clips alone."""
    return {}


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score]:
    """Accuracy and confidence. Raises ValueError where a label is no class of the classifier."""
    ACCURACY.require(generated)
    labels, probabilities, n = generated.array("labels"), generated.probabilities, len(generated)
    classes = probabilities.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"v1/accuracy: labels run from {labels.min()} to {labels.max()}, and the classifier knows classes 0 to "
            f"{classes - 1}; the labels are of another corpus or classifier"
        )
    right = probabilities.argmax(axis=1) == labels
    confidence = probabilities.max(axis=1)
    accuracy, error = float(right.mean()), confidence - confidence.mean()
    counts = np.bincount(labels, minlength=classes)
    correct = np.bincount(labels[right], minlength=classes)
    asked = generated.log_probabilities64[np.arange(n), labels]
    details = {
        "per_class": [
            {"class": c, "count": int(counts[c]), "accuracy": float(correct[c] / counts[c]) if counts[c] else None}
            for c in range(classes)
        ],
        "probability_of_label": float(np.exp(asked).mean()),
        "cross_entropy": float(-asked.mean()) if np.isfinite(asked).all() else None,
    }
    return [
        ACCURACY.score(
            accuracy,
            proportion_interval(int(right.sum()), n),
            "Wilson's interval for a proportion",
            n_generated=n,
            per_sample=right - accuracy,
            details=details,
        ),
        CONFIDENCE.score(
            confidence.mean(),
            normal_interval(float(confidence.mean()), standard_error(error)),
            "mean over clips, normal",
            n_generated=n,
            per_sample=error,
            details=calibration(confidence, right),
        ),
    ]


def calibration(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """expected_calibration_error, and the bins that it is made of; confidence (n,) in (0, 1], right (n,) bool."""
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    found: list[dict[str, Any]] = []
    error = 0.0
    for i in range(bins):
        inside = index == i
        entry: dict[str, Any] = {"low": float(edges[i]), "high": float(edges[i + 1]), "count": int(inside.sum())}
        entry |= {"confidence": None, "accuracy": None}
        if inside.any():
            entry |= {"confidence": float(confidence[inside].mean()), "accuracy": float(right[inside].mean())}
            error += entry["count"] / len(right) * abs(entry["confidence"] - entry["accuracy"])
        found.append(entry)
    return {"expected_calibration_error": error, "bins": found}

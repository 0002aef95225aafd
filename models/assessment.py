"""What a trained classifier makes of clips: the features that the metrics use, and how far its scores can be trusted.

Sources: the interval of the accuracy is Wilson (1927); the expected calibration error is Guo et al. 2017, "On
Calibration of Modern Neural Networks", eq. 3, with 15 bins of equal width.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from models.classifiers.base import Classifier
from models.clips import FULL_SCALE, ClipArray

CALIBRATION_BINS = 15
Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution

Progress = Callable[[int, int, str], None]


def embed(
    classifier: Classifier, codes: np.ndarray, batch_size: int = 256, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, feature_dimensions) float32 and log-probabilities (n, classes) float64 of clips.

    codes: (n, timesteps) int16, may be memory-mapped; only a batch of it is in memory at a time. The classifier is used
    in evaluation mode, on the device where it is, and left in the mode that it was in. A clip's numbers do not depend
    on the other clips, and on batch_size only by the rounding of float32.

    Raises ValueError for codes of another type or shape, and where the classifier gives a number that is not finite.
    """
    if codes.ndim != 2 or codes.dtype != np.int16 or codes.shape[1] != classifier.timesteps:
        raise ValueError(
            f"this classifier listens to int16 codes of shape (n, {classifier.timesteps}) at "
            f"{classifier.sample_rate} Hz, not to {codes.dtype} {codes.shape}; prepare or import the clips first"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} must be 1 or more")
    device = next(classifier.parameters()).device
    count = len(codes)
    features = np.empty((count, classifier.feature_dimensions), np.float32)
    log_probabilities = np.empty((count, len(classifier.labels)), np.float64)
    training = classifier.training
    classifier.eval()
    try:
        with torch.inference_mode():
            for start in range(0, count, batch_size):
                rows = slice(start, min(start + batch_size, count))
                waveforms = torch.from_numpy(np.array(codes[rows])).to(device).float() / FULL_SCALE
                batch_features, batch_log_probabilities = classifier.features(waveforms)
                features[rows] = batch_features.cpu().numpy()
                log_probabilities[rows] = batch_log_probabilities.cpu().numpy()
                if progress is not None:
                    progress(rows.stop, count, "clips heard")
    finally:
        classifier.train(training)
    bad = ~(np.isfinite(features).all(axis=1) & np.isfinite(log_probabilities).all(axis=1))
    if bad.any():
        raise ValueError(
            f"the classifier's output is not finite for {int(bad.sum())} of {count} clips (the first is clip "
            f"{int(bad.argmax())}): its weights are damaged or its training diverged; train it again"
        )
    return features, log_probabilities


def assess(
    classifier: Classifier, clips: ClipArray, batch_size: int = 256, progress: Progress | None = None
) -> dict[str, Any]:
    """How well the classifier does on labelled clips: accuracy with its 95 % interval, per class and as a confusion
    matrix (rows = true class), and calibration. Plain Python numbers, ready for JSON; see `assess_predictions`.

    Raises ValueError where the clips have no labels, or there are none.
    """
    if clips.labels is None or len(clips) == 0:
        raise ValueError("a classifier can only be assessed on clips with labels; these are empty or have none")
    _, log_probabilities = embed(classifier, clips.codes, batch_size, progress)
    return assess_predictions(log_probabilities, np.asarray(clips.labels), classifier.labels)


def assess_predictions(log_probabilities: np.ndarray, truth: np.ndarray, labels: list[str]) -> dict[str, Any]:
    """log_probabilities: (n, classes); truth: (n,) class indices; labels: class names. n must be 1 or more."""
    predicted = log_probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    right = int(confusion.trace())
    low, high = wilson_interval(right, len(truth))
    confidence = np.exp(log_probabilities.max(axis=1))
    error, bins = calibration(confidence, predicted == truth)
    per_class = {
        label: (int(row[index]) / int(row.sum()) if row.sum() else None)
        for index, (label, row) in enumerate(zip(labels, confusion, strict=True))
    }
    return {
        "count": len(truth),
        "accuracy": right / len(truth),
        "accuracy_low": low,
        "accuracy_high": high,
        "cross_entropy": float(-log_probabilities[np.arange(len(truth)), truth].mean()),
        "per_class_accuracy": per_class,
        "labels": list(labels),
        "confusion_matrix": confusion.tolist(),
        "mean_confidence": float(confidence.mean()),
        "expected_calibration_error": error,
        "reliability_bins": bins,
    }


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's interval for a proportion; unlike the normal one it stays inside [0, 1] and has width at 0 and 1."""
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At 0 and 1 the exact bound is 0 and 1, and rounding would miss it by 1e-17.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == trials else centre + half)


def calibration(confidence: np.ndarray, right: np.ndarray) -> tuple[float, list[dict[str, float | int | None]]]:
    """Expected calibration error, and its bins: mean confidence and accuracy of the clips in (low, high], or None.

    confidence: (n,) probability given to the predicted class;  right: (n,) bool
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, CALIBRATION_BINS - 1)
    error, bins = 0.0, []
    for bin_index in range(CALIBRATION_BINS):
        inside = index == bin_index
        count = int(inside.sum())
        mean = float(confidence[inside].mean()) if count else None
        accuracy = float(right[inside].mean()) if count else None
        if mean is not None and accuracy is not None:
            error += count / len(confidence) * abs(accuracy - mean)
        low, high = float(edges[bin_index]), float(edges[bin_index + 1])
        bins.append({"low": low, "high": high, "count": count, "confidence": mean, "accuracy": accuracy})
    return error, bins

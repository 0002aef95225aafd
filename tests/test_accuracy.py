"""Accuracy, confidence and calibration of a classifier that hears samples of known classes."""

import numpy as np
import pytest

from evaluation import SampleSet, Score, measure
from evaluation.metrics import accuracy
from evaluation.uncertainty import proportion_interval


def heard(probabilities: list[list[float]], labels: list[int]) -> list[Score]:
    with np.errstate(divide="ignore"):
        logs = np.log(np.array(probabilities))
    return accuracy.compute({}, SampleSet(log_probabilities=logs, labels=np.array(labels)))


def calibrated(rng: np.random.Generator, count: int) -> SampleSet:
    """Samples whose class is drawn from the very probabilities that the classifier gives."""
    logits = 2 * rng.normal(size=(count, 5))
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    labels = (np.exp(logs).cumsum(axis=1) < rng.uniform(size=(count, 1))).sum(axis=1)
    return SampleSet(log_probabilities=logs, labels=labels)


def test_what_is_right_is_counted_and_how_sure_it_was() -> None:
    right, sure = heard([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1], [0.2, 0.3, 0.5]], [0, 1, 1, 0])
    assert (right.value, sure.value) == (0.5, pytest.approx((0.7 + 0.6 + 0.5 + 0.5) / 4))
    assert right.details["probability_of_label"] == pytest.approx((0.7 + 0.6 + 0.4 + 0.2) / 4)
    assert right.details["cross_entropy"] == pytest.approx(-np.log([0.7, 0.6, 0.4, 0.2]).mean())
    assert [entry["accuracy"] for entry in right.details["per_class"]] == [0.5, 0.5, None]
    assert [entry["count"] for entry in right.details["per_class"]] == [2, 2, 0]
    assert right.per_sample is not None
    assert right.per_sample.tolist() == [0.5, 0.5, -0.5, -0.5]
    assert (right.n_reference, right.n_generated) == (0, 4)


def test_accuracy_has_wilsons_interval_also_where_all_are_right() -> None:
    right, _ = heard([[0.9, 0.1]] * 30, [0] * 30)
    assert (right.value, right.high) == (1.0, 1.0)
    assert right.low == pytest.approx(30 / (30 + 1.959964**2), rel=1e-6)
    assert right.standard_error > 0
    wrong, _ = heard([[0.9, 0.1]] * 30, [1] * 30)
    assert (wrong.value, wrong.low) == (0.0, 0.0)


def test_wilsons_interval_is_the_one_of_the_classifiers_assessment() -> None:
    from models.assessment import wilson_interval

    for count, n in ((0, 20), (3, 20), (20, 20), (512, 2048)):
        interval = proportion_interval(count, n)
        assert (interval.low, interval.high) == pytest.approx(wilson_interval(count, n), abs=1e-9)


def test_calibration_is_that_of_the_classifiers_assessment() -> None:
    from models.assessment import calibration

    samples = calibrated(np.random.default_rng(0), 500)
    confidence = samples.probabilities.max(axis=1)
    right = samples.probabilities.argmax(axis=1) == samples.labels
    error, bins = calibration(confidence, right)
    ours = accuracy.calibration(confidence, right)
    assert ours["expected_calibration_error"] == pytest.approx(error, rel=1e-12)
    assert [entry["count"] for entry in ours["bins"]] == [entry["count"] for entry in bins]
    edges = np.array([0.2, 0.4, 1.0])  # bins are (low, high]
    assert [b["count"] for b in accuracy.calibration(edges, edges > 0, bins=5)["bins"]] == [1, 1, 0, 0, 1]


def test_a_calibrated_classifier_is_as_sure_as_it_is_right() -> None:
    right, sure = accuracy.compute({}, calibrated(np.random.default_rng(1), 4000))
    assert right.value == pytest.approx(sure.value, abs=0.02)
    assert sure.details["expected_calibration_error"] < 0.03
    assert sum(entry["count"] for entry in sure.details["bins"]) == 4000


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(2)
    truth = accuracy.compute({}, calibrated(rng, 100_000))
    held = np.zeros(2)
    for _ in range(200):
        held += [
            s.low <= t.value <= s.high for s, t in zip(accuracy.compute({}, calibrated(rng, 60)), truth, strict=True)
        ]
    assert (held >= 178).all()
    assert (held <= 199).all()


def test_an_exact_zero_is_no_trouble() -> None:
    right, sure = heard([[1.0, 0.0], [1.0, 0.0]], [0, 1])
    assert (right.value, sure.value) == (0.5, 1.0)
    assert right.details["cross_entropy"] is None


def test_labels_that_are_no_classes_are_an_error() -> None:
    with pytest.raises(ValueError, match="labels run from 0 to 3, and the classifier knows classes 0 to 1"):
        heard([[0.5, 0.5], [0.5, 0.5]], [0, 3])


def test_without_labels_it_says_so() -> None:
    real, samples = calibrated(np.random.default_rng(0), 50), calibrated(np.random.default_rng(1), 50)
    scores = measure(real, SampleSet(log_probabilities=samples.log_probabilities))
    for key in ("v1/accuracy", "v1/accuracy/confidence"):
        assert "no labels: it is not known which class" in scores.not_applicable[key]
    assert "v1/accuracy" in measure(real, samples)

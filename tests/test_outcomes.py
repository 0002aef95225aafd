"""What unusual input gives, metric by metric: the table "Unusual input" of docs/metrics.md."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import evaluation
from evaluation import SampleSet
from tests.test_metrics_contract import with_held_out

CLASSES = 5


@pytest.fixture(scope="module")
def real() -> SampleSet:
    return with_held_out(300, 0)


@pytest.fixture(scope="module")
def good() -> SampleSet:
    return with_held_out(120, 1)


def with_features(samples: SampleSet, features: Any) -> SampleSet:
    """The clips with other features; a number stands for all of them."""
    shape = samples.array("features").shape
    return replace(samples, features=np.broadcast_to(np.float32(features), shape).copy())


def warned(scores: evaluation.Scores, word: str) -> set[str]:
    return {key for key, score in scores.items() if any(text.startswith(word) for text in score.warnings)}


def test_usual_input_gives_every_metric_without_a_warning(real: SampleSet, good: SampleSet) -> None:
    scores = evaluation.measure(real, good)
    assert set(scores) == {*evaluation.METRICS}
    assert not any(score.warnings or "alarm" in score.details for score in scores.values())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(real: SampleSet, good: SampleSet, value: float) -> None:
    features = good.array("features").copy()
    features[7, 2] = value
    with pytest.raises(ValueError, match=r"1 of 120 rows hold NaN or infinity, the first is row 7"):
        evaluation.measure(real, replace(good, features=features))


@pytest.mark.parametrize(
    ("least", "keys"),
    [
        (2, ("v1/fid", "v1/is", "v1/mis", "v1/am", "sashimi/fid")),
        (6, ("v1/kid", "v1/kad", "v1/vendi", "v1/authpct")),
        (12, ("v1/precision", "v1/recall", "v1/density", "v1/coverage")),
        (20, ("v1/ndb", "v1/is/10-splits")),
        (60, ("v1/fid/infinity",)),
        (61, ("v1/ct",)),
    ],
)
def test_too_few_clips(real: SampleSet, good: SampleSet, least: int, keys: tuple[str, ...]) -> None:
    enough, few = (evaluation.measure(real, good.take(slice(count))) for count in (least, least - 1))
    for key in keys:
        assert key in enough
        clips = "clips" if least > 2 else "clip"
        assert few.not_applicable[key] == f"{least - 1} {clips} on the generated side, at least {least} are needed"


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_small_reference_beside_enough_held_out_clips(real: SampleSet, good: SampleSet, count: int) -> None:
    scores = evaluation.measure(real.take(slice(count)), good)
    assert "v1/fid" in scores
    needed = f"{count} clips on the reference side, at least 6 are needed"
    assert scores.not_applicable["v1/authpct"] == scores.not_applicable["v1/kid"] == needed


def test_features_too_large_for_their_squares(real: SampleSet, good: SampleSet) -> None:
    large = good.array("features").astype(np.float64)
    large[5] *= 1e110
    with pytest.raises(ValueError, match=r"1 of 120 rows hold values beyond 1e\+38, the first is row 5"):
        evaluation.measure(real, replace(good, features=large))


def test_no_more_clips_than_dimensions(real: SampleSet, good: SampleSet) -> None:
    def wide(samples: SampleSet, seed: int) -> SampleSet:
        return replace(samples, features=np.random.default_rng(seed).normal(size=(len(samples), 200)))

    assert real.held_out is not None
    scores = evaluation.measure(replace(wide(real, 1), held_out=wide(real.held_out, 2)), wide(good, 3))
    assert warned(scores, "biased") == {"v1/fid", "v1/fid/infinity", "v1/fid/per-class", "sashimi/fid"}


def test_generated_features_that_are_all_alike(real: SampleSet, good: SampleSet) -> None:
    scores = evaluation.measure(real, with_features(good, 1.0))
    assert {"v1/fid", "v1/fid/infinity", "v1/kid", "v1/kad", "v1/vendi"} <= warned(scores, "degenerate")
    assert scores["v1/vendi"].value == pytest.approx(1.0)
    assert scores["v1/vendi"].details["alarm"].startswith("repeats itself: 100%")

    scores = evaluation.measure(real, with_features(good, 0.0))
    assert "no direction" in scores.not_applicable["v1/vendi"]
    assert "v1/fid" in warned(scores, "degenerate")


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_reference_features_that_are_all_alike(real: SampleSet, good: SampleSet) -> None:
    assert real.held_out is not None
    scores = evaluation.measure(replace(with_features(real, 1.0), held_out=with_features(real.held_out, 1.0)), good)
    assert "the bandwidth is 0" in scores.not_applicable["v1/kad"]
    assert "their distance is 0" in scores.not_applicable["v1/nearest"]
    assert warned(scores, "degenerate") == {"v1/ndb", "v1/ndb/js"}


@pytest.mark.parametrize("count", [32, 120])
def test_copies_of_the_reference_however_few(real: SampleSet, count: int) -> None:
    scores = evaluation.measure(real, replace(real.take(slice(count)), held_out=None))
    assert scores["v1/authpct"].details["alarm"].startswith(f"copies the training set: {count} of {count} clips")


def test_one_class_only(real: SampleSet, good: SampleSet) -> None:
    heard = good.array("log_probabilities").argmax(axis=1)
    assert "alarm" not in evaluation.measure(real, good.take(heard < 2))["v1/am"].details
    alarm = evaluation.measure(real, good.take(heard == 1))["v1/am"].details["alarm"]
    assert alarm.startswith("has collapsed: it makes 1.")


def test_the_order_of_clips_does_not_matter(real: SampleSet, good: SampleSet) -> None:
    """Not even where many have the same norm, or the same distances."""

    def rough(samples: SampleSet) -> SampleSet:
        return replace(samples, features=np.rint(samples.array("features")))

    assert real.held_out is not None
    rng = np.random.default_rng(5)
    plain, ours = replace(rough(real), held_out=rough(real.held_out)), rough(good)
    first = evaluation.measure(plain, ours)
    shuffled = plain.take(rng.permutation(len(plain)))
    again = evaluation.measure(shuffled, ours.take(rng.permutation(len(ours))))
    for key, score in first.items():
        if not key.startswith("sashimi/") and key != "v1/is/10-splits":  # which shuffle as others do
            assert again[key].value == pytest.approx(score.value, rel=1e-9, abs=1e-9), key
            assert again[key].standard_error == pytest.approx(score.standard_error, rel=1e-6), key


def test_a_class_that_is_never_made(real: SampleSet, good: SampleSet) -> None:
    heard = good.array("log_probabilities").argmax(axis=1)
    kept = np.flatnonzero((good.array("labels") != 2) & (heard != 2))
    scores = evaluation.measure(real, good.take(kept))
    assert warned(scores, "incomplete: the mean is over 4 of 5 classes (class 2") == {
        "v1/fid/per-class",
        "v1/mis/per-class",
    }
    assert warned(scores, "no clip of class 2, which counts as 0") == {"v1/vendi/per-class"}


def test_silence(real: SampleSet, good: SampleSet) -> None:
    scores = evaluation.measure(real, replace(good, waveforms=np.zeros_like(good.array("waveforms"))))
    loudness = scores["v1/acoustics/loudness"]
    assert loudness.value == pytest.approx(-101.1, abs=0.01)
    assert loudness.warnings == ["120 of 120 clips are silent throughout"]


def test_clips_that_repeat_each_other(real: SampleSet, good: SampleSet) -> None:
    scores = evaluation.measure(real, good.take(np.repeat(np.arange(60), 2)))
    assert scores["v1/vendi"].details["alarm"].startswith("repeats itself: 100%")
    half = np.where(np.arange(120) < 108, np.arange(120), 0)
    assert "alarm" not in evaluation.measure(real, good.take(half))["v1/vendi"].details, (
        "a tenth is not beyond a quarter"
    )


def test_a_probability_of_zero(real: SampleSet, good: SampleSet) -> None:
    log_probabilities = good.array("log_probabilities").copy()
    log_probabilities[3] = np.where(np.arange(CLASSES) == 0, -np.inf, np.log(1 / (CLASSES - 1)))
    scores = evaluation.measure(real, replace(good, log_probabilities=log_probabilities))
    assert "exactly zero" in scores.not_applicable["v1/mis"]
    assert "v1/is" in scores

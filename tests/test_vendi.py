"""Vendi: against Vendi-Score and dgm-eval, its influences, its target, and when it says that a generator has collapsed."""

import itertools
import re

import numpy as np
import pytest

import evaluation
from evaluation import SampleSet, Score, comparison, diversity
from evaluation.comparison import Comparison
from evaluation.controls import CONTROLS
from evaluation.diversity import decompose, spectrum, vendi
from evaluation.metrics import vendi as whole
from evaluation.metrics import vendi_per_class as by_class
from evaluation.uncertainty import bootstrap, log_interval, standard_error
from tests import reference

GENERATED = ("gen_good", "gen_memorised", "gen_duplicated", "gen_collapsed")
CLASSES, D = 10, 24


def spoken(rng: np.random.Generator, n: int) -> SampleSet:
    """Features as a classifier's: one sign, a class each, variety within classes."""
    labels = rng.integers(CLASSES, size=n)
    centres = np.random.default_rng(0).normal(size=(CLASSES, D))
    return SampleSet(features=np.maximum(2 * centres[labels] + rng.normal(size=(n, D)), 0) + 0.05, labels=labels)


def against(real: SampleSet, generated: np.ndarray) -> Score:
    found = Comparison(comparison.prepare(real), SampleSet(generated))
    score = whole.compute({"comparison": found}, SampleSet(generated))[0]
    assert isinstance(score, Score)
    return score


def per_class(real: SampleSet, generated: SampleSet) -> Score:
    return evaluation.measure(real, generated, metrics=["v1/vendi/per-class"])["v1/vendi/per-class"]


@pytest.mark.parametrize("name", GENERATED)
def test_vendi_equals_vendi_score_and_dgm_eval_in_every_order(name: str) -> None:
    arrays = reference.load("metrics_oracles").arrays
    score = against(SampleSet(arrays["in_train"]), arrays[f"in_{name}"])
    assert score.value == pytest.approx(float(arrays[f"out_{name}__vendi_scoreX_q1"]), rel=1e-7)
    for order, values in score.details["orders"].items():
        for tool in ("vendi_dual", "dgm_vendi"):
            assert values["value"] == pytest.approx(float(arrays[f"out_{name}__{tool}_q{order}"]), rel=1e-6)


def test_vendi_per_class_equals_dgm_eval() -> None:
    arrays = reference.load("metrics_oracles").arrays
    generated = SampleSet(arrays["in_gen_good"], labels=arrays["in_labels"])
    real = SampleSet(arrays["in_train"], labels=np.arange(len(arrays["in_train"])) % 10)
    score = per_class(real, generated)
    values = [entry["value"] for entry in score.details["classes"]]
    np.testing.assert_allclose(values, arrays["out_dgm_vendi_per_class"], rtol=1e-6)
    assert score.value == pytest.approx(np.mean(values), rel=1e-12)


def test_vendi_counts_different_clips() -> None:
    assert vendi(spectrum(np.eye(7)[np.arange(21) % 7] * 3)) == pytest.approx(7)
    assert vendi(spectrum(np.ones((9, 4)))) == pytest.approx(1)
    for q in whole.ORDERS:
        assert vendi(spectrum(np.eye(5)), q) == pytest.approx(5)


@pytest.mark.parametrize(("n", "d"), [(60, 12), (120, 160)], ids=["more clips", "more dimensions"])
def test_influences_agree_with_leaving_one_out_and_errors_with_the_bootstrap(n: int, d: int) -> None:
    rng = np.random.default_rng(1)
    x = np.abs(rng.normal(size=(n, d))) / np.arange(1, d + 1)
    shares, influence = decompose(x)
    assert shares.sum() == pytest.approx(1)
    moved = np.array([np.log(vendi(shares) / vendi(spectrum(np.delete(x, i, axis=0)))) for i in range(n)]) * (n - 1)
    slope, _ = np.polyfit(influence, moved, 1)
    assert slope == pytest.approx(1, abs=0.2)
    assert np.corrcoef(influence, moved)[0, 1] > 0.98
    resampled = bootstrap(lambda rows: np.log(vendi(spectrum(x[rows]))), n, 200, rng)
    assert standard_error(influence) == pytest.approx(resampled.std(ddof=1), rel=0.3)


def test_the_influence_is_the_derivative_of_the_entropy_by_a_clips_weight() -> None:
    rng = np.random.default_rng(2)
    x = np.abs(rng.normal(size=(12, 5)))
    z = x / np.linalg.norm(x, axis=1, keepdims=True)

    def entropy(weights: np.ndarray) -> float:
        values = np.linalg.eigvalsh((z * weights[:, None]).T @ z)
        return float(-(values @ np.log(values)))

    step, base = 1e-6, np.full(12, 1 / 12)
    slopes = [
        (entropy(base + step * (np.eye(12)[i] - base)) - entropy(base - step * (np.eye(12)[i] - base))) / (2 * step)
        for i in range(12)
    ]
    np.testing.assert_allclose(decompose(x)[1], slopes, atol=1e-6)


def test_both_sides_of_the_gram_matrix_give_the_same() -> None:
    rng = np.random.default_rng(3)
    x = np.abs(rng.normal(size=(40, 39)))
    wide, wide_influence = decompose(np.hstack([x, np.zeros((40, 41))]))
    tall, tall_influence = decompose(x)
    np.testing.assert_allclose(wide[-39:], tall, atol=1e-12)
    np.testing.assert_allclose(wide_influence, tall_influence, atol=1e-8)
    assert len(wide) == 39, "eigenvalues that are 0 but for rounding are left out"


def test_intervals_cover_the_expected_value() -> None:
    rng, draws = np.random.default_rng(4), 150
    scores = []
    for _ in range(draws):
        shares, influence = decompose(spoken(rng, 200).array("features"))
        scores.append((vendi(shares), log_interval(vendi(shares), standard_error(influence))))
    values = np.array([value for value, _ in scores])
    covered = np.mean([low <= values.mean() <= high for _, (low, high, _) in scores])
    assert 0.90 <= covered <= 0.99
    assert np.mean([interval.standard_error for _, interval in scores]) == pytest.approx(values.std(ddof=1), rel=0.15)


def test_the_target_is_what_as_many_real_clips_give() -> None:
    rng = np.random.default_rng(5)
    real = spoken(rng, 1500)
    for m in (60, 400):
        score = against(real, spoken(rng, m).array("features"))
        assert abs(score.value - score.details["target"]) < 4 * score.standard_error
        assert score.details["ratio"] == pytest.approx(1, abs=0.1)
        assert "alarm" not in score.details
    fewer = against(real.take(slice(100)), spoken(rng, 300).array("features"))
    assert any("100 real clips" in warning for warning in fewer.warnings)


CONTROL = {control.name: control for control in CONTROLS}


@pytest.mark.parametrize(
    ("name", "words"), [("repeated", "repeats itself: 100%"), ("half-collapsed", "repeats itself: 5[01]%")]
)
@pytest.mark.parametrize("jitter", [0.0, 1e-4], ids=["exact", "nearly"])
def test_a_collapsed_set_gives_an_alarm(name: str, words: str, jitter: float) -> None:
    rng = np.random.default_rng(6)
    real, test = spoken(rng, 1500), spoken(rng, 600).array("features")
    clips = CONTROL[name].draw(real.array("features"), test, 300, 0)
    score = against(real, clips + jitter * rng.normal(size=clips.shape))
    assert re.match(words, score.details["alarm"])


def test_what_is_neither_collapsed_nor_good_gives_none() -> None:
    rng = np.random.default_rng(7)
    real, other = spoken(rng, 1500), spoken(rng, 300).array("features")
    mean = real.mean
    for generated in (
        CONTROL["held-out"].draw(real.array("features"), other, 300, 0),
        CONTROL["copied"].draw(real.array("features"), other, 300, 0),
        mean + 0.5 * (other - mean),  # half as far from the mean
        other[np.r_[0:260, np.zeros(40, dtype=int)]],  # one clip 41 times in 300
        np.maximum(other + 2 * rng.normal(size=other.shape), 0) + 0.05,
    ):
        assert "alarm" not in against(real, generated).details


def test_clips_of_one_kind_give_an_alarm_though_none_is_like_another() -> None:
    rng = np.random.default_rng(8)
    score = against(spoken(rng, 1500), 6 + 0.7 * rng.normal(size=(200, D)))
    assert score.details["near_copies"] == 0
    assert score.details["alarm"].startswith("has collapsed")


def test_the_alarm_is_beyond_chance_for_few_clips_and_in_a_corpus_that_repeats_itself() -> None:
    assert not diversity.collapse(5, 5, copies=0.55, real_copies=0.30, m=200), "three standard errors"
    assert diversity.collapse(5, 5, copies=0.80, real_copies=0.30, m=200)
    assert not diversity.collapse(1, 1, copies=0, real_copies=0, m=20)


def test_classes_without_clips_count_as_zero_and_are_named() -> None:
    rng = np.random.default_rng(9)
    real, generated = spoken(rng, 800), spoken(rng, 300)
    full = per_class(real, generated)
    some = per_class(real, generated.take(generated.labels != 4))  # type: ignore[operator]
    assert abs(full.value - full.details["target"]) < 5 * full.standard_error
    entries = {entry["class"]: entry for entry in some.details["classes"]}
    assert entries[4]["value"] == entries[4]["n_generated"] == 0
    assert some.value == pytest.approx(np.mean([entry["value"] for entry in entries.values()]))
    assert some.warnings == ["no clip of class 4, which counts as 0"]
    assert some.value < full.value


def test_a_class_is_the_label_or_else_the_most_probable_one() -> None:
    rng = np.random.default_rng(10)
    real, generated = spoken(rng, 800), spoken(rng, 300)
    assert generated.labels is not None
    logits = np.log(np.where(np.eye(CLASSES)[generated.labels] > 0, 0.91, 0.01))
    guessed = SampleSet(generated.features, logits)
    assert per_class(real, guessed).value == per_class(real, generated).value
    reasons = evaluation.measure(real, SampleSet(generated.features)).not_applicable
    assert "neither labels nor class probabilities" in reasons["v1/vendi/per-class"]


def test_the_order_of_clips_does_not_matter() -> None:
    rng = np.random.default_rng(11)
    real, generated = spoken(rng, 300), spoken(rng, 100)
    shuffled = real.take(rng.permutation(300)), generated.take(rng.permutation(100))
    for first, again in (
        (against(real, generated.array("features")), against(shuffled[0], shuffled[1].array("features"))),
        (per_class(real, generated), per_class(*shuffled)),
    ):
        for name in ("value", "low", "high", "standard_error"):
            assert getattr(first, name) == pytest.approx(getattr(again, name), rel=1e-10)
        assert first.details["target"] == pytest.approx(again.details["target"], rel=1e-10)


def test_clips_without_direction_and_clips_all_alike() -> None:
    rng = np.random.default_rng(12)
    real = spoken(rng, 100)
    zeros = spoken(rng, 30).array("features")
    zeros[4:7] = 0
    scores = evaluation.measure(real, SampleSet(zeros, labels=np.arange(30) % 10))
    for key in ("v1/vendi", "v1/vendi/per-class"):
        assert "3 clips have features that are all zero" in scores.not_applicable[key]
    same = against(real, np.ones((20, D)))
    assert same.value == pytest.approx(1)
    assert same.warnings == ["degenerate: all generated clips have the same features"]
    assert list(itertools.islice(same.details["orders"], 4)) == ["0.5", "1", "2", "inf"]


def test_the_per_class_interval_covers() -> None:
    rng, draws = np.random.default_rng(13), 60
    real = spoken(rng, 400)
    prepared = evaluation.prepare(real, ["v1/vendi/per-class"])
    part = {"comparison": None, "classes": prepared["vendi_per_class.classes"]}
    scores = []
    for _ in range(draws):
        generated = spoken(rng, 300)
        inner = {key.removeprefix("comparison."): a for key, a in prepared.items() if key.startswith("comparison.")}
        found = by_class.compute(part | {"comparison": Comparison(inner, generated)}, generated)[0]
        assert isinstance(found, Score)
        scores.append(found)
    values = np.array([score.value for score in scores])
    assert np.mean([score.low <= values.mean() <= score.high for score in scores]) >= 0.85
    assert np.mean([score.standard_error for score in scores]) == pytest.approx(values.std(ddof=1), rel=0.3)

"""IS, mIS and AM, whole and class by class: invariances, bias as documented, and what becomes of odd input."""

import itertools
import math

import numpy as np
import pytest

from evaluation import SampleSet, Score, compute, measure, prepare
from evaluation.metrics import inception_splits, modified_inception_per_class
from tests.test_metrics import classified, from_probabilities, log_softmax

FAMILY = ["v1/is", "v1/is/10-splits", "v1/mis", "v1/mis/per-class", "v1/am", "v1/am/balance", "v1/am/confidence"]
PER_CLASS = "v1/mis/per-class"
C = 5


def spoken(rng: np.random.Generator, count: int, *, spread: float = 1.0, classes: int = C) -> SampleSet:
    """Clips that are heard as their label, for the most part."""
    labels = np.arange(count) % classes
    logits = 5.0 * np.eye(classes)[labels] + spread * rng.normal(size=(count, classes))
    return SampleSet(log_probabilities=log_softmax(logits), labels=labels)


def unlabelled(samples: SampleSet) -> SampleSet:
    return SampleSet(log_probabilities=samples.log_probabilities)


def per_class(real: SampleSet, generated: SampleSet) -> Score:
    return measure(real, generated, [PER_CLASS])[PER_CLASS]


def brute_force(log_p: np.ndarray) -> float:
    """exp of the mean of KL(p_i || p_j) over all pairs of rows."""
    pairs = itertools.product(range(len(log_p)), repeat=2)
    return math.exp(np.mean([np.exp(log_p[i]) @ (log_p[i] - log_p[j]) for i, j in pairs]))


# --- what they all share ---------------------------------------------------------------------------------------------


def test_the_order_of_clips_and_of_classes_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    real, generated = spoken(rng, 300), spoken(rng, 150, spread=2.0)
    scores = measure(real, generated, FAMILY)
    order, renamed = rng.permutation(150), rng.permutation(C)

    def rename(samples: SampleSet) -> SampleSet:
        return SampleSet(
            log_probabilities=samples.log_probabilities64[:, np.argsort(renamed)],
            labels=renamed[samples.array("labels")],
        )

    for key in (key for key in FAMILY if key != "v1/is/10-splits"):  # those are of the order that files come in
        again = measure(real, generated.take(order), [key])[key]
        assert again.value == pytest.approx(scores[key].value, rel=1e-10)
        assert again.standard_error == pytest.approx(scores[key].standard_error, rel=1e-9)
        assert again.per_sample == pytest.approx(np.asarray(scores[key].per_sample)[order], abs=1e-9)
        assert measure(rename(real), rename(generated), [key])[key].value == pytest.approx(scores[key].value, rel=1e-10)


def test_a_set_twice_over_has_the_same_scores_and_too_small_errors() -> None:
    """Duplicates are not noticed here: memorization and diversity of samples are other metrics' business."""
    rng = np.random.default_rng(1)
    real, generated = spoken(rng, 300), spoken(rng, 150, spread=2.0)
    for key in (key for key in FAMILY if key != "v1/is/10-splits"):
        once, twice = (measure(real, s, [key])[key] for s in (generated, generated.take(np.arange(300) % 150)))
        assert twice.value == pytest.approx(once.value, rel=1e-10)
        assert twice.standard_error == pytest.approx(once.standard_error / math.sqrt(2), rel=0.03)


def test_two_clips_are_enough_but_for_ten_splits() -> None:
    rng = np.random.default_rng(2)
    real, two = spoken(rng, 300), spoken(rng, 2, classes=C)
    scores = measure(real, unlabelled(two))
    assert set(scores) >= {"v1/is", "v1/mis", "v1/am"}
    assert "2 clips on the generated side, at least 20" in scores.not_applicable["v1/is/10-splits"]
    assert inception_splits.compute({}, spoken(rng, 20))[0].details["splits"] == 10
    with pytest.raises(ValueError, match=r"v1/is .*1 clip on the generated side, at least 2"):
        measure(real, two.take([0]), ["v1/is"])


def test_identical_clips_have_no_inception_and_no_error() -> None:
    real = spoken(np.random.default_rng(3), 100)
    generated = SampleSet(log_probabilities=np.repeat(real.log_probabilities64[:1], 40, axis=0))
    scores = measure(real, generated)
    for key in ("v1/is", "v1/is/10-splits", "v1/mis", PER_CLASS):
        assert scores[key].value == pytest.approx(1, abs=1e-12)
        assert scores[key].standard_error < 1e-12
    assert "over 1 of 5 classes" in scores[PER_CLASS].warnings[0]
    assert scores["v1/am/balance"].value > 1
    assert scores["v1/am/confidence"].standard_error < 1e-12


def test_a_missing_class_costs_inception_and_balance_but_not_confidence() -> None:
    rng = np.random.default_rng(4)
    real, generated = spoken(rng, 500), spoken(rng, 500)
    kept = generated.take(generated.array("labels") != 2)
    every, without = measure(real, generated), measure(real, kept)
    assert every["v1/is"].low > without["v1/is"].high
    assert without["v1/is"].value < C - 1
    assert without["v1/am/balance"].low > every["v1/am/balance"].high
    assert without["v1/am/confidence"].value == pytest.approx(every["v1/am/confidence"].value, rel=0.1)


# --- bias ------------------------------------------------------------------------------------------------------------


def test_biases_are_as_documented() -> None:
    """Of few clips: log IS too low and balance too high by up to (C - 1) / 2n; confidence and mIS without self pairs right."""
    rng = np.random.default_rng(5)
    many = classified(rng, 100_000, spread=1.5, classes=C)
    real, n = many.take(slice(1000)), 25
    keys = ["v1/is", "v1/mis", "v1/am/balance", "v1/am/confidence"]
    truth = measure(real, many, keys)
    prepared = prepare(real, keys)
    few = [compute(prepared, many.take(slice(i, i + n)), keys) for i in range(0, 20_000, n)]

    def mean(values: list[float]) -> tuple[float, float]:
        return float(np.mean(values)), float(np.std(values) / math.sqrt(len(values)))

    bound = (C - 1) / (2 * n)
    value, error = mean([math.log(s["v1/is"].value) for s in few])
    assert -bound < value - math.log(truth["v1/is"].value) < -4 * error
    value, error = mean([s["v1/am/balance"].value for s in few])
    assert 4 * error < value - truth["v1/am/balance"].value < bound
    value, error = mean([s["v1/am/confidence"].value for s in few])
    assert abs(value - truth["v1/am/confidence"].value) < 4 * error
    value, error = mean([math.log(s["v1/mis"].details["without_self_pairs"]) for s in few])
    assert abs(value - math.log(truth["v1/mis"].value)) < 4 * error
    value, error = mean([s["v1/mis"].details["log"] for s in few])
    assert value == pytest.approx(math.log(truth["v1/mis"].value) * (n - 1) / n, abs=4 * error)


# --- mIS per class ---------------------------------------------------------------------------------------------------


def test_it_is_the_mean_over_classes_of_all_pairs_within() -> None:
    rng = np.random.default_rng(6)
    real, generated = spoken(rng, 200), spoken(rng, 60, spread=2.0)
    score = per_class(real, generated)
    each = [brute_force(generated.log_probabilities64[generated.labels == c]) for c in range(C)]
    assert [entry["value"] for entry in score.details["classes"]] == pytest.approx(each, rel=1e-12)
    assert [entry["n_generated"] for entry in score.details["classes"]] == [12] * C
    assert score.value == pytest.approx(np.mean(each), rel=1e-12)
    errors = [entry["standard_error"] for entry in score.details["classes"]]
    assert score.standard_error == pytest.approx(math.sqrt(sum(e**2 for e in errors)) / C, rel=1e-12)
    assert score.value < measure(real, generated, ["mis"])["v1/mis"].value
    heard = np.argmax(generated.log_probabilities64, axis=1)
    found = [brute_force(generated.log_probabilities64[heard == c]) for c in range(C)]
    assert per_class(real, unlabelled(generated)).value == pytest.approx(np.mean(found), rel=1e-12)


def test_its_influences_and_intervals_are_right() -> None:
    rng = np.random.default_rng(7)
    prepared = prepare(spoken(rng, 500), [PER_CLASS])
    scores = [compute(prepared, spoken(rng, 1000), [PER_CLASS])[PER_CLASS] for _ in range(300)]
    expected = np.mean([score.value for score in scores])
    assert 0.92 <= np.mean([score.low <= expected <= score.high for score in scores]) <= 0.985
    generated, n = spoken(rng, 300), 300
    score = compute(prepared, generated, [PER_CLASS])[PER_CLASS]
    without = [generated.take(np.delete(np.arange(n), i)) for i in range(50)]
    moved = [n * (score.value - compute(prepared, samples, [PER_CLASS])[PER_CLASS].value) for samples in without]
    assert score.per_sample is not None
    slope, _ = np.polyfit(score.per_sample[:50], moved, 1)
    assert slope == pytest.approx(1, abs=0.1)


def test_its_target_is_what_held_out_clips_give_by_the_same_classes() -> None:
    rng = np.random.default_rng(8)
    train, test, generated = spoken(rng, 300), spoken(rng, 150, spread=2.0), spoken(rng, 100)
    real = SampleSet(log_probabilities=train.log_probabilities, labels=train.labels, held_out=test)
    by_label, by_probability = per_class(real, generated), per_class(real, unlabelled(generated))
    assert by_label.details["target"] == pytest.approx(per_class(train, test).value)
    assert by_probability.details["target"] == pytest.approx(per_class(train, unlabelled(test)).value)
    assert by_label.details["target_clips"] == 150
    assert per_class(train, generated).details["target"] == pytest.approx(per_class(train, train).value)
    assert by_probability.details["target"] < by_label.details["target"]
    reasons = measure(unlabelled(train), generated).not_applicable
    assert "real clips have no value to aim at" in reasons[PER_CLASS]


def test_a_class_of_fewer_than_two_clips_is_left_out_and_an_exact_zero_is_the_reason_for_no_score() -> None:
    rng = np.random.default_rng(9)
    real, generated = spoken(rng, 200), spoken(rng, 60)
    some = generated.take(np.flatnonzero((generated.labels != 3) | (np.arange(60) == 3)))
    score = per_class(real, some)
    assert score.details["classes"][3]["value"] is None
    assert score.details["classes"][3]["reason"] == "1 generated clips, at least 2 are needed"
    assert "over 4 of 5 classes (class 3: 1 generated" in score.warnings[0]
    rest = [entry["value"] for entry in score.details["classes"] if entry["class"] != 3]
    assert score.value == pytest.approx(np.mean(rest))
    for samples, reason in (
        (generated.take(slice(5)), "no class has 2 clips"),
        (from_probabilities(np.eye(C)[np.arange(20) % C]), "exactly zero"),
        (SampleSet(log_probabilities=generated.log_probabilities, labels=np.full(60, 7)), "labels up to 7"),
    ):
        with pytest.raises(ValueError, match=rf"{PER_CLASS} is undefined.*{reason}"):
            per_class(real, samples)
    with pytest.raises(ValueError, match=r"v1/mis/per-class .*not applicable: no classes"):
        modified_inception_per_class.compute({}, SampleSet(np.zeros((4, 2))))

"""FID-infinity and FID per class: what they are equal to, what they are unbiased for, and what becomes of odd input."""

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from evaluation import SampleSet, Score, compute, measure, prepare
from evaluation import metrics as plugins
from evaluation.gaussian import Gaussian, contrasts, nuclear_norms, subset_distances
from evaluation.metrics import frechet_infinity, frechet_per_class
from evaluation.metrics.frechet_infinity import PERMUTATIONS, fit, shuffled, subset_sizes
from tests import reference
from tests.test_metrics import fid, fid_by_root, log_softmax

INFINITY, PER_CLASS = "v1/fid/infinity", "v1/fid/per-class"


def infinity(real: np.ndarray, generated: np.ndarray) -> Score:
    return measure(real, generated, [INFINITY])[INFINITY]


def standard_normal(d: int) -> dict[str, np.ndarray]:
    """A reference that is the standard normal distribution itself, as if of very many clips."""
    prepared = prepare(SampleSet(np.random.default_rng(0).normal(size=(60, d))), ["v1/fid", INFINITY])
    return prepared | {"gaussian.mean": np.zeros(d), "gaussian.root": np.eye(d), "gaussian.count": np.array(10**6)}


def test_the_reference_is_factored_once_for_all_of_them() -> None:
    rng = np.random.default_rng(0)
    prepared = prepare(SampleSet(rng.normal(size=(100, 4))), ["v1/fid", INFINITY])
    assert [name for name, array in prepared.items() if array.ndim == 2] == ["gaussian.root"]
    assert np.allclose(prepared["gaussian.root"].T @ prepared["gaussian.root"], np.eye(4), atol=0.5)
    assert not plugins.find("FID-infinity").headline
    assert list(plugins.metrics()).index(INFINITY) > list(plugins.metrics()).index("v1/nll")


# --- FID-infinity ----------------------------------------------------------------------------------------------------


def test_sizes_are_fifteen_at_regular_intervals_of_their_inverse() -> None:
    sizes = subset_sizes(2048)
    assert (sizes[0], sizes[-1], len(sizes)) == (512, 2048, 15)
    assert np.allclose(np.diff(1 / sizes), (1 / 2048 - 1 / 512) / 14, rtol=0.02)
    assert len(set(subset_sizes(60).tolist())) == 15


@pytest.mark.parametrize(
    ("n", "m", "d", "decades"),
    [(300, 100, 8, 0), (300, 100, 8, 6), (300, 80, 40, 1), (300, 80, 120, 0), (40, 90, 60, 0), (15, 90, 60, 0)],
)
def test_the_distance_of_every_subset_is_its_fid(n: int, m: int, d: int, decades: int) -> None:
    rng = np.random.default_rng(1)
    scale = np.logspace(0, -decades, d)
    real, generated = rng.normal(size=(n, d)) * scale, rng.normal(0.2, 1.3, size=(m, d)) * scale
    samples, sizes = SampleSet(generated), subset_sizes(m)
    gaussian = Gaussian(_part(prepare(SampleSet(real), ["v1/fid"])), samples)
    orders = shuffled(samples, 3)
    found = subset_distances(gaussian, orders, sizes)
    for i, order in enumerate(orders):
        assert sorted(order) == list(range(m))
        for j in (0, 5, 13, 14):
            expected = fid(real, generated[order[: sizes[j]]]).value
            assert found[i, j] == pytest.approx(expected, rel=1e-9)
    if n > d and decades < 2:
        assert found[0, 13] == pytest.approx(fid_by_root(real, generated[orders[0][: sizes[13]]]), rel=1e-5)
    assert (found[:, -1] == fid(real, generated).value).all()


def _part(prepared: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    parts = ((key.partition("."), array) for key, array in prepared.items())
    return {name: array for (file, _, name), array in parts if file == "gaussian"}


def test_the_details_hold_the_line_that_a_plot_shows() -> None:
    rng = np.random.default_rng(16)
    score = infinity(rng.normal(size=(300, 8)), rng.normal(0.2, 1.3, size=(100, 8)))
    sizes, values = (np.array(score.details[name]) for name in ("sizes", "fid"))
    assert (sizes.tolist(), score.details["permutations"]) == (subset_sizes(100).tolist(), 20)
    slope, intercept = np.polyfit(1 / sizes, values, 1)
    assert (score.value, score.details["slope"]) == pytest.approx((intercept, slope))
    assert 0.95 < score.details["r_squared"] < 1
    assert values[-1] < values[0]
    assert score.details["fid_standard_deviation"][-1] < 1e-12 < score.details["fid_standard_deviation"][0]


def test_contrasts_have_the_scatter_of_the_first_clips() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(5, 1, size=(30, 4))
    rows = contrasts(z, 0, np.zeros(4))
    assert np.allclose(rows[12:], contrasts(z[12:], 12, z[:12].sum(axis=0)))
    for m in (2, 12, 30):
        centred = z[:m] - z[:m].mean(axis=0)
        assert np.allclose(rows[:m].T @ rows[:m], centred.T @ centred)
    norms = nuclear_norms(z, np.arange(30), np.array([3, 9, 30]))
    expected = [np.linalg.svd(z[:m] - z[:m].mean(axis=0), compute_uv=False).sum() for m in (3, 9, 30)]
    assert np.allclose(norms, expected, rtol=1e-12)


def test_the_line_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(3)
    sizes = subset_sizes(500)
    exact = fit(sizes, 2.0 + 30 / sizes)
    assert (exact.intercept, exact.slope, exact.r_squared) == pytest.approx((2.0, 30.0, 1.0))
    values = 2.0 + 30 / sizes + 0.05 * rng.normal(size=15)
    line = fit(sizes, values)
    slope, intercept = np.polyfit(1 / sizes, values, 1)
    assert (line.intercept, line.slope) == pytest.approx((intercept, slope))
    assert line.r_squared == pytest.approx(np.corrcoef(1 / sizes, values)[0, 1] ** 2)
    assert fit(sizes, np.full(15, 3.0)).r_squared is None


def with_replacement(prepared: dict[str, np.ndarray], generated: np.ndarray, rng: np.random.Generator) -> float:
    """What FID-infinity would be if its subsets were drawn with replacement."""
    sizes, values = subset_sizes(len(generated)), []
    for size in sizes:
        draws = [generated[rng.integers(len(generated), size=size)] for _ in range(4)]
        values.append(np.mean([Gaussian(_part(prepared), SampleSet(draw)).distance.value for draw in draws]))
    return fit(sizes, np.array(values)).intercept


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.1, 1.15), (0.3, 0.8)])
def test_it_is_nearly_unbiased_and_its_intervals_hold_the_truth(shift: float, scale: float) -> None:
    rng = np.random.default_rng(4)
    d, m, draws = 8, 160, 150
    prepared, truth = standard_normal(d), d * (shift**2 + (scale - 1) ** 2)
    scores, wrong = [], []
    for i in range(draws):
        generated = rng.normal(shift, scale, size=(m, d))
        scores.append(compute(prepared, SampleSet(generated), ["v1/fid", INFINITY]))
        wrong += [with_replacement(prepared, generated, rng)] if i % 4 == 0 else []
    plain, extrapolated = (np.array([s[key].value for s in scores]) for key in ("v1/fid", INFINITY))
    bias = plain.mean() - truth
    error = extrapolated.std() / np.sqrt(draws)
    assert bias > 5 * plain.std() / np.sqrt(draws)
    assert abs(extrapolated.mean() - truth) < 0.1 * bias + 2.5 * error
    assert np.mean(wrong) - truth > 0.6 * bias
    covered = np.mean([s[INFINITY].low <= truth <= s[INFINITY].high for s in scores])
    assert 0.9 <= covered <= 1
    error_of_score = np.mean([s[INFINITY].standard_error for s in scores])
    assert extrapolated.std() * 0.85 < error_of_score < extrapolated.std() * 1.5


def test_at_twice_as_many_clips_as_dimensions_it_overshoots_and_says_so() -> None:
    rng = np.random.default_rng(5)
    d = 40
    scores = [
        compute(standard_normal(d), SampleSet(rng.normal(size=(2 * d, d))), ["v1/fid", INFINITY]) for _ in range(10)
    ]
    plain, extrapolated = (np.mean([s[key].value for s in scores]) for key in ("v1/fid", INFINITY))
    assert -0.6 * plain < extrapolated < -0.3 * plain
    assert "subsets from 20 clips on, for 40 feature dimensions" in scores[0][INFINITY].warnings[0]
    few = compute(standard_normal(d), SampleSet(rng.normal(size=(5 * d, d))), [INFINITY])[INFINITY]
    assert few.warnings == []


def test_the_scatter_over_permutations_is_what_other_permutations_would_change() -> None:
    rng = np.random.default_rng(6)
    generated = SampleSet(rng.normal(0.1, 1.1, size=(160, 6)))
    gaussian, sizes = Gaussian(_part(standard_normal(6)), generated), subset_sizes(160)
    intercepts = subset_distances(gaussian, shuffled(generated, 400), sizes) @ fit(sizes, np.ones(15)).weights
    scatter = compute(standard_normal(6), generated, [INFINITY])[INFINITY].details["standard_error_of_permutations"]
    assert scatter == pytest.approx(intercepts.std() / np.sqrt(PERMUTATIONS), rel=0.5)
    blocks = intercepts.reshape(-1, PERMUTATIONS).mean(axis=1)
    assert blocks.std() == pytest.approx(intercepts.std() / np.sqrt(PERMUTATIONS), rel=0.5)


def test_neither_order_nor_threads_nor_precision_change_it() -> None:
    rng = np.random.default_rng(7)
    real, generated = rng.normal(size=(300, 12)), rng.normal(0.1, 1.2, size=(200, 12)).astype(np.float32)
    score = infinity(real, generated)
    again = infinity(rng.permutation(real), rng.permutation(generated))
    assert again.value == pytest.approx(score.value, rel=1e-10)
    assert again.standard_error == pytest.approx(score.standard_error, rel=1e-9)
    assert infinity(real, generated.astype(np.float64)).to_json() == score.to_json()
    with threadpool_limits(limits=1, user_api="blas"):
        assert infinity(real, generated).value == pytest.approx(score.value, rel=1e-10)


def test_odd_input_is_extrapolated_and_flagged() -> None:
    rng = np.random.default_rng(8)
    real = rng.normal(size=(200, 6)).astype(np.float32)
    repeated = infinity(real, np.repeat(real[:1], 80, axis=0))
    assert repeated.value == pytest.approx(fid(real, np.repeat(real[:1], 80, axis=0)).value, rel=1e-9)
    assert repeated.standard_error < 1e-9
    assert any("same features" in warning for warning in repeated.warnings)
    twice = infinity(real, np.repeat(rng.normal(size=(60, 6)), 2, axis=0))
    assert np.isfinite(twice.value)
    constant = infinity(np.c_[real, np.ones(200)], np.c_[real[:100], np.ones(100)])
    assert constant.value == pytest.approx(infinity(real, real[:100]).value, abs=0.02)
    still = infinity(np.ones((60, 3)), rng.normal(1, 1, size=(80, 3)))
    assert np.isfinite(still.value)
    wide = infinity(real[:70], rng.normal(size=(70, 6)))
    assert wide.details["slope"] > 0
    narrow = infinity(rng.normal(size=(60, 90)), rng.normal(size=(60, 90)))
    assert [warning.split(":")[0] for warning in narrow.warnings] == ["biased"] * 3
    with pytest.raises(ValueError, match=r"v1/fid/infinity.*59 clips on the generated side, at least 60"):
        infinity(real, real[:59])
    with pytest.raises(ValueError, match="reference has 6 features and the generated set 5"):
        infinity(real, real[:, :5])


def test_the_fixture_s_collapsed_set_stays_the_worst_without_the_bias() -> None:
    arrays = reference.load("metrics_oracles").arrays
    values = {name: infinity(arrays["in_train"], arrays[f"in_gen_{name}"]).value for name in ("good", "collapsed")}
    for name, value in values.items():
        assert value < float(arrays[f"out_gen_{name}__torch_fidelity_fid"])
    assert values["collapsed"] > 2 * values["good"]


# --- FID per class ---------------------------------------------------------------------------------------------------


def spoken(rng: np.random.Generator, count: int, *, classes: int = 3, d: int = 4, scale: float = 1.0) -> SampleSet:
    labels = np.arange(count) % classes
    logits = 8.0 * np.eye(classes)[labels] + rng.normal(size=(count, classes))
    centres = 3.0 * np.eye(classes, d)[labels]
    return SampleSet(centres + scale * rng.normal(size=(count, d)), log_softmax(logits), labels)


def per_class(real: SampleSet, generated: SampleSet) -> Score:
    return measure(real, generated, [PER_CLASS])[PER_CLASS]


def test_it_is_the_mean_of_the_fid_of_every_class() -> None:
    rng = np.random.default_rng(9)
    real, generated = spoken(rng, 300), spoken(rng, 120, scale=1.3)
    score = per_class(real, generated)
    each = [
        fid(real.features64[real.labels == c], generated.features64[generated.labels == c])  # type: ignore[index]
        for c in range(3)
    ]
    assert [entry["class"] for entry in score.details["classes"]] == [0, 1, 2]
    for entry, alone in zip(score.details["classes"], each, strict=True):
        for name in ("value", "low", "high", "standard_error"):
            assert entry[name] == getattr(alone, name)
        assert (entry["n_generated"], entry["n_reference"], entry["warnings"]) == (40, 100, [])
    assert score.value == pytest.approx(np.mean([s.value for s in each]), rel=1e-12)
    assert score.standard_error == pytest.approx(np.sqrt(sum(s.standard_error**2 for s in each)) / 3, rel=1e-12)
    assert (score.n_generated, score.n_reference, score.warnings) == (120, 300, [])


def test_influences_are_what_leaving_a_clip_out_does() -> None:
    rng = np.random.default_rng(10)
    real, generated = spoken(rng, 300), spoken(rng, 300, scale=1.3)
    prepared, n = prepare(real, [PER_CLASS]), 300
    score = compute(prepared, generated, [PER_CLASS])[PER_CLASS]
    assert score.per_sample is not None
    without = [np.delete(np.arange(n), i) for i in range(40)]
    moved = [n * (score.value - compute(prepared, generated.take(r), [PER_CLASS])[PER_CLASS].value) for r in without]
    slope, _ = np.polyfit(score.per_sample[:40], moved, 1)
    assert slope == pytest.approx(1, abs=0.1)


def test_intervals_of_the_mean_over_classes_cover_its_expected_value() -> None:
    rng = np.random.default_rng(11)
    prepared = prepare(spoken(rng, 3000), [PER_CLASS])
    scores = [compute(prepared, spoken(rng, 240, scale=1.3), [PER_CLASS])[PER_CLASS] for _ in range(300)]
    expected = np.mean([score.value for score in scores])
    assert 0.92 <= np.mean([score.low <= expected <= score.high for score in scores]) <= 0.985


def test_the_class_is_the_label_or_else_the_most_probable_one() -> None:
    rng = np.random.default_rng(12)
    real, generated = spoken(rng, 300), spoken(rng, 120)
    by_label = per_class(real, generated)
    by_probability = per_class(real, SampleSet(generated.features, generated.log_probabilities))
    assert by_probability.value == by_label.value  # these logits leave no doubt
    shuffled_labels = np.roll(np.asarray(generated.labels), 1)
    wrong = SampleSet(generated.features, generated.log_probabilities, shuffled_labels)
    assert per_class(real, wrong).value > by_label.value + 5
    assert per_class(real, SampleSet(generated.features, labels=generated.labels)).value == by_label.value
    order = rng.permutation(120)
    assert per_class(real, generated.take(order)).value == pytest.approx(by_label.value, rel=1e-10)
    assert by_label.per_sample is not None
    permuted = per_class(real, generated.take(order)).per_sample
    assert permuted == pytest.approx(by_label.per_sample[order], abs=1e-9)


def test_a_class_of_fewer_than_two_clips_is_left_out_and_named() -> None:
    rng = np.random.default_rng(13)
    real, generated = spoken(rng, 300), spoken(rng, 120)
    labels = np.asarray(generated.labels)
    keep = np.flatnonzero((labels != 2) | (np.arange(120) == 2))
    score = per_class(real, generated.take(keep))
    assert score.details["classes"][2] == {
        "class": 2,
        "value": None,
        "reason": "1 generated and 100 reference clips, at least 2 are needed",
        "n_generated": 1,
    }
    assert score.value == pytest.approx(np.mean([e["value"] for e in score.details["classes"][:2]]))
    assert "the mean is over 2 of 3 classes (class 2: 1 generated" in score.warnings[0]
    assert score.per_sample is not None
    assert score.per_sample[np.flatnonzero(keep == 2)] == 0


def test_classes_that_the_reference_lacks_and_classes_of_too_few_clips_are_told() -> None:
    rng = np.random.default_rng(14)
    generated = spoken(rng, 120, d=60)
    two = spoken(rng, 300, d=60).take(np.arange(300) % 3 < 2)
    score = per_class(two, generated)
    assert [entry["class"] for entry in score.details["classes"]] == [0, 1]
    assert all("full rank" in entry["warnings"][0] for entry in score.details["classes"])
    assert "2 of 2 classes have no more clips than the 60 feature dimensions" in score.warnings[0]
    assert "40 generated clips are of a class that the reference lacks" in score.warnings[1]
    same = SampleSet(np.ones((120, 60)), labels=generated.labels)
    assert "degenerate: all generated clips of class 0, 1" in per_class(two, same).warnings[1]


def test_without_classes_there_is_a_reason_and_no_score() -> None:
    rng = np.random.default_rng(15)
    real, generated = spoken(rng, 300), spoken(rng, 120)
    features = SampleSet(generated.features)
    assert "neither labels nor class" in measure(real, features).not_applicable[PER_CLASS]
    assert "no labels" in measure(SampleSet(real.features), generated).not_applicable[PER_CLASS]
    alone = SampleSet(generated.features64[:3], labels=np.arange(3))
    assert "no class has 2 generated clips" in measure(real, alone).not_applicable[PER_CLASS]
    with pytest.raises(ValueError, match=r"v1/fid/per-class is undefined.*no class has 2"):
        per_class(real, alone)
    with pytest.raises(ValueError, match="class indices from 0 on, and row 3 has -1"):
        per_class(real, SampleSet(generated.features64[:4], labels=np.array([0, 0, 1, -1])))
    with pytest.raises(ValueError, match=r"v1/fid/per-class .*not applicable: no classes"):
        frechet_per_class.compute({}, features)
    prepared: dict[str, Any] = {}
    with pytest.raises(ValueError, match=r"v1/fid/infinity .*not applicable: no features"):
        frechet_infinity.compute(prepared, SampleSet(labels=np.arange(80)))

"""NDB and what it stands on: the cells of k-means, and the statistics of two sets that are counted in the same bins."""

import math

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import jensenshannon
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from evaluation import SampleSet, Score, kmeans, proportions
from evaluation.metrics import ndb
from evaluation.uncertainty import bootstrap
from tests import reference

GENERATED = ("gen_good", "gen_memorised", "gen_duplicated", "gen_collapsed")
RELEASED = ("balanced", "blurred", "imbalanced", "collapsed", "self", "odd_count", "n_less_than_d")


def scores(real: np.ndarray, generated: np.ndarray) -> list[Score]:
    return ndb.compute(ndb.prepare(SampleSet(real)), SampleSet(generated))


def mixture(rng: np.random.Generator, count: int, shift: float = 0.0) -> np.ndarray:
    """Five clusters in six dimensions; `shift` moves clips from the first to the last."""
    shares = np.array([0.2 - shift, 0.2, 0.2, 0.2, 0.2 + shift])
    return 2 * np.eye(6)[rng.choice(5, count, p=shares)] + rng.normal(size=(count, 6))


# --- k-means ---------------------------------------------------------------------------------------------------------


def test_kmeans_is_as_good_as_scikit_learns() -> None:
    points = mixture(np.random.default_rng(0), 2000)
    cells = kmeans.kmeans(points, 8, seed=0, restarts=10)
    assert np.array_equal(cells.labels, np.argmin(np.square(points[:, None] - cells.centres).sum(axis=2), axis=1))
    assert (np.diff(np.bincount(cells.labels)) <= 0).all(), "the fullest cell is the first"
    inertia = np.square(points - cells.centres[cells.labels]).sum()
    assert inertia < 1.01 * KMeans(8, n_init=10, random_state=0).fit(points).inertia_


def test_cells_do_not_depend_on_the_order_of_clips_on_rotation_or_on_threads() -> None:
    rng = np.random.default_rng(1)
    points = mixture(rng, 3000)
    points -= points.mean(axis=0)
    cells = kmeans.kmeans(points, 20, seed=3)
    order = rng.permutation(len(points))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    for other, labels in ((points[order], cells.labels[order]), (points @ rotation, cells.labels)):
        assert np.array_equal(kmeans.kmeans(other, 20, seed=3).labels, labels)
    for threads in (1, 2):
        with threadpool_limits(threads):
            assert np.array_equal(kmeans.kmeans(points, 20, seed=3).labels, cells.labels)
    assert not np.array_equal(kmeans.kmeans(points, 20, seed=4).labels, cells.labels)


def test_there_are_no_more_cells_than_different_points() -> None:
    distinct = np.random.default_rng(2).normal(size=(7, 3))
    points = np.repeat(distinct, 30, axis=0)
    cells = kmeans.kmeans(points, 20, seed=0)
    assert len(cells.centres) == 7
    assert np.allclose(points, cells.centres[cells.labels])
    assert len(kmeans.kmeans(np.zeros((50, 3)), 20, seed=0).centres) == 1


def test_a_point_on_the_border_goes_to_the_first_cell() -> None:
    centres = np.array([[1e6, 0.0], [1e6 + 2, 0.0]])
    assert kmeans.nearest(np.array([[1e6 + 1, 0.0], [1e6 + 1 + 1e-9, 0.0]]), centres).tolist() == [0, 1]


def test_cells_are_looked_for_in_the_principal_components() -> None:
    rng = np.random.default_rng(3)
    features = (rng.normal(size=(500, 4)) @ rng.normal(size=(4, 90)) + 7).astype(np.float32)
    space = kmeans.space(features)
    assert space.basis.shape == (90, 64)
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(64), atol=1e-10)
    points, centred = space.points(features), features - features.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), np.linalg.norm(centred, axis=1), rtol=1e-6)
    assert np.array_equal(kmeans.space(features[:, :5]).basis, np.eye(5))


# --- the statistics --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATED)
def test_bins_and_divergence_equal_the_published_implementation(name: str) -> None:
    arrays = reference.load("metrics_oracles").arrays
    real, generated = arrays["in_train"], arrays[f"in_{name}"]
    labels = kmeans.nearest(generated.astype(np.float64), arrays["out_gmm_bin_centers"])
    assert np.array_equal(labels, arrays[f"out_{name}__gmm_bins"])
    n, m = len(real), len(generated)
    a, b = n * arrays["out_gmm_bin_proportions_train"], np.bincount(labels, minlength=12)
    p = proportions.p_values(proportions.z_scores(a, n, b, m))
    assert np.count_nonzero(p < 0.05) == arrays[f"out_{name}__gmm_ndb"]
    assert proportions.jensen_shannon(a / n, b / m) == pytest.approx(float(arrays[f"out_{name}__gmm_js"]), rel=1e-12)


@pytest.mark.parametrize("name", RELEASED)
def test_bins_equal_the_release(name: str) -> None:
    arrays = reference.load("metrics_reference").arrays
    if f"out_{name}__ndb_labels_train" not in arrays:
        pytest.skip("not measured by the release")
    sides = [arrays[f"out_{name}__ndb_labels_{side}"] for side in ("train", "gen")]
    (a, b), (n, m) = (np.bincount(side, minlength=50) for side in sides), map(len, sides)
    different = proportions.p_values(proportions.z_scores(a, n, b, m)) < 0.05
    assert different.mean() == pytest.approx(float(arrays[f"out_{name}__ndb"]))


def test_the_z_test_equals_the_release_and_is_defined_where_that_divides_by_zero() -> None:
    arrays = reference.load("metrics_reference").arrays
    a, b = np.indices((11, 11)) / 10
    p = proportions.p_values(proportions.z_scores(a * 100, 100, b * 80, 80))
    assert np.array_equal(p < 0.05, arrays["out_ztest_grid"] == 1)
    z = proportions.z_scores(a * 50, 50, b * 200, 200)
    assert np.array_equal(np.abs(z) > 2, arrays["out_ztest_grid_z2"] == 1)


def test_shares_that_are_both_zero_or_both_one_agree() -> None:
    assert proportions.z_scores(np.array([0, 100]), 100, np.array([0, 30]), 30).tolist() == [0.0, 0.0]
    assert proportions.homogeneity(np.array([10, 0]), np.array([20, 0])) == 1.0


def test_statistics_equal_scipy() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 30, 12), rng.integers(0, 30, 12)
    p, q = a / a.sum(), b / b.sum()
    assert proportions.jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q) ** 2, rel=1e-12)
    assert proportions.jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(math.log(2))
    assert proportions.homogeneity(a, b) == pytest.approx(scipy.stats.chi2_contingency([a, b]).pvalue, rel=1e-10)
    for copies, clips, base, others in ((3, 20, 2, 300), (0, 5, 0, 9), (7, 7, 1, 50), (1, 2048, 0, 31158)):
        table = [[copies, clips - copies], [base, others - base]]
        expected = scipy.stats.fisher_exact(table, alternative="greater").pvalue
        assert proportions.chance_of_more(copies, clips, base, others) == pytest.approx(expected, rel=1e-9)


def test_holm_rejects_until_the_first_that_is_not_small_enough() -> None:
    p = np.array([0.04, 0.012, 0.5, 0.001, 0.02])
    assert proportions.holm(p).tolist() == [False, True, False, True, False]
    assert not proportions.holm(np.array([0.011, 0.02, 0.03, 0.04, 0.05])).any()


def test_the_expected_share_is_that_of_exchangeable_sets() -> None:
    rng = np.random.default_rng(5)
    total, n, m = np.array([3, 8, 30, 60, 99]), 120, 80
    drawn = rng.multivariate_hypergeometric(total, m, size=20_000)
    found = np.abs(proportions.z_scores(total - drawn, n, drawn, m)) > 1.959964
    assert proportions.expected_share(total - drawn[0], n, drawn[0], m) == pytest.approx(found.mean(), abs=0.002)


# --- the metric ------------------------------------------------------------------------------------------------------


def test_a_perfect_generator_scores_what_is_expected_of_chance() -> None:
    rng = np.random.default_rng(6)
    found = [scores(mixture(rng, 1000), mixture(rng, 500)) for _ in range(40)]
    values, divergences = (np.array([pair[i].value for pair in found]) for i in range(2))
    expected = np.mean([pair[0].details["expected"] for pair in found])
    assert expected == pytest.approx(0.05, abs=0.01)
    assert values.mean() == pytest.approx(expected, abs=3 * values.std() / math.sqrt(40))
    assert divergences.mean() == pytest.approx(found[0][1].details["bias"], rel=0.1)
    assert np.mean([pair[0].details["holm"] > 0 for pair in found]) <= 0.15
    assert np.mean([pair[0].details["homogeneity_p"] < 0.05 for pair in found]) <= 0.15


@pytest.mark.parametrize("shift", [0.06, 0.15])
def test_intervals_cover_the_expected_value(shift: float) -> None:
    rng = np.random.default_rng(7)
    prepared = ndb.prepare(SampleSet(mixture(rng, 2000)))
    found = [ndb.compute(prepared, SampleSet(mixture(rng, 400, shift))) for _ in range(150)]
    for i, (least, most) in enumerate(((0.9, 1.0), (0.92, 0.99))):
        expected = np.mean([pair[i].value for pair in found])
        assert least <= np.mean([pair[i].low <= expected <= pair[i].high for pair in found]) <= most
    scatter = np.std([pair[0].value for pair in found])
    assert 0.9 < np.mean([pair[0].standard_error for pair in found]) / scatter < 1.5


def test_the_standard_error_of_js_agrees_with_bootstrap_and_influences_with_leaving_one_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ndb, "K", 8)
    rng = np.random.default_rng(8)
    generated = SampleSet(mixture(rng, 300, 0.15))
    prepared = ndb.prepare(SampleSet(mixture(rng, 6000)))

    def js(rows: np.ndarray) -> float:
        return ndb.compute(prepared, generated.take(rows))[1].value

    score = ndb.compute(prepared, generated)[1]
    assert score.per_sample is not None
    assert abs(score.per_sample.mean()) < 1e-15
    assert score.standard_error == pytest.approx(bootstrap(js, 300, 200, rng).std(ddof=1), rel=0.2)
    moved = [299 * (score.value - js(np.delete(np.arange(300), i))) for i in range(60)]
    assert np.polyfit(score.per_sample[:60], moved, 1)[0] == pytest.approx(1, abs=0.15)


def test_order_does_not_matter() -> None:
    rng = np.random.default_rng(9)
    real, generated = mixture(rng, 1000).astype(np.float32), mixture(rng, 200, 0.1).astype(np.float32)
    first, order = scores(real, generated), rng.permutation(200)
    for before, after in zip(first, scores(rng.permutation(real), generated[order]), strict=True):
        assert after.value == pytest.approx(before.value, rel=1e-10)
        assert after.standard_error == pytest.approx(before.standard_error, rel=1e-10)
        if before.per_sample is not None and after.per_sample is not None:
            np.testing.assert_allclose(after.per_sample, before.per_sample[order], rtol=1e-9, atol=1e-12)


def test_the_bins_say_where_clips_are_missing_and_who_lies_there() -> None:
    rng = np.random.default_rng(10)
    real = mixture(rng, 2000)
    generated = real[np.argmax(real, axis=1) > 0][:1500]  # one cluster is missing, as a class might be
    score, js = scores(real, generated)
    bins = score.details["bins"]
    assert len(bins) == score.details["bin_count"] == 50
    assert math.fsum(b["real"] for b in bins) == pytest.approx(1)
    assert math.fsum(b["generated"] for b in bins) == pytest.approx(1)
    missing = [b for b in bins if b["holm"]]
    assert missing
    assert score.details["holm"] == len(missing)
    assert all(b["z"] < 0 and b["generated"] < b["real"] and np.argmax(real[b["typical"]]) == 0 for b in missing)
    prepared = ndb.prepare(SampleSet(real))
    points = generated - prepared["mean"]
    labels = kmeans.nearest(points, prepared["centres"][prepared["partition"] == 0])
    for i, b in enumerate(bins):
        members = np.flatnonzero(labels == i)
        assert set(b["clips"]) <= set(members)
        assert len(b["clips"]) == min(len(members), ndb.SHOWN)
        gaps = np.linalg.norm(points[b["clips"]] - prepared["centres"][i], axis=1)
        assert (np.diff(gaps) >= 0).all()
    assert len(score.details["partitions"]) == len(js.details["partitions"]) == 10
    assert score.value == pytest.approx(np.mean(score.details["partitions"]))


def test_collapse_shows_and_memorization_does_not() -> None:
    arrays = reference.load("metrics_oracles").arrays
    found = {name: scores(arrays["in_train"], arrays[f"in_{name}"]) for name in GENERATED}
    assert found["gen_collapsed"][0].value > 0.8
    assert found["gen_good"][0].value < 0.35
    assert found["gen_memorised"][0].value < 0.1
    assert found["gen_collapsed"][1].value > 5 * found["gen_good"][1].value
    assert found["gen_good"][0].details["bin_count"] == 12


def test_odd_sets_have_defined_outcomes() -> None:
    rng = np.random.default_rng(11)
    real = mixture(rng, 1000)
    same = scores(real, np.repeat(real[:1], 600, axis=0))
    assert same[0].value > 0.8
    assert same[1].standard_error == pytest.approx(0, abs=1e-15)
    assert "coarse: 30 clips in 50 bins" in scores(real, mixture(rng, 30))[0].warnings[0]
    assert scores(real, real)[0].value < 0.05
    flat = scores(np.ones((40, 3)), rng.normal(size=(30, 3)))
    assert (flat[0].value, flat[1].value) == (0, 0)
    assert any("one bin" in warning for warning in flat[0].warnings)
    wide = scores(rng.normal(size=(200, 90)), rng.normal(size=(50, 90)))
    assert wide[0].details["bin_count"] <= 10
    with pytest.raises(ValueError, match=r"reference has 6 features and the generated set 5; use one classifier"):
        scores(real, real[:, :5])
    with pytest.raises(ValueError, match=r"v1/ndb.*19 clips on the reference side, at least 20"):
        scores(real[:19], real)

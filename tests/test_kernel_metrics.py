"""KID and KAD: against torch-fidelity and closed forms; unbiased, with intervals that hold the truth as often as they say."""

import numpy as np
import pytest

import evaluation
from evaluation import SampleSet, Score, comparison
from evaluation.comparison import Comparison
from evaluation.distances import Points
from evaluation.metrics import kernel
from evaluation.uncertainty import standard_error
from tests import reference

KEYS = ["v1/kid", "v1/kad"]
GENERATED = ("gen_good", "gen_memorised", "gen_duplicated", "gen_collapsed")


def against(real: np.ndarray, generated: np.ndarray, bandwidth: float | None = None) -> list[Score]:
    """KID and KAD; with another bandwidth than the reference's median distance where one is given."""
    prepared = comparison.prepare(SampleSet(real))
    if bandwidth:
        mean = comparison.mean_gaussian(Points(real), bandwidth)
        prepared |= {"bandwidth": np.array(bandwidth), "gaussian": np.array(mean)}
    found = kernel.compute({"comparison": Comparison(prepared, SampleSet(generated))}, SampleSet(generated))
    return [score for score in found if isinstance(score, Score)]


def kernels(a: np.ndarray, b: np.ndarray, bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    a, b = a.astype(np.float64), b.astype(np.float64)
    squared = np.square(a[:, None] - b[None]).sum(axis=2)
    return (a @ b.T / a.shape[1] + 1) ** 3, np.exp(-squared / (2 * bandwidth**2))


def off_diagonal(values: np.ndarray) -> float:
    return float((values.sum() - np.trace(values)) / (len(values) * (len(values) - 1)))


@pytest.mark.parametrize("name", GENERATED)
def test_both_equal_torch_fidelity_on_its_subsets(name: str) -> None:
    fixture = reference.load("metrics_oracles")
    arrays, config = fixture.arrays, fixture.config["config"]
    train, generated = arrays["in_train"], arrays[f"in_{name}"]
    for i, kind in enumerate(("poly", "rbf")):
        rng = np.random.RandomState(2020)
        values = []
        for _ in range(config["subsets"]):
            ours = generated[rng.choice(len(generated), config["subset"], replace=False)]
            theirs = train[rng.choice(len(train), config["subset"], replace=False)]
            values.append(against(theirs, ours, config["sigma"])[i].details["mmd2"])
        assert np.mean(values) == pytest.approx(
            arrays[f"out_{name}__torch_fidelity_kid_{kind}_mean"], rel=1e-4, abs=1e-6
        )
        assert np.std(values) == pytest.approx(arrays[f"out_{name}__torch_fidelity_kid_{kind}_std"], rel=1e-3)


def test_both_are_the_mean_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, 5)).astype(np.float32), rng.gamma(2, size=(40, 5)).astype(np.float32)
    scores = against(x, y)
    bandwidth = scores[1].details["bandwidth"]
    apart = np.sqrt(np.square(x[:, None].astype(np.float64) - x[None]).sum(axis=2))[np.triu_indices(70, 1)]
    assert bandwidth == pytest.approx(np.median(apart), rel=1e-12)
    for score, xx, yy, xy in zip(scores, *(kernels(a, b, bandwidth) for a, b in ((x, x), (y, y), (x, y))), strict=True):
        mmd2 = off_diagonal(xx) + off_diagonal(yy) - 2 * xy.mean()
        assert score.details["mmd2"] == pytest.approx(mmd2, rel=1e-10)
        assert score.value == pytest.approx(1000 * mmd2, rel=1e-10)
        assert (score.n_reference, score.n_generated, score.unit) == (70, 40, "×10⁻³")


def test_influences_are_what_leaving_one_out_takes_away() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 4)), rng.normal(0.5, 1.2, size=(30, 4))
    whole = against(x, y)
    left_out = np.array([[s.value for s in against(x, np.delete(y, i, axis=0))] for i in range(30)])
    for score, values in zip(whole, left_out.T, strict=True):
        moved = 29 * (score.value - values)
        assert score.per_sample is not None
        np.testing.assert_allclose(score.per_sample, moved - moved.mean(), rtol=1e-8, atol=1e-8)
        assert moved.mean() == pytest.approx(0, abs=1e-8 * np.abs(moved).max()), "unbiased: no trend with the count"


def test_the_second_order_part_is_that_of_u_centred_kernels() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(30, 4))
    found = Comparison(comparison.prepare(SampleSet(x)), SampleSet(y))
    for value, k in zip(found.second_order, kernels(y, y, found.bandwidth), strict=True):
        np.fill_diagonal(k, 0)
        sums = k.sum(axis=1)
        centred = k - sums[:, None] / 28 - sums / 28 + k.sum() / (28 * 29)
        np.fill_diagonal(centred, 0)
        assert value == pytest.approx(np.square(centred).sum() / (30 * 27), rel=1e-10)


def expected(x: np.ndarray, bandwidth: float, sd: float) -> list[float]:
    """The expectation of MMD^2 for y ~ N(0, sd^2 I), given the reference x."""
    d = x.shape[1]
    cubic, gaussian = kernels(x, x, bandwidth)
    squares, s2 = np.square(x).sum(axis=1), bandwidth**2
    across = (1 + 3 * sd**2 * squares / d**2).mean()
    own = 1 + 3 * sd**4 / d
    across_g = ((s2 / (s2 + sd**2)) ** (d / 2) * np.exp(-squares / (2 * (s2 + sd**2)))).mean()
    own_g = (s2 / (s2 + 2 * sd**2)) ** (d / 2)
    return [off_diagonal(cubic) + own - 2 * across, off_diagonal(gaussian) + own_g - 2 * across_g]


@pytest.mark.parametrize("sd", [1.0, 1.2])
def test_both_are_unbiased_and_intervals_cover_also_where_nothing_differs(sd: float) -> None:
    rng = np.random.default_rng(3)
    x, draws = rng.normal(size=(800, 10)), 200
    prepared = comparison.prepare(SampleSet(x))
    truth = np.array(expected(x, float(prepared["bandwidth"]), sd)) * 1000
    scores = []
    for _ in range(draws):
        generated = SampleSet(rng.normal(0, sd, size=(200, 10)))
        scores.append(kernel.compute({"comparison": Comparison(prepared, generated)}, generated))
    for i in range(2):
        column = [row[i] for row in scores if isinstance(row[i], Score)]
        values, errors = (np.array([getattr(s, name) for s in column]) for name in ("value", "standard_error"))
        assert abs(values.mean() - truth[i]) < 4 * values.std() / np.sqrt(draws)
        assert np.sqrt(np.square(errors).mean()) == pytest.approx(values.std(ddof=1), rel=0.15)
        assert 0.90 <= np.mean([s.low <= truth[i] <= s.high for s in column]) <= 0.99


def test_the_variance_is_estimated_without_bias_where_the_jackknife_takes_twice_as_much() -> None:
    """Two sets from the same distribution. Without the step that takes a negative first-order part as 0."""
    rng, m = np.random.default_rng(4), 60
    prepared = comparison.prepare(SampleSet(rng.normal(size=(1000, 12))))
    values, ours, jackknife = [], [], []
    for _ in range(400):
        found = Comparison(prepared, SampleSet(rng.normal(size=(m, 12))))
        own, across, second = found.own_kernels.gaussian, found.across.kernels.gaussian, found.second_order[1]
        values.append(own.mean() - 2 * across.mean())
        jackknife.append(standard_error(kernel.influences(own, across)) ** 2)
        ours.append(jackknife[-1] - 4 * second / (m * (m - 2)) + 2 * second / (m * (m - 1)))
        assert kernel.variance(kernel.influences(own, across), second) >= ours[-1]
    assert np.mean(ours) == pytest.approx(np.var(values, ddof=1), rel=0.25)
    assert np.mean(jackknife) > 1.6 * np.mean(ours)


def test_copies_of_the_reference_are_closer_than_new_clips_can_be() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(200, 5))
    for copied, new in zip(against(x, x[:100]), against(x, rng.normal(size=(100, 5))), strict=True):
        assert copied.high < 0 <= new.high


def test_the_order_of_clips_does_not_matter() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(90, 5)), rng.normal(size=(40, 5))
    for a, b in zip(against(x, y), against(rng.permutation(x), rng.permutation(y)), strict=True):
        assert [a.value, a.low, a.high] == pytest.approx([b.value, b.low, b.high], rel=1e-10, abs=1e-10)


def test_fewer_clips_than_dimensions_duplicates_and_constants_have_values() -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(30, 64))
    few = against(x, rng.normal(size=(12, 64)))
    assert all(score.standard_error > 0 for score in few)
    twice = against(x, np.repeat(rng.normal(size=(10, 64)), 2, axis=0))
    assert all(np.isfinite(score.value) for score in twice)
    constant = against(x, np.ones((20, 64)))
    for score in constant:
        assert score.standard_error == pytest.approx(0, abs=1e-6)
        assert score.warnings == ["degenerate: all generated clips have the same features"]


def test_a_bandwidth_of_zero_is_said_and_kid_has_its_value_all_the_same() -> None:
    rng = np.random.default_rng(8)
    x = np.ones((40, 3))
    x[:8] = rng.normal(size=(8, 3))
    scores = evaluation.measure(x, rng.normal(size=(20, 3)))
    assert "v1/kid" in scores
    assert "bandwidth is 0" in scores.not_applicable["v1/kad"]
    with pytest.raises(ValueError, match=r"v1/kad.*bandwidth is 0"):
        evaluation.measure(x, rng.normal(size=(20, 3)), metrics=["KAD"])


def test_other_dimensions_than_the_reference_are_an_error() -> None:
    rng = np.random.default_rng(9)
    with pytest.raises(ValueError, match="use one classifier"):
        evaluation.measure(rng.normal(size=(20, 3)), rng.normal(size=(20, 4)), metrics=KEYS)

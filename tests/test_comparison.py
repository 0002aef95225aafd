"""The shared pass over distances, against what numpy computes of all pairs at once."""

import numpy as np
import pytest

from evaluation import SampleSet, comparison, distances
from evaluation.comparison import BALLS, Comparison, K
from evaluation.distances import Median, Points, between, median_distance, within


def gaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) distances, from the differences of every pair."""
    rows, columns = np.indices((len(a), len(b))).reshape(2, -1)
    return Points(a).distance(rows, Points(b), columns).reshape(len(a), len(b))


@pytest.fixture(params=[(700, 150), (90, 1100)], ids=["700 real", "1100 generated"])
def sets(request: pytest.FixtureRequest) -> tuple[SampleSet, SampleSet]:
    """Float32 features; some generated clips are copies, of real ones and of each other."""
    n, m = request.param
    rng = np.random.default_rng(n)
    real, generated = (rng.normal(size=(count, 7)).astype(np.float32) for count in (n, m))
    generated[3:9], generated[20:26] = real[30:36], generated[20]
    held_out = SampleSet(features=rng.normal(size=(40, 7)).astype(np.float32))
    return SampleSet(features=real, held_out=held_out), SampleSet(features=generated)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "ROWS", 64)
    monkeypatch.setattr(distances, "COLUMNS", 100)


def test_the_reference_is_prepared_as_from_all_pairs(sets: tuple[SampleSet, SampleSet]) -> None:
    real, _ = sets
    assert real.held_out is not None
    x, t = real.array("features"), real.held_out.array("features")
    prepared, d = comparison.prepare(real), gaps(x, x)
    pairs = d[np.triu_indices(len(x), 1)]
    assert prepared["bandwidth"] == pytest.approx(np.median(pairs), rel=1e-12)
    assert prepared["gaussian"] == pytest.approx(np.exp(-np.square(pairs / np.median(pairs)) / 2).mean(), rel=1e-12)
    cubic = (x.astype(np.float64) @ x.T.astype(np.float64) / 7 + 1) ** 3
    assert prepared["cubic"] == pytest.approx(cubic[np.triu_indices(len(x), 1)].mean(), rel=1e-12)
    np.fill_diagonal(d, np.inf)
    assert np.array_equal(prepared["radii"], np.sort(d, axis=1)[:, :K])
    assert np.array_equal(prepared["nearest"], np.argsort(d, axis=1, kind="stable")[:, :K])
    assert np.array_equal(prepared["held_out_distance"], np.sort(gaps(t, x), axis=1)[:, :K])


def test_both_passes_find_what_all_pairs_say(sets: tuple[SampleSet, SampleSet]) -> None:
    real, generated = sets
    x, y = real.array("features"), generated.array("features")
    found = Comparison(comparison.prepare(real), generated)
    d, own, s = gaps(y, x), gaps(y, y), float(found.bandwidth)
    n, m = len(x), len(y)

    assert np.array_equal(found.across.nearest.distance, np.sort(d, axis=1)[:, :K])
    assert np.array_equal(found.across.nearest.index, np.argsort(d, axis=1, kind="stable")[:, :K])
    assert (found.across.nearest.distance[3:9, 0] == 0).all(), "a copy is at distance zero"
    gaussian = np.exp(-np.square(d / s) / 2)
    cubic = (y.astype(np.float64) @ x.T.astype(np.float64) / 7 + 1) ** 3
    np.testing.assert_allclose(found.across.kernels.gaussian, gaussian.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.across.kernels.cubic, cubic.mean(axis=1), rtol=1e-10)

    gaussian, cubic = np.exp(-np.square(own / s) / 2), (y.astype(np.float64) @ y.T.astype(np.float64) / 7 + 1) ** 3
    np.testing.assert_allclose(found.own_kernels.gaussian, (gaussian.sum(axis=1) - 1) / (m - 1), rtol=1e-11)
    np.testing.assert_allclose(found.own_kernels.cubic, (cubic.sum(axis=1) - np.diag(cubic)) / (m - 1), rtol=1e-10)
    np.fill_diagonal(own, np.inf)
    assert np.array_equal(found.own.distance, np.sort(own, axis=1)[:, :K])

    for k in BALLS:
        balls = found.across.balls[k]
        in_real = d < found.radii[None, :, k - 1]
        in_generated = d < np.sort(own, axis=1)[:, None, k - 1]
        assert np.array_equal(balls.around_real, in_real.sum(axis=1))
        assert np.array_equal(balls.real_holds, in_real.sum(axis=0))
        assert np.array_equal(balls.real_holder, np.arange(m) @ in_real)
        held = {
            (tuple(np.flatnonzero(column)), code) for column, code in zip(in_real.T, balls.real_holders, strict=True)
        }
        assert len(held) == len({clips for clips, _ in held}) == len({code for _, code in held}), (
            "same code, same clips"
        )
        assert np.array_equal(balls.around_generated, in_generated.sum(axis=0))
        assert np.array_equal(balls.generated_holder, np.arange(m) @ in_generated)
    assert len(found.across.nearest.index) == m
    assert len(found.real) == n


def test_parts_of_the_reference_are_as_many_clips_and_one(sets: tuple[SampleSet, SampleSet]) -> None:
    real, generated = sets
    found = Comparison(comparison.prepare(real), generated)
    x, m = real.array("features"), len(generated)
    assert len(found.parts) == (comparison.DRAWS if m + 1 < len(x) else 1)
    for part, near in zip(found.parts, found.part_neighbours, strict=True):
        assert len(np.unique(part)) == len(part) == min(m + 1, len(x))
        d = gaps(x[part], x[part])
        np.fill_diagonal(d, np.inf)
        assert np.array_equal(near.distance, np.sort(d, axis=1)[:, :K])


def test_a_copy_on_the_border_of_a_ball_is_outside(sets: tuple[SampleSet, SampleSet]) -> None:
    """Real clips against themselves: each lies in the balls that its own k - 1 reverse neighbours draw, and in its own."""
    real, _ = sets
    found = Comparison(comparison.prepare(real), SampleSet(features=real.array("features")))
    d = gaps(real.array("features"), real.array("features"))
    for k in BALLS:
        assert np.array_equal(found.across.balls[k].real_holds, np.full(len(d), k)), "itself and k - 1 others"


def test_the_median_is_exact_whatever_the_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "FEW", 64)
    rng = np.random.default_rng(5)
    x = rng.normal(size=(501, 3))
    x[:200] *= 20  # evenly spaced rows are still a fair sample; sorted rows are not
    expected = np.median(gaps(x, x)[np.triu_indices(501, 1)])
    points = Points(x)
    for bracket in (1e-6, 0.02, 0.5):
        median = Median(points, bracket)
        for tile, diagonal in within(points):
            median.add(tile.squared[np.triu_indices(len(tile.squared), 1)] if diagonal else tile.squared)
        assert median_distance(points, median) == pytest.approx(expected, rel=1e-12)


def test_what_cannot_be_compared_is_said() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="use one classifier"):
        list(between(Points(rng.normal(size=(5, 3))), Points(rng.normal(size=(5, 4)))))
    with pytest.raises(ValueError, match="neighbours were asked for"):
        comparison.prepare(SampleSet(features=rng.normal(size=(K, 3))))


def test_the_order_of_clips_and_the_tiles_do_not_matter(
    sets: tuple[SampleSet, SampleSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, generated = sets
    rng = np.random.default_rng(9)
    first = Comparison(comparison.prepare(real), generated)
    values = first.across.kernels.gaussian, first.across.balls[5].around_real, first.own.distance
    monkeypatch.setattr(distances, "ROWS", 33)
    monkeypatch.setattr(distances, "COLUMNS", 57)
    order, other = rng.permutation(len(real)), rng.permutation(len(generated))
    again = Comparison(comparison.prepare(SampleSet(features=real.array("features")[order])), generated.take(other))
    np.testing.assert_allclose(again.across.kernels.gaussian, values[0][other], rtol=1e-12)
    assert np.array_equal(again.across.balls[5].around_real, values[1][other])
    assert np.array_equal(again.own.distance, values[2][other])

"""Precision, recall, density and coverage: against prdc and dgm-eval, what chance gives, and how sure they are."""

import numpy as np
import pytest

import evaluation
from evaluation import SampleSet, Score, comparison
from evaluation.balls import SPLITS, chance_coverage, share_interval
from evaluation.comparison import Comparison
from evaluation.metrics import prdc
from tests import reference

GENERATED = ("gen_good", "gen_memorised", "gen_duplicated", "gen_collapsed")
FOUR = ("precision", "recall", "density", "coverage")


def against(real: np.ndarray, generated: np.ndarray) -> dict[str, Score]:
    return scores_of(Comparison(comparison.prepare(SampleSet(real)), SampleSet(generated)))


def scores_of(found: Comparison) -> dict[str, Score]:
    scores = prdc.compute({"comparison": found}, SampleSet(found.generated.features))
    return {score.key.removeprefix("v1/"): score for score in scores}


@pytest.mark.parametrize("name", GENERATED)
def test_all_equal_prdc_and_dgm_eval(name: str) -> None:
    arrays = reference.load("metrics_oracles").arrays
    scores = against(arrays["in_train"], arrays[f"in_{name}"])
    for which in FOUR:
        for tool in ("clovaai_prdc", "dgm_prdc"):
            assert scores[which].value == pytest.approx(float(arrays[f"out_{name}__{tool}_k5_{which}"]), abs=1e-12)
            assert scores[which].details["k3"]["value"] == pytest.approx(
                float(arrays[f"out_{name}__{tool}_k3_{which}"]), abs=1e-12
            )
    normalized = scores["coverage/normalized"]
    assert normalized.value == pytest.approx(scores["coverage"].value / scores["coverage"].details["null"], rel=1e-12)
    assert normalized.details["null"] == normalized.details["k3"]["null"] == 1.0


def test_the_null_of_coverage_is_what_is_known_of_it() -> None:
    assert chance_coverage(10000, 10000, 5) == pytest.approx(0.969, abs=1e-3)  # 1 - 2^-k
    assert chance_coverage(31158, 2048, 5) == pytest.approx(0.273, abs=1e-3)
    assert chance_coverage(31158, 5120, 5) == pytest.approx(0.533, abs=1e-3)
    assert chance_coverage(31158, 2048, 3) == pytest.approx(0.174, abs=1e-3)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 25, 3), (40, 40, 12), (30, 70, 3)])
def test_nulls_are_what_a_perfect_generator_scores_on_average(n: int, m: int, d: int) -> None:
    rng, draws = np.random.default_rng(0), 150
    values, nulls = [], []
    for _ in range(draws):
        scores = against(rng.normal(size=(n, d)), rng.normal(size=(m, d)))
        values.append([scores[which].value for which in FOUR])
        nulls.append([scores[which].details["null"] for which in FOUR])
    if n < m:
        assert all(null[1] is None for null in nulls), "too few real clips to say what recall they would give"
    expected = np.array(nulls, dtype=np.float64)
    for i in (0, 2, 3) if n < m else range(4):
        gap = np.array(values)[:, i] - expected[:, i]
        assert abs(gap.mean()) < 4 * gap.std(ddof=1) / np.sqrt(draws) + (0.01 if i == 1 else 0), FOUR[i]


def narrow(rng: np.random.Generator, m: int, d: int) -> np.ndarray:
    return 0.8 * rng.normal(size=(m, d))


def one_sided(rng: np.random.Generator, m: int, d: int) -> np.ndarray:
    y = rng.normal(size=(m, d))
    y[:, 0] = np.abs(y[:, 0])
    return y


def alike(rng: np.random.Generator, m: int, d: int) -> np.ndarray:
    return rng.normal(size=(m, d))


@pytest.mark.parametrize("draw", [alike, narrow, one_sided])
@pytest.mark.parametrize(("n", "m", "d"), [(1500, 150, 6), (300, 300, 10)])
def test_intervals_cover_and_standard_errors_are_right(n: int, m: int, d: int, draw: object) -> None:
    rng, draws = np.random.default_rng(1), 80
    prepared = comparison.prepare(SampleSet(rng.normal(size=(n, d))))
    table = [scores_of(Comparison(prepared, SampleSet(draw(rng, m, d)))) for _ in range(draws)]  # type: ignore[operator]
    for which in FOUR:
        scores = [row[which] for row in table]
        values, errors = (np.array([getattr(s, name) for s in scores]) for name in ("value", "standard_error"))
        covered = np.mean([s.low <= values.mean() <= s.high for s in scores])
        assert covered >= 0.85, which
        # A proportion near 1 has an interval of its own, wider than 1.96 standard deviations.
        if 0.05 < values.mean() < 0.97 or which == "density":
            assert 0.8 < np.sqrt(np.square(errors).mean()) / values.std(ddof=1) < 1.35, which


def test_halves_are_what_each_half_alone_would_reach() -> None:
    """The 64 splits at a time, in bits, against recall of the clips of one half."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(120, 4)), rng.normal(size=(50, 4))
    halves = Comparison(comparison.prepare(SampleSet(x)), SampleSet(y)).across.halves
    sides = np.unpackbits(halves.sides.view(np.uint8).reshape(len(y), -1), axis=1).astype(bool)
    reached = [np.unpackbits(side.view(np.uint8).reshape(len(x), -1), axis=1).astype(bool) for side in halves.reached]
    assert sides.shape == (50, SPLITS)
    assert (sides.sum(axis=0) == 25).all()
    gaps = np.square(x[:, None] - y[None]).sum(axis=2)
    own = np.square(y[:, None] - y[None]).sum(axis=2)
    np.fill_diagonal(own, np.inf)
    for s in range(SPLITS):
        for half, found in ((sides[:, s], reached[0][:, s]), (~sides[:, s], reached[1][:, s])):
            radii = np.sort(own[np.ix_(half, half)], axis=1)[:, prdc.K - 1]
            assert np.array_equal(found, (gaps[:, half] < radii).any(axis=1))


def test_influences_are_what_leaving_one_out_takes_away() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(80, 3)), rng.normal(size=(40, 3))
    prepared = comparison.prepare(SampleSet(x))
    whole = scores_of(Comparison(prepared, SampleSet(y)))
    left_out = [scores_of(Comparison(prepared, SampleSet(np.delete(y, i, axis=0)))) for i in range(40)]
    for which in ("precision", "density", "coverage"):
        moved = 39 * (whole[which].value - np.array([row[which].value for row in left_out]))
        np.testing.assert_allclose(whole[which].per_sample, moved - moved.mean(), atol=1e-10)
    assert whole["recall"].per_sample is None, "a clip that is left out makes its neighbours' balls larger"


def test_where_all_clips_agree_an_interval_still_has_a_width() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 4))
    inside, outside = against(x, 0.01 * rng.normal(size=(50, 4))), against(x, 40 + rng.normal(size=(50, 4)))
    assert inside["precision"].value == 1
    assert inside["recall"].value == 0
    assert inside["precision"].low < 1 == inside["precision"].high
    for which in (*FOUR, "coverage/normalized"):
        assert outside[which].value == 0
        assert outside[which].high > 0
        assert outside[which].standard_error > 0


def test_density_counts_how_far_it_is_from_one() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, 6))
    good, typical = (against(x, spread * rng.normal(size=(150, 6)))["density"] for spread in (1.0, 0.3))
    assert good.better == "target"
    assert abs(good.value - good.details["target"]) < 0.3
    assert typical.value > 1.5


def test_fewer_clips_than_dimensions_duplicates_and_constants() -> None:
    rng = np.random.default_rng(6)
    few = against(rng.normal(size=(30, 64)), rng.normal(size=(14, 64)))
    assert all(0 <= score.low <= score.high for key, score in few.items() if key != "density")
    # Balls of radius 0 hold nothing, not even what lies in their centre.
    constant = against(np.ones((30, 4)), np.ones((20, 4)))
    assert [constant[which].value for which in FOUR] == [0, 0, 0, 0]
    x = rng.normal(size=(60, 4))
    repeated = against(x, np.repeat(x[:1], 20, axis=0))
    assert repeated["precision"].value == 1
    assert repeated["recall"].value == 0
    assert repeated["coverage"].value == pytest.approx(repeated["density"].value * prdc.K / 60)


def test_the_order_of_clips_does_not_matter() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(150, 5)).astype(np.float32), rng.normal(size=(60, 5)).astype(np.float32)
    y[10:20], y[30:50] = y[0], x[:20]
    first, again = against(x, y), against(rng.permutation(x), rng.permutation(y))
    for key, score in first.items():
        numbers = [(s.value, s.low, s.high, s.standard_error, s.details["null"]) for s in (score, again[key])]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-10)


def test_an_interval_of_a_share_whose_clips_depend_on_each_other() -> None:
    free = share_interval(0.3, 0.3 * 0.7 / 100, 5000)
    assert free.standard_error == pytest.approx(np.sqrt(0.3 * 0.7 / 100), rel=0.02)
    assert share_interval(1.0, 0.0, 500).low < 1
    assert share_interval(0.5, 0.0, 500).standard_error > 0


def test_what_is_too_little_is_said() -> None:
    rng = np.random.default_rng(8)
    scores = evaluation.measure(rng.normal(size=(40, 3)), rng.normal(size=(11, 3)))
    assert "11 clips on the generated side, at least 12" in scores.not_applicable["v1/recall"]

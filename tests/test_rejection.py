"""Likelihood thresholds: the surface is v1's metrics cell by cell, the best cell wins, and the other half has no say in it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import evaluation
from evaluation import SampleSet, rejection
from evaluation.rejection import LOWER, UPPER, halves, tune
from tasks import thresholds
from tests.test_metrics import log_softmax

CLASSES, D = 5, 12


def clips(rng: np.random.Generator, count: int, broken: float = 0.0) -> SampleSet:
    """Clips of five classes; the share `broken` of them, which are unlikely, is off in features and unsure in class."""
    labels = rng.integers(CLASSES, size=count)
    bad = rng.random(count) < broken
    features = 2.0 * np.eye(D)[labels] + 0.3 * rng.normal(size=(count, D)) + 1.5 * bad[:, None]
    logits = np.where(bad[:, None], 0.0, 6.0) * np.eye(CLASSES)[labels] + rng.normal(size=(count, CLASSES))
    log_likelihood = rng.normal(-1000, 10, count) - 100 * bad
    return SampleSet(features.astype(np.float32), log_softmax(logits), log_likelihood=log_likelihood)


@pytest.fixture(scope="module")
def prepared() -> dict[str, np.ndarray]:
    return evaluation.prepare(clips(np.random.default_rng(0), 500), ["v1/fid", "v1/is"])


@pytest.fixture(scope="module")
def samples() -> SampleSet:
    return clips(np.random.default_rng(1), 401, broken=0.25)


def value(prepared: dict[str, np.ndarray], some: SampleSet, key: str) -> float:
    return evaluation.compute(prepared, some, [key])[key].value


@pytest.mark.parametrize("criterion", ["fid", "is"])
def test_the_surface_is_the_metric_of_every_cell(
    criterion: str, prepared: dict[str, np.ndarray], samples: SampleSet
) -> None:
    tuned = tune(prepared, samples, criterion)
    log_likelihood = samples.array("log_likelihood")
    ascending = tuned.tuning[np.argsort(log_likelihood[tuned.tuning])]
    assert len(ascending) == 200
    assert [(cell.lower, cell.upper) for cell in tuned.surface] == [(low, high) for low in LOWER for high in UPPER]
    for cell in tuned.surface:
        kept = ascending[round(200 * cell.lower) : round(200 * cell.upper)]
        assert cell.count == len(kept)
        assert cell.value == pytest.approx(value(prepared, samples.take(kept), f"v1/{criterion}"), rel=1e-9)
    values = [cell.value or 0.0 for cell in tuned.surface]
    assert tuned.chosen.value == (min(values) if criterion == "fid" else max(values))


@pytest.mark.parametrize("criterion", ["fid", "is"])
def test_broken_clips_are_found_and_the_other_half_is_better_without_them(
    criterion: str, prepared: dict[str, np.ndarray], samples: SampleSet
) -> None:
    tuned = tune(prepared, samples, criterion)
    assert tuned.chosen.lower in (0.2, 0.3)
    assert tuned.thresholds.low is not None
    assert -1060 < tuned.thresholds.low < -980
    kept = value(prepared, samples.take(tuned.kept), f"v1/{criterion}")
    whole = value(prepared, samples.take(tuned.reporting), f"v1/{criterion}")
    assert kept < whole if criterion == "fid" else kept > whole
    assert set(tuned.kept) < set(tuned.reporting)
    assert not set(tuned.tuning) & set(tuned.reporting)
    assert len(tuned.tuning) + len(tuned.reporting) == 401


def test_a_finer_grid_and_another_are_searched_to_the_end(prepared: dict[str, np.ndarray], samples: SampleSet) -> None:
    lower, upper = [i / 50 for i in range(25)], [0.5 + i / 50 for i in range(26)]
    fine = tune(prepared, samples, lower=lower, upper=upper)
    assert len(fine.surface) == 25 * 26
    assert (fine.chosen.value or 0.0) <= (tune(prepared, samples).chosen.value or 0.0)
    single = tune(prepared, samples, lower=[0.0], upper=[1.0])
    assert (single.thresholds.low, single.thresholds.high) == (None, None)
    assert np.array_equal(single.kept, single.reporting)


def test_nothing_of_the_reporting_half_is_looked_at(prepared: dict[str, np.ndarray], samples: SampleSet) -> None:
    tuned = tune(prepared, samples)
    features, log_likelihood = samples.array("features").copy(), samples.array("log_likelihood").copy()
    features[tuned.reporting] = 7.0
    other = tune(prepared, replace(samples, features=features))
    assert (other.surface, other.thresholds) == (tuned.surface, tuned.thresholds)
    assert np.array_equal(other.kept, tuned.kept)
    kept = (log_likelihood >= tuned.thresholds.low) & (log_likelihood < tuned.thresholds.high)
    assert np.array_equal(tuned.kept, tuned.reporting[kept[tuned.reporting]])


def test_the_halves_do_not_depend_on_the_order(prepared: dict[str, np.ndarray], samples: SampleSet) -> None:
    shuffle = np.random.default_rng(2).permutation(401)
    one, other = tune(prepared, samples), tune(prepared, samples.take(shuffle))
    assert set(one.tuning) == set(shuffle[other.tuning])
    assert set(one.kept) == set(shuffle[other.kept])
    assert [cell.value for cell in other.surface] == pytest.approx([cell.value for cell in one.surface], rel=1e-10)
    assert set(tune(prepared, samples, seed=1).tuning) != set(one.tuning)


def test_the_papers_halves_and_ranks() -> None:
    log_likelihood = np.random.default_rng(3).normal(size=rejection.PAPER_COUNT)
    tuning, reporting = halves(log_likelihood, 0)
    assert (len(tuning), len(reporting)) == (5120, 5120)
    rng = np.random.default_rng(4)
    samples = SampleSet(log_probabilities=log_softmax(rng.normal(size=(10_240, 4))), log_likelihood=log_likelihood)
    tuned = tune({}, samples, "is", by="ranks")
    cell = tuned.chosen
    assert len(tuned.kept) == round(5120 * cell.upper) - round(5120 * cell.lower), "of ranks the count is known"
    ascending = reporting[np.argsort(log_likelihood[reporting])]
    assert set(tuned.kept) == set(ascending[round(5120 * cell.lower) : round(5120 * cell.upper)])
    assert tuned.reporting_thresholds != tuned.thresholds
    by_values = tune({}, samples, "is")
    assert by_values.chosen == cell
    assert len(by_values.kept) != len(tuned.kept)


def test_the_same_features_everywhere_and_fewer_clips_than_features() -> None:
    rng = np.random.default_rng(5)
    real = rng.normal(size=(40, 30))
    prepared = evaluation.prepare(SampleSet(real), ["v1/fid"])
    few = SampleSet(rng.normal(size=(60, 30)), log_likelihood=rng.normal(size=60))
    tuned = tune(prepared, few)
    ascending = tuned.tuning[np.argsort(few.array("log_likelihood")[tuned.tuning])]
    expected = value(prepared, few.take(ascending[:18]), "v1/fid")
    assert tuned.surface[0].value == pytest.approx(expected, rel=1e-6)
    flat = SampleSet(np.ones((60, 30)), log_likelihood=rng.normal(size=60))
    surface = tune(prepared, flat).surface
    assert all(cell.value == pytest.approx(surface[0].value, rel=1e-9) for cell in surface)


def test_of_equal_cells_the_widest_wins() -> None:
    alike = SampleSet(
        log_probabilities=np.tile(log_softmax(np.arange(4.0)[None]), (60, 1)), log_likelihood=np.arange(60.0)
    )
    tuned = tune({}, alike, "is", lower=[0.0, 0.1], upper=[0.5, 1.0])
    assert all(cell.value == pytest.approx(1.0) for cell in tuned.surface)
    exact = SampleSet(log_probabilities=np.log(np.full((60, 2), 0.5)), log_likelihood=np.arange(60.0))
    tuned = tune({}, exact, "is", lower=[0.0, 0.1], upper=[0.5, 1.0])
    assert (tuned.chosen.lower, tuned.chosen.upper) == (0.0, 1.0)


def test_cells_with_too_few_clips_say_why_and_the_result_is_plain_json(prepared: dict[str, np.ndarray]) -> None:
    few = clips(np.random.default_rng(6), 20)
    tuned = tune(prepared, few, lower=[0.0, 0.5], upper=[0.6, 1.0])
    cells = {(cell.lower, cell.upper): cell for cell in tuned.surface}
    assert cells[0.5, 0.6].value is None
    assert cells[0.5, 0.6].reason == "1 clips, at least 2 are needed"
    text = json.dumps(tuned.to_json(), allow_nan=False)
    assert json.loads(text)["samples"] == {"tuning": 10, "reporting": 10, "kept": len(tuned.kept)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"criterion": "mis"}, r"unknown criterion 'mis'. Available: fid, is"),
        ({"by": "order"}, "by values or ranks"),
        ({"lower": [0.5, 0.7]}, "0.7 and 0.6 are not"),
        ({"upper": [95.0]}, "between 0 and 1"),
        ({"lower": []}, "lower and upper quantiles"),
    ],
)
def test_what_makes_no_sense_is_said(
    change: dict, message: str, prepared: dict[str, np.ndarray], samples: SampleSet
) -> None:
    with pytest.raises(ValueError, match=message):
        tune(prepared, samples, **change)


def test_what_is_missing_is_said(prepared: dict[str, np.ndarray], samples: SampleSet) -> None:
    with pytest.raises(ValueError, match="no log_likelihood"):
        tune(prepared, replace(samples, log_likelihood=None))
    with pytest.raises(ValueError, match="at least 20 samples"):
        tune(prepared, samples.take(slice(19)))
    with pytest.raises(ValueError, match=r"v1/is .*no classes"):
        tune(prepared, replace(samples, log_probabilities=None), "is")
    with pytest.raises(ValueError, match=r"12 features and the .* 5"):
        tune(prepared, replace(samples, features=samples.array("features")[:, :5]))
    with pytest.raises(ValueError, match="no cell of the grid keeps 2 of the 200"):
        tune(prepared, samples, lower=[0.5], upper=[0.501])


def test_the_task_knows_the_same_choices() -> None:
    assert (thresholds.LOWER, thresholds.UPPER) == (LOWER, UPPER)
    assert tuple(rejection.CRITERIA) == thresholds.CRITERIA
    assert (rejection.PAPER_COUNT, rejection.MINIMUM) == (thresholds.PAPER_COUNT, thresholds.MINIMUM)
    assert math.isclose(UPPER[-1], 0.95)

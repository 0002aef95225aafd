"""Standard errors against resampling, intervals against their nominal rate, and what may be compared with what."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from evaluation import SampleSet, Score, compute, prepare
from evaluation.metrics import (
    activation_maximization,
    inception,
    inception_splits,
    likelihood,
    modified_inception,
)
from evaluation.uncertainty import bootstrap, difference, standard_error, summarize_seeds
from tests.test_metrics import classified, fid, log_softmax, scored_clips


def every_score(rng: np.random.Generator) -> dict[str, tuple[SampleSet, Callable[[SampleSet], Score]]]:
    """key -> (a generated set, the function that scores such a set)."""
    real = rng.normal(size=(3000, 6))
    spoken = SampleSet(log_probabilities=log_softmax(2 * rng.normal(size=(2000, 5)) + np.linspace(0, 2, 5)))
    features = SampleSet(rng.gamma(2.0, size=(300, 6)) * 1.1)
    classes = classified(rng, 300, classes=5)
    prepared, marginal = prepare(SampleSet(real), ["v1/fid"]), activation_maximization.prepare(spoken)
    return {
        "v1/fid": (features, lambda s: compute(prepared, s, ["v1/fid"])["v1/fid"]),
        "v1/is": (classes, lambda s: inception.compute({}, s)[0]),
        "v1/mis": (classes, lambda s: modified_inception.compute({}, s)[0]),
        "v1/am": (classes, lambda s: activation_maximization.compute(marginal, s)[0]),
        "v1/am/balance": (classes, lambda s: activation_maximization.compute(marginal, s)[1]),
        "v1/am/confidence": (classes, lambda s: activation_maximization.compute(marginal, s)[2]),
    }


@pytest.mark.parametrize("key", ["v1/fid", "v1/is", "v1/mis", "v1/am", "v1/am/balance", "v1/am/confidence"])
def test_standard_errors_agree_with_bootstrap_and_influences_with_leaving_one_out(key: str) -> None:
    rng = np.random.default_rng(8)
    generated, score_of = every_score(rng)[key]
    score = score_of(generated)
    assert score.key == key
    assert score.per_sample is not None
    assert abs(score.per_sample.mean()) < 1e-9 * abs(score.per_sample).max()

    resampled = bootstrap(lambda rows: score_of(generated.take(rows)).value, len(generated), 300, rng)
    assert score.standard_error == pytest.approx(resampled.std(ddof=1), rel=0.2)

    n = len(generated)
    left_out = np.array([score_of(generated.take(np.delete(np.arange(n), i))).value for i in range(60)])
    moved = (n - 1) * (score.value - left_out)
    slope, offset = np.polyfit(score.per_sample[:60], moved, 1)
    assert slope == pytest.approx(1, abs=0.1)
    assert np.std(moved - slope * score.per_sample[:60] - offset) < 0.1 * np.std(moved)


def test_nll_standard_error_agrees_with_bootstrap() -> None:
    rng = np.random.default_rng(9)
    timesteps = rng.integers(100, 1000, 200)
    nats = -timesteps * rng.normal(2.0, 0.3, 200)

    def nll(rows: np.ndarray) -> Score:
        return likelihood.compute({}, scored_clips(nats[rows], timesteps[rows]))[0]

    resampled = bootstrap(lambda rows: nll(rows).value, 200, 500, rng)
    assert nll(np.arange(200)).standard_error == pytest.approx(resampled.std(ddof=1), rel=0.15)


@pytest.mark.parametrize("key", ["v1/fid", "v1/is", "v1/is/10-splits", "v1/mis", "v1/am"])
def test_intervals_cover_the_expected_value_at_their_nominal_rate(key: str) -> None:
    rng = np.random.default_rng(10)
    prepared = prepare(SampleSet(rng.normal(size=(3000, 6))), ["v1/fid"])
    marginal = activation_maximization.prepare(SampleSet(log_probabilities=log_softmax(np.diag(np.arange(5.0)))))

    def draw() -> Score:
        if key == "v1/fid":
            return compute(prepared, SampleSet(rng.normal(0.3, 1.2, size=(300, 6))), ["v1/fid"])["v1/fid"]
        generated = classified(rng, 300, classes=5)
        if key == "v1/am":
            return activation_maximization.compute(marginal, generated)[0]
        module = {"v1/is": inception, "v1/is/10-splits": inception_splits, "v1/mis": modified_inception}[key]
        return module.compute({}, generated)[0]

    scores = [draw() for _ in range(400)]
    expected = np.mean([score.value for score in scores])
    covered = np.mean([score.low <= expected <= score.high for score in scores])
    assert 0.92 <= covered <= 0.985


# --- comparing -------------------------------------------------------------------------------------------------------


def test_a_difference_of_generators_adds_their_errors() -> None:
    rng = np.random.default_rng(11)
    real = rng.normal(size=(2000, 6))
    good, bad = fid(real, rng.normal(size=(300, 6))), fid(real, rng.normal(1.0, 1.0, size=(300, 6)))
    apart = difference(bad, good)
    assert apart.standard_error == pytest.approx(math.hypot(good.standard_error, bad.standard_error))
    assert apart.clear
    assert not difference(good, good).clear


def test_a_difference_of_likelihoods_is_paired_by_clip() -> None:
    rng = np.random.default_rng(12)
    timesteps = np.full(100, 50)
    hardness = rng.normal(100, 30, 100)
    a = likelihood.compute({}, scored_clips(-hardness, timesteps))[0]
    b = likelihood.compute({}, scored_clips(-hardness - 2 + 0.5 * rng.normal(size=100), timesteps))[0]
    assert difference(b, a).clear
    assert difference(b, a).standard_error < 0.05 * a.standard_error
    with pytest.raises(ValueError, match="different spaces"):
        difference(a, likelihood.compute({}, scored_clips(-hardness, timesteps, space="16-bit linear"))[0])
    with pytest.raises(ValueError, match="needs both scores' per_sample"):
        difference(a, Score.from_json(b.to_json()))


def test_what_both_models_share_is_no_chance_between_them() -> None:
    rng = np.random.default_rng(16)
    generated = classified(rng, 100)
    score = inception.compute({}, generated)[0]
    shared = replace(score, details={"shared_standard_error": 0.8 * score.standard_error})
    assert difference(shared, shared).standard_error == pytest.approx(0.6 * difference(score, score).standard_error)


def test_what_is_not_the_same_metric_is_not_compared() -> None:
    generated = classified(np.random.default_rng(13), 100)
    whole, tenths = inception.compute({}, generated)[0], inception_splits.compute({}, generated)[0]
    with pytest.raises(ValueError, match="not comparable: key"):
        difference(whole, tenths)
    with pytest.raises(ValueError, match="several seeds of one metric"):
        summarize_seeds([whole, tenths])


def test_seeds_are_summarized_by_their_spread() -> None:
    rng = np.random.default_rng(14)
    scores = [inception.compute({}, classified(rng, 100))[0] for _ in range(3)]
    values = [score.value for score in scores]
    spread = summarize_seeds(scores)
    assert (spread.key, spread.count, spread.low, spread.high) == ("v1/is", 3, min(values), max(values))
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.sd == pytest.approx(np.std(values, ddof=1))
    assert summarize_seeds(scores[:1]).sd is None


def test_standard_error_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(15).normal(size=50)
    assert standard_error(values - values.mean()) == pytest.approx(values.std(ddof=1) / math.sqrt(50))

"""The values of the v1 metrics against oracles that are not ours, and their standard errors against resampling."""

import itertools
import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from evaluation import SampleSet, Score, measure
from evaluation.metrics import (
    activation_maximization,
    inception,
    inception_splits,
    likelihood,
    modified_inception,
)
from tests import reference

GENERATED = ("gen_good", "gen_memorised", "gen_duplicated", "gen_collapsed")
RELEASED = ("balanced", "blurred", "imbalanced", "collapsed", "self", "odd_count", "tiny", "n_less_than_d")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, dtype=np.float64)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def classified(rng: np.random.Generator, count: int, spread: float = 3.0, classes: int = 10) -> SampleSet:
    return SampleSet(log_probabilities=log_softmax(spread * rng.normal(size=(count, classes))))


def from_probabilities(probabilities: np.ndarray) -> SampleSet:
    with np.errstate(divide="ignore"):
        logs = np.log(np.asarray(probabilities, dtype=np.float64))
    return SampleSet(log_probabilities=logs)


def fid(real: np.ndarray, generated: np.ndarray) -> Score:
    return measure(real, generated, ["v1/fid"])["v1/fid"]


def am(real: SampleSet, generated: SampleSet) -> list[Score]:
    return activation_maximization.compute(activation_maximization.prepare(real), generated)


def fid_by_root(real: np.ndarray, generated: np.ndarray) -> float:
    covariances = [np.cov(np.asarray(x, dtype=np.float64), rowvar=False) for x in (real, generated)]
    shift = real.mean(axis=0, dtype=np.float64) - generated.mean(axis=0, dtype=np.float64)
    root = sqrtm(covariances[0] @ covariances[1])
    return float(shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root.real))


# --- oracles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATED)
def test_fid_equals_torch_fidelity_and_dgm_eval(name: str) -> None:
    arrays = reference.load("metrics_oracles").arrays
    value = fid(arrays["in_train"], arrays[f"in_{name}"]).value
    # The oracles take the mean of float32 features in float32.
    assert value == pytest.approx(float(arrays[f"out_{name}__torch_fidelity_fid"]), rel=2e-7)
    assert value == pytest.approx(float(arrays[f"out_{name}__dgm_fd"]), rel=2e-7)
    assert value == pytest.approx(fid_by_root(arrays["in_train"], arrays[f"in_{name}"]), rel=1e-9)


def test_is_equals_torch_fidelity_and_dgm_eval() -> None:
    arrays = reference.load("metrics_oracles").arrays
    generated = SampleSet(log_probabilities=log_softmax(arrays["in_logits"]))
    whole = inception.compute({}, generated)[0]
    tenths = inception_splits.compute({}, generated)[0]
    assert whole.value == pytest.approx(float(arrays["out_torch_fidelity_isc_splits1_mean"]), rel=1e-7)
    assert tenths.value == pytest.approx(float(arrays["out_torch_fidelity_isc_splits10_mean"]), rel=1e-7)
    assert tenths.details["standard_deviation"] == pytest.approx(arrays["out_dgm_is_splits10"][1], rel=1e-6)
    halves = inception_splits.split_values(generated, 2)
    assert halves.mean() == pytest.approx(float(arrays["out_dgm_is_splits2"][0]), rel=1e-7)
    assert halves.std() == pytest.approx(float(arrays["out_torch_fidelity_isc_splits2_std"]), rel=1e-6)


@pytest.mark.parametrize("name", RELEASED)
def test_fid_and_am_agree_with_the_release(name: str) -> None:
    arrays = reference.load("metrics_reference").arrays
    value = fid(arrays[f"in_{name}__train_acts"], arrays[f"in_{name}__gen_acts"]).value
    assert value == pytest.approx(float(arrays[f"out_{name}__fid"].real), rel=1e-6, abs=1e-4)
    real, generated = (from_probabilities(arrays[f"in_{name}__{side}_probs"]) for side in ("train", "gen"))
    scores = am(real, generated)
    assert scores[0].value == pytest.approx(float(arrays[f"out_{name}__am"]), rel=1e-5)
    assert scores[1].value + scores[2].value == pytest.approx(scores[0].value, rel=1e-12)


@pytest.mark.parametrize("name", RELEASED)
def test_the_release_estimates_our_mis_by_random_pairs(name: str) -> None:
    arrays = reference.load("metrics_reference").arrays
    generated = from_probabilities(arrays[f"in_{name}__gen_probs"])
    p, log_p = generated.probabilities, generated.log_probabilities64
    pairs = -generated.entropies[:, None] - p @ log_p.T
    exact = modified_inception.compute({}, generated)[0]
    assert math.log(exact.value) == pytest.approx(pairs.mean(), rel=1e-12)
    scatter = pairs.std() / math.sqrt(10_000)
    assert abs(math.log(float(arrays[f"out_{name}__mis"])) - math.log(exact.value)) < 4 * scatter


def test_the_release_sums_is_over_the_wrong_axis() -> None:
    """One class in 90 % of the clips: the release's number exceeds the largest that is possible."""
    arrays = reference.load("metrics_reference").arrays
    value = inception.compute({}, from_probabilities(arrays["in_collapsed__gen_probs"]))[0].value
    assert value < 2
    assert float(arrays["out_collapsed__is"]) > 10


def test_exact_zeros_are_fine_where_they_have_a_limit_and_an_error_where_they_have_none() -> None:
    arrays = reference.load("metrics_reference").arrays
    onehot = arrays["in_onehot_missing__gen_probs"]
    generated = from_probabilities(onehot)
    shares = onehot.mean(axis=0, dtype=np.float64)
    shares = shares[shares > 0]
    assert inception.compute({}, generated)[0].value == pytest.approx(math.exp(-(shares * np.log(shares)).sum()))
    with pytest.raises(ValueError, match=r"v1/mis.*infinite.*log_softmax in float64"):
        modified_inception.compute({}, generated)
    with pytest.raises(ValueError, match=r"v1/am is infinite.*classes \[\d"):
        am(from_probabilities(arrays["in_balanced__train_probs"]), generated)


# --- FID -------------------------------------------------------------------------------------------------------------


def test_fid_of_a_set_with_itself_is_zero() -> None:
    features = np.random.default_rng(0).normal(3, 2, size=(400, 30)) * np.logspace(0, -4, 30)
    score = fid(features, features)
    assert abs(score.value) < 1e-9
    assert score.standard_error < 1e-9


def test_fid_between_normal_distributions_is_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    real, generated = rng.normal(size=(200, 1)), rng.normal(1.0, 3.0, size=(150, 1))
    expected = (real.mean() - generated.mean()) ** 2 + (real.std(ddof=1) - generated.std(ddof=1)) ** 2
    assert fid(real, generated).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 12), (5000, 50, 12), (40, 60, 12), (60, 20, 50), (30, 20, 50)])
def test_fid_equals_the_matrix_root_at_any_rank_and_flags_a_deficient_one(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(2)
    real, generated = rng.normal(size=(n, d)), rng.normal(0.2, 1.3, size=(m, d))
    score = fid(real, generated)
    assert score.value == pytest.approx(fid_by_root(real, generated), rel=1e-5)
    assert len(score.warnings) == (m <= d) + (n <= d)
    assert all("full rank" in warning for warning in score.warnings)


def test_fid_does_not_care_for_order_rotation_or_origin() -> None:
    rng = np.random.default_rng(3)
    real, generated = rng.normal(size=(5000, 20)), rng.normal(0.1, 1.2, size=(300, 20))
    value = fid(real, generated).value
    rotation = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    assert fid(rng.permutation(real), rng.permutation(generated)).value == pytest.approx(value, rel=1e-10)
    assert fid(real @ rotation, generated @ rotation).value == pytest.approx(value, rel=1e-10)
    assert fid(real + 100, generated + 100).value == pytest.approx(value, rel=1e-9)


def test_fid_of_one_repeated_sample_is_defined_and_flagged() -> None:
    rng = np.random.default_rng(4)
    real = rng.normal(size=(100, 5)).astype(np.float32)
    score = fid(real, np.repeat(real[:1], 30, axis=0))
    shift = real[0].astype(np.float64) - real.mean(axis=0, dtype=np.float64)
    assert score.value == pytest.approx(shift @ shift + np.trace(np.cov(real.astype(np.float64), rowvar=False)))
    assert score.standard_error < 1e-12
    assert "same features" in score.warnings[0]


def test_fid_says_what_is_wrong_with_its_input() -> None:
    rng = np.random.default_rng(5)
    real = rng.normal(size=(50, 4))
    with pytest.raises(ValueError, match=r"reference has 4 features and the generated set 3"):
        fid(real, real[:, :3])
    with pytest.raises(ValueError, match=r"v1/fid.*1 clip on the generated side, at least 2"):
        fid(real, real[:1])
    with pytest.raises(ValueError, match=r"v1/fid.*1 clip on the reference side"):
        fid(real[:1], real)
    real[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"1 of 50 rows hold NaN.*row 7"):
        SampleSet(real)


# --- the scores from class probabilities -----------------------------------------------------------------------------


def test_is_runs_from_one_to_the_number_of_classes() -> None:
    confident = log_softmax(800 * np.tile(np.eye(7), (30, 1)))
    assert inception.compute({}, SampleSet(log_probabilities=confident))[0].value == pytest.approx(7)
    assert inception.compute({}, SampleSet(log_probabilities=confident[::7]))[0].value == pytest.approx(1)
    assert inception.compute({}, SampleSet(log_probabilities=log_softmax(np.zeros((50, 7)))))[0].value == 1


def test_mis_is_the_mean_over_all_pairs() -> None:
    generated = classified(np.random.default_rng(6), 40)
    p, log_p = generated.probabilities, generated.log_probabilities64
    pairs = {(i, j): float(p[i] @ (log_p[i] - log_p[j])) for i, j in itertools.product(range(40), repeat=2)}
    score = modified_inception.compute({}, generated)[0]
    assert score.value == pytest.approx(math.exp(np.mean(list(pairs.values()))), rel=1e-12)
    apart = [value for (i, j), value in pairs.items() if i != j]
    assert score.details["without_self_pairs"] == pytest.approx(math.exp(np.mean(apart)), rel=1e-12)


def test_mis_survives_probabilities_far_below_float32() -> None:
    generated = SampleSet(log_probabilities=log_softmax(np.diag(np.full(6, 120.0))))
    assert modified_inception.compute({}, generated)[0].value == pytest.approx(math.exp(120 * 5 / 6), rel=1e-9)
    with pytest.raises(ValueError, match="beyond float64"):
        modified_inception.compute({}, SampleSet(log_probabilities=log_softmax(np.diag(np.full(6, 1e4)))))


def test_am_needs_no_class_to_be_likely() -> None:
    """A class that no clip gives more than exp(-900) underflows as a probability, but not in the log domain."""
    logits = np.zeros((20, 3))
    logits[:, 2] = -900
    real = SampleSet(log_probabilities=log_softmax(np.zeros((10, 3))))
    balance = am(real, SampleSet(log_probabilities=log_softmax(logits)))[1].value
    assert balance == pytest.approx(-math.log(3) + (2 * math.log(2) + 900 + math.log(2)) / 3, rel=1e-6)


def test_am_needs_the_same_classes() -> None:
    rng = np.random.default_rng(7)
    with pytest.raises(ValueError, match="reference has 10 classes and the generated set 9"):
        am(classified(rng, 20), classified(rng, 20, classes=9))


# --- NLL -------------------------------------------------------------------------------------------------------------


def scored_clips(log_likelihood: np.ndarray, timesteps: np.ndarray, space: str = "8-bit mu-law") -> SampleSet:
    clips = SampleSet(log_likelihood=log_likelihood, timesteps=timesteps, likelihood_space=space, unigram_entropy=6.5)
    return SampleSet(held_out=clips)


def test_nll_is_the_ratio_of_sums_in_bits() -> None:
    timesteps = np.array([10, 30, 60])
    score = likelihood.compute({}, scored_clips(-np.array([40.0, 60.0, 100.0]) * math.log(2), timesteps))[0]
    assert score.value == pytest.approx(2.0)
    assert (score.n_reference, score.n_generated, score.unit) == (3, 0, "bits/timestep")
    assert score.details == {"likelihood_space": "8-bit mu-law", "timesteps": 100, "unigram_entropy": 6.5}


def test_nll_ignores_what_a_model_says_of_its_own_samples() -> None:
    own = SampleSet(log_likelihood=np.full(5, -1.0), timesteps=np.full(5, 8), likelihood_space="8-bit mu-law")
    with pytest.raises(ValueError, match="no log-likelihood of held-out clips"):
        likelihood.compute({}, own)


def test_nll_must_say_what_it_is_over() -> None:
    with pytest.raises(ValueError, match="likelihood_space"):
        likelihood.compute({}, scored_clips(np.array([-1.0, -2.0]), np.array([4, 4]), space=""))

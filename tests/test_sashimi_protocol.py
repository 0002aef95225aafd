"""Protocol `sashimi` against what the published script itself produced, its standard errors, and its undefined outcomes."""

import math

import numpy as np
import pytest

import evaluation
from evaluation import SampleSet, Score
from evaluation import sashimi_protocol as script
from evaluation.metrics import sashimi, sashimi_inception
from tests import reference
from tests.test_metrics import log_softmax

CASES = ("balanced", "blurred", "imbalanced", "collapsed", "self", "odd_count", "tiny", "n_less_than_d")
SCORES = {"fid": "fid", "is": "inception", "mis": "m_inception", "am": "am"}


def given(features: np.ndarray | None, probabilities: np.ndarray) -> SampleSet:
    with np.errstate(divide="ignore"):
        return SampleSet(features, np.log(probabilities.astype(np.float64)))


def ndb(centres: np.ndarray, train: np.ndarray, generated: np.ndarray) -> float:
    return script.number_of_different_bins(*(script.bin_counts(side, centres) for side in (train, generated)))


@pytest.mark.parametrize("name", CASES)
def test_every_number_equals_the_script(name: str) -> None:
    arrays = reference.load("metrics_reference").arrays
    train, generated = (
        given(arrays[f"in_{name}__{s}_acts"], arrays[f"in_{name}__{s}_probs"]) for s in ("train", "gen")
    )
    expected = {key: float(arrays[f"out_{name}__{key}"].real) for key in ("fid", "is", "mis", "am")}
    scores = evaluation.measure(train, generated, [f"sashimi/{key}" for key in expected])
    deficient = name in ("tiny", "n_less_than_d", "self")
    assert scores["sashimi/fid"].value == pytest.approx(expected["fid"], rel=1e-6, abs=1e-4 if deficient else 1e-7)
    for key in ("is", "mis", "am"):
        assert scores[f"sashimi/{key}"].value == pytest.approx(expected[key], rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_ndb_is_exact_given_the_scripts_centres(name: str) -> None:
    arrays = reference.load("metrics_reference").arrays
    centres = arrays[f"out_{name}__ndb_centers"]
    train, generated = (arrays[f"in_{name}__{side}_acts"] for side in ("train", "gen"))
    for side, features in (("train", train), ("gen", generated)):
        counts = np.bincount(arrays[f"out_{name}__ndb_labels_{side}"], minlength=50)
        assert np.array_equal(script.bin_counts(features, centres), counts)
    assert ndb(centres, train, generated) == float(arrays[f"out_{name}__ndb"])
    refitted = ndb(script.fit_bins(train), train, generated)
    assert refitted == pytest.approx(float(arrays[f"out_{name}__ndb"]), abs=0.1), (
        "another scikit-learn may move the bins"
    )


def test_the_test_of_a_bin_is_the_scripts() -> None:
    arrays = reference.load("metrics_reference").arrays
    p, q = np.meshgrid(np.arange(11) / 10, np.arange(11) / 10, indexing="ij")
    assert np.array_equal(script.proportions_differ(p, 100, q, 80), arrays["out_ztest_grid"])
    assert np.array_equal(script.proportions_differ(p, 50, q, 200, threshold=2), arrays["out_ztest_grid_z2"])


def test_infinite_and_undefined_outcomes_are_the_scripts_and_are_said_in_words() -> None:
    arrays = reference.load("metrics_reference").arrays
    for name in ("onehot", "onehot_missing"):
        probabilities = arrays[f"in_{name}__gen_probs"]
        assert script.inception(probabilities) == pytest.approx(float(arrays[f"out_{name}__is"]), rel=1e-6, nan_ok=True)
        assert math.isinf(script.modified_inception(probabilities))


def test_what_the_script_cannot_say_leaves_the_others_alone() -> None:
    """Probabilities of exp(-200) are zero in float32, and no matter to v1."""
    real = SampleSet(log_probabilities=log_softmax(200 * np.eye(5)[np.arange(40) % 4]))
    scores = evaluation.measure(real, real)
    assert {"v1/is", "v1/mis"} <= set(scores)
    assert scores.not_applicable["sashimi/is"].endswith(
        "prints nan: one half of its clips gives no probability to classes 4"
    )
    assert "the script prints inf" in scores.not_applicable["sashimi/mis"]
    with pytest.raises(ValueError, match=r"sashimi/is is undefined here: the script prints nan"):
        evaluation.measure(real, real, ["sashimi/is"])


def test_the_threshold_that_always_wins() -> None:
    arrays = reference.load("metrics_threshold_script").arrays
    found = script.thresholded(arrays["out_sample_probs"], len(arrays["in_test_acts"]))
    assert np.array_equal(found.tuning, arrays["out_val_indices"])
    assert np.array_equal(found.reporting, arrays["out_test_indices"])
    assert np.array_equal(found.kept, found.reporting[slice(*arrays["out_kept_in_test_half"])])
    assert np.allclose(found.surface, arrays["out_grid"], rtol=1e-6)
    assert (found.lower, found.upper) == pytest.approx((0.40, 0.95))
    assert found.surface[:, 2].max() > found.surface[-1, 2], "another cell is better, and is not taken"
    train, test, samples = (_classified(arrays, name) for name in ("train", "test", "sample"))
    for part, generated in (("plain", samples), ("tuned", samples.take(found.kept))):
        assert_printed(arrays, f"{part}__sample_scores", train, generated)
    for part, generated in (("train", train), ("test", test)):
        assert_printed(arrays, f"tuned__{part}_set_scores", train, generated)


def _classified(arrays: dict[str, np.ndarray], name: str) -> SampleSet:
    features = arrays[f"in_{name}_acts"]
    return SampleSet(features, log_softmax(features @ arrays["in_W"].T + arrays["in_b"]))


def assert_printed(arrays: dict[str, np.ndarray], prefix: str, train: SampleSet, generated: SampleSet) -> None:
    scores = evaluation.measure(train, generated, [f"sashimi/{key}" for key in SCORES])
    for key, printed in SCORES.items():
        expected = float(arrays[f"out_{prefix}__{printed}"])
        assert scores[f"sashimi/{key}"].value == pytest.approx(expected, rel=1e-4, abs=1e-9), (prefix, key)


def test_the_search_passes_over_cells_without_a_number() -> None:
    rng = np.random.default_rng(0)
    few = np.exp(log_softmax(rng.normal(size=(12, 4)))).astype(np.float32)
    found = script.thresholded(few, 100)
    assert (len(found.tuning), len(found.reporting)) == (6, 6)
    assert found.upper == pytest.approx(0.95)
    with pytest.raises(ValueError, match="no cell with a defined IS among 2 samples"):
        script.thresholded(few[:2], 100)


def test_collapse_raises_the_scripts_is_beyond_the_number_of_classes() -> None:
    rng = np.random.default_rng(1)
    collapsed = 12 * np.eye(10)[np.where(rng.random(400) < 0.95, 0, rng.integers(10, size=400))] + rng.normal(
        size=(400, 10)
    )
    generated = SampleSet(log_probabilities=log_softmax(collapsed))
    scores = evaluation.measure(generated, generated, ["v1/is", "sashimi/is"])
    assert scores["v1/is"].value < 2
    assert scores["sashimi/is"].value > 10
    assert "more than the 10 classes" in scores["sashimi/is"].warnings[0]


def test_few_or_equal_reference_clips_leave_ndb_undefined_and_the_rest_defined() -> None:
    rng = np.random.default_rng(2)
    generated = SampleSet(rng.normal(size=(40, 3)), log_softmax(rng.normal(size=(40, 4))))
    few = SampleSet(rng.normal(size=(49, 3)), log_softmax(rng.normal(size=(49, 4))))
    scores = evaluation.compute(evaluation.prepare(few), generated)
    assert {"sashimi/fid", "sashimi/is", "sashimi/mis", "sashimi/am"} <= set(scores)
    assert "50 bins" in scores.not_applicable["sashimi/ndb"]


# --- standard errors -------------------------------------------------------------------------------------------------


def draw(rng: np.random.Generator, count: int) -> SampleSet:
    labels = rng.choice(6, size=count, p=[0.3, 0.2, 0.2, 0.15, 0.1, 0.05])
    logits = 2.5 * np.eye(6)[labels] + rng.normal(size=(count, 6))
    return SampleSet((np.eye(6)[labels] + 0.4 * rng.normal(size=(count, 6))).astype(np.float32), log_softmax(logits))


@pytest.mark.parametrize("key", ["is", "mis"])
def test_standard_errors_are_the_scatter_of_other_draws(key: str) -> None:
    rng = np.random.default_rng(3)
    scores = [_score(draw(rng, 400), key) for _ in range(120)]
    scatter = np.std([math.log(score.value) for score in scores], ddof=1)
    told = np.mean([score.standard_error / score.value for score in scores])
    assert told == pytest.approx(scatter, rel=0.2)


def _score(generated: SampleSet, key: str) -> Score:
    scores = {score.key: score for score in sashimi_inception.compute({}, generated)}
    found = scores[f"sashimi/{key}"]
    assert isinstance(found, Score)
    return found


def test_the_influence_on_is_is_that_of_leaving_a_clip_of_its_half_out() -> None:
    generated = draw(np.random.default_rng(4), 800)
    p = script.float32(generated.probabilities)
    influence = script.inception_influence(p)
    order = np.random.RandomState(0).permutation(800)
    assert not influence[order[400:]].any()
    half = p[order[:400]].astype(np.float64)

    def log_is(rows: np.ndarray) -> float:
        return float(np.mean([np.sum(c / c.sum() * np.log(c / c.sum() * len(c))) for c in rows.T]))

    assert math.exp(log_is(half)) == pytest.approx(script.inception(p), rel=1e-5)
    left_out = [399 * (log_is(half) - log_is(np.delete(half, i, axis=0))) for i in range(40)]
    assert np.allclose(influence[order[:40]] / 2, left_out, rtol=0.1, atol=0.05 * np.std(influence))


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_the_standard_error_of_ndb_is_about_the_scatter_and_not_less(shift: float) -> None:
    rng = np.random.default_rng(5)
    train = rng.normal(size=(3000, 3)).astype(np.float32)
    centres = script.fit_bins(train)
    bins = script.bin_counts(train, centres)
    draws = [script.bin_counts(rng.normal(shift, 1, (400, 3)), centres) for _ in range(150)]
    scatter = np.std([script.number_of_different_bins(bins, counts) for counts in draws], ddof=1)
    told = np.mean([script.standard_error_of_ndb(bins, counts) for counts in draws])
    assert 0.85 * scatter < told < 1.6 * scatter


def test_the_script_reads_what_a_file_holds_and_leaves_the_global_stream_alone() -> None:
    rng = np.random.default_rng(6)
    real, generated = draw(rng, 300), draw(rng, 100)
    np.random.seed(7)
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    prepared = sashimi.prepare(real)
    evaluation.measure(real, generated, ["sashimi/fid", "sashimi/mis", "sashimi/is"])
    script.thresholded(script.float32(generated.probabilities), 50)
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[index]
    assert prepared["centres"].shape == (50, 6)
    assert prepared["bins"].sum() == 300

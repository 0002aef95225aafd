"""The notebook's call, the sample set, and how a new metric file is found."""

import doctest
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evaluation
from evaluation import SampleSet, Score, applicable, compute, measure, prepare
from evaluation import metrics as plugins


def logits_to_logs(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.fixture
def pair() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        (rng.normal(shift, 1, (count, 8)), logits_to_logs(2 * rng.normal(size=(count, 4))))
        for count, shift in ((200, 0.0), (150, 0.5))
    ]


def test_the_example_in_the_docstring() -> None:
    result = doctest.testmod(sys.modules["evaluation.measure"])
    assert result.attempted >= 7
    assert result.failed == 0


def test_features_alone_give_the_feature_metrics_and_reasons_for_the_rest(pair) -> None:
    (real, _), (generated, _) = pair
    scores = measure(real, generated)
    for key in plugins.metrics():
        assert (key in scores) == ({*plugins.metrics()[key].needs} == {"features"} and key not in scores.not_applicable)
    assert {"v1/fid", "v1/kid", "v1/density"} <= set(scores)
    assert (scores["v1/fid"].n_reference, scores["v1/fid"].n_generated) == (200, 150)
    assert "no classes" in scores.not_applicable["v1/am"]
    assert "log-likelihood of held-out clips" in scores.not_applicable["v1/nll"]
    with pytest.raises(KeyError, match="v1/is: no classes"):
        scores["v1/is"]


def test_pairs_of_arrays_and_sample_sets_are_the_same(pair) -> None:
    real, generated = pair
    scores = measure(real, generated)
    enough = [
        metric.key for metric in plugins.metrics().values() if {*metric.needs} <= {"features", "log_probabilities"}
    ]
    assert list(scores) == [key for key in enough if key not in scores.not_applicable]
    assert {"v1/fid", "v1/mis", "v1/am"} <= set(scores)
    assert measure(SampleSet(*real), SampleSet(*generated)).to_json() == scores.to_json()


def test_the_pipeline_gets_the_same_numbers_from_a_file(pair, tmp_path: Path) -> None:
    real, generated = (SampleSet.of(samples) for samples in pair)
    arrays: dict[str, Any] = dict(prepare(real))
    np.savez(tmp_path / "reference.npz", **arrays)
    with np.load(tmp_path / "reference.npz") as loaded:
        prepared = dict(loaded)
    assert compute(prepared, generated).to_json() == measure(real, generated).to_json()
    assert applicable("v1/fid", prepared, generated)
    without_classes = prepare(SampleSet(real.features))
    verdict = applicable("v1/am", without_classes, generated)
    assert not verdict
    assert "prepared without log_probabilities" in verdict.reason
    assert "v1/am" in compute(without_classes, generated).not_applicable


def test_applicable_says_why_not(pair) -> None:
    real, generated = (SampleSet.of(samples) for samples in pair)
    assert applicable("fid", real, generated) == (True, "")
    assert "10" not in applicable("v1/is", real, generated.take(slice(10))).reason
    assert applicable("v1/is/10-splits", real, generated.take(slice(10))).reason.startswith("10 clips")
    assert "reference side" in applicable("fid", SampleSet(log_probabilities=real.log_probabilities), generated).reason


def test_metrics_are_chosen_by_key_or_name(pair) -> None:
    assert list(measure(pair[0], pair[1], metrics=["FID", "am/balance", "mIS"])) == [
        "v1/fid",
        "v1/mis",
        "v1/am/balance",
    ]
    with pytest.raises(ValueError, match=r"unknown metric 'v1/fidd'. Did you mean v1/fid\? Available: v1/fid, v1/is"):
        measure(pair[0], pair[1], metrics=["v1/fidd"])
    with pytest.raises(ValueError, match="v1/nll is not applicable"):
        measure(pair[0], pair[1], metrics=["nll"])
    with pytest.raises(ValueError, match="a list of names"):
        measure(pair[0], pair[1], metrics="fid")


def test_the_table_is_readable(pair) -> None:
    lines = repr(measure(*pair)).splitlines()
    assert lines[0].split() == ["metric", "value", "±", "SE", "95", "%", "interval", "real", "generated", "unit"]
    assert lines[1].split()[:2] == ["v1/fid", "↓"]
    assert lines[1].split()[-2:] == ["200", "150"]
    assert any(line.startswith("v1/nll: not applicable: ") for line in lines)
    assert "v1/fid: biased: 5 generated clips" in repr(measure(pair[0][0], pair[1][0][:5]))


def test_scores_are_json(pair) -> None:
    scores = measure(*pair)
    text = json.dumps(scores.to_json(), allow_nan=False)
    assert {key: Score.from_json(values) for key, values in json.loads(text).items()} == dict(scores)
    with_samples = Score.from_json(json.loads(json.dumps(scores["v1/is"].to_json(per_sample=True))))
    assert with_samples.per_sample is not None
    assert with_samples.per_sample.tolist() == scores["v1/is"].to_json(per_sample=True)["per_sample"]
    with pytest.raises(ValueError, match="no field colour"):
        Score.from_json({**scores["v1/is"].to_json(), "colour": "red"})
    with pytest.raises(ValueError, match=r"not a score.*low"):
        Score.from_json({"key": "v1/is", "value": 1.0})


def test_a_score_is_never_infinite_nor_outside_its_interval() -> None:
    values = {"key": "v1/x", "value": 1.0, "low": 0.0, "high": 2.0, "standard_error": 0.5, "method": "", "unit": ""}
    values |= {"n_reference": 3, "n_generated": 3, "better": "lower", "version": 1}
    assert str(Score.from_json(values)) == "v1/x ↓ 1.00 ± 0.50"
    for wrong, message in (
        ({"value": float("nan")}, "undefined"),
        ({"high": float("inf")}, "undefined"),
        ({"low": 1.5}, "its own interval"),
        ({"better": "up"}, "lower, higher"),
        ({"key": "fid"}, "protocol/metric"),
        ({"variant": "a"}, "variant"),
    ):
        with pytest.raises(ValueError, match=message):
            Score.from_json(values | wrong)


def test_sample_sets_refuse_what_makes_no_sense() -> None:
    features = np.zeros((4, 3))
    for arrays, message in (
        ({}, "without arrays"),
        ({"features": features[:0]}, "no samples"),
        ({"features": features, "labels": np.zeros(5, int)}, "'features': 4, 'labels': 5"),
        ({"features": features[0]}, "2 axes"),
        ({"features": np.full((4, 3), np.inf)}, "NaN or infinity"),
        ({"features": features.astype(complex)}, "type complex"),
        ({"log_probabilities": np.zeros((4, 1))}, "at least 2 classes"),
        ({"log_probabilities": np.full((4, 2), 0.5)}, "not probabilities"),
        ({"log_probabilities": np.array([[np.nan, 0.0]])}, "row 0"),
        ({"waveforms": np.zeros((4, 9), np.int32)}, "int16"),
        ({"timesteps": np.array([3, 0])}, "at least 1"),
        ({"log_likelihood": np.array([-np.inf])}, "NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            SampleSet(**arrays)
    with pytest.raises(ValueError, match="this one has 3 entries"):
        SampleSet.of((features, features, features))
    with pytest.raises(ValueError, match="has no log_probabilities"):
        _ = SampleSet(features).entropies


def test_views_are_computed_once_and_subsets_start_anew() -> None:
    rng = np.random.default_rng(0)
    samples = SampleSet(rng.normal(size=(10, 3)).astype(np.float32), logits_to_logs(rng.normal(size=(10, 4))))
    assert samples.centred is samples.centred
    assert samples.centred.dtype == np.float64
    half = samples.take(slice(5))
    assert len(half) == 5
    assert np.allclose(half.mean, samples.features64[:5].mean(axis=0))
    assert np.allclose(np.exp(samples.log_marginal), samples.probabilities.mean(axis=0))
    assert len(samples.take(samples.features64[:, 0] > 0)) == (samples.features64[:, 0] > 0).sum()


NEWCOMER = '''"""Loudness: the mean magnitude of a feature; lower is better. A newcomer's file."""

import numpy as np

from evaluation.metrics.base import Metric
from evaluation.uncertainty import normal_interval, standard_error

VERSION = 1
LOUDNESS = Metric(key="{key}", name="{name}", version=1, better="lower", needs=("features",), doc="Loudness.")
METRICS = (LOUDNESS,)


def prepare(reference):
    return {{}}


def compute(prepared, generated):
    LOUDNESS.require(generated)
    values = np.abs(generated.features64).mean(axis=1)
    interval = normal_interval(values.mean(), standard_error(values - values.mean()))
    return [LOUDNESS.score(values.mean(), interval, "mean", n_generated=len(values))]
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of metric files."""
    monkeypatch.setattr(plugins, "__path__", [*plugins.__path__, str(tmp_path)])
    plugins.modules.cache_clear()
    plugins.metrics.cache_clear()
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(f"evaluation.metrics.{file.stem}", None)
    plugins.modules.cache_clear()
    plugins.metrics.cache_clear()


def test_a_new_metric_is_a_new_file(folder: Path) -> None:
    (folder / "loudness_of_features.py").write_text(NEWCOMER.format(key="v1/loudness", name="loudness"))
    scores = measure(np.eye(4), np.ones((5, 4)))
    assert list(scores) == ["v1/fid", "v1/loudness"]
    assert scores["v1/loudness"].value == 1


def test_two_files_cannot_claim_one_key(folder: Path) -> None:
    (folder / "other_frechet.py").write_text(NEWCOMER.format(key="v1/fid", name="FID"))
    with pytest.raises(ValueError, match=r"frechet.py and other_frechet.py both define v1/fid"):
        measure(np.eye(4), np.ones((5, 4)))


def test_measuring_needs_neither_torch_nor_luigi() -> None:
    check = "import sys, evaluation; print({'torch', 'luigi', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules))"
    root = Path(evaluation.__file__).parent.parent
    result = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"

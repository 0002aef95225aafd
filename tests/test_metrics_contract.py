"""What every file in evaluation/metrics/ must keep to. A newcomer's file is tested here before it has a test."""

import inspect
import io
import pickle
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import evaluation
from evaluation import SampleSet, Score
from evaluation import metrics as plugins
from evaluation.metrics.base import Metric

CLASSES, DIMENSIONS, TIMESTEPS = 5, 6, 400
MODULES = list(plugins.modules().values())
every_file = pytest.mark.parametrize("module", MODULES, ids=plugins.names())


def clips(rng: np.random.Generator, count: int, *, noise: bool = False) -> SampleSet:
    """Tones of five pitches, every third one half as long, with features and probabilities to match; or noise, which
    resembles none of them.
    """
    labels = rng.integers(CLASSES, size=count)
    pitch = 0.05 * (1 + labels[:, None])
    tones = 0.3 * np.sin(np.arange(TIMESTEPS) * pitch + rng.uniform(0, 6, (count, 1)))
    tones[::3, TIMESTEPS // 2 :] = 0
    waveforms = rng.normal(0, 0.3, (count, TIMESTEPS)) if noise else tones
    centres = 2.0 * np.eye(DIMENSIONS)[labels] + 0.5
    features = (np.full(centres.shape, 4.0) if noise else centres) + 0.3 * rng.normal(size=(count, DIMENSIONS))
    evidence = np.eye(CLASSES)[0] if noise else 6.0 * np.eye(CLASSES)[labels]
    logits = evidence + rng.normal(size=(count, CLASSES))
    bits = rng.normal(9.0 if noise else 3.0, 0.1, count) * TIMESTEPS
    return SampleSet(
        features=features.astype(np.float32),
        log_probabilities=logits - np.logaddexp.reduce(logits, axis=1, keepdims=True),
        labels=labels,
        log_likelihood=-bits * np.log(2),
        timesteps=np.full(count, TIMESTEPS),
        likelihood_space="16-bit linear",
        waveforms=np.clip(waveforms * 32768, -32768, 32767).astype(np.int16),
        sample_rate=8000,
    )


def with_held_out(count: int, seed: int) -> SampleSet:
    """Clips, 80 others held out, and 60 on which thresholds are set."""
    rng = np.random.default_rng(seed)
    return replace(clips(rng, count), held_out=clips(rng, 80), calibration=clips(rng, 60))


@pytest.fixture(scope="module")
def real() -> SampleSet:
    return with_held_out(300, 0)


@pytest.fixture(scope="module")
def good() -> SampleSet:
    """As good as real, and the held-out clips are likely under its generator."""
    return with_held_out(120, 1)


@pytest.fixture(scope="module")
def noise() -> SampleSet:
    """Noise, of whose generator one may also expect that real clips are unlikely."""
    rng = np.random.default_rng(2)
    return replace(clips(rng, 120, noise=True), held_out=clips(rng, 80, noise=True))


def run(module: ModuleType, real: SampleSet, generated: SampleSet) -> list[Score]:
    keys = [metric.key for metric in module.METRICS]
    return list(evaluation.compute(evaluation.prepare(real, keys), generated, keys).values())


@every_file
def test_a_file_says_what_it_is(module: ModuleType) -> None:
    text = inspect.getdoc(module) or ""
    assert len(text.splitlines()) >= 3, "the docstring gives the definition, its source and where it differs"
    assert module.VERSION >= 1
    assert len(Path(module.__file__ or "").read_text(encoding="utf-8").splitlines()) < 150
    assert module.METRICS
    assert all(isinstance(metric, Metric) for metric in module.METRICS)
    assert len({(m.needs, m.needs_reference, m.minimum) for m in module.METRICS}) == 1, "one file, one set of needs"


@every_file
def test_a_metric_describes_itself(module: ModuleType) -> None:
    known = {field.name for field in fields(SampleSet)}
    for metric in module.METRICS:
        assert metric.key.count("/") in (1, 2)
        assert metric.key == metric.key.lower()
        assert metric.name
        assert metric.doc.endswith(".")
        assert metric.version == module.VERSION
        assert metric.better in ("lower", "higher", "target")
        assert metric.needs
        assert {part for need in (*metric.needs, *metric.needs_reference) for part in need.split(".")} <= known
        assert plugins.find(metric.key) is metric
        assert plugins.find(metric.name) is metric
        assert metric.to_json()["key"] == metric.key


@every_file
def test_prepare_gives_arrays_that_survive_a_file_and_a_process(module: ModuleType, real: SampleSet) -> None:
    prepared = module.prepare(real)
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fiub" for array in prepared.values())
    file = io.BytesIO()
    np.savez(file, **prepared)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        for again in (dict(loaded), pickle.loads(pickle.dumps(prepared)), module.prepare(real)):
            assert again.keys() == prepared.keys()
            assert all(np.array_equal(again[name], prepared[name]) for name in prepared)


@every_file
def test_scores_match_their_metrics(module: ModuleType, real: SampleSet, good: SampleSet) -> None:
    scores = run(module, real, good)
    assert [score.key for score in scores] == [metric.key for metric in module.METRICS]
    for score, metric in zip(scores, module.METRICS, strict=True):
        assert (score.better, score.unit, score.version) == (metric.better, metric.unit, metric.version)
        assert score.low <= score.value <= score.high
        assert score.standard_error > 0
        assert score.method
        over_held_out = any(need.startswith("held_out.") for need in metric.needs)
        assert score.n_generated == (0 if over_held_out else len(good))
        of_thresholds = any(need.startswith("calibration.") for need in metric.needs_reference)
        looked_at = 60 if of_thresholds else len(real) if metric.needs_reference else 0
        assert score.n_reference == (80 if over_held_out else looked_at)
        assert Score.from_json(score.to_json(per_sample=True)) == score
        if score.per_sample is not None:
            assert score.per_sample.dtype == np.float64
            assert len(score.per_sample) == (score.n_generated or score.n_reference)
            assert abs(score.per_sample.mean()) <= 1e-9 * abs(score.per_sample).max()


@every_file
def test_real_clips_score_better_than_noise(
    module: ModuleType, real: SampleSet, good: SampleSet, noise: SampleSet
) -> None:
    for ours, theirs in zip(run(module, real, good), run(module, real, noise), strict=True):
        losses = [abs(s.value - s.details["target"]) if s.better == "target" else s.value for s in (ours, theirs)]
        sign = -1 if ours.better == "higher" else 1
        assert sign * (losses[1] - losses[0]) > 0, f"{ours.key}: {ours.value} for real clips, {theirs.value} for noise"


@every_file
def test_the_same_input_gives_the_same_bits(module: ModuleType, real: SampleSet, good: SampleSet) -> None:
    """Twice, in float64 whatever comes in, and without a glance at numpy's global random state."""
    first = run(module, real, good)
    np.random.seed(1)
    state = np.random.get_state()[1].copy()  # type: ignore[index]
    wide = replace(good, features=good.array("features").astype(np.float64))
    for again in (run(module, replace(real), replace(good)), run(module, real, wide)):
        assert [score.to_json(per_sample=True) for score in again] == [s.to_json(per_sample=True) for s in first]
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[index]


@every_file
def test_what_is_missing_is_named(module: ModuleType, real: SampleSet, good: SampleSet) -> None:
    metric = module.METRICS[0]
    prepared = module.prepare(real)
    for need in metric.needs:
        nothing: dict[str, Any] = {need.split(".")[0]: None}
        with pytest.raises(ValueError, match=f"{metric.key} .*not applicable"):
            module.compute(prepared, replace(good, **nothing))
    for need in metric.needs_reference:
        nothing = {need.split(".")[0]: None}
        with pytest.raises(ValueError, match=f"{metric.key} .*not applicable.*reference"):
            module.prepare(replace(real, **nothing))
    assert good.held_out is not None
    few = replace(good.take(slice(metric.minimum - 1)), held_out=good.held_out.take(slice(metric.minimum - 1)))
    with pytest.raises(ValueError, match=f"at least {metric.minimum}"):
        module.compute(prepared, few)


def test_keys_are_unique_and_the_first_is_the_headline() -> None:
    assert list(plugins.metrics())[:5] == ["v1/fid", "v1/is", "v1/mis", "v1/am", "v1/am/balance"]
    assert next(iter(plugins.metrics().values())).headline

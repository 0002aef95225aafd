"""Runaway noise: what is called noise, from when on, and how seldom real clips are."""

from dataclasses import replace

import numpy as np
import pytest

import evaluation
from evaluation import runaway
from evaluation.metrics import runaway as metric
from evaluation.runaway import Limits, calibrate, find, windows
from evaluation.sample_set import SampleSet

RATE, TIMESTEPS = 8000, 16000
KEY = "v1/runaway"


def notes(count: int, seed: int, hiss: float = 0.003) -> np.ndarray:
    """Decaying chords over a quiet hiss, with a pause of hiss alone: (count, TIMESTEPS) int16."""
    rng = np.random.default_rng(seed)
    time = np.arange(TIMESTEPS) / RATE
    pitch, phase = rng.uniform(120, 700, (count, 1)), rng.uniform(0, 6, (count, 1))
    chord = sum(np.sin(2 * np.pi * pitch * k * time + k * phase) / k for k in (1, 2, 3))
    chord = 0.3 * chord * np.exp(-rng.uniform(0, 1, (count, 1)) * time) * (time < 1.2)
    return to_codes(chord + hiss * rng.normal(size=(count, TIMESTEPS)))


def noise(count: int, seed: int, level: float = 0.1) -> np.ndarray:
    return to_codes(level * np.random.default_rng(seed).normal(size=(count, TIMESTEPS)))


def to_codes(waveforms: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(waveforms * 32768), -32768, 32767).astype(np.int16)


@pytest.fixture(scope="module")
def limits() -> Limits:
    return calibrate(windows(notes(100, 0), RATE))


def found(codes: np.ndarray, limits: Limits) -> runaway.Found:
    return find(windows(codes, RATE), limits)


def test_what_a_window_is() -> None:
    cut = windows(noise(3, 0), RATE)
    assert cut.seconds == 0.5
    assert cut.starts[:3].tolist() == [0.0, 0.125, 0.25]
    assert cut.level.shape == cut.flatness.shape == (3, 13)
    assert np.allclose(cut.level, -20, atol=1)
    assert (cut.flatness > runaway.WHITE_DB - 0.3).all()
    tone = to_codes(0.5 * np.sin(2 * np.pi * 440 * np.arange(TIMESTEPS) / RATE))[None]
    assert (windows(tone, RATE).flatness < -30).all()


def test_windows_do_not_depend_on_how_many_are_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = notes(7, 3)
    at_once = windows(codes, RATE)
    monkeypatch.setattr(runaway, "TIMESTEPS_AT_ONCE", 2 * TIMESTEPS)
    assert np.array_equal(windows(codes, RATE).flatness, at_once.flatness)


def test_clips_shorter_than_a_window_are_one() -> None:
    cut = windows(noise(2, 0)[:, :1000], RATE)
    assert cut.level.shape == (2, 1)
    assert cut.seconds == 0.125
    assert windows(noise(2, 0)[:, :50], RATE).level.shape == (2, 1)


def test_real_clips_are_hardly_ever_flagged(limits: Limits) -> None:
    assert found(notes(150, 1), limits).noisy.sum() <= 2
    assert limits.bound == 1 / 101
    assert limits.clips == 100
    for few in (2, 12):  # where a threshold could easily be too low
        scarce = calibrate(windows(notes(few, few), RATE))
        assert found(notes(150, 1), scarce).noisy.mean() <= 0.01
        assert found(noise(20, 1), scarce).noisy.all()


def test_noise_is_found_and_when_it_begins(limits: Limits) -> None:
    throughout = found(noise(50, 2), limits)
    assert throughout.noisy.all()
    assert (throughout.onset == 0).all()
    assert (throughout.share == 1).all()
    broken = notes(50, 3)
    broken[:, RATE:] = noise(50, 4)[:, RATE:]
    late = found(broken, limits)
    assert late.noisy.all()
    assert (np.abs(late.onset - 1.0) <= 0.25).all()
    assert ((late.share > 0.3) & (late.share < 0.8)).all()


def test_what_is_no_runaway_noise(limits: Limits) -> None:
    """A hiss in a pause is quiet, a drum is short, and digital silence, though flat, is nothing."""
    assert not found(notes(20, 5, hiss=0.008), limits).noisy.any()
    drum = notes(20, 6)
    drum[:, 4000:5200] = noise(20, 7)[:, 4000:5200]
    assert not found(drum, limits).noisy.any()
    silence = np.zeros((3, TIMESTEPS), np.int16)
    assert not found(silence, limits).noisy.any()
    assert np.isnan(found(silence, limits).onset).all()
    assert calibrate(windows(silence, RATE)).level == runaway.SILENT_DB


def test_a_noise_clip_among_many_real_ones_does_not_set_the_threshold() -> None:
    real = np.concatenate([notes(199, 0), noise(1, 0)])
    assert found(noise(20, 1), calibrate(windows(real, RATE))).noisy.all()


def sets() -> tuple[SampleSet, SampleSet]:
    real = SampleSet(waveforms=notes(60, 0), sample_rate=RATE)
    generated = SampleSet(waveforms=np.concatenate([notes(30, 8), noise(10, 9)]), sample_rate=RATE)
    return replace(real, calibration=SampleSet(waveforms=notes(40, 1), sample_rate=RATE)), generated


def test_the_metric_is_a_share_with_its_interval() -> None:
    real, generated = sets()
    score = evaluation.measure(real, generated, [KEY])[KEY]
    assert score.value == 0.25
    assert score.low < 0.25 < score.high
    assert (score.n_reference, score.n_generated) == (40, 40)
    assert (score.details["noisy"], score.details["median_onset"]) == (10, 0.0)


def test_where_samples_are_longer_than_clips_the_whole_counts() -> None:
    real, generated = sets()
    end = generated.waveforms[:, -4000:] if generated.waveforms is not None else None
    before = np.concatenate([noise(30, 3), notes(10, 4)])
    whole = np.concatenate([before, generated.array("waveforms")], axis=1)
    long = SampleSet(waveforms=end, whole=whole, sample_rate=RATE)
    assert evaluation.measure(real, long, [KEY])[KEY].value == 1.0


def test_a_corpus_of_noise_leaves_it_undefined() -> None:
    hissing = SampleSet(waveforms=noise(30, 0), sample_rate=RATE)
    real, generated = replace(hissing, calibration=hissing), sets()[1]
    assert "as flat as white noise" in evaluation.measure(real, generated).not_applicable[KEY]


def test_another_sample_rate_is_an_error() -> None:
    real, generated = sets()
    with pytest.raises(ValueError, match="8000 Hz and the generated set at 16000"):
        metric.compute(metric.prepare(real), replace(generated, sample_rate=16000))

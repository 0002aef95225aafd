"""Loudness, peak, clipping, DC offset, silence and flatness of signals whose measures are known beforehand."""

from pathlib import Path

import numpy as np
import pytest

from evaluation import SampleSet, Score, measure, prepare
from evaluation.metrics import acoustics

RATE, TIMESTEPS = 8000, 8000
FRAME = 200  # 25 ms
KEYS = [metric.key for metric in acoustics.METRICS]


def codes(waveforms: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(np.atleast_2d(waveforms) * 32768), -32768, 32767).astype(np.int16)


def sines(count: int, amplitude: float = 0.5, hertz: float = 440.0) -> np.ndarray:
    phase = np.linspace(0, 6, count)[:, None]
    return codes(amplitude * np.sin(2 * np.pi * hertz * np.arange(TIMESTEPS) / RATE + phase))


def noise(count: int, rms: float = 0.1, seed: int = 0) -> np.ndarray:
    return codes(np.random.default_rng(seed).normal(0, rms, (count, TIMESTEPS)))


def of_clips(waveforms: np.ndarray) -> dict[str, np.ndarray]:
    found = acoustics.measure(SampleSet(waveforms=waveforms, sample_rate=RATE)).of_clips
    return {metric.variant: found[:, i] for i, metric in enumerate(acoustics.METRICS)}


def scores(generated: np.ndarray, real: np.ndarray) -> dict[str, Score]:
    sets = [SampleSet(waveforms=waveforms, sample_rate=RATE) for waveforms in (real, generated)]
    return {key.rpartition("/")[2]: score for key, score in measure(*sets, metrics=KEYS).items()}


def test_a_sine_has_its_measures() -> None:
    found = of_clips(sines(3, amplitude=1.0))
    np.testing.assert_allclose(found["loudness"], 10 * np.log10(0.5), atol=1e-3)
    np.testing.assert_allclose(found["peak"], 1.0, atol=1e-3)
    assert of_clips(sines(3, amplitude=1.01))["clipping"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(found["dc-offset"], 0, atol=1e-4)
    assert found["silence"].tolist() == [0, 0, 0]
    assert (found["flatness"] < -40).all()
    np.testing.assert_allclose(of_clips(sines(2, 0.01))["loudness"], 10 * np.log10(0.01**2 / 2), atol=0.01)


def test_white_noise_is_as_flat_as_its_periodogram() -> None:
    """The logarithm of an exponential variable is on average Euler's constant below that of its mean, and here a bit more,
    since the mean of 100 bins in a window is itself a random number.
    """
    found = of_clips(noise(40))
    assert found["flatness"].mean() == pytest.approx(-10 * np.euler_gamma / np.log(10), abs=0.15)
    assert found["loudness"].mean() == pytest.approx(-20, abs=0.05)


def test_loudness_and_flatness_do_not_hear_the_silence_around() -> None:
    whole, padded = noise(5), noise(5)
    padded[:, TIMESTEPS // 2 :] = 0
    one, other = of_clips(whole[:, : TIMESTEPS // 2]), of_clips(padded)
    for name in ("loudness", "flatness"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-12)
    assert other["silence"].tolist() == [0.5] * 5
    assert of_clips(codes(np.full(TIMESTEPS, 0.0009)))["silence"] == [1.0]
    assert of_clips(codes(np.full(TIMESTEPS, 0.0011)))["silence"] == [0.0]


def test_digital_silence_has_a_level_and_a_flat_spectrum() -> None:
    found = of_clips(np.zeros((2, TIMESTEPS), np.int16))
    np.testing.assert_allclose(found["loudness"], -10 * np.log10(12 * 32768**2), rtol=1e-12)
    np.testing.assert_allclose(found["flatness"], 0, atol=1e-12)
    assert found["silence"].tolist() == [1, 1]
    assert not found["peak"].any()
    result = scores(np.concatenate([noise(3), np.zeros((1, TIMESTEPS), np.int16)]), noise(9, seed=1))
    assert result["loudness"].warnings == result["flatness"].warnings == ["1 of 4 clips are silent throughout"]
    assert result["peak"].warnings == []
    assert result["silence"].value == 0.25


def test_an_offset_counts_in_either_direction() -> None:
    shifted = np.concatenate([sines(1, 0.1) + 1000, sines(1, 0.1) - 1000]).astype(np.int16)
    np.testing.assert_allclose(of_clips(shifted)["dc-offset"], 1000 / 32768, rtol=1e-3)


def test_clipping_is_the_share_of_clips_with_an_interval_also_at_zero() -> None:
    clean, full = sines(20), sines(20)
    full[3, 5], full[4, :10] = 32767, -32768
    result = scores(full, clean)["clipping"]
    assert (result.value, result.details["target"]) == (0.1, 0.0)
    assert result.details["timesteps"] == pytest.approx(11 / full.size)
    none = scores(clean, full)["clipping"]
    assert (none.value, none.low, none.details["target"]) == (0.0, 0.0, 0.1)
    assert none.high == pytest.approx(1.959964**2 / (20 + 1.959964**2), rel=1e-6)
    assert none.standard_error > 0


def test_the_target_is_what_real_clips_have() -> None:
    real, generated = noise(60, 0.1), noise(40, 0.2, seed=1)
    result = scores(generated, real)
    assert list(result) == ["loudness", "peak", "clipping", "dc-offset", "silence", "flatness"]
    for name, score in result.items():
        assert score.better == "target"
        assert score.arrow == "→"
        assert (score.n_reference, score.n_generated) == (60, 40)
        assert score.value == pytest.approx(of_clips(generated)[name].mean(), rel=1e-12)
        assert score.details["target"] == pytest.approx(of_clips(real)[name].mean(), rel=1e-12)
        assert score.details["standard_deviation"] == pytest.approx(of_clips(generated)[name].std(ddof=1), abs=1e-12)
    assert result["loudness"].value - result["loudness"].details["target"] == pytest.approx(6.02, abs=0.05)


def test_intervals_cover_the_mean_of_the_generator() -> None:
    """Clips whose level varies by 3 dB around -20: 95 % of the intervals hold it, within chance."""
    rng, held = np.random.default_rng(2), 0
    real = noise(3)
    for _ in range(100):
        level = 10 ** (rng.normal(-20, 3, (25, 1)) / 20)
        waveforms = codes(level * np.sqrt(2) * np.sin(2 * np.pi * 500 * np.arange(FRAME * 2) / RATE))
        sets = [SampleSet(waveforms=w, sample_rate=RATE) for w in (real, waveforms)]
        score = measure(*sets, metrics=["loudness"])["v1/acoustics/loudness"]
        held += score.low <= -20 <= score.high
    assert 86 <= held <= 99


def test_order_and_memory_maps_change_nothing(tmp_path: Path) -> None:
    real, generated = noise(150), noise(70, seed=1)
    np.save(tmp_path / "codes.npy", generated)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    first, again = scores(generated, real), scores(mapped, real)
    shuffled = scores(generated[np.random.default_rng(0).permutation(70)], real)
    for name, score in first.items():
        assert again[name].to_json() == score.to_json()
        assert shuffled[name].value == pytest.approx(score.value, rel=1e-10, abs=1e-15)


def test_other_rates_and_missing_waveforms_are_named() -> None:
    real = SampleSet(waveforms=noise(5), sample_rate=RATE)
    with pytest.raises(ValueError, match="8000 Hz and the generated set at 16000"):
        acoustics.compute(acoustics.prepare(real), SampleSet(waveforms=noise(5), sample_rate=16000))
    with pytest.raises(ValueError, match="no sample rate"):
        measure(real, SampleSet(waveforms=noise(5)), metrics=["peak"])
    with pytest.raises(ValueError, match="no waveforms"):
        measure(real, SampleSet(features=np.eye(5)), metrics=["peak"])
    assert not any(key.startswith("acoustics.") for key in prepare(SampleSet(features=np.eye(5)), ["FID"]))


def test_clips_shorter_than_a_frame_are_one_frame() -> None:
    short = noise(3)[:, : FRAME // 2]
    assert np.isfinite(acoustics.measure(SampleSet(waveforms=short, sample_rate=RATE)).of_clips).all()

"""The floor: noise with the corpus' spectrum and loudness, learned in seconds by the loop that trains everything."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.clips import ClipArray, Clips, to_int16
from models.generators.noise import PRESETS, Config, Noise
from models.randomness import SampleRandom
from models.training import fit


def coloured(count: int, timesteps: int, seed: int) -> np.ndarray:
    """Noise of a falling spectrum, at an RMS of about 0.1."""
    white = SampleRandom(seed).normal(count, timesteps)
    gain = 0.3 / (1 + torch.linspace(0, 8, timesteps // 2 + 1))
    return to_int16(torch.fft.irfft(torch.fft.rfft(white) * gain, n=timesteps).numpy())


def test_it_learns_spectrum_and_loudness(tmp_path: Path) -> None:
    timesteps = 4000
    train, validation = coloured(200, timesteps, 0), coloured(20, timesteps, 1)
    arrays = [ClipArray(codes, np.full(len(codes), timesteps)) for codes in (train, validation)]
    model = Noise(PRESETS["smoke"], 16000, timesteps)
    result = fit(model, arrays[0], arrays[1], tmp_path, config=model.config, seed=0)
    assert result["best_validation_loss"] < model.log_spectrum(timesteps).mean() + 1.1

    real = torch.from_numpy(train).float() / 32768
    drawn = model.freeze().sample(200).waveforms
    assert drawn.square().mean().sqrt() == pytest.approx(real.square().mean().sqrt().item(), rel=0.1)
    power = [torch.fft.rfft(x).abs().square().mean(0)[:2000].view(20, 100).mean(1) for x in (real, drawn)]
    assert (10 * torch.log10(power[1] / power[0])).abs().max() < 1.5, "decibels, in twenty bands"


@pytest.mark.parametrize("timesteps", [64, 63])
def test_whittles_likelihood_is_that_of_the_noise(timesteps: int) -> None:
    """Its minimum over a common factor on S is at the power that the waveforms have."""
    model = Noise(Config(bands=5), 16000, timesteps)
    clips = Clips.of(SampleRandom(0).normal(500, timesteps) * 0.1)
    losses = []
    for log_power in (2 * np.log(0.1) + offset for offset in (-0.3, 0.0, 0.3)):
        model.log_power.data.fill_(log_power)
        losses.append(model.loss("model", clips, torch.Generator()).item())
    assert losses[1] < min(losses[0], losses[2])
    assert losses[1] == pytest.approx(2 * np.log(0.1) + 1, abs=0.05)


def test_it_says_what_it_cannot_do() -> None:
    model = Noise(Config(), 16000, 100)
    with pytest.raises(ValueError, match="cannot continue a prefix"):
        model.sample(1, prefix=torch.zeros(1, 10))
    with pytest.raises(ValueError, match="has no likelihood"):
        model.log_likelihood(Clips.of(torch.zeros(1, 100)))
    with pytest.raises(ValueError, match="count=0"):
        model.sample(0)

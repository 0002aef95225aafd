"""The VAE: a distance that hears spectra and no phases, the divergence, and that a short training is heard in its samples."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.clips import ClipArray, Clips, to_int16
from models.generators.vae import PRESETS, VAE, Config, divergences
from models.layers.spectral import SpectralDistance, mel_bands
from models.randomness import SampleRandom
from models.training import fit


def tones(pitches: Tensor, rate: int, timesteps: int, phase: float = 0.0) -> Tensor:
    time = torch.arange(timesteps) / rate
    return 0.3 * torch.sin(2 * torch.pi * pitches[:, None] * time + phase)


@pytest.mark.parametrize("rate", [4000, 8000, 16000])
@pytest.mark.parametrize("bands", [0, 48])
def test_the_distance_hears_pitch_and_loudness_but_no_phase(rate: int, bands: int) -> None:
    distance = SpectralDistance(rate, (64.0, 16.0), bands)
    pitch = torch.tensor([300.0, 700.0])
    x = tones(pitch, rate, rate // 2)
    assert distance(x, x).tolist() == [0, 0]
    shifted, higher, louder = (
        distance(x, tones(pitch, rate, rate // 2, 1.0)),
        distance(x, x.flip(0)),
        distance(x, 2 * x),
    )
    assert (shifted < 0.15).all()
    assert (higher > 4 * shifted).all()
    assert (louder > 4 * shifted).all()


def test_a_learner_who_knows_nothing_of_a_noise_but_its_spectrum_is_best_at_its_true_loudness() -> None:
    """Which is what bands are for: of single magnitudes, the distance of two equal noises has its minimum too low."""
    rng = torch.Generator().manual_seed(0)
    x, y = (0.1 * torch.randn(8, 8000, generator=rng) for _ in range(2))
    loudness = (0.5, 0.71, 1.0, 1.41)
    with_bands, without = (
        [float(SpectralDistance(8000, (64.0, 16.0), bands)(x, gain * y).mean()) for gain in loudness]
        for bands in (16, 0)
    )
    assert int(np.argmin(with_bands)) == 2
    assert with_bands[2] < 0.6 * without[2]


@pytest.mark.parametrize("timesteps", [1, 97, 4000])
def test_silence_has_a_gradient(timesteps: int) -> None:
    y = torch.zeros(2, timesteps, requires_grad=True)
    SpectralDistance(8000, (32.0, 8.0), 32)(torch.zeros(2, timesteps), y).sum().backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()


@pytest.mark.parametrize(("bins", "bands"), [(1025, 64), (33, 64), (9, 4), (513, 0)])
def test_bands_are_means_over_every_bin_once(bins: int, bands: int) -> None:
    matrix = mel_bands(bins, 16000, bands)
    assert len(matrix) <= (bands or bins)
    torch.testing.assert_close(matrix.sum(1), torch.ones(len(matrix)))
    assert ((matrix > 0).sum(0) == 1).all()


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"windows": ()}, {"bands": -1}):
        with pytest.raises(ValueError, match="windows="):
            SpectralDistance(8000, **{"windows": (8.0,), **wrong})  # type: ignore[arg-type]
    for settings, told in (
        ({"kernel": 4}, "kernel=4"), ({"channels": ()}, "channels="), ({"latent": 0}, "latent=0"), ({"beta": -1.0}, "beta="),
        ({"batch_size": 2, "accumulate": 2}, "2 clips or more"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            Config(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature=-1"):
        VAE(PRESETS["smoke"], 8000, 100).sample(1, temperature=-1.0)


def test_the_divergence_is_that_of_gaussians() -> None:
    mean, log_variance = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).unbind(0)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(divergences(mean, log_variance), expected)


def test_what_a_number_tells_costs_nothing_up_to_its_free_bits() -> None:
    clips, rng = Clips.of(tones(torch.tensor([200.0, 300.0]), 8000, 1000)), torch.Generator()
    costs = []
    for free in (0.0, 1e3):
        torch.manual_seed(0)
        model = VAE(dataclasses.replace(PRESETS["smoke"], beta=1.0, free_bits=free), 8000, 1000).eval()
        loss, told = model.loss("model", clips, rng.manual_seed(0))
        costs.append(((loss - told["distance"]).item(), told["kl"].item()))
    assert costs[0][0] == pytest.approx(costs[0][1], rel=1e-4)
    assert costs[1][0] == pytest.approx(8 * 1e3)


def test_it_claims_no_likelihood() -> None:
    model = VAE(PRESETS["smoke"], 8000, 100)
    assert model.likelihood_space == ""
    assert model.sample(1).log_likelihood is None
    with pytest.raises(ValueError, match="has no likelihood"):
        model.log_likelihood(Clips.of(torch.zeros(1, 100)))
    with pytest.raises(ValueError, match="cannot continue a prefix"):
        model.sample(1, prefix=torch.zeros(1, 10))


def test_a_cold_sample_is_the_most_typical_one() -> None:
    torch.manual_seed(0)
    model = VAE(PRESETS["smoke"], 8000, 400).freeze()
    hot, cold = (model.sample(2, SampleRandom(0), temperature=t).waveforms for t in (1.0, 0.0))
    zeros = model.decoder(torch.zeros(2, 8), torch.zeros(2, *model.shape), 400)
    noise_only = cold - zeros
    assert not torch.equal(hot, cold)
    assert torch.equal(zeros[0], zeros[1])
    assert (noise_only[0] != noise_only[1]).any()


def test_a_short_training_is_heard(tmp_path: Path) -> None:
    """Tones, low or high, that end early or late: samples are nearer to the corpus than white noise of its loudness."""
    rate, timesteps, count = 4000, 1000, 96
    rng = np.random.default_rng(0)
    pitch = torch.from_numpy(rng.choice([200.0, 900.0], count)).float()
    ends = torch.from_numpy(rng.choice([300, 900], count))
    waveforms = tones(pitch, rate, timesteps) * (torch.arange(timesteps) < ends[:, None])
    array = ClipArray(to_int16(waveforms.numpy()), np.full(count, timesteps))
    config = dataclasses.replace(
        PRESETS["smoke"], steps=150, batch_size=16, validate_every=75, channels=(32, 32), beta=0.001, learning_rate=4e-3
    )
    torch.manual_seed(0)
    model = VAE(config, rate, timesteps)
    fit(model, array, array, tmp_path, config=config, seed=0)
    model.freeze()
    hear = SpectralDistance(rate, (64.0, 16.0), 24)
    told = model.reconstruct(Clips.of(waveforms[:32]))
    own, others = hear(waveforms[:32], told).mean(), hear(waveforms[:32], told[torch.randperm(32)]).mean()
    assert own < 0.6 * others, "z tells clips apart"

    def nearest(made: Tensor) -> float:
        """Mean distance of each clip from the nearest of the corpus."""
        return float(torch.stack([hear(waveforms[:32], one.expand(32, -1)).min() for one in made]).mean())

    drawn = model.sample(16).waveforms
    white = SampleRandom(0).normal(16, timesteps) * waveforms.square().mean().sqrt()
    assert nearest(drawn) < 0.6 * nearest(white)
    assert len(torch.unique(drawn.square().mean(1).round(decimals=2))) > 1

"""A VAE on waveforms (Kingma & Welling 2014, arXiv:1312.6114; Rezende, Mohamed & Wierstra 2014) with a spectral loss.

An encoder tells a Gaussian posterior q(z|x) = N(mu, sigma^2) of one latent vector per clip; a decoder turns z into a
waveform; z = mu + sigma * eps lets the gradient through. The loss is D(x, decoder(z)) + beta KL(q(z|x) || N(0, 1)); a
sample is decoder(z) for z from the prior. Kin: beta-VAE (Higgins et al. 2017), RAVE (Caillon & Esling 2021, arXiv:2111.05011).

Differs from the papers: D is not -log p(x|z) of any distribution of waveforms but the distance of magnitude spectra at
several resolutions (Engel et al. 2020, Yamamoto et al. 2020; models/layers/spectral.py), since a Gaussian p(x|z) asks for
phases that no z of a few dozen numbers can hold, and answers them with a hum. So the loss is NO evidence lower bound and
bounds no likelihood, whatever beta is: the row has no NLL. KL, in nats, is how much z tells of a clip, on average.
- Posterior means are normalized over the batch (Zhu et al. 2020, arXiv:2004.12585), else the decoder learned to ignore z.
  With free bits (Kingma et al. 2016) of 1 nat, each number in z has about the prior's variance.
- The encoder sees log-magnitudes, all that D hears; the decoder adds tones and filtered noise (models/layers/vae.py).
- One z per clip, of any length, where RAVE has a sequence of latents and a second model for their prior.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.clips import Clips
from models.generators.base import Generator, Samples
from models.layers.mdct import MDCT
from models.layers.spectral import SpectralDistance, power_of_two
from models.layers.vae import Decoder, Encoder
from models.randomness import SampleRandom
from models.training_config import TrainingConfig

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Settings of the VAE."""

    latent: int = 32
    "Numbers in z."
    beta: float = 0.001
    "Weight of the KL divergence, in nats per clip, beside the spectral distance."
    free_bits: float = 1.0
    "Nats of each number in z, on average over a batch, that cost nothing."
    windows: tuple[float, ...] = (128.0, 32.0, 8.0)
    "Windows of the spectral distance, in milliseconds."
    bands: int = 64
    "Bands, even on the mel scale, in which it compares spectra; 0 = every single frequency."
    frame: float = 16.0
    "Milliseconds from frame to frame; rounded, in timesteps, to a power of two."
    channels: tuple[int, ...] = (96, 128, 192, 256)
    "Channels of each level of encoder and decoder, from the full frame rate down; behind each, frames are halved."
    blocks: int = 1
    "Residual blocks of a level."
    kernel: int = 5
    "Frames that a convolution sees, odd."
    wave_channels: int = 24
    "Channels in which the decoder draws the waveform."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 2 * self.accumulate:
            told = f"batch_size={self.batch_size} in accumulate={self.accumulate} parts"
            raise ValueError(f"{told}: a part needs 2 clips or more, over which posterior means are normalized")
        self.require_at_least(1, "latent", "blocks", "kernel", "wave_channels")
        self.require_at_least(0, "beta", "free_bits", "bands")
        if not self.channels or min(self.channels) < 1 or self.kernel % 2 == 0 or self.frame <= 0:
            told = f"channels={self.channels} must be 1 or more, kernel={self.kernel} odd"
            raise ValueError(f"{told}, and frame={self.frame} above 0")


def large(steps: int, **settings: Any) -> Config:
    """Ours, untrained as yet: what we would begin with on one GPU."""
    return Config(
        steps=steps, batch_size=64, learning_rate=5e-4, learning_rate_schedule="cosine", warmup_steps=1000,
        gradient_clip=1.0, ema=0.999, validate_every=1000, validation_clips=512, listen_every=5000,
        windows=(128.0, 64.0, 32.0, 16.0, 8.0, 4.0), **settings,
    )  # fmt: skip


PRESETS = {
    "smoke": Config(
        steps=30, batch_size=4, learning_rate=2e-3, validate_every=15, validation_clips=8,
        latent=8, channels=(16, 24), wave_channels=8, windows=(32.0, 8.0),
    ),
    "small": Config(
        steps=1500, batch_size=16, learning_rate=2e-3, learning_rate_schedule="cosine", warmup_steps=50,
        gradient_clip=1.0, ema=0.995, validate_every=150, validation_clips=128, listen_every=750,
    ),
    "colab": large(20_000, latent=64, channels=(128, 192, 256, 384), blocks=2, wave_channels=48),
    "paper": large(200_000, latent=128, channels=(256, 384, 512, 512), blocks=3, wave_channels=96, frame=8.0),
}  # fmt: skip


class VAE(Generator):
    """z: (batch, latent); the decoder's noise: (batch, frames, hop). No likelihood, and no bound on one."""

    config: Config

    @dataclass(frozen=True)
    class Sampling:
        """How z is drawn."""

        temperature: float = 1.0
        "Standard deviation of z; below 1 samples are more typical and less different."

        def __post_init__(self) -> None:
            if self.temperature < 0:
                raise ValueError(f"temperature={self.temperature} must not be negative")

    def __init__(self, config: Config, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        hop = max(8, power_of_two(sample_rate * config.frame / 1000))
        frames = MDCT(hop).frames(timesteps, multiple=2 ** len(config.channels))
        sizes = (hop, frames, config.channels, config.blocks, config.kernel, config.latent)
        self.shape = (frames, hop)
        self.encoder, self.decoder = Encoder(*sizes), Decoder(*sizes, config.wave_channels)
        self.distance = SpectralDistance(sample_rate, config.windows, config.bands)

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """D + beta * KL, and both; where a clip ends early, the silence behind it counts."""
        mean, log_variance = self.encoder(clips.waveforms)
        eps, noise = (
            torch.randn(len(clips), *shape, generator=rng, device=rng.device) for shape in (mean.shape[1:], self.shape)
        )
        made = self.decoder(mean + torch.exp(log_variance / 2) * eps, noise, self.timesteps)
        distance = self.distance(clips.waveforms, made).mean()
        divergence = divergences(mean, log_variance).mean(0)
        cost = divergence.clamp_min(self.config.free_bits).sum()
        return distance + self.config.beta * cost, {"distance": distance, "kl": divergence.sum()}

    @torch.inference_mode()
    def reconstruct(self, clips: Clips, rng: SampleRandom | None = None) -> Tensor:
        """(batch, timesteps): each clip as it is after z, at the posterior's mean; the decoder's noise is of `rng`."""
        noise = (rng or SampleRandom(0)).normal(len(clips), *self.shape).to(self.device)
        mean, _ = self.encoder(clips.waveforms.to(self.device))
        return self.decoder(mean, noise, self.timesteps).clamp(-1, 1).cpu()

    @torch.inference_mode()
    def sample(
        self, count: int, rng: SampleRandom | None = None, prefix: Tensor | None = None, **sampling: Any
    ) -> Samples:
        """decoder(z), z from the prior; what exceeds full scale is clipped. It cannot continue a prefix."""
        settings, rng = self.asked(count, prefix, sampling), rng or SampleRandom(0)
        z, noise = (rng.normal(count, *shape).to(self.device) for shape in ((self.config.latent,), self.shape))
        return Samples(self.decoder(settings.temperature * z, noise, self.timesteps).clamp(-1, 1).cpu())


def divergences(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) of each number, in nats (Kingma & Welling 2014, appendix B)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2

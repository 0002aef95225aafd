"""Gaussian noise with the power spectrum of the corpus: the floor that every generator has to beat.

Nothing is heard in it but the corpus' colour and loudness, so its scores show what a metric gives for those alone. The
spectrum is learned by maximum likelihood (Whittle 1953, "Estimation and information in stationary time series"): the
Fourier coefficients X(f) of stationary Gaussian noise are independent, complex Gaussian, of variance S(f).

It is also the shortest example of a generator: copy this file, and change what it does.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.clips import Clips
from models.generators.base import Generator, Samples
from models.randomness import SampleRandom
from models.training_config import TrainingConfig

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Settings of the noise."""

    bands: int = 257
    "Frequencies, evenly spaced from 0 to half the sample rate, between which the logarithm of the spectrum is linear."


def preset(steps: int, batch_size: int, bands: int) -> Config:
    """The same training, longer or shorter. The start is loud, where gradients are small and even."""
    return Config(
        steps=steps, batch_size=batch_size, bands=bands, validate_every=steps // 3, learning_rate=50 / steps,
        beta2=0.9, learning_rate_schedule="cosine",
    )  # fmt: skip


PRESETS = {"smoke": preset(60, 16, 257), "small": preset(300, 32, 513), "paper": preset(3000, 64, 2049)}


class Noise(Generator):
    """One parameter per band: the logarithm of the power in a band, relative to that of full-scale white noise."""

    config: Config

    def __init__(self, config: Config, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        self.log_power = nn.Parameter(torch.zeros(config.bands))

    def log_spectrum(self, timesteps: int) -> Tensor:
        """(timesteps // 2 + 1,) log S(f) at the frequencies of a real Fourier transform of that length."""
        frequencies = timesteps // 2 + 1
        return F.interpolate(self.log_power[None, None], size=frequencies, mode="linear", align_corners=True)[0, 0]

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> Tensor:
        """Whittle's likelihood, mean over clips and frequencies of log S + |X|^2 / S; silence after a clip counts."""
        timesteps = clips.waveforms.shape[1]
        log_S = self.log_spectrum(timesteps)
        X = torch.fft.rfft(clips.waveforms, norm="ortho")
        return (log_S + X.abs().square() * torch.exp(-log_S)).mean()

    @torch.inference_mode()
    def sample(
        self, count: int, rng: SampleRandom | None = None, prefix: Tensor | None = None, **sampling: Any
    ) -> Samples:
        """White noise through a filter of gain sqrt(S); what exceeds full scale is clipped. It cannot continue a prefix."""
        self.asked(count, prefix, sampling)
        white = (rng or SampleRandom(0)).normal(count, self.timesteps).to(self.device)
        gain = torch.exp(self.log_spectrum(self.timesteps) / 2)
        waveforms = torch.fft.irfft(torch.fft.rfft(white) * gain, n=self.timesteps)
        return Samples(waveforms.clamp(-1, 1).cpu(), evaluations=0)

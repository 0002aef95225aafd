"""The two networks of the waveform VAE: an encoder of log-spectra, and a decoder to tones and filtered noise.

Both are pyramids of residual convolutions over frames. The encoder halves the frames from level to level, until a few are
left that one linear layer turns into the posterior's parameters; the decoder is its mirror image. As in DDSP (Engel et al.
2020) and RAVE (Caillon & Esling 2021), what comes out is the sum of two signals: one that the network draws timestep by
timestep, and noise of which it only says how loud each band is in each frame, for nobody can learn the noise itself.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.mdct import MDCT
from models.layers.spectral import FLOOR, Magnitudes
from models.layers.wavegan import Up

WAVE_KERNEL = 9
CERTAIN = -2.0  # log-variance to begin with: a z that is all noise at first is one that the decoder learns to ignore
SPREAD = 0.9  # standard deviation of posterior means over a batch: with the posterior's own, about the prior's 1
LOUDEST = 2.0  # the logarithm of a band's largest gain: beyond full scale, so that nothing is cut off


class Residual(nn.Module):
    """x + convolution(SiLU(convolution(SiLU(norm x)))): (batch, channels, frames) to the same."""

    def __init__(self, channels: int, kernel: int, dilation: int = 1):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.norm = nn.GroupNorm(1, channels)
        self.inner = nn.Conv1d(channels, channels, kernel, padding=padding, dilation=dilation)
        self.outer = nn.Conv1d(channels, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(F.silu(self.inner(F.silu(self.norm(x)))))


def level(channels: int, count: int, kernel: int) -> nn.Sequential:
    """`count` residual blocks behind a norm, without which z is hardly heard at the other end of the pyramid."""
    return nn.Sequential(nn.GroupNorm(1, channels), *(Residual(channels, kernel) for _ in range(count)))


class Encoder(nn.Module):
    """waveforms (batch, timesteps) -> mean and log-variance of z, each (batch, latent).

    hop: timesteps of a frame; frames: a multiple of 2 ** (levels); channels: of each level, from the full frame rate down
    """

    def __init__(self, hop: int, frames: int, channels: Sequence[int], count: int, kernel: int, latent: int):
        super().__init__()
        self.timesteps = hop * (frames - 1)
        self.magnitudes = Magnitudes(4 * hop, hop)
        self.enter = nn.Conv1d(2 * hop + 1, channels[0], 1)
        self.levels = nn.ModuleList(level(width, count, kernel) for width in channels)
        widths = [*channels, channels[-1]]
        self.down = nn.ModuleList(nn.Conv1d(above, below, 2, 2) for above, below in pairwise(widths))
        self.norm = nn.GroupNorm(1, channels[-1])
        self.leave = nn.Linear(channels[-1] * (frames >> len(channels)), 2 * latent)
        nn.init.constant_(self.leave.bias[latent:], CERTAIN)
        self.even = nn.BatchNorm1d(latent, affine=False)

    def forward(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pad(waveforms, (0, self.timesteps - waveforms.shape[1]))
        h = self.enter(torch.log1p(self.magnitudes(x) / FLOOR) / 2)  # 0 is silence
        for level, down in zip(self.levels, self.down, strict=True):
            h = down(level(h))
        mean, log_variance = self.leave(F.silu(self.norm(h)).flatten(1)).chunk(2, 1)
        return SPREAD * self.even(mean), log_variance.clamp(-12, 4)


class Decoder(nn.Module):
    """z (batch, latent) and noise (batch, frames, hop) -> waveforms (batch, timesteps); the encoder's mirror image.

    noise: standard normal, the MDCT coefficients of white noise; wave_channels: of the tones, at `hop` / `stride` times
    the frame rate
    """

    def __init__(
        self, hop: int, frames: int, channels: Sequence[int], count: int, kernel: int, latent: int, wave_channels: int,
    ):  # fmt: skip
        super().__init__()
        widths, stride = [channels[-1], *reversed(channels)], min(16, hop)
        self.few = frames >> len(channels)
        self.enter = nn.Linear(latent, channels[-1] * self.few)
        nn.init.zeros_(self.enter.bias)  # z alone counts at first
        self.up = nn.ModuleList(nn.ConvTranspose1d(below, above, 2, 2) for below, above in pairwise(widths))
        self.levels = nn.ModuleList(level(width, count, kernel) for width in reversed(channels))
        self.norm = nn.GroupNorm(1, channels[0])
        self.mdct = MDCT(hop)
        self.gains = nn.Conv1d(channels[0], hop, kernel, padding=kernel // 2)
        nn.init.constant_(self.gains.bias, -5.0)  # type: ignore[arg-type]
        coarse = hop // stride
        self.tones = nn.Sequential(
            Up(channels[0], wave_channels, 3 * coarse, coarse, "pytorch", "zeros"),
            *(Residual(wave_channels, WAVE_KERNEL, dilation) for dilation in (1, 3, 9)),
            nn.SiLU(),
            Up(wave_channels, 1, 4 * stride, stride, "pytorch", "zeros"),
        )

    def forward(self, z: Tensor, noise: Tensor, timesteps: int) -> Tensor:
        h = self.enter(z).unflatten(1, (-1, self.few))
        for up, level in zip(self.up, self.levels, strict=True):
            h = level(up(h))
        h = F.silu(self.norm(h))
        gains = torch.exp(self.gains(h).float().clamp(max=LOUDEST)).transpose(1, 2)
        hiss = self.mdct.inverse(gains * noise, timesteps)
        return hiss + self.tones(h).squeeze(1)[:, :timesteps].float()

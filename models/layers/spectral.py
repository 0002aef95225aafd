"""A distance between waveforms that does not hear phases: their magnitude spectra, seen through windows of several lengths.

    D(x, y) = mean over windows of |S_x - S_y|_1 / |S_x|_1 + mean |log S_x - log S_y|

with S the magnitudes of a short-time Fourier transform. A long window tells pitches apart, a short one moments. The two
terms are those of Engel et al. 2020 (DDSP, eq. 4); the first is relative, as in the spectral convergence of Yamamoto,
Song & Kim 2020 (Parallel WaveGAN, eq. 4), so that faint clips count as much as loud ones.
Differs from both: windows are given in seconds, so that they mean the same at every sample rate; the logarithm ends at
`FLOOR`, below which there is nothing but the rounding of 16 bits; and where bands are asked for, S is the RMS magnitude in
bands that are even on the mel scale. Of a noise, only that can be learned: its single magnitudes are those of dice, and
whoever is judged by them does best to stay silent.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOOR = 1e-3
"Added to magnitudes, of which a full-scale sine has one half, before their logarithm is taken."
FEWEST = 16  # timesteps in a window


def power_of_two(timesteps: float) -> int:
    """The nearest power of two, on a scale of octaves."""
    return 2 ** max(0, round(math.log2(timesteps)))


class Magnitudes(nn.Module):
    """waveforms (batch, timesteps) -> (batch, window / 2 + 1, frames): one frame every `hop` timesteps, centred on it.

    Frames begin at timestep 0; silence surrounds the clip. The Hann window is scaled to a sum of 1.
    """

    window: Tensor

    def __init__(self, window: int, hop: int):
        super().__init__()
        self.hop = hop
        hann = torch.hann_window(window, dtype=torch.float64)
        self.register_buffer("window", (hann / hann.sum()).float(), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        size = len(self.window)
        with torch.autocast(waveforms.device.type, enabled=False):
            padded = F.pad(waveforms.float(), (size // 2, size // 2))
            spectrum = torch.stft(padded, size, self.hop, window=self.window, center=False, return_complex=True)
            # The square root has no gradient at 0, and digital silence is 0.
            return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()


def mel_bands(bins: int, sample_rate: int, bands: int) -> Tensor:
    """(bands, bins): the mean over the bins of each band. Bands are even on the mel scale, but of one bin or more, so that
    there may be fewer. bins: from 0 Hz to half the sample rate; bands: 0 = every bin is one."""
    if not bands:
        return torch.eye(bins)
    top = math.log1p(sample_rate / 2 / 700)
    edges = np.unique(np.rint(np.expm1(np.linspace(0, top, bands + 1)) / math.expm1(top) * bins).astype(int))
    positions = np.arange(bins)
    inside = (positions >= edges[:-1, None]) & (positions < edges[1:, None])
    return torch.from_numpy((inside / inside.sum(1, keepdims=True)).astype(np.float32))


class SpectralDistance(nn.Module):
    """See above. windows: their lengths in milliseconds, each rounded to a power of two in timesteps; bands: 0 = none"""

    def __init__(self, sample_rate: int, windows: Sequence[float], bands: int = 0):
        super().__init__()
        if not windows or min(windows) <= 0 or bands < 0:
            raise ValueError(
                f"windows={tuple(windows)} must be one or more lengths above 0, in milliseconds, bands={bands} 0 or more"
            )
        sizes = sorted({max(FEWEST, power_of_two(sample_rate * window / 1000)) for window in windows})
        self.resolutions = nn.ModuleList(Magnitudes(size, size // 4) for size in sizes)
        for number, size in enumerate(sizes):
            self.register_buffer(f"bands_{number}", mel_bands(size // 2 + 1, sample_rate, bands), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance of y from x, both (batch, timesteps), for each of them: (batch,). It is 0 where they are equal."""
        total = torch.zeros(len(x), device=x.device)
        for number, magnitudes in enumerate(self.resolutions):
            bands = self.get_buffer(f"bands_{number}")
            S_x, S_y = ((bands @ magnitudes(waveforms).square()).sqrt() for waveforms in (x, y))
            relative = (S_x - S_y).abs().sum((1, 2)) / (S_x + FLOOR).sum((1, 2))
            logarithmic = (torch.log(S_x + FLOOR) - torch.log(S_y + FLOOR)).abs().mean((1, 2))
            total = total + relative + logarithmic
        return total / len(self.resolutions)

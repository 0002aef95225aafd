"""The modified discrete cosine transform (Princen, Johnson & Bradley 1987): an orthogonal lapped transform of waveforms.

Frame n holds `bands` coefficients of 2 * bands timesteps under a sine window, and frames lie `bands` timesteps apart. No
block edges are heard, as the windows overlap, and there are as many numbers as timesteps (and one frame more):

    X[n, k] = sqrt(2 / M) sum_m w[m] x[n M + m - M] cos(pi / M (m + 1/2 + M / 2) (k + 1/2)),   M = bands, 0 <= m < 2 M

Its inverse is its transpose: what one frame folds over at its edges, its neighbours cancel.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MDCT(nn.Module):
    """The transform and its inverse; its basis (2, bands, bands) is computed, and no part of the state_dict."""

    basis: Tensor

    def __init__(self, bands: int):
        super().__init__()
        if bands < 1:
            raise ValueError(f"bands={bands} must be at least 1")
        self.bands = bands
        m, k = torch.arange(2 * bands, dtype=torch.float64) + 0.5, torch.arange(bands, dtype=torch.float64) + 0.5
        cosines = torch.cos(math.pi / bands * (m[:, None] + bands / 2) * k)
        basis = math.sqrt(2 / bands) * torch.sin(math.pi * m / (2 * bands))[:, None] * cosines
        self.register_buffer("basis", basis.float().view(2, bands, bands), persistent=False)

    def frames(self, timesteps: int, multiple: int = 1) -> int:
        """How many frames clips of so many timesteps need, rounded up to a multiple."""
        needed = -(-timesteps // self.bands) + 1
        return -(-needed // multiple) * multiple

    def forward(self, waveforms: Tensor, frames: int) -> Tensor:
        """(batch, timesteps) -> (batch, frames, bands); silence is appended where there are more frames than needed."""
        batch, timesteps = waveforms.shape
        padded = F.pad(waveforms, (self.bands, frames * self.bands - timesteps))
        blocks = padded.view(batch, frames + 1, self.bands)
        return blocks[:, :-1] @ self.basis[0] + blocks[:, 1:] @ self.basis[1]

    def inverse(self, coefficients: Tensor, timesteps: int) -> Tensor:
        """(batch, frames, bands) -> (batch, timesteps): the transpose."""
        first, second = coefficients @ self.basis[0].t(), coefficients @ self.basis[1].t()
        return (second[:, :-1] + first[:, 1:]).flatten(1)[:, :timesteps]

"""What a diffusion model denoises: waveforms themselves, or the coefficients of a lapped transform of them.

Noise is white in either, for the transform is orthogonal. But speech is 30 dB weaker at the top of its spectrum than at the
bottom, and its loudest moments 60 dB above its faintest, so that in a waveform the noise buries most of what the ear goes by
until the very last steps. Coefficients can be evened out: raised to a power below 1 (their signs kept), and every band
divided by its root mean square over the corpus, which is found in the first batches of training.
"""

import torch
from torch import Tensor, nn

from models.layers.mdct import MDCT

CALIBRATION = 100  # batches of training over which the bands' power is averaged


class Representation(nn.Module):
    """bands: coefficients per frame, which lie as many timesteps apart, or 0 for waveforms as they are;
    exponent: what magnitudes of coefficients are raised to.

    power (bands,): mean square of each band's raised coefficients; batches: how many batches of training it is the mean of
    """

    power: Tensor
    batches: Tensor

    def __init__(self, bands: int, exponent: float):
        super().__init__()
        self.exponent, self.channels = exponent, bands or 1
        self.transform = MDCT(bands) if bands else None
        if bands:
            self.register_buffer("power", torch.ones(bands))
            self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def positions(self, timesteps: int) -> int:
        """The length of what represents so many timesteps."""
        return self.transform.frames(timesteps) if self.transform else timesteps

    def forward(self, waveforms: Tensor) -> Tensor:
        """(batch, timesteps) -> (batch, channels, positions); in training, the first batches also calibrate it."""
        if not self.transform:
            return waveforms[:, None]
        X = self.transform(waveforms, self.positions(waveforms.shape[1]))
        X = X.sign() * X.abs() ** self.exponent
        found = X.detach().float().square().mean((0, 1))
        if self.training:
            self.batches += 1
            weight = (1 / self.batches) * (self.batches <= CALIBRATION)  # no `if`, which would wait for an accelerator
            self.power.lerp_(found, weight)
        # Before training, a batch's own power: with none, the first validation would be of something else than all others.
        return (X / self.scale(torch.where(self.batches > 0, self.power, found))).transpose(1, 2)

    def scale(self, power: Tensor) -> Tensor:
        """(bands,) root mean squares; a band that is silent in all the corpus keeps the size of one 16-bit step."""
        return power.sqrt().clamp_min(2 ** (-15 * self.exponent))

    def inverse(self, x: Tensor, timesteps: int) -> Tensor:
        """(batch, channels, positions) -> (batch, timesteps)."""
        if not self.transform:
            return x[:, 0]
        X = x.transpose(1, 2) * self.scale(self.power)
        return self.transform.inverse(X.sign() * X.abs() ** (1 / self.exponent), timesteps)

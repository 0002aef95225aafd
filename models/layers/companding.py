"""Numbers of a very wide range brought to even, moderate ones, and back: a power law, then unit power for each band."""

import torch
from torch import Tensor, nn

FAINTEST = 1 / 32768
"A band fainter than one step of 16 bits is not raised any further: there is nothing in it but rounding."


class Companding(nn.Module):
    """(batch, frames, bands) <-> the same; x = sign(X) |X|^exponent / s, where s is the band's RMS after the power law.

    s is measured on the first `batches` batches that are encoded in training mode, as the mean of their powers, and kept
    in the state; before the first one, a batch is divided by its own. Nothing random is in it, and no step waits for an
    accelerator.
    """

    power: Tensor
    measured: Tensor

    def __init__(self, bands: int, exponent: float, batches: int):
        super().__init__()
        self.exponent, self.batches = exponent, batches
        self.register_buffer("power", torch.ones(bands))
        self.register_buffer("measured", torch.zeros((), dtype=torch.int64))

    def scale(self, power: Tensor) -> Tensor:
        """(bands,) s, of the mean squares of bands."""
        return power.sqrt().clamp_min(FAINTEST**self.exponent)

    @torch.no_grad()
    def encode(self, X: Tensor) -> Tensor:
        """Amplitudes to even ones; in training mode, the first batches are measured."""
        x = X.sign() * X.abs() ** self.exponent
        found = x.float().square().mean((0, 1))
        if self.training:
            share = (self.measured < self.batches) / (self.measured + 1)
            self.power.lerp_(found, share)
            self.measured.add_(1)
        # Before training there is none yet, and the first validation should be of what all others are of.
        return x / self.scale(torch.where(self.measured > 0, self.power, found))

    def decode(self, x: Tensor) -> Tensor:
        """The inverse of `encode`."""
        X = x * self.scale(self.power)
        return X.sign() * X.abs() ** (1 / self.exponent)

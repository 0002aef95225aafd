"""Numbers of a very wide range brought to even, moderate ones, and back: a power law, then unit power for each band."""

import torch
from torch import Tensor, nn

FAINTEST = 1 / 32768
"A band fainter than one step of 16 bits is not raised any further: there is nothing in it but rounding."


class Companding(nn.Module):
    """(batch, frames, bands) <-> the same; x = sign(X) |X|^exponent / s, where s is the band's RMS after the power law.

    s is measured on the first `batches` batches that are encoded in training mode, as the mean of their powers, and kept
    in the state; before the first one it is 1. Nothing random is in it, and no step waits for an accelerator.
    """

    power: Tensor
    measured: Tensor

    def __init__(self, bands: int, exponent: float, batches: int):
        super().__init__()
        self.exponent, self.batches = exponent, batches
        self.register_buffer("power", torch.ones(bands))
        self.register_buffer("measured", torch.zeros((), dtype=torch.int64))

    def scale(self) -> Tensor:
        """(bands,) s."""
        return self.power.sqrt().clamp_min(FAINTEST**self.exponent)

    @torch.no_grad()
    def encode(self, X: Tensor) -> Tensor:
        """Amplitudes to even ones; in training mode, the first batches are measured."""
        x = X.sign() * X.abs() ** self.exponent
        if self.training:
            share = (self.measured < self.batches) / (self.measured + 1)
            self.power.lerp_(x.square().mean((0, 1)), share)
            self.measured.add_(1)
        return x / self.scale()

    def decode(self, x: Tensor) -> Tensor:
        """The inverse of `encode`."""
        X = x * self.scale()
        return X.sign() * X.abs() ** (1 / self.exponent)

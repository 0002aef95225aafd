"""DiffWave's network: bidirectional dilated convolutions (Kong et al. 2021, section 3.1 and figure 2).

Every block adds the diffusion step to its input, convolves in both directions with a dilation that doubles from block to
block, gates, and gives one half of what comes out to the next block and the other to the sum over all blocks.

Differs from the paper: the convolutions for the two halves are one product. Weight normalization is per output channel, so
that this is the same function of the same parameters; and the last block's first half, of which nobody makes use, gets
gradients of zero instead of none. Without gradients, on a CPU, `diffwave_evaluation.py` takes over.
"""

import math

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models.layers.diffwave_evaluation import StackEvaluation
from models.layers.evaluation import Evaluated
from models.layers.gated_block import gated_block


def normed(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Conv1d:
    """A weight-normalized convolution that keeps the length; padding is silence on both sides.

    The published code draws these weights as He et al. do, but from a tensor that weight normalization recomputes before it
    is ever used: what training began from were PyTorch's own.
    """
    padding = dilation * (kernel - 1) // 2
    return weight_norm(nn.Conv1d(inputs, outputs, kernel, padding=padding, dilation=dilation))


def zero_conv(inputs: int, outputs: int) -> nn.Conv1d:
    """A convolution with kernel size 1 that begins at zero."""
    conv = nn.Conv1d(inputs, outputs, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class ResidualBlock(nn.Module):
    """residual, skip: channels; time_in_residual: the step embedding also goes along the identity path to the next block."""

    def __init__(self, residual: int, skip: int, dilation: int, time_in_residual: bool):
        super().__init__()
        self.split, self.dilation = [residual, skip], dilation
        self.time_in_residual = time_in_residual
        self.dilated = normed(residual, 2 * residual, 3, dilation)
        self.out = normed(residual, residual + skip)

    def forward(self, x: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, residual, positions), step (batch or 1, residual) -> the same, and (batch, skip, positions)."""
        return gated_block(x, step, self.dilated, self.out, self.time_in_residual)


class DilatedStack(Evaluated):
    """All blocks between the first and the last convolution; inputs, outputs: channels, 1 each for waveforms."""

    def __init__(
        self, inputs: int, outputs: int, residual: int, skip: int, layers: int, cycle: int, time_in_residual: bool
    ):
        super().__init__()
        self.enter = normed(inputs, residual)
        self.blocks = nn.ModuleList(
            ResidualBlock(residual, skip, 2 ** (layer % cycle), time_in_residual) for layer in range(layers)
        )
        self.end, self.leave = normed(skip, skip), zero_conv(skip, outputs)

    def evaluation(self) -> StackEvaluation:
        """See `Evaluated`."""
        return StackEvaluation(self)

    def trained(self, x: Tensor, steps: tuple[Tensor, ...]) -> Tensor:
        """x (batch, inputs, positions), one (batch or 1, residual) per block -> (batch, outputs, positions)."""
        x = self.enter(x).relu()
        skips = x.new_zeros(())
        for block, step in zip(self.blocks, steps, strict=True):
            x, skip = block(x, step)
            skips = skips + skip
        return self.leave(self.end(skips * math.sqrt(1 / len(self.blocks))).relu())

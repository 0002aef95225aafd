"""What a denoising network is told about the noise: the diffusion step, embedded (Kong et al. 2021, section 3.1).

Sines and cosines of the step pass through two linear layers, and each block gets its own projection of that to its channels.

Differs from the paper: frequencies fall as 10000^(-i / 63), as in the published code, where the paper lets them rise as
10^(4 i / 63). All blocks' projections are one matrix here; over a run of sampling they are computed once per level.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StepEmbedding(nn.Module):
    """Steps (batch,), whole or fractional, to one (batch, width) for every block.

    sines: numbers that describe a step at first, half of them cosines; hidden, out: widths of the two layers;
    widths: channels of each block
    """

    frequencies: Tensor

    def __init__(self, sines: int, hidden: int, out: int, widths: list[int]):
        super().__init__()
        if sines < 4 or sines % 2:
            raise ValueError(f"a step is described by an even number of sines and cosines from 4 on, not by {sines}")
        half = sines // 2
        frequencies = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.hidden, self.out = nn.Linear(sines, hidden), nn.Linear(hidden, out)
        self.widths = widths
        self.blocks = nn.Linear(out, sum(widths))

    def waves(self, steps: Tensor) -> Tensor:
        """(batch, sines): sines, then cosines, of steps (batch,)."""
        angles = steps.float()[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def forward(self, steps: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return self.blocks(F.silu(self.out(F.silu(self.hidden(self.waves(steps)))))).split(self.widths, dim=1)

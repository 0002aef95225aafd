"""The pools between SaShiMi's tiers (Goel et al. 2022, arXiv:2202.09729, section 3.2): a sequence at 1/p of the rate.

Down: p successive timesteps are laid side by side and mapped linearly to one, wider timestep. Up: one timestep is mapped
linearly to p narrower ones. A causal UpPool is late by one coarse timestep: what a group of p timesteps amounts to is known
at its end, and serves the next group; the first group gets zeros.

Differs from the release: p timesteps are laid side by side timestep by timestep, (p, channels), and not channel by channel,
(channels, p), so that nothing has to be moved; `down_columns` and `up_rows` translate its weights.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.pointwise import linear


class DownPool(nn.Module):
    """(batch, timesteps, d_input) -> (batch, timesteps / pool, d_output); `pool` must divide the number of timesteps."""

    def __init__(self, d_input: int, d_output: int, pool: int, *, weight_normed: bool = False):
        super().__init__()
        self.d_input, self.d_output, self.pool = d_input, d_output, pool
        self.linear = linear(d_input * pool, d_output, weight_normed)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x.reshape(len(x), -1, self.pool * self.d_input))
        return y


class UpPool(nn.Module):
    """(batch, timesteps, d_input) -> (batch, timesteps * pool, d_output); one coarse timestep late where `causal`."""

    def __init__(self, d_input: int, d_output: int, pool: int, *, causal: bool = True, weight_normed: bool = False):
        super().__init__()
        self.d_input, self.d_output, self.pool, self.causal = d_input, d_output, pool, causal
        self.linear = linear(d_input, d_output * pool, weight_normed)

    def forward(self, x: Tensor) -> Tensor:
        if self.causal:
            x = F.pad(self.linear(x[:, :-1]), (0, 0, 1, 0))
        else:
            x = self.linear(x)
        return x.reshape(len(x), -1, self.d_output)


def down_columns(weight: Tensor, pool: int) -> Tensor:
    """A DownPool's weight (d_output, channels * pool) from the release's order of inputs to ours."""
    return weight.unflatten(1, (-1, pool)).transpose(1, 2).flatten(1)


def up_rows(weight: Tensor, pool: int) -> Tensor:
    """An UpPool's weight (channels * pool, ...), its bias or its gains from the release's order of outputs to ours."""
    return weight.unflatten(0, (-1, pool)).transpose(0, 1).flatten(0, 1)

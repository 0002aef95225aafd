"""What happens to each timestep by itself between SaShiMi's convolutions (Goel et al. 2022, arXiv:2202.09729, section 3.2),
besides normalization: a feed-forward network.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Step = Callable[[Tensor], Tensor]  # one timestep of `batch` sequences: (batch, channels) -> (batch, channels)


def linear(inputs: int, outputs: int, weight_normed: bool = False) -> nn.Linear:
    """A linear layer; where `weight_normed`, its weight is g v / |v|, a gain and a direction for each output (Salimans and
    Kingma 2016)."""
    layer = nn.Linear(inputs, outputs)
    return weight_norm(layer) if weight_normed else layer


class FeedForward(nn.Module):
    """Linear, GELU, linear: (..., d_model) -> (..., d_model), with `expand` times as many channels inside."""

    def __init__(self, d_model: int, expand: int = 2, *, weight_normed: bool = False):
        super().__init__()
        self.wide = linear(d_model, expand * d_model, weight_normed)
        self.narrow = linear(expand * d_model, d_model, weight_normed)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.narrow(F.gelu(self.wide(x)))
        return y

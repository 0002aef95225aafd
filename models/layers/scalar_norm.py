"""The normalization of the SaShiMi release's training code: one gain and one shift for all channels."""

from typing import Any

import torch
from torch import Tensor, nn


class ScalarNorm(nn.Module):
    """s (x - mean + m) / std over the channels, with one gain s and one shift m for all of them: (..., d) -> (..., d).

    What the release's training code has instead of layer normalization. The standard deviation is that of a population,
    and nothing is added to it: a timestep whose channels are all equal has no image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.m, self.s = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _ScalarNorm.apply(x, self.m, self.s)
        return y


class _ScalarNorm(torch.autograd.Function):
    """s y + s m / std, where y = (x - mean) / std is layer normalization without gains.

    Written out because PyTorch's standard deviation over a few channels takes four times as long as its whole layer
    normalization, which has no gradient through 1 / std by itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, m: Tensor, s: Tensor) -> Tensor:
        y, _, inverse = torch.native_layer_norm(x, x.shape[-1:], None, None, 0.0)
        ctx.save_for_backward(y, inverse, m, s)
        return torch.addcmul(s * m * inverse, y, s)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        y, inverse, m, s = ctx.saved_tensors
        g = gradients[0]
        mean = g.mean(-1, keepdim=True)
        along = (g * y).mean(-1, keepdim=True) + m * inverse * mean  # d loss / d log std, but for -s
        d_x = torch.addcmul(g, y, along, value=-1).sub_(mean).mul_(s * inverse)
        channels = y.shape[-1]
        return d_x, channels * s * (mean * inverse).sum(), channels * along.sum().expand_as(s)

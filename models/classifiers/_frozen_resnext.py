"""A ResNeXt that only listens: the same function of its weights as the one that is trained, at two thirds of its time on a CPU.

Its batch norms, whose statistics stand still, are folded into the convolutions before them, and what is left is laid out for
the processor. Maps lie in memory as (batch, height, width, channels): a 1x1 convolution is then one matrix product of what is
there. A batch goes through a stage in pieces small enough for what one layer wrote to be in the cache when the next one reads
it; maps of a whole batch would also be new pages of memory for every layer, which cost as much as half of its arithmetic.

In bf16 what convolutions take and give has 8 bits of mantissa, sums within them and the residual path keep float32's 24.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
PIECE = 2**21
"""Numbers in the maps between a block's convolutions, of a piece: 8 MB. Half and twice as much cost a few percent."""


class Folded(NamedTuple):
    """A convolution with the batch norm after it, as one convolution with a bias."""

    weight: Tensor
    bias: Tensor
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype = torch.float32) -> Folded:
    """What `norm(conv(x))` is in evaluation mode. Computed in float64, since it is rounded once more."""
    scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()  # type: ignore[union-attr]
    weight = (conv.weight.double() * scale[:, None, None, None]).to(dtype, memory_format=torch.channels_last)
    bias = (norm.bias.double() - norm.running_mean.double() * scale).to(dtype)  # type: ignore[union-attr]
    return Folded(weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)  # type: ignore[arg-type]


class FrozenBottleneck:
    """A `Bottleneck` of resnext.py, maps (batch, height, width, channels) float32."""

    def __init__(self, block: Any, dtype: torch.dtype):
        self.dtype = dtype
        self.reduce = _matrix(fold(block.conv_reduce, block.bn_reduce, dtype))
        self.grouped = fold(block.conv_conv, block.bn, dtype)
        self.expand = _matrix(fold(block.conv_expand, block.bn_expand, dtype))
        self.shortcut = None
        if len(block.shortcut):
            self.shortcut = _matrix(fold(block.shortcut.shortcut_conv, block.shortcut.shortcut_bn, dtype))
        self.stride = block.conv_conv.stride[0]

    def __call__(self, x: Tensor) -> Tensor:
        """x may be overwritten."""
        y = F.linear(x.to(self.dtype), *self.reduce).relu_()
        y = F.conv2d(y.permute(0, 3, 1, 2), *self.grouped).relu_().permute(0, 2, 3, 1)
        y = F.linear(y, *self.expand)
        if self.shortcut is not None:
            x = F.linear(x[:, :: self.stride, :: self.stride].to(self.dtype), *self.shortcut).float()
        return x.add_(y).relu_()


class FrozenResNeXt:
    """picture: (batch, 1, 32, 32) log-mel in dB -> (batch, feature_dimensions) float32, all >= 0.

    It has weights of its own: what happens to the network's afterwards does not reach it.
    """

    @torch.no_grad()
    def __init__(self, stem: Folded, stages: Iterable[Iterable[nn.Module]], precision: str):
        """stages: their Bottlenecks; precision: float32 or bf16; the stem is float32 always"""
        dtype = DTYPES[precision]
        self.stem = stem
        self.stages = [[FrozenBottleneck(block, dtype) for block in stage] for stage in stages]

    def __call__(self, picture: Tensor) -> Tensor:
        x = F.conv2d(picture, *self.stem).relu_().permute(0, 2, 3, 1).contiguous()
        for stage in self.stages:
            x = _in_pieces(stage, x)
        return x.mean(dim=(1, 2))


def _matrix(folded: Folded) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution as (channels_out, channels_in) and bias."""
    return folded.weight[:, :, 0, 0].contiguous(), folded.bias


def _in_pieces(blocks: list[FrozenBottleneck], x: Tensor) -> Tensor:
    """x: (batch, height, width, channels) through the blocks of a stage."""
    _, height, width, _ = x.shape
    stride = blocks[0].stride
    inner = len(blocks[0].reduce[1]) * -(-height // stride) * -(-width // stride)
    clips = max(1, PIECE // inner)
    if x.device.type != "cpu" or len(x) <= clips:  # a GPU is kept busy by large batches, and has no such cache
        return _through(blocks, x)
    return torch.cat([_through(blocks, piece) for piece in x.split(clips)])


def _through(blocks: list[FrozenBottleneck], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x

"""A U-Net over frames (Ronneberger et al. 2015) that is told a time and, where there are classes, a class.

Each level halves the frames: two neighbours side by side go through one linear layer, and back by another; what a level
knew on the way down is added on the way up. At every level are ConvNeXt blocks (Liu et al. 2022): a depthwise
convolution over time, then two layers for each frame by itself, which is where nearly all parameters and operations are,
as plain matrix products. Before that, a norm whose scale and shift are functions of time and class (Peebles & Xie 2023).
The blocks of the last level begin with self-attention over all frames, so that the whole clip is seen by every frame.

Differs from ConvNeXt: SiLU for GELU, and the last layer of a block begins at zero where they scale it down. The output
begins at zero as well, so that an untrained network says nothing.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONGEST = 1000.0  # the slowest wave's period is that many times the fastest one's


def waves(positions: Tensor, channels: int) -> Tensor:
    """(n, channels) sines and cosines of positions (n,), with periods from 2 pi to 2000 pi (Vaswani et al. 2017, 3.5)."""
    rates = torch.exp(torch.linspace(0, -math.log(LONGEST), channels // 2, device=positions.device))
    angles = positions.float()[:, None] * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, channels % 2))


def zero(layer: nn.Linear) -> nn.Linear:
    """The same layer, which at first answers zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def norm(x: Tensor) -> Tensor:
    """Each frame at mean 0 and variance 1 over its channels."""
    return F.layer_norm(x, x.shape[-1:])


class Attention(nn.Module):
    """Self-attention of `heads` heads over frames, (batch, frames, channels) to the same."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"{channels} channels cannot be shared by heads={heads}; choose a divisor of the channels")
        self.heads = heads
        self.queries_keys_values = nn.Linear(channels, 3 * channels)
        self.output = zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        heads = self.queries_keys_values(x).unflatten(2, (3, self.heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each (batch, heads, frames, channels of a head)
        mixed: Tensor = self.output(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """(batch, frames, channels) and condition (batch, condition) -> (batch, frames, channels); heads: 0 = no attention."""

    def __init__(self, channels: int, condition: int, kernel: int, expansion: int, heads: int):
        super().__init__()
        self.attention = Attention(channels, heads) if heads else None
        self.depthwise = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.modulation = zero(nn.Linear(condition, 2 * channels))
        self.inner = nn.Linear(channels, expansion * channels)
        self.outer = zero(nn.Linear(expansion * channels, channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        if self.attention is not None:
            x = x + self.attention(norm(x))
        scale, shift = self.modulation(condition)[:, None].chunk(2, 2)
        h = norm(self.depthwise(x.transpose(1, 2)).transpose(1, 2)) * (1 + scale) + shift
        return x + self.outer(F.silu(self.inner(h)))


class UNet1d(nn.Module):
    """x (batch, frames, inputs), t (batch,) in [0, 1], labels (batch,) int64 -> (batch, frames, outputs).

    channels: of each level, the first at the full frame rate and each further one at half the rate before it; frames must
              be a multiple of `stride`, 2 ** (levels - 1)
    blocks:   of each level, on the way down and again on the way up
    kernel:   frames that a convolution sees, odd
    heads:    of attention at the last level; must divide its channels
    classes:  0 = no labels are given; else labels are 0 ... classes - 1, or `classes` for "not told"

    Raises ValueError on sizes that fit no network.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        *,
        blocks: int,
        kernel: int,
        expansion: int,
        heads: int,
        condition: int,
        classes: int = 0,
    ):
        super().__init__()
        if not channels or min(*channels, blocks, expansion, condition) < 1:
            raise ValueError(
                f"channels={tuple(channels)}, blocks={blocks}, expansion={expansion} and condition={condition} "
                "must all be at least 1, and there must be at least one level of channels"
            )
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} must be odd, so that a frame sees as far back as ahead")
        self.condition, self.stride, levels = condition, 2 ** (len(channels) - 1), len(channels)

        def level(number: int) -> nn.ModuleList:
            attended = heads if number == levels - 1 else 0
            return nn.ModuleList(Block(channels[number], condition, kernel, expansion, attended) for _ in range(blocks))

        self.time = nn.Sequential(nn.Linear(condition, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.labels = nn.Embedding(classes + 1, condition) if classes else None
        self.enter, self.leave = nn.Linear(inputs, channels[0]), zero(nn.Linear(channels[0], outputs))
        self.descent = nn.ModuleList(level(number) for number in range(levels))
        self.ascent = nn.ModuleList(level(number) for number in range(levels - 1))
        steps = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(nn.Linear(2 * above, below) for above, below in steps)
        self.up = nn.ModuleList(nn.Linear(below, 2 * above) for above, below in steps)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        if x.shape[1] % self.stride:
            raise ValueError(f"{x.shape[1]} frames are not a multiple of {self.stride}; pad them")
        condition = self.time(waves(LONGEST * t, self.condition))
        if self.labels is not None:
            condition = condition + self.labels(labels)
        condition = F.silu(condition)
        h = self.enter(x)
        h = h + waves(torch.arange(h.shape[1], device=h.device), h.shape[2]).to(h.dtype)
        passed: list[Tensor] = []
        for number, level in enumerate(self.descent):
            if number:
                passed.append(h)
                h = self.down[number - 1](h.unflatten(1, (-1, 2)).flatten(2))
            h = _through(level, h, condition)
        for level, up, before in reversed(list(zip(self.ascent, self.up, passed, strict=True))):
            h = _through(level, before + up(h).unflatten(2, (2, -1)).flatten(1, 2), condition)
        answer: Tensor = self.leave(norm(h))
        return answer


def _through(level: nn.Module, h: Tensor, condition: Tensor) -> Tensor:
    for block in level.children():
        h = block(h, condition)
    return h

"""SaShiMi as the network of a diffusion model (Goel et al. 2022, arXiv:2202.09729, section 5.2).

The tiers of `layers/sashimi.py`, with the diffusion step added to the input of every S4 layer, and each feed-forward network
in one block with the S4 layer before it. Noise is taken away from all timesteps at once, so that nothing has to be causal:
pools are never late, also where S4 layers see the past alone.

Differs from the autoregressive backbone besides: without a U-Net, what went down is added behind the up-pools alone,
and not once more behind the tier's blocks. Without gradients, on a CPU, `diffwave_sashimi_evaluation.py` takes over.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.layers.diffwave_sashimi_evaluation import SaShiMiEvaluation
from models.layers.evaluation import Evaluated
from models.layers.pointwise import FeedForward, linear
from models.layers.pooling import DownPool, UpPool
from models.layers.s4 import S4
from models.layers.scalar_norm import ScalarNorm

NORMS: dict[str, Callable[[int], nn.Module]] = {"layer": nn.LayerNorm, "scalar": lambda d_model: ScalarNorm()}


@dataclass(frozen=True)
class Form:
    """What all tiers have in common. s4: arguments of every S4 layer but its width."""

    n_layers: int
    ff: int
    unet: bool
    norm: str
    s4: dict[str, Any]

    def blocks(self, d_model: int) -> nn.ModuleList:
        """One tier's blocks, in order."""
        return nn.ModuleList(Block(d_model, self) for _ in range(self.n_layers))


class Block(nn.Module):
    """S4, told the diffusion step, and then a feed-forward network, each behind a norm and beside the identity."""

    def __init__(self, d_model: int, form: Form):
        super().__init__()
        self.d_model = d_model
        self.norm1, self.norm2 = NORMS[form.norm](d_model), NORMS[form.norm](d_model)
        self.s4, self.ff = S4(d_model, **form.s4), FeedForward(d_model, form.ff, weight_normed=True)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """x: (batch, positions, d_model), step: (batch or 1, d_model)."""
        x = x + self.s4(self.norm1(x) + step[:, None])
        return x + self.ff(self.norm2(x))


class Tier(nn.Module):
    """One rate, and within it all lower ones. widths: channels of this tier and of those below; pool: factors between them."""

    def __init__(self, widths: Sequence[int], pool: Sequence[int], form: Form):
        super().__init__()
        d_model, lower = widths[0], widths[1:]
        self.before = form.blocks(d_model) if form.unet and lower else nn.ModuleList()
        self.down = DownPool(d_model, lower[0], pool[0], weight_normed=True) if lower else None
        self.below = Tier(lower, pool[1:], form) if lower else None
        self.up = UpPool(lower[0], d_model, pool[0], causal=False, weight_normed=True) if lower else None
        self.after = form.blocks(d_model)

    def forward(self, x: Tensor, steps: Iterator[Tensor]) -> Tensor:
        """x: (batch, positions, d_model); steps: one for every block, in the order in which they are passed through."""
        inputs = [x]
        for block in self.before:
            x = block(x, next(steps))
            inputs.append(x)
        if self.down is not None and self.below is not None and self.up is not None:
            x = self.up(self.below(self.down(x), steps)) + inputs.pop()
        for block in self.after:
            x = block(x, next(steps))
            if self.before:
                x = x + inputs.pop()
        return x + inputs.pop() if inputs else x  # the centre's


class DenoisingSaShiMi(Evaluated):
    """inputs, outputs: channels, 1 each for waveforms; d_model, pool, expand: as in `SaShiMi`."""

    def __init__(self, inputs: int, outputs: int, d_model: int, pool: Sequence[int], expand: int, form: Form):
        super().__init__()
        self.period = 1
        for factor in pool:
            self.period *= factor
        self.enter = linear(inputs, d_model, weight_normed=True)
        self.tiers = Tier([d_model * expand**depth for depth in range(len(pool) + 1)], pool, form)
        self.norm = NORMS[form.norm](d_model)
        self.end, self.leave = linear(d_model, d_model, weight_normed=True), nn.Linear(d_model, outputs)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.widths = [block.d_model for block in self.modules() if isinstance(block, Block)]

    def evaluation(self) -> SaShiMiEvaluation:
        """See `Evaluated`."""
        return SaShiMiEvaluation(self)

    def trained(self, x: Tensor, steps: tuple[Tensor, ...]) -> Tensor:
        """x (batch, inputs, positions), one (batch or 1, width) per block -> (batch, outputs, positions)."""
        positions = x.shape[2]
        x = x.transpose(1, 2)
        missing = -positions % self.period
        if missing:
            # the last position again: zeros have no direction, which the scalar norm divides by
            x = torch.cat([x, x[:, -1:].expand(-1, missing, -1)], 1)
        x = self.norm(self.tiers(self.enter(x).relu(), iter(steps)))
        return self.leave(self.end(x).relu())[:, :positions].transpose(1, 2)

"""SaShiMi's backbone (`sashimi.py`), one timestep at a time. Columns are sequences: (channels, batch).

Each tier has a clock of its own: one timestep of the tier below for every group of `pool` timesteps, when the group is
complete. What it sends up serves the next group; the first group gets zeros.

Weights and state are arguments of every function here, so that a compiler sees nothing else.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.pointwise import FeedForward
from models.layers.s4 import S4
from models.layers.s4_steps import S4Step, Weights
from models.layers.sashimi import Residual, SaShiMi, Tier, wired
from models.layers.scalar_norm import ScalarNorm
from models.stepping import Build, Steps

Block = Callable[[Tensor], Tensor]


def column(vector: Tensor) -> Tensor:
    """(channels,) as (channels, 1)."""
    return vector[:, None]


class NormStep:
    """Normalization over the channels, of one of the two kinds."""

    def __init__(self, norm: nn.Module):
        self.scalar = isinstance(norm, ScalarNorm)
        if self.scalar:
            self.weights: Weights = {"m": cast(Tensor, norm.m), "s": cast(Tensor, norm.s)}
        else:
            self.eps = cast(nn.LayerNorm, norm).eps
            self.weights = {"gain": column(cast(Tensor, norm.weight)), "shift": column(cast(Tensor, norm.bias))}

    def __call__(self, w: Weights, x: Tensor) -> Tensor:
        centred = x - x.mean(0, keepdim=True)
        variance = centred.square().mean(0, keepdim=True)
        if self.scalar:
            return (w["s"] * variance.rsqrt()) * (centred + w["m"])
        return torch.addcmul(w["shift"], centred * (variance + self.eps).rsqrt(), w["gain"])


class FeedForwardStep:
    """Linear, GELU, linear."""

    state: tuple[Tensor, ...] = ()

    def __init__(self, layer: FeedForward):
        self.weights: Weights = {
            "wide": layer.wide.weight, "wide_bias": column(layer.wide.bias),
            "narrow": layer.narrow.weight, "narrow_bias": column(layer.narrow.bias),
        }  # fmt: skip

    def __call__(self, w: Weights, x: Tensor) -> Tensor:
        inner = F.gelu(torch.addmm(w["wide_bias"], w["wide"], x))
        return torch.addmm(w["narrow_bias"], w["narrow"], inner)


class ResidualStep:
    """x + layer(norm(x)); weights: those of the norm and those of the layer."""

    def __init__(self, block: Residual, batch: int, *, fused: bool):
        layer = block.layer
        self.layer = S4Step(layer, batch, fused=fused) if isinstance(layer, S4) else FeedForwardStep(layer)
        self.norm = NormStep(block.norm)
        self.weights, self.state = (self.norm.weights, self.layer.weights), self.layer.state

    def __call__(self, weights: tuple[Weights, Weights], x: Tensor, *state: Tensor) -> Tensor:
        of_norm, of_layer = weights
        return x + self.layer(of_layer, self.norm(of_norm, x), *state)


class TierSteps:
    """One tier and those below it, for `batch` sequences, new ones at first, with the weights of now.

    weights: of this tier's blocks, for `__call__`; state: what it overwrites; below: the tier below or None
    period:  timesteps of this tier after which all clocks below are where they were
    """

    def __init__(self, tier: Tier, batch: int, *, fused: bool):
        def steps(blocks: nn.ModuleList) -> list[ResidualStep]:
            return [ResidualStep(cast(Residual, block), batch, fused=fused) for block in blocks]

        self.before, self.after = steps(tier.before), steps(tier.after)
        self.weights: list[Any] = [block.weights for block in self.before + self.after]
        self.state = [tensor for block in self.before + self.after for tensor in block.state]
        self.below: TierSteps | None = None
        self.period = 1
        if tier.below is not None:
            down, up, self.pool = tier.below.down, tier.below.up, tier.below.down.pool
            self.below = TierSteps(tier.below.tier, batch, fused=fused)
            self.period = self.pool * self.below.period
            self.pools: Weights = {
                "down": down.linear.weight, "down_bias": column(down.linear.bias),
                "up": up.linear.weight, "up_bias": column(up.linear.bias),
            }  # fmt: skip
            new = down.linear.weight.new_zeros
            # one of each for every timestep of a group, as tensors that share no memory: compilers may count on that
            self.arriving = [new(down.d_input, batch) for _ in range(self.pool)]
            self.leaving = [new(up.d_output, batch) for _ in range(self.pool)]
            self.step_below: Callable[..., Any] = partial(self._below, (self.pools, self.below.weights))

    def reset(self) -> None:
        """Begin new sequences."""
        for tensor in self.state:
            tensor.zero_()
        if self.below is not None:
            for tensor in self.leaving:
                tensor.zero_()
            self.below.reset()

    def turn(self, t: int) -> tuple[Tensor, ...]:
        """What `__call__` needs besides its weights and state before timestep t of this tier: where what goes down is written,
        and what came up. Where a group is complete, the tiers below step first."""
        if self.below is None:
            return ()
        group, phase = divmod(t, self.pool)
        if group and phase == 0:
            between = self.below.turn(group - 1)
            self.step_below(*self.arriving, *self.leaving, *between, *self.below.state)
        return self.arriving[phase], self.leaving[phase]

    def _below(self, weights: tuple[Weights, list[Any]], *tensors: Tensor) -> None:
        """One timestep of the tier below, from all that arrived to all that leaves."""
        assert self.below is not None
        pools, of_below = weights
        arriving, leaving, others = tensors[: self.pool], tensors[self.pool : 2 * self.pool], tensors[2 * self.pool :]
        x = torch.addmm(pools["down_bias"], pools["down"], torch.cat(arriving))
        y = torch.addmm(pools["up_bias"], pools["up"], self.below(of_below, x, *others))
        for out, part in zip(leaving, y.chunk(self.pool), strict=True):
            out.copy_(part)

    def __call__(self, weights: Sequence[Any], x: Tensor, *tensors: Tensor) -> Tensor:
        """One timestep x (channels, batch) of this tier; tensors: what `turn` gave, and the state."""
        below: Block | None = None
        if self.below is not None:
            (arriving, leaving), tensors = tensors[:2], tensors[2:]

            def below(x: Tensor) -> Tensor:
                arriving.copy_(x)
                return leaving

        state, blocks = iter(tensors), []
        for block, w in zip(self.before + self.after, weights, strict=True):
            blocks.append(partial(_apply, block, w, [next(state) for _ in block.state]))
        return wired(x, blocks[: len(self.before)], below, blocks[len(self.before) :])

    def build(self, build: Build) -> None:
        """Let the steps of the tiers below be made faster."""
        if self.below is None:
            return
        self.below.build(build)
        between = self.below.turn(0)
        examples = (*self.arriving, *self.leaving, *between, *self.below.state)
        self.step_below = build("tier", self._below, (self.pools, self.below.weights), *examples)


def _apply(block: ResidualStep, weights: Any, state: list[Tensor], x: Tensor) -> Tensor:
    return block(weights, x, *state)


class SaShiMiSteps(Steps):
    """The timesteps of a backbone between an embedding and a last linear layer: the uppermost tier at every one of them, lower
    ones on their own clocks."""

    def __init__(self, net: SaShiMi, embedding: nn.Embedding, head: nn.Linear, batch: int, *, fused: bool):
        self.tiers, self.norm = net.steps(batch, fused=fused), NormStep(net.norm)
        ends = {"table": embedding.weight, "head": head.weight, "bias": head.bias}
        self.weights = (ends, self.tiers.weights, self.norm.weights)
        self.period, self.batch = self.tiers.period, batch

    def reset(self) -> None:
        """See `Steps.reset`."""
        self.tiers.reset()

    def build(self, build: Build) -> None:
        """See `Steps.build`."""
        self.tiers.build(build)

    def pays(self, count: int, timesteps: int) -> bool:
        """See `Steps.pays`. Compiled, a block saves some 50 us at every timestep of its tier, and 1 ns for each state of each
        sequence; compiling it takes less than a second (docs/performance.md)."""
        saved, blocks, tier, rate = 0.0, 0, self.tiers, 1.0
        while True:
            states = sum(tensor.numel() for tensor in tier.state) / self.batch
            saved += rate * (50e-6 * len(tier.weights) + 1e-9 * count * states)
            blocks += len(tier.weights)
            if tier.below is None:
                return timesteps * saved > blocks
            tier, rate = tier.below, rate / tier.pool

    def before(self, t: int, codes: Tensor) -> tuple[Tensor, ...]:
        """See `Steps.before`."""
        return (*self.tiers.turn(t), *self.tiers.state)

    def fast(self, weights: Any, codes: Tensor, *tensors: Tensor) -> Tensor:
        """See `Steps.fast`."""
        ends, tiers, norm = weights
        y = self.norm(norm, self.tiers(tiers, F.embedding(codes, ends["table"]).t(), *tensors))
        return F.linear(y.t(), ends["head"], ends["bias"])

"""SaShiMi's backbone (Goel et al. 2022, "It's Raw! Audio Generation with State-Space Models", arXiv:2202.09729, section 3.2):
(batch, timesteps, d_model) to the same shape, with nothing in front of it and nothing behind.

S4 layers at several rates: each tier sees the sequence p times slower than the one above it, in more channels, and gives
back what that one adds to its own view. In every tier, residual blocks of S4 and of a feed-forward network alternate.

    net = SaShiMi(d_model=64)      # causal
    y = net(x)                     # x and y: (batch, timesteps, 64), any number of timesteps
    step = net.stepper(batch)      # the same function, by single timesteps
    y_t = step(x_t)                # x_t and y_t: (batch, 64)

Differs from the paper: the sum behind an up-pool is added once more behind the tier's blocks, as in the release;
`unet=True` is the release's later form (September 2022), with blocks in front of the pools as well and a skip from behind
each of them. Differs from the release: any number of timesteps will do (what is missing to a multiple of the pools is
filled in and cut off again; nothing depends on it in the causal forms), and steps are exact, at any depth of the U-Net.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models.layers.pointwise import FeedForward, Step
from models.layers.pooling import DownPool, UpPool
from models.layers.s4 import S4
from models.layers.scalar_norm import ScalarNorm

if TYPE_CHECKING:
    from models.layers.sashimi_steps import TierSteps

NORMS: dict[str, Callable[[int], nn.Module]] = {"layer": nn.LayerNorm, "scalar": lambda d_model: ScalarNorm()}


@dataclass(frozen=True)
class Form:
    """What all tiers of a SaShiMi have in common; see there."""

    n_layers: int
    ff: int
    bidirectional: bool
    late_pools: bool
    unet: bool
    norm: str
    weight_normed: bool
    s4: dict[str, Any]

    def blocks(self, d_model: int) -> nn.ModuleList:
        """One tier's blocks, in order."""
        pairs = [
            (S4(d_model, bidirectional=self.bidirectional, **self.s4), FeedForward(d_model, self.ff))
            for _ in range(self.n_layers)
        ]
        return nn.ModuleList(Residual(layer, NORMS[self.norm](d_model)) for pair in pairs for layer in pair)


class Residual(nn.Module):
    """x + layer(norm(x))."""

    def __init__(self, layer: S4 | FeedForward, norm: nn.Module):
        super().__init__()
        self.layer, self.norm = layer, norm

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layer(self.norm(x))
        return y


class Tier(nn.Module):
    """One rate, and within it all lower ones. widths: channels of this tier and of those below; pool: factors between them."""

    def __init__(self, widths: Sequence[int], pool: Sequence[int], form: Form):
        super().__init__()
        self.before = form.blocks(widths[0]) if form.unet and pool else nn.ModuleList()
        self.below = Below(widths, pool, form) if pool else None
        self.after = form.blocks(widths[0])

    def forward(self, x: Tensor) -> Tensor:
        return wired(x, list(self.before), self.below, list(self.after))


class Below(nn.Module):
    """The tiers below one, between the pools that lead there and back."""

    def __init__(self, widths: Sequence[int], pool: Sequence[int], form: Form):
        super().__init__()
        d_model, lower, normed = widths[0], widths[1], form.weight_normed
        self.down = DownPool(d_model, lower, pool[0], weight_normed=normed)
        self.tier = Tier(widths[1:], pool[1:], form)
        self.up = UpPool(lower, d_model, pool[0], causal=form.late_pools, weight_normed=normed)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.up(self.tier(self.down(x)))
        return y


def wired(x: Tensor, before: Sequence[Step], below: Step | None, after: Sequence[Step]) -> Tensor:
    """How a tier is wired, for sequences and for timesteps: as a U-Net where there is something `before` it."""
    if not before or below is None:
        x = y = x if below is None else x + below(x)
        for block in after:
            y = block(y)
        return x + y
    skips = [x]
    for block in before:
        x = block(x)
        skips.append(x)
    y = below(x) + skips.pop()
    for block in after:
        y = block(y) + skips.pop()
    return y


class SaShiMi(nn.Module):
    """See the module's page.

    d_model, n_layers: channels of the uppermost tier; S4 blocks of each tier (of each half of it, for a U-Net)
    pool, expand:      factors from each tier to the next lower one in rate, and the factor in channels for each of them
    ff:                channels inside the feed-forward networks, in multiples of their tier's
    bidirectional:     every timestep sees the past and the future; there is no stepper then
    late_pools:        up-pools come one of their timesteps late, as causality needs, and as the release has it in both forms
    unet:              the later form, see above
    norm:              "layer" (layer normalization) or "scalar" (one gain and one shift, as in published checkpoints)
    weight_normed:     whether the pools' weights are kept as gains and directions, as in published checkpoints
    s4:                further arguments of every S4 layer, such as d_state, n_ssm, glu, tied, dt_transform
    Raises ValueError on sizes below 1, on an unknown `norm` and on pools that look ahead where nothing may.
    """

    def __init__(
        self, d_model: int = 64, n_layers: int = 8, pool: Sequence[int] = (4, 4), *, expand: int = 2, ff: int = 2,
        bidirectional: bool = False, late_pools: bool = True, unet: bool = False, norm: str = "layer",
        weight_normed: bool = False, **s4: Any,
    ):  # fmt: skip
        super().__init__()
        sizes = {"d_model": d_model, "n_layers": n_layers, "pool": min(pool, default=1), "expand": expand, "ff": ff}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}={size} must be at least 1")
        if norm not in NORMS:
            raise ValueError(f"norm={norm!r} is not one of {', '.join(NORMS)}")
        if not (late_pools or bidirectional):
            raise ValueError("late_pools=False sees the future: it needs bidirectional=True")
        self.d_model, self.bidirectional, self.period = d_model, bidirectional, math.prod(pool)
        form = Form(n_layers, ff, bidirectional, late_pools, unet, norm, weight_normed, s4)
        self.tiers = Tier([d_model * expand**depth for depth in range(len(pool) + 1)], pool, form)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, timesteps, d_model), any number of timesteps from 1. Returns the same shape."""
        timesteps = x.shape[1]
        missing = -timesteps % self.period
        if missing:
            # the last timestep again: zeros have no direction, which the scalar norm divides by
            x = torch.cat([x, x[:, -1:].expand(-1, missing, -1)], 1)
        y: Tensor = self.norm(self.tiers(x)[:, :timesteps])
        return y

    def steps(self, batch: int, *, fused: bool = False) -> "TierSteps":
        """The tiers by single timesteps of `batch` new sequences, without the last norm. Raises ValueError where this net is
        bidirectional."""
        from models.layers.sashimi_steps import TierSteps

        if self.bidirectional:
            raise ValueError(
                "a bidirectional SaShiMi sees the future and has no steps; build it with bidirectional=False"
            )
        return TierSteps(self.tiers, batch, fused=fused)

    def stepper(self, batch: int) -> Step:
        """The function that takes (batch, d_model), one timestep of `batch` new sequences, to the output of that timestep.

        It has no gradients, and keeps weights as they were when it was made. Raises ValueError where this net is
        bidirectional.
        """
        with torch.no_grad():
            tiers, clock = self.steps(batch), iter(range(2**62))

        @torch.no_grad()
        def step(x: Tensor) -> Tensor:
            y: Tensor = self.norm(tiers(tiers.weights, x.t(), *tiers.turn(next(clock)), *tiers.state).t())
            return y

        return step

    def dynamics(self) -> list[nn.Parameter]:
        """The parameters of all state spaces, which the published recipes train at 0.001 and without weight decay."""
        return [parameter for layer in self.modules() if isinstance(layer, S4) for parameter in layer.dynamics()]

    def readouts(self) -> list[nn.Parameter]:
        """What reads the states of all state spaces, C. Its numbers are large, and at the rate of all others it is slow."""
        return [layer.ssm.C for layer in self.modules() if isinstance(layer, S4)]

"""The tiers of `frames.py`, one timestep at a time: for sampling.

What does not change from step to step is computed once: weight norm, products of linear maps between which there is
nothing, sums of biases. What a step writes is overwritten by a later one. Weights and state are arguments of what runs often,
so that a compiler sees nothing else.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers.frames import Tier
from models.layers.quantization import LEVELS
from models.stepping import Build, Steps


class TierStep:
    """A tier, one frame at a time, for `batch` sequences at once.

    Between the linear maps from a tier's GRU to that of the tier below there is nothing, so they are one here: a tier sends
    the inputs of the gates below. `below`: that tier, or None where the one below is not recurrent.
    levels: what tiers read of codes
    states: (batch, hidden) of each layer; sent: (batch, channels) for each of the `times`
    """

    def __init__(self, tier: Tier, below: Tier | None, batch: int, levels: Callable[[Tensor], Tensor]):
        W, self.tier, self.levels = dict(tier.rnn.named_parameters()), tier, levels
        H, layers = tier.rnn.hidden_size, tier.rnn.num_layers
        upsample = tier.upsample().view(H, tier.times, -1)
        bias = tier.upsample_bias.view(tier.times, -1)
        if below is not None:
            into = dict(below.rnn.named_parameters())["weight_ih_l0"]
            upsample, bias = upsample @ into.t(), bias @ into.t() + gates_bias(below, 0) + into @ below.expand_bias
        self.weights = {
            "frame": (W["weight_ih_l0"] @ tier.expand()).t().contiguous(),
            "first_bias": gates_bias(tier, 0) + W["weight_ih_l0"] @ tier.expand_bias,
            "hidden": [W[f"weight_hh_l{i}"].t() for i in range(layers)],
            "new_bias": [W[f"bias_hh_l{i}"][2 * H :] for i in range(layers)],
            "input": [W[f"weight_ih_l{i}"].t() for i in range(1, layers)],
            "input_bias": [gates_bias(tier, i) for i in range(1, layers)],
            "out": upsample.flatten(1).contiguous(),
            "out_bias": bias.flatten().contiguous(),
        }
        self.states = list(tier.start(batch).clone().unbind(0))
        self.sent = list(upsample.new_zeros(tier.times, batch, upsample.shape[2]).unbind(0))

    def reset(self) -> None:
        """Begin new sequences."""
        for state, first in zip(self.states, self.tier.start(1), strict=True):
            state.copy_(first)

    def __call__(self, w: dict[str, Any], frame: Tensor, *tensors: Tensor) -> None:
        """Advance by one frame of codes (frame, batch); tensors: the states, what is sent and, but for the top tier, what is
        received, (batch, 3 * hidden), biases included."""
        layers, times = len(self.states), len(self.sent)
        states, sent, received = tensors[:layers], tensors[layers : layers + times], tensors[layers + times :]
        gates = torch.addmm(received[0] if received else w["first_bias"], self.levels(frame.t()), w["frame"])
        H, below = states[0].shape[1], states[0]
        for layer, state in enumerate(states):
            if layer:
                gates = torch.addmm(w["input_bias"][layer - 1], below, w["input"][layer - 1])
            hidden = state @ w["hidden"][layer]
            reset, update = (gates[:, : 2 * H] + hidden[:, : 2 * H]).sigmoid().chunk(2, 1)
            new = torch.addcmul(gates[:, 2 * H :], reset, hidden[:, 2 * H :] + w["new_bias"][layer]).tanh()
            below = torch.lerp(new, state, update)
            state.copy_(below)
        for out, part in zip(sent, torch.addmm(w["out_bias"], below, w["out"]).chunk(times, 1), strict=True):
            out.copy_(part)


def gates_bias(tier: Tier, layer: int) -> Tensor:
    """(3 * hidden,) all that is added to a GRU's gates before the reset gate is applied."""
    W, H = dict(tier.rnn.named_parameters()), tier.rnn.hidden_size
    hidden = W[f"bias_hh_l{layer}"].clone()
    hidden[2 * H :] = 0  # this third is inside the reset gate's product
    return W[f"bias_ih_l{layer}"] + hidden


class TierSteps:
    """All tiers, the lowest first, one timestep at a time. Each steps when a frame of its own has ended.

    code: the one that fills all frames before the first timestep
    history: (largest frame, batch) the latest codes, those of timestep t in row t modulo its length
    """

    def __init__(self, tiers: list[Tier], batch: int, code: int, levels: Callable[[Tensor], Tensor]):
        belows = [None, *tiers[:-1]]
        self.tiers = [TierStep(tier, below, batch, levels) for tier, below in zip(tiers, belows, strict=True)]
        self.runs: list[Callable[..., Any]] = [self._plain(tier) for tier in self.tiers]
        self.frames, self.code = [tier.frame for tier in tiers], code
        self.period = self.frames[-1]
        self.history = torch.full((self.period, batch), code, device=tiers[0].h0.device)
        self.rows = self.history.unbind(0)

    @staticmethod
    def _plain(tier: TierStep) -> Callable[..., Any]:
        return lambda *tensors: tier(tier.weights, *tensors)

    def build(self, build: Build) -> None:
        """Let the tiers' steps be made faster."""
        for i, tier in enumerate(self.tiers):
            self.runs[i] = build("tier", tier, tier.weights, self.history[: self.frames[i]], *self._tensors(i, 0))

    def _tensors(self, i: int, t: int) -> tuple[Tensor, ...]:
        above = () if i + 1 == len(self.tiers) else (self._sent(i + 1, t),)
        return (*self.tiers[i].states, *self.tiers[i].sent, *above)

    def _sent(self, i: int, t: int) -> Tensor:
        """What tier i sends at timestep t: the lowest one for that timestep, others for a frame of the tier below."""
        frame, times = self.frames[i], len(self.tiers[i].sent)
        return self.tiers[i].sent[t % frame * times // frame]

    def reset(self) -> None:
        """Begin new sequences."""
        self.history.fill_(self.code)
        for tier in self.tiers:
            tier.reset()

    def received(self, t: int, codes: Tensor) -> Tensor:
        """(batch, into) what the lowest tier sends for timestep t, whose input is `codes` (batch,), that of the one before."""
        self.rows[(t - 1) % self.period].copy_(codes)
        for i in reversed(range(len(self.tiers))):
            frame = self.frames[i]
            if t % frame == 0:
                first = (t - frame) % self.period
                self.runs[i](self.history[first : first + frame], *self._tensors(i, t))
        return self._sent(0, t)


class SampleRNNSteps(Steps):
    """The timesteps of tiers and a code network: the latter at every one of them, tiers when a frame of theirs has ended.

    table: (k, 256, channels), see `lookup`; layers: weight and bias of the code network's second and third layer, transposed
    """

    def __init__(self, tiers: TierSteps, table: Tensor, layers: tuple[Tensor, ...]):
        self.tiers, self.period = tiers, tiers.period
        self.weights = (table.flatten(0, 1), *layers)
        taps = torch.arange(len(table), device=table.device)
        # Which rows of the tiers' history hold the k latest codes, the oldest first, and where each tap's part of the table is.
        self.recent = [(t + taps - len(table)) % self.period for t in range(self.period)]
        self.offsets = LEVELS * taps[:, None]

    def reset(self) -> None:
        """See `Steps.reset`."""
        self.tiers.reset()

    def build(self, build: Build) -> None:
        """See `Steps.build`."""
        self.tiers.build(build)

    def before(self, t: int, codes: Tensor) -> tuple[Tensor, ...]:
        """See `Steps.before`."""
        received = self.tiers.received(t, codes)
        return received, self.tiers.history, self.recent[t % self.period], self.offsets

    def fast(self, weights: Any, codes: Tensor, *tensors: Tensor) -> Tensor:
        """See `Steps.fast`; the codes are in the history already."""
        table, middle, middle_bias, output, output_bias = weights
        received, history, recent, offsets = tensors
        rows = (history.index_select(0, recent) + offsets).t()
        x = torch.add(received, F.embedding_bag(rows, table, mode="sum")).relu()
        x = torch.addmm(middle_bias, x, middle).relu()
        return torch.addmm(output_bias, x, output)

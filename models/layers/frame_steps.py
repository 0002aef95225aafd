"""The tiers of `frames.py`, one timestep at a time: for sampling.

What does not change from step to step is computed once: weight norm, products of linear maps between which there is
nothing, sums of biases. What a step writes is overwritten by a later one.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers.frames import Tier
from models.layers.quantization import LEVELS


class _TierSteps:
    """A tier, one frame at a time, for `batch` sequences at once.

    Between the linear maps from a tier's GRU to that of the tier below there is nothing, so they are one here: a tier sends
    the inputs of the gates below. `below`: that tier, or None where the one below is not recurrent.
    """

    def __init__(self, tier: Tier, below: Tier | None, batch: int):
        W, self.times = dict(tier.rnn.named_parameters()), tier.times
        H, layers = tier.rnn.hidden_size, tier.rnn.num_layers
        self.frame_gates = (W["weight_ih_l0"] @ tier.expand()).t().contiguous()
        self.hidden_gates = [W[f"weight_hh_l{i}"][: 2 * H].t() for i in range(layers)]
        self.hidden_new = [W[f"weight_hh_l{i}"][2 * H :].t() for i in range(layers)]
        self.hidden_bias = [W[f"bias_hh_l{i}"][2 * H :] for i in range(layers)]
        self.input_gates = [W[f"weight_ih_l{i}"].t() for i in range(1, layers)]
        self.input_bias = [gates_bias(tier, i) for i in range(1, layers)]
        self.first_bias = gates_bias(tier, 0) + W["weight_ih_l0"] @ tier.expand_bias

        upsample = tier.upsample().view(H, tier.times, -1)
        bias = tier.upsample_bias.view(tier.times, -1)
        if below is not None:
            into = dict(below.rnn.named_parameters())["weight_ih_l0"]
            upsample, bias = upsample @ into.t(), bias @ into.t() + gates_bias(below, 0) + into @ below.expand_bias
        self.out, self.out_bias = upsample.flatten(1).contiguous(), bias.flatten().contiguous()

        new = upsample.new_empty
        self.states = list(tier.start(batch).clone().unbind(0))
        self.gates, self.both, self.new = new(batch, 3 * H), new(batch, 2 * H), new(batch, H)
        self.reset, self.update = self.both[:, :H], self.both[:, H:]
        self.for_both, self.for_new = self.gates[:, : 2 * H], self.gates[:, 2 * H :]
        self.sent = new(batch, self.out.shape[1])
        self.sent_rows = self.sent.view(batch, tier.times, -1).unbind(1)

    def step(self, frame: Tensor, received: Tensor | None) -> None:
        """Advance by one frame; what is sent lies in `sent_rows`, one (batch, channels) for each of the `times`.

        frame: (batch, frame); received: (batch, 3 * hidden) from the tier above, biases included; None in the top tier
        """
        torch.addmm(self.first_bias if received is None else received, frame, self.frame_gates, out=self.gates)
        for layer, state in enumerate(self.states):
            if layer:
                below = self.states[layer - 1]
                torch.addmm(self.input_bias[layer - 1], below, self.input_gates[layer - 1], out=self.gates)
            torch.addmm(self.for_both, state, self.hidden_gates[layer], out=self.both).sigmoid_()
            torch.addmm(self.hidden_bias[layer], state, self.hidden_new[layer], out=self.new)
            torch.addcmul(self.for_new, self.reset, self.new, out=self.new).tanh_()
            torch.lerp(self.new, state, self.update, out=state)
        torch.addmm(self.out_bias, self.states[-1], self.out, out=self.sent)


def gates_bias(tier: Tier, layer: int) -> Tensor:
    """(3 * hidden,) all that is added to a GRU's gates before the reset gate is applied."""
    W, H = dict(tier.rnn.named_parameters()), tier.rnn.hidden_size
    hidden = W[f"bias_hh_l{layer}"].clone()
    hidden[2 * H :] = 0  # this third is inside the reset gate's product
    return W[f"bias_ih_l{layer}"] + hidden


class TierSteps:
    """All tiers, the lowest first, one timestep at a time. Each steps when a frame of its own has ended.

    code: the one that fills all frames before the first timestep
    """

    def __init__(self, tiers: list[Tier], batch: int, code: int):
        self.steps = [_TierSteps(tier, below, batch) for tier, below in zip(tiers, [None, *tiers[:-1]], strict=True)]
        self.frames = [tier.frame for tier in tiers]
        self.history = torch.full((batch, self.frames[-1]), code, device=tiers[0].h0.device)
        self.clock = -1

    def step(self, codes: Tensor, levels: Callable[[Tensor], Tensor]) -> Tensor:
        """(batch, into) what the lowest tier sends for this timestep.

        codes: (batch,) of the timestep before; levels: what the tiers read of codes
        """
        self.history[:, self.clock] = codes
        self.clock = (self.clock + 1) % self.frames[-1]
        received = None
        for tier, frame in zip(reversed(self.steps), reversed(self.frames), strict=True):
            if self.clock % frame == 0:
                first = (self.clock - frame) % self.frames[-1]
                tier.step(levels(self.history[:, first : first + frame]), received)
            # Of what the lowest tier sends, this is for one timestep; of what others send, for one frame of the tier below.
            received = tier.sent_rows[self.clock % frame * tier.times // frame]
        assert received is not None
        return received


class LookupSteps:
    """`lookup`, one timestep at a time. code: the one that fills the first window."""

    def __init__(self, table: Tensor, batch: int, code: int):
        k = len(table)
        self.table = table.flatten(0, 1).contiguous()
        slots = torch.arange(k, device=table.device)
        # The newest code overwrites the oldest; which tap a slot then belongs to depends on the phase.
        self.offsets = (LEVELS * ((slots - slots[:, None]) % k)).unbind(0)
        self.codes = torch.full((batch, k), code, device=table.device)
        self.phase = -1

    def step(self, codes: Tensor) -> Tensor:
        """(batch, channels). codes: (batch,) of the timestep before."""
        self.codes[:, self.phase] = codes
        self.phase = (self.phase + 1) % len(self.offsets)
        return F.embedding_bag(self.codes + self.offsets[self.phase], self.table, mode="sum")

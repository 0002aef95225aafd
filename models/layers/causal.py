"""Dilated causal convolution with kernel size 2 and a gated unit (van den Oord et al. 2016, eq. 2 and figure 4).

Two forms of the same function: over whole sequences for training, and one timestep at a time for sampling, where queues
hold the last `dilation` inputs of every layer, so that nothing is computed twice (Paine et al. 2016, "Fast WaveNet").
In both, what comes before a sequence is its first timestep, repeated without end.

Layout: sequences are time-major and flat, (timesteps * batch, channels), so that "d timesteps earlier" is a contiguous
slice that starts d * batch rows earlier, and a convolution is two matrix products. Steps have channels as rows,
(channels, batch), so that the filter and the gate halves of a layer are contiguous too.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.stepping import Steps


class _GatedLayer(torch.autograd.Function):
    """See `gated_layer`. Written out because autograd's version needs twice the memory traffic, and half the time is that."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, past: Tensor, current: Tensor, shift: int, batch: int) -> Tensor:
        both = x @ current.t()
        both[shift:].addmm_(x[: len(x) - shift], past.t())
        both[:shift].view(-1, batch, both.shape[1]).add_(x[:batch] @ past.t())
        filtered, gate = both.chunk(2, dim=1)
        gated = filtered.tanh_() * gate.sigmoid_()
        ctx.save_for_backward(x, past, current, both)
        ctx.shift, ctx.batch = shift, batch
        return gated

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (d_gated,) = gradients
        x, past, current, both = ctx.saved_tensors
        shift, batch, width = ctx.shift, ctx.batch, both.shape[1]
        filtered, gate = both.chunk(2, dim=1)
        d_both = torch.empty_like(both)
        d_filtered, d_gate = d_both.chunk(2, dim=1)
        torch.mul(d_gated, gate, out=d_filtered)
        torch.ops.aten.tanh_backward.grad_input(d_filtered, filtered, grad_input=d_filtered)
        torch.mul(d_gated, filtered, out=d_gate)
        torch.ops.aten.sigmoid_backward.grad_input(d_gate, gate, grad_input=d_gate)

        d_before = d_both[:shift].view(-1, batch, width).sum(0)
        d_x = d_both @ current
        d_x[: len(x) - shift].addmm_(d_both[shift:], past)
        d_x[:batch].addmm_(d_before, past)
        d_past = (d_both[shift:].t() @ x[: len(x) - shift]).addmm_(d_before.t(), x[:batch])
        return d_x, d_past, d_both.t() @ x, None, None


def gated_layer(x: Tensor, past: Tensor, current: Tensor, dilation: int, batch: int) -> Tensor:
    """tanh(filter) * sigmoid(gate) over a sequence: (timesteps * batch, D).

    x: (timesteps * batch, R); past, current: (2D, R), the two taps of the kernel, whose first D rows are the filter and
    whose others are the gate
    """
    if torch.is_autocast_enabled(x.device.type):
        low = torch.get_autocast_dtype(x.device.type)
        x, past, current = x.to(low), past.to(low), current.to(low)
    gated: Tensor = _GatedLayer.apply(x, past, current, min(dilation * batch, len(x)), batch)
    return gated


class GatedSteps:
    """All layers, one timestep at a time, for `batch` sequences, with the weights of now.

    past, current (layers, 2D, R), residual (layers, R, D): the weights; dilations: one per layer.
    first: (R,), the first layer's input on all timesteps before the first step, whose traces the queues hold at the start

    The queues of all layers lie one after the other in `queues` (sum of dilations, R, batch); `clock` (layers,) is the slot of
    each that holds its oldest input, and gets its newest one.
    """

    def __init__(
        self, past: Tensor, current: Tensor, residual: Tensor, dilations: tuple[int, ...], first: Tensor, batch: int
    ):
        double, R = past.shape[1:]
        width, device = double // 2, past.device
        # sigmoid(x) = (1 + tanh(x / 2)) / 2: with the gate rows halved, one tanh serves both halves, and the outer 1/2 is
        # left to whoever reads the activations
        halved = torch.ones(double, 1).to(past)
        halved[width:] = 0.5
        self.weights = {"past": past * halved, "current": current * halved, "residual": residual / 2}
        lengths = torch.tensor(dilations, device=device)
        self.queues, self.clock = past.new_empty(sum(dilations), R, batch), torch.zeros_like(lengths)
        self.tensors = (self.queues, self.clock, lengths, lengths.cumsum(0) - lengths)
        self.dilations, self.before, state = dilations, [], first[:, None]
        for layer in range(len(dilations)):
            self.before.append(state)
            both = (past[layer] + current[layer]) @ state
            state = state + residual[layer] @ (both[:width].tanh() * both[width:].sigmoid())

    def reset(self) -> None:
        """Begin new sequences."""
        self.clock.zero_()
        for queue, state in zip(self.queues.split(self.dilations), self.before, strict=True):
            queue.copy_(state)

    def __call__(
        self, w: dict[str, Tensor], x: Tensor, queues: Tensor, clock: Tensor, lengths: Tensor, offsets: Tensor
    ) -> Tensor:
        """Advance by one timestep.

        x: (R, batch), the first layer's input; `weights` and `tensors` as arguments, so that a compiler sees nothing else.
        Returns TWICE the gated activations of all layers, (layers * D, batch).
        """
        slots = offsets + clock
        from_past = torch.bmm(w["past"], queues.index_select(0, slots))
        inputs, activations = [], []
        for past, current, residual in zip(
            from_past.unbind(), w["current"].unbind(), w["residual"].unbind(), strict=True
        ):
            filtered, gate = torch.addmm(past, current, x).tanh_().chunk(2)
            gated = torch.addcmul(filtered, filtered, gate)
            inputs.append(x)
            activations.append(gated)
            x = torch.addmm(x, residual, gated)
        queues.index_copy_(0, slots, torch.stack(inputs))
        clock.copy_((clock + 1) % lengths)
        return torch.cat(activations)


class WaveNetSteps(Steps):
    """The timesteps of a stack between a table of codes and two linear layers, with skip connections (layers, S, D)."""

    def __init__(self, stack: GatedSteps, skip: Tensor, ends: dict[str, Tensor]):
        self.stack = stack
        halved = skip.permute(1, 0, 2).flatten(1) / 2  # the stack returns twice its activations
        self.weights = ({"skip": halved, **ends}, stack.weights)

    def pays(self, count: int, timesteps: int) -> bool:
        """See `Steps.pays`. Compiled, a single sequence has a form of its own (`wavenet_pass.py`), which saves some 15 us per
        layer and timestep; compiling it takes 25 s more (docs/performance.md). Batches are matrix products either way."""
        return count == 1 and timesteps * len(self.stack.dilations) * 15e-6 > 25

    def reset(self) -> None:
        """See `Steps.reset`."""
        self.stack.reset()

    def before(self, t: int, codes: Tensor) -> tuple[Tensor, ...]:
        """See `Steps.before`."""
        return self.stack.tensors

    def fast(self, weights: Any, codes: Tensor, *tensors: Tensor) -> Tensor:
        """See `Steps.fast`."""
        w, of_stack = weights
        x = w["table"].index_select(0, codes).t().contiguous()
        total = (w["skip"] @ self.stack(of_stack, x, *tensors)).relu()
        hidden = torch.addmm(w["bias_1"], w["end_1"], total).relu()
        return F.linear(hidden.t(), w["end_2"], w["bias_2"])

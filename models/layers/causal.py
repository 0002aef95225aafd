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
from torch import Tensor


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


class GatedStack:
    """All layers, one timestep at a time, for `batch` sequences at once.

    past, current (layers, 2D, R), residual (layers, R, D): the weights; dilations: one per layer.
    first: (R,), the first layer's input on all timesteps before the first step, whose traces the queues hold at the start
    """

    def __init__(
        self, past: Tensor, current: Tensor, residual: Tensor, dilations: tuple[int, ...], first: Tensor, batch: int
    ):
        layers, double, R = past.shape
        self.width = double // 2
        # sigmoid(x) = (1 + tanh(x / 2)) / 2: with the gate rows halved, one tanh serves both halves, and the outer 1/2 is
        # left to whoever reads the activations
        halved = torch.ones(double, 1).to(past)
        halved[self.width :] = 0.5
        self.past, self.current, self.residual = past * halved, (current * halved).unbind(0), (residual / 2).unbind(0)
        new = past.new_empty
        self.inputs = new(layers, R, batch)
        self.earlier = new(layers, R, batch)
        self.from_past = new(layers, double, batch)
        self.gated = new(layers * self.width, batch)
        self.scratch = new(double, batch)

        device = past.device
        self.lengths = torch.tensor(dilations, device=device)
        self.offsets = torch.cumsum(self.lengths, 0) - self.lengths
        self.clock = torch.zeros_like(self.lengths)
        self.slots = self.offsets.clone()
        self.queues = new(sum(dilations), R, batch)
        self._views()
        state = first[:, None]
        for layer, dilation in enumerate(dilations):
            start = int(self.offsets[layer])
            self.queues[start : start + dilation] = state
            both = (past[layer] + current[layer]) @ state
            gated = both[: self.width].tanh() * both[self.width :].sigmoid()
            state = state + residual[layer] @ gated

    def _views(self) -> None:
        """Every slice that a step needs, made once: a view costs as much time as a small product."""
        layers = len(self.current)
        self.input_rows = self.inputs.unbind(0)
        self.past_rows = self.from_past.unbind(0)
        self.gated_rows = self.gated.view(layers, self.width, -1).unbind(0)
        self.filter_rows, self.gate_rows = self.scratch[: self.width], self.scratch[self.width :]

    def step(self, first: Tensor) -> Tensor:
        """Advance by one timestep.

        first: (R, batch), the first layer's input. Returns TWICE the gated activations of all layers, (layers * D, batch),
        in a buffer that the next step overwrites.
        """
        torch.index_select(self.queues, 0, self.slots, out=self.earlier)
        torch.bmm(self.past, self.earlier, out=self.from_past)
        self.input_rows[0].copy_(first)
        last = len(self.current) - 1
        scratch, filter_rows, gate_rows = self.scratch, self.filter_rows, self.gate_rows
        for layer, (current, residual) in enumerate(zip(self.current, self.residual, strict=True)):
            inputs, gated = self.input_rows[layer], self.gated_rows[layer]
            torch.addmm(self.past_rows[layer], current, inputs, out=scratch)
            scratch.tanh_()
            torch.addcmul(filter_rows, filter_rows, gate_rows, out=gated)
            if layer < last:
                torch.addmm(inputs, residual, gated, out=self.input_rows[layer + 1])
        self.queues.index_copy_(0, self.slots, self.inputs)
        self.clock.add_(1).remainder_(self.lengths)
        torch.add(self.offsets, self.clock, out=self.slots)
        return self.gated

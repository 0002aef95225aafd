"""Dilated causal convolution with kernel size 2 and a gated unit (van den Oord et al. 2016, eq. 2 and figure 4).

Two forms of the same function: over whole sequences for training, and one timestep at a time for sampling, where queues
hold the last `dilation` inputs of every layer, so that no timestep is computed twice (Paine et al. 2016, "Fast WaveNet").

Layout: sequences are time-major and flat, (timesteps * batch, channels), so that "d timesteps earlier" is a contiguous
slice that starts `d * batch` rows earlier, and every convolution is a plain matrix product. Steps have channels as rows,
(channels, batch), so that the tanh and the gate halves of a layer are contiguous too.
"""

import torch
from torch import Tensor


def gated_layer(
    inputs: Tensor, past: Tensor, current: Tensor, residual: Tensor, shift: int, last: bool = False
) -> tuple[Tensor, Tensor]:
    """One layer over a sequence, without padding: the output is `shift` rows shorter than the input.

    inputs:        (rows, R), rows = timesteps * batch
    past, current: (2D, R), the kernel's two taps; the first D rows are the filter, the others the gate
    residual:      (R, D); unused in the last layer, whose sum nobody reads
    Returns the next layer's input (rows - shift, R) and the gated activations (rows - shift, D).
    """
    recent = inputs[shift:]
    both = torch.addmm(recent @ current.t(), inputs[:-shift], past.t())
    filtered, gate = both.chunk(2, dim=1)
    gated = filtered.tanh() * gate.sigmoid()
    return (recent if last else torch.addmm(recent, gated, residual.t())), gated


class GatedStack:
    """All layers, one timestep at a time, for `batch` sequences at once.

    past, current (layers, 2D, R), residual (layers, R, D): the weights; dilations: one per layer.
    first: (R,) the input of the first layer on all timesteps before the first step. The queues start in the state that
    an endless run of it leaves behind, which is what left padding gives in the convolutional form.
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

"""WaveNet's timestep for a single sequence on a processor: one pass over all weights, in C++ (`wavenet_pass.cpp`).

A batch of sequences is a matter of matrix products. A single one is a matter of reading each weight once, at a rate that eighty
small products, one after the other, do not come near: each begins to read when it is called.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.compiling import native
from models.layers.causal import GatedSteps, WaveNetSteps
from models.stepping import Build

PANEL, WIDE = 64, 256  # as in wavenet_pass.cpp, which is told
LARGEST = 2**23 - 2  # multiple of a step, of 24 bits, so that rounding does not go beyond
SMALLEST = 2.0**-118  # step, of which a 256th still has all its bits


class WaveNetPass(WaveNetSteps):
    """`WaveNetSteps` of one sequence, with as many channels inside each layer as from layer to layer; `build` comes first.

    Where a dilation is a multiple of `period`, what the layer sees of the past is known for so many timesteps beforehand: one
    product, which reads its weights once. There are no slower clocks.
    """

    period, by_period = 8, True

    def __init__(self, stack: GatedSteps, skip: Tensor, ends: dict[str, Tensor]):
        super().__init__(stack, skip, ends)
        w, of_stack = self.weights
        layers, channels, _ = of_stack["residual"].shape
        width = padded(channels, PANEL)
        past, current = (
            F.pad(of_stack[name].unflatten(1, (2, channels)), (0, width - channels, 0, width - channels)).flatten(1, 2)
            for name in ("past", "current")  # filter and gate, each in panels of its own
        )
        self.far = [int(dilation % self.period == 0) for dilation in stack.dilations]
        self.far_layers = [layer for layer, far in enumerate(self.far) if far]

        parts = []
        for layer, far in enumerate(self.far):
            taps = current[layer] if far else torch.cat([past[layer], current[layer]], 1)
            parts += [packed(taps), packed(of_stack["residual"][layer])]
        skips = F.pad(w["skip"].unflatten(1, (layers, channels)), (0, width - channels)).flatten(1)
        parts += [packed(skips), panels(w["end_1"], WIDE, PANEL), panels(w["end_2"], WIDE, WIDE)]
        # Weights of zeros are not read, be they numbers or not.
        biases = {"bias_1": w["bias_1"].flatten(), "bias_2": w["bias_2"] + 0 * (w["end_1"].sum() + w["end_2"].sum())}
        past_far = past[self.far_layers, :, :channels].transpose(1, 2).contiguous()
        self.weights = {"pass": torch.cat(parts), "past_far": past_far, "table": w["table"], **biases}
        self.skips = skip.shape[1]

    def build(self, build: Build) -> None:
        """See `Steps.build`: the pass is compiled, unless that has been done."""
        native(Path(__file__).with_suffix(".cpp"), _shapes)

    def due(self, weights: Any, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        """See `Steps.due`: (far layers, 2 * padded channels), what their past amounts to, and the stack's tensors."""
        queues, clock, _, offsets = tensors
        oldest = (offsets + clock)[self.far_layers]
        slots = (oldest[:, None] + torch.arange(self.period)).flatten()
        seen = queues.index_select(0, slots).view(len(self.far_layers), self.period, queues.shape[1])
        from_past = torch.bmm(seen, weights["past_far"]).transpose(0, 1).contiguous()
        return [(row, *tensors) for row in from_past.unbind()]

    def fast(self, weights: Any, codes: Tensor, *tensors: Tensor) -> Tensor:
        """See `Steps.fast`."""
        from_past, queues, clock, lengths, offsets = tensors
        slots = offsets + clock
        x, past = weights["table"].index_select(0, codes)[0], queues.index_select(0, slots)[:, :, 0]
        biases = weights["bias_1"], weights["bias_2"]
        logits, inputs = torch.ops.earshot.wavenet_pass(
            weights["pass"], x, past, from_past, *biases, self.far, self.skips, [PANEL, WIDE]
        )
        queues.index_copy_(0, slots, inputs[:, :, None])
        clock.copy_((clock + 1) % lengths)
        return logits[None]


def padded(size: int, panel: int) -> int:
    """The next multiple of the panel."""
    return -(-size // panel) * panel


def panels(matrix: Tensor, outputs: int, inputs: int) -> Tensor:
    """A flat copy of a matrix, with zeros up to multiples of `outputs` rows and `inputs` columns; every `outputs` rows lie
    together, column by column."""
    rows, columns = matrix.shape
    whole = F.pad(matrix, (0, padded(columns, inputs) - columns, 0, padded(rows, outputs) - rows))
    return whole.unflatten(0, (-1, outputs)).transpose(1, 2).flatten()


def packed(matrix: Tensor) -> Tensor:
    """A copy of a matrix as `panels` of PANEL rows, in three quarters of the memory; see `Pass::product` in the C++ file.

    In every block of PANEL x PANEL, inputs are scaled by powers of two, and an output's weights are whole multiples of a step.
    What they are rounded by is at most 2**-24 of the largest of them, and adds little to the rounding of sums in float32. What
    is not finite is not a number any more.
    """
    rows, columns = matrix.shape
    whole = F.pad(matrix, (0, padded(columns, PANEL) - columns, 0, padded(rows, PANEL) - rows))
    blocks = whole.unflatten(0, (-1, PANEL)).unflatten(2, (-1, PANEL)).permute(0, 2, 3, 1)  # (..., inputs, outputs)
    scales = blocks.abs().amax(3, keepdim=True).log2().round().nan_to_num(0, 0, 0).exp2()
    blocks = blocks / scales
    steps = (blocks.abs().amax(2, keepdim=True) / LARGEST).clamp_min(SMALLEST)
    quarters = (blocks.double() / steps).round().nan_to_num(0, 0, 0).int().unflatten(3, (4, -1))
    fourth = quarters[..., 3:, :] >> torch.tensor([[16], [8], [0]], dtype=torch.int32)
    words = quarters[..., :3, :] << 8 | fourth & 255
    return torch.cat([steps.flatten(2) / 256, scales.flatten(2), words.view(torch.float32).flatten(2)], 2).flatten()


def _shapes(weights: Tensor, x: Tensor, past: Tensor, from_past: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    _, bias_2, *_ = others
    return torch.empty_like(bias_2), torch.empty_like(past)

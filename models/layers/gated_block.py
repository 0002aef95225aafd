"""DiffWave's residual block (Kong et al. 2021, figure 2) as one operation with a gradient of its own.

    h = x + step,   a = conv(h),   o = out(tanh(a_1) sigmoid(a_2)),   x' = (x + o_1) / sqrt(2),   skip = o_2

Written out because of memory: of a block's activations h and a are enough, from which the others come back cheaply. On a
processor, convolutions of long sequences are one matrix product for each tap, which take two thirds of the time that PyTorch's
convolutions take; elsewhere, and for short ones, they are PyTorch's.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONG = 1024  # positions from which products pay


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, W: Tensor, b: Tensor, W_out: Tensor, b_out: Tensor, dilation: int,
        along_identity: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        h = x + step[:, :, None]
        a = conv(h, W, b, dilation)
        filtered, gate = a.chunk(2, 1)
        o = conv(filtered.tanh_() * gate.sigmoid_(), W_out, b_out, 1)
        residual, skip = o.split([x.shape[1], o.shape[1] - x.shape[1]], 1)
        ctx.save_for_backward(h, a, W, W_out)
        ctx.dilation, ctx.along_identity, ctx.steps = dilation, along_identity, len(step)
        return ((h if along_identity else x) + residual) * math.sqrt(0.5), skip

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        h, a, W, W_out = ctx.saved_tensors
        filtered, gate = a.chunk(2, 1)
        d_residual = gradients[0] * math.sqrt(0.5)
        d_gated, d_W_out, d_b_out = conv_backward(torch.cat([d_residual, gradients[1]], 1), filtered * gate, W_out, 1)
        d_a = torch.empty_like(a)
        d_filtered, d_gate = d_a.chunk(2, 1)
        torch.mul(d_gated, gate, out=d_filtered)
        torch.ops.aten.tanh_backward.grad_input(d_filtered, filtered, grad_input=d_filtered)
        torch.mul(d_gated, filtered, out=d_gate)
        torch.ops.aten.sigmoid_backward.grad_input(d_gate, gate, grad_input=d_gate)
        d_x, d_W, d_b = conv_backward(d_a, h, W, ctx.dilation)
        d_step = d_x.sum(2)
        d_x += d_residual
        if ctx.along_identity:
            d_step = d_x.sum(2)
        if ctx.steps < len(d_step):
            d_step = d_step.sum(0, keepdim=True)
        return d_x, d_step, d_W, d_b, d_W_out, d_b_out, None, None


def gated_block(
    x: Tensor, step: Tensor, dilated: nn.Conv1d, out: nn.Conv1d, along_identity: bool
) -> tuple[Tensor, Tensor]:
    """What goes on to the next block, as x (batch, residual, positions), and the skip output (batch, skip, positions).

    step: (batch or 1, residual); dilated, out: convolutions to 2 residual and to residual + skip channels, which keep the
    length; along_identity: the step also goes to the next block
    """
    tensors: list[Any] = [x, step, dilated.weight, dilated.bias, out.weight, out.bias]
    if torch.is_autocast_enabled(x.device.type):
        tensors = [tensor.to(torch.get_autocast_dtype(x.device.type)) for tensor in tensors]
    both: tuple[Tensor, Tensor] = _Block.apply(*tensors, dilated.dilation[0], along_identity)
    return both


def _by_products(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.shape[2] >= LONG


def _taps(kernel: int, dilation: int, positions: int) -> list[tuple[int, slice, slice]]:
    """Each tap that reaches into the sequence, the central one first: its number, the outputs it reaches, and their inputs."""
    found = []
    for tap in sorted(range(kernel), key=lambda tap: tap != kernel // 2):
        shift = (tap - kernel // 2) * dilation
        if abs(shift) < positions:
            to, of = slice(max(0, -shift), positions - max(0, shift)), slice(max(0, shift), positions - max(0, -shift))
            found.append((tap, to, of))
    return found


def conv(x: Tensor, W: Tensor, b: Tensor, dilation: int) -> Tensor:
    """(batch, outputs, positions): x (batch, inputs, positions) between zeros, convolved with W (outputs, inputs, taps)."""
    kernel, positions = W.shape[2], x.shape[2]
    if not _by_products(x):
        return F.conv1d(x, W, b, padding=kernel // 2 * dilation, dilation=dilation)
    y, weights = x.new_empty(len(x), len(W), positions), W.permute(2, 0, 1).contiguous()
    for of_x, into in zip(x, y, strict=True):
        for tap, to, of in _taps(kernel, dilation, positions):
            if tap == kernel // 2:
                torch.addmm(b[:, None], weights[tap], of_x, out=into)
            else:
                into[:, to].addmm_(weights[tap], of_x[:, of])
    return y


def conv_backward(d_y: Tensor, x: Tensor, W: Tensor, dilation: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, W and b, from that of `conv(x, W, b, dilation)`."""
    kernel, positions = W.shape[2], x.shape[2]
    if not _by_products(x):
        # stride, padding, dilation, not transposed, its output padding, groups, which gradients
        how = [1], [kernel // 2 * dilation], [dilation], False, [0], 1, [True, True, True]
        d_x, d_W, d_b = torch.ops.aten.convolution_backward(d_y, x, W, [len(W)], *how)
        return d_x, d_W, d_b
    d_x, weights = torch.empty_like(x), W.permute(2, 1, 0).contiguous()
    d_weights = W.new_zeros(kernel, *W.shape[:2])
    for of_y, of_x, into in zip(d_y, x, d_x, strict=True):
        for tap, to, of in _taps(kernel, dilation, positions):
            if tap == kernel // 2:
                torch.mm(weights[tap], of_y, out=into)
            else:
                into[:, of].addmm_(weights[tap], of_y[:, to])
            d_weights[tap].addmm_(of_y[:, to], of_x[:, of].t())
    return d_x, d_weights.permute(1, 2, 0).contiguous(), d_y.sum((0, 2))

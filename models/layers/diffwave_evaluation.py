"""DiffWave's network evaluated without gradients, as matrix products of chunks that stay in a processor's cache.

A convolution with taps g0, g1, g2 and dilation d gives two outputs, d positions apart, from the four inputs x0 ... x3 around
them by four products instead of six (Winograd 1980, F(2, 3); in float32 its rounding is about that of the convolution):

    A = (x1 + x2) (g0 + g1 + g2) / 2      y0 = (x0 - x2) g0 + A + B
    B = (x2 - x1) (g0 - g1 + g2) / 2      y1 = (x3 - x1) g2 + A - B

Layout: sequences are position-major and flat, (positions * batch, channels), so that "d positions earlier" is a slice that
starts d * batch rows earlier, and all sequences share one product. Below, d counts rows.

What is kept from block to block is u = h - q, for h the input of the block's convolution and q the same vector everywhere:
biases and the diffusion step then meet in one bias of the convolution, and never pass over the activations by themselves.
Before and behind the sequence, where h is zero, u is -q.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from models.layers.diffwave import DilatedStack, ResidualBlock

HALF = math.sqrt(0.5)
AT_ONCE = 2**19  # numbers: pairs of outputs in a chunk times channels


def bias_of(conv: nn.Conv1d) -> Tensor:
    """The bias, of a convolution that has one: (outputs,)."""
    assert conv.bias is not None, "DiffWave's convolutions have biases"
    return conv.bias


class _Block:
    """A block's weights, as products take them.

    tanh(a) = 2 sigmoid(2 a) - 1: with the filter's weights doubled, one sigmoid serves filter and gate, and their product,
    negative, is gate - 2 filter gate, one operation; `out` has the other sign.
    """

    def __init__(self, block: "ResidualBlock"):
        residual, _ = block.split
        self.bias = bias_of(block.dilated).clone()
        doubled = torch.ones_like(self.bias)
        doubled[:residual] = 2
        self.bias *= doubled
        self.taps = block.dilated.weight.permute(2, 1, 0) * doubled
        g0, g1, g2 = self.taps
        self.pairs = torch.stack([g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2])
        self.of_constant = self.taps.sum(0).t()
        to_residual, to_skip = (-block.out.weight[:, :, 0].t()).split(block.split, 1)
        self.to_residual, self.to_skip = (to_residual * HALF).contiguous(), to_skip.contiguous()
        self.residual_bias, self.skip_bias = bias_of(block.out).split(block.split)
        self.dilation, self.time_in_residual = block.dilation, block.time_in_residual


class StackEvaluation:
    """A `DilatedStack` with the weights of now."""

    @torch.no_grad()
    def __init__(self, stack: "DilatedStack"):
        self.blocks = [_Block(block) for block in stack.blocks]  # type: ignore[arg-type]
        self.enter = bias_of(stack.enter), stack.enter.weight[:, :, 0].t()
        scale = math.sqrt(1 / len(self.blocks))
        end = stack.end.weight[:, :, 0] * scale
        bias = torch.stack([block.skip_bias for block in self.blocks]).sum(0)
        self.end = torch.addmv(bias_of(stack.end), end, bias), end.t()
        self.leave = bias_of(stack.leave), stack.leave.weight[:, :, 0].t()

    @torch.no_grad()
    def __call__(self, x: Tensor, steps: tuple[Tensor, ...]) -> Tensor:
        """x (batch, inputs, positions), one (1, residual) per block -> (batch, outputs, positions)."""
        batch, inputs, positions = x.shape
        work = _Work(x, self.blocks)
        torch.addmm(self.enter[0], x.permute(2, 0, 1).reshape(-1, inputs), self.enter[1], out=work.inside()).relu_()
        p = torch.zeros_like(steps[0][0])  # u is the block's input less p
        for block, step in zip(self.blocks, steps, strict=True):
            q = p + step[0]
            work.convolve(block, q, block.dilation * batch, last=block is self.blocks[-1])
            p = ((q if block.time_in_residual else p) + block.residual_bias) * HALF
        out = x.new_empty(work.rows, self.leave[1].shape[1])
        for skips, part in zip(work.skips.split(work.most), out.split(work.most), strict=True):
            hidden = torch.addmm(self.end[0], skips, self.end[1]).relu_()
            torch.addmm(self.leave[0], hidden, self.leave[1], out=part)
        return out.view(positions, batch, -1).permute(1, 2, 0)


class _Work:
    """The activations of one evaluation."""

    def __init__(self, x: Tensor, blocks: list[_Block]):
        batch, _, positions = x.shape
        self.width, skip = blocks[0].to_skip.shape
        self.rows, self.before = batch * positions, batch * max(block.dilation for block in blocks)
        self.most = max(1, min(AT_ONCE // self.width, self.rows))
        self.u, self.u_next = (x.new_empty(3 * self.before + self.rows, self.width) for _ in range(2))
        self.skips = x.new_zeros(self.rows, skip)
        self.combined = x.new_empty(4 * self.most * self.width)
        self.both = x.new_empty(3 * self.most * 2 * self.width)
        self.gated = x.new_empty(2 * self.most * self.width)

    def inside(self) -> Tensor:
        """u without what lies around the sequence: (rows, width)."""
        return self.u[self.before : self.before + self.rows]

    def convolve(self, block: _Block, q: Tensor, d: int, last: bool) -> None:
        """One block, q (width,): see the module. Of the last one, only what goes to the sum is needed."""
        self.u[self.before - d : self.before] = -q
        self.u[self.before + self.rows : self.before + self.rows + 2 * d] = -q
        bias = torch.addmv(block.bias, block.of_constant, q)
        for start, blocks, n in paired(self.rows, d, self.most):
            z = self._pairs(block, bias, start, blocks, n, d)
            spans = [(start, z)] if n == d else [(start, z[:n]), (start + d, z[n:])]
            for first, part in spans:
                self._out(block, first, part, last)
        for start in range(self.rows // (2 * d) * 2 * d, self.rows, 2 * self.most):
            self._out(block, start, self._single(block, bias, start, min(2 * self.most, self.rows - start), d), last)
        self.u, self.u_next = self.u_next, self.u

    def _pairs(self, block: _Block, bias: Tensor, start: int, blocks: int, n: int, d: int) -> Tensor:
        """Gated outputs of the first and of the second n rows of every block: (blocks * 2 * n, width)."""
        R, rows = self.width, blocks * n
        places = [(self.before + start + j * d) * R for j in (-1, 0, 1, 2)]
        x0, x1, x2, x3 = (self.u.as_strided((blocks, n, R), (2 * d * R, R, 1), place) for place in places)
        combined = self.combined[: 4 * rows * R].view(4, blocks, n, R)
        torch.sub(x0, x2, out=combined[0])
        torch.add(x1, x2, out=combined[1])
        torch.sub(x2, x1, out=combined[2])
        torch.sub(x3, x1, out=combined[3])
        terms, both = combined.view(4, rows, R).unbind(0), self.both[: 6 * rows * R].view(3, rows, 2 * R)
        y0, y1, rest = both
        torch.mm(terms[1], block.pairs[1], out=y1).add_(bias)
        torch.mm(terms[2], block.pairs[2], out=rest)
        torch.add(y1, rest, out=y0).addmm_(terms[0], block.pairs[0])
        y1.sub_(rest).addmm_(terms[3], block.pairs[3])
        z = self.gated[: 2 * rows * R]
        _gate(both[:2].view(2, blocks, n, 2 * R), z.view(blocks, 2, n, R).transpose(0, 1))
        return z.view(-1, R)

    def _single(self, block: _Block, bias: Tensor, start: int, n: int, d: int) -> Tensor:
        """Gated outputs of n rows: (n, width)."""
        at, y = self.before + start, self.both[: n * 2 * self.width].view(n, -1)
        torch.addmm(bias, self.u[at - d : at - d + n], block.taps[0], out=y)
        y.addmm_(self.u[at : at + n], block.taps[1]).addmm_(self.u[at + d : at + d + n], block.taps[2])
        z = self.gated[: n * self.width].view(n, -1)
        _gate(y, z)
        return z

    def _out(self, block: _Block, start: int, z: Tensor, last: bool) -> None:
        """To the sum over blocks, and to the next block, from rows `start` on."""
        self.skips[start : start + len(z)].addmm_(z, block.to_skip)
        if not last:
            here = slice(self.before + start, self.before + start + len(z))
            torch.addmm(self.u[here], z, block.to_residual, beta=HALF, out=self.u_next[here])


def _gate(y: Tensor, z: Tensor) -> None:
    """z = -tanh(filter) sigmoid(gate) for y (..., 2 * width) with the filter, doubled, and the gate."""
    doubled, gate = y.sigmoid_().chunk(2, -1)
    torch.addcmul(gate, doubled, gate, value=-2, out=z)


def paired(rows: int, d: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Chunks of at most `most` pairs of rows, d apart, which cover rows // (2 d) * 2 d rows: (start, blocks, n), of rows
    start + 2 d i + j, and each with the row d behind it, for i < blocks and j < n."""
    whole = rows // (2 * d)
    if d <= most:
        for first in range(0, whole, most // d):
            yield first * 2 * d, min(most // d, whole - first), d
    else:
        for first in range(whole):
            for offset in range(0, d, most):
                yield first * 2 * d + offset, 1, min(most, d - offset)

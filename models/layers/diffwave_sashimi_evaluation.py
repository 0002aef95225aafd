"""The denoising SaShiMi evaluated without gradients: channel-major, so that transforms run over rows and nothing is turned.

Layout: (channels, batch * positions). Linear layers are products W x over columns, chunks of which go through norm, products
and GELU before the next ones do, so that they stay in a processor's cache; convolutions run over rows, some channels at a
time. A last row of ones takes a bias into its product.

Both directions of S4 of January 2022 read the same input, so that three transforms do for the two: a kernel that runs
backward from the same timestep on has the complex conjugate of its response.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.layers import ssm
from models.layers.scalar_norm import ScalarNorm

if TYPE_CHECKING:
    from models.layers.diffwave_sashimi import Block, DenoisingSaShiMi, Tier

IN_CHUNK = 2**18  # numbers of a chunk of columns
IN_TRANSFORM = 2**19  # numbers that are transformed at once


def with_bias(layer: nn.Linear) -> Tensor:
    """The weight, and the bias as its last column: (outputs, inputs + 1)."""
    return torch.cat([layer.weight, layer.bias[:, None]], 1)


def with_ones(like: Tensor, rows: int, columns: int) -> Tensor:
    """Room for rows, with a last one of ones: (rows + 1, columns)."""
    room = like.new_empty(rows + 1, columns)
    room[-1] = 1
    return room


class _Norm:
    """A norm in two parts: what it makes of a column is a multiple of `centred`, plus `shift`."""

    def __init__(self, norm: nn.Module):
        self.gain: Tensor
        self.shift: Tensor
        self.scalar = isinstance(norm, ScalarNorm)
        if isinstance(norm, ScalarNorm):
            self.gain, self.offset, self.eps = norm.s, norm.m, 0.0
            self.shift = torch.zeros_like(norm.m)[:, None]
        elif isinstance(norm, nn.LayerNorm):
            self.gain, self.shift, self.eps = norm.weight[:, None], norm.bias[:, None], norm.eps
        else:
            raise TypeError(f"{type(norm).__name__} has no form for evaluation")

    def centred(self, x: Tensor, out: Tensor, scratch: Tensor) -> Tensor:
        """Writes x (channels, columns), centred, into out, and returns the multiple (columns,)."""
        torch.sub(x, x.mean(0), out=out)
        rate = torch.mul(out, out, out=scratch).mean(0).add_(self.eps).sqrt_().reciprocal_()
        if self.scalar:
            out.add_(self.offset)
            return rate.mul_(self.gain)
        out.mul_(self.gain)
        return rate

    def __call__(self, x: Tensor, out: Tensor, scratch: Tensor) -> None:
        """Writes the norm of x (channels, columns) into out."""
        rate = self.centred(x, out, scratch)
        if self.scalar:
            out.mul_(rate)
        else:
            torch.addcmul(self.shift, out, rate, out=out)


class _Block:
    """A block with the weights of now."""

    def __init__(self, block: "Block"):
        self.norm1, self.norm2, self.s4 = _Norm(block.norm1), _Norm(block.norm2), block.s4
        self.output = with_bias(block.s4.output)
        self.wide, self.narrow = with_bias(block.ff.wide), with_bias(block.ff.narrow)
        self._responses: dict[int, list[Tensor]] = {}

    def responses(self, positions: int) -> list[Tensor]:
        """(d_model, 1, frequencies) for each of the convolutions that the layer has."""
        if positions not in self._responses:
            kernels, D = self.s4.kernel(positions), self.s4.D
            if self.s4.separate:
                both = ssm.transfer(kernels[:1], D), ssm.transfer(kernels[1:], D).conj().resolve_conj()
            else:
                both = (ssm.transfer(kernels, D),)  # type: ignore[assignment]
            self._responses[positions] = [response[:, None] for response in both]
        return self._responses[positions]


class _Tier:
    """One rate: its blocks and the room that they work in."""

    def __init__(self, tier: "Tier"):
        self.before, self.after = [_Block(b) for b in tier.before], [_Block(b) for b in tier.after]  # type: ignore[arg-type]
        self.below = None if tier.below is None else _Tier(tier.below)
        if tier.down is not None and tier.up is not None:
            self.pool = tier.down.pool
            self.down = tier.down.linear.bias[:, None], tier.down.linear.weight
            self.up = tier.up.linear.bias[:, None], tier.up.linear.weight

    def __call__(self, x: Tensor, batch: int, steps: Iterator[Tensor]) -> Tensor:
        """x (channels, batch * positions), which may be overwritten; steps: (1, channels) for every block, in order."""
        work, inputs = _Work(x, batch, [*self.before, *self.after]), [x]
        for block in self.before:
            x = work.block(block, x, next(steps), torch.empty_like(x))
            inputs.append(x)
        if self.below is not None:
            columns = x.unflatten(1, (-1, self.pool)).permute(2, 0, 1).flatten(0, 1)
            columns = self.below(torch.addmm(self.down[0], self.down[1], columns), batch, steps)
            columns = torch.addmm(self.up[0], self.up[1], columns).unflatten(0, (self.pool, -1))
            x = columns.permute(1, 2, 0).flatten(1).add_(inputs.pop())
        for i, block in enumerate(self.after):
            kept = self.below is None and i == 0  # what came into the centre is added behind it
            x = work.block(block, x, next(steps), torch.empty_like(x) if kept else x)
            if self.before:
                x.add_(inputs.pop())
        return x.add_(inputs.pop()) if inputs else x


class _Work:
    """Room for one tier's activations, of `batch` sequences."""

    def __init__(self, x: Tensor, batch: int, blocks: list[_Block]):
        self.channels, self.batch, self.positions = x.shape[0], batch, x.shape[1] // batch
        self.size = ssm.fast_length(2 * self.positions)
        self.columns = max(1, min(IN_CHUNK // self.channels, x.shape[1]))
        self.padded = x.new_zeros(self.channels, batch, self.size)
        self.filtered = with_ones(x, max(block.output.shape[1] for block in blocks) - 1, x.shape[1])
        self.normed = with_ones(x, self.channels, self.columns)
        self.inner = with_ones(x, max(block.narrow.shape[1] for block in blocks) - 1, self.columns)
        self.scratch = x.new_empty(2 * self.channels, self.columns)

    def block(self, block: _Block, x: Tensor, step: Tensor, out: Tensor) -> Tensor:
        """One block, into out, which may be x."""
        self._normalize(block, x, step)
        self._convolve(block)
        C = self.channels
        for first in range(0, x.shape[1], self.columns):
            here = slice(first, min(first + self.columns, x.shape[1]))
            n = here.stop - here.start
            old, new, filtered = x[:, here], out[:, here], self.filtered[:, here]
            if block.s4.glu:
                values, gates = torch.mm(block.output, filtered, out=self.scratch[:, :n]).chunk(2)
                torch.addcmul(old, values, gates.sigmoid_(), out=new)
            elif out is x:
                new.addmm_(block.output, filtered)
            else:
                torch.addmm(old, block.output, filtered, out=new)
            normed, inner = self.normed[:, :n], self.inner[:, :n]
            block.norm2(new, normed[:C], self.scratch[:C, :n])
            torch.mm(block.wide, normed, out=inner[:-1])
            torch.ops.aten.gelu_(inner[:-1])
            new.addmm_(block.narrow, inner)
        return out

    def _normalize(self, block: _Block, x: Tensor, step: Tensor) -> None:
        """The input of the convolution: the norm of x, plus the step."""
        shift = (block.norm1.shift + step.t())[..., None]
        x, inside = x.unflatten(1, (self.batch, -1)), self.padded[..., : self.positions]
        for rows, places in self._chunks():
            part, target = x[:, rows, places], inside[:, rows, places]
            shape, columns = part.shape, part.shape[1] * part.shape[2]
            normed = self.normed[:-1, :columns]
            rate = block.norm1.centred(
                part.reshape(self.channels, columns), normed, self.scratch[: self.channels, :columns]
            )
            torch.addcmul(shift, normed.view(shape), rate.view(shape[1:]), out=target)

    def _chunks(self) -> Iterator[tuple[slice, slice]]:
        """Columns by sequences and positions: some of one sequence, or all of some."""
        if self.positions <= self.columns:
            together = self.columns // self.positions
            for row in range(0, self.batch, together):
                yield slice(row, row + together), slice(None)
        else:
            for row in range(self.batch):
                for first in range(0, self.positions, self.columns):
                    yield slice(row, row + 1), slice(first, first + self.columns)

    def _convolve(self, block: _Block) -> None:
        """GELU of all convolutions of the input."""
        at_once = max(1, IN_TRANSFORM // (self.batch * self.size))
        responses = block.responses(self.positions)
        filtered = self.filtered[:-1].view(len(responses), self.channels, self.batch, self.positions)
        for first in range(0, self.channels, at_once):
            here = slice(first, first + at_once)
            spectrum = torch.fft.rfft(self.padded[here])
            for i, response in enumerate(responses):
                product = spectrum.mul_(response[here]) if i + 1 == len(responses) else spectrum * response[here]
                y = torch.fft.irfft(product, n=self.size)[..., : self.positions]
                torch.ops.aten.gelu.out(y, out=filtered[i, here])


class SaShiMiEvaluation:
    """A `DenoisingSaShiMi` with the weights of now."""

    @torch.no_grad()
    def __init__(self, network: "DenoisingSaShiMi"):
        self.period = network.period
        self.enter = network.enter.bias[:, None], network.enter.weight
        self.tiers, self.norm = _Tier(network.tiers), _Norm(network.norm)
        self.end, self.leave = with_bias(network.end), with_bias(network.leave)

    @torch.no_grad()
    def __call__(self, x: Tensor, steps: tuple[Tensor, ...]) -> Tensor:
        """x (batch, inputs, positions), one (1, width) per block -> (batch, outputs, positions)."""
        batch, _, positions = x.shape
        missing = -positions % self.period
        if missing:
            x = torch.cat([x, x[..., -1:].expand(-1, -1, missing)], 2)  # as in `DenoisingSaShiMi`
        y = torch.addmm(*self.enter, x.transpose(0, 1).flatten(1)).relu_()
        y = self.tiers(y, batch, iter(steps))
        C, most = len(y), max(1, IN_CHUNK // len(y))
        out = y.new_empty(len(self.leave), y.shape[1])
        normed, hidden, scratch = with_ones(y, C, most), with_ones(y, C, most), y.new_empty(C, most)
        for part, target in zip(y.split(most, 1), out.split(most, 1), strict=True):
            n = part.shape[1]
            self.norm(part, normed[:C, :n], scratch[:, :n])
            torch.mm(self.end, normed[:, :n], out=hidden[:C, :n]).relu_()
            torch.mm(self.leave, hidden[:, :n], out=target)
        return out.unflatten(1, (batch, -1))[..., :positions].transpose(0, 1)

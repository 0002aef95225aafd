"""Diagonal-plus-low-rank state spaces in real arithmetic (Gu, Goel & Ré 2022, arXiv:2111.00396).

A state space  x' = A x + B u,  y = C x  with  A = diag(w) - P Q*  whose N states are N/2 conjugate pairs: of each pair one is
kept, so that Q* x means 2 Re(sum conj(Q) x) and y = 2 Re(sum C x). Discretized bilinearly (ibid., eq. 3) it is

    x_k = Ā x_{k-1} + B̄ u_k,    y_k = C x_k,    Ā = diag(D) + p q'

of the same kind again, since by Woodbury's identity (I - dt/2 A)^-1 is. So one step costs O(N). The kernel K_l = C Ā^l B̄ is

    [C; C Ā^m; C Ā^2m; ...] [B̄, ĀB̄, ..., Ā^(m-1) B̄],    m ~ sqrt(timesteps),

whose factors double in length with every squaring of the real N x N matrix Ā.

Differs from the paper: no generating function, no Cauchy sum over (state, frequency), and no truncated C (I - Ā^L), which
ties the weights to one length. Memory is O(features * (timesteps + N^2)), against features * N * timesteps there, all of the
work is batched real matrix products, and any length is exact. |Ā| <= 1 where Q = P and Re w <= 0, so powers lose no accuracy.

Layout: complex vectors over states, where they are multiplied with matrices, are two real planes in a row, (..., 2, N/2).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def hippo_legs(d_state: int) -> tuple[Tensor, Tensor, Tensor]:
    """HiPPO-LegS in normal-plus-low-rank form (ibid., theorem 1 and appendix C.1), one of each conjugate pair.

    Returns w, P, B, each (d_state / 2,) complex128: A = diag(w) - P P*, in a basis in which B is the input vector.
    """
    if d_state < 2 or d_state % 2:
        raise ValueError(f"d_state={d_state} must be even and at least 2, since states come in conjugate pairs")
    n = torch.arange(d_state, dtype=torch.float64, device="cpu")
    B = (2 * n + 1).sqrt()
    P = (n + 0.5).sqrt()
    A = -torch.tril(torch.outer(B, B), -1) - torch.diag(n + 1)
    skew = A + torch.outer(P, P) + 0.5 * torch.eye(d_state, dtype=torch.float64, device="cpu")
    imag, V = torch.linalg.eigh(-1j * skew)
    # Eigenvectors have a free phase, which LAPACK may choose anew on another machine: B is made real and positive.
    B_hat = V.mH @ B.to(V)
    V = V * (B_hat / B_hat.abs())
    half = imag > 0
    return torch.complex(torch.full_like(imag, -0.5), imag)[half], (V.mH @ P.to(V))[half], (V.mH @ B.to(V))[half]


@dataclass(frozen=True)
class Discrete:
    """x_k = (diag(D) + p q') x_{k-1} + B u_k, where q' x = 2 Re(sum q x); each (features, N/2) complex."""

    D: Tensor
    p: Tensor
    q: Tensor
    B: Tensor


def bilinear(w: Tensor, P: Tensor, Q: Tensor, B: Tensor, dt: Tensor) -> Discrete:
    """Discretize A = diag(w) - P Q*, B: each (features, N/2) complex; dt: (features,) real timestep."""
    half = dt[:, None] / 2
    d = 1 / (1 - half * w)
    q, dP = Q.conj() * d, d * P
    feedback = 2 * (Q.conj() * dP).real.sum(-1, keepdim=True)
    p = dP * (-2 * half / (1 + half * feedback))
    return Discrete((1 + half * w) * d, p, q, 2 * half * d * B + half * p * (2 * (q * B).real.sum(-1, keepdim=True)))


def vectors(x: Tensor) -> Tensor:
    """(..., N/2) complex states as (..., 2, N/2) real."""
    return torch.stack([x.real, x.imag], -2)


def covectors(v: Tensor) -> Tensor:
    """(..., N/2) complex v as (..., 2, N/2) real, whose scalar product with `vectors(x)` is 2 Re(sum v x)."""
    return torch.stack([2 * v.real, -2 * v.imag], -2)


def transition(ss: Discrete) -> Tensor:
    """Ā as it acts on `vectors`: (features, N, N) real."""
    pairs = ss.D.shape[1]
    A = vectors(ss.p).flatten(1)[:, :, None] * covectors(ss.q).flatten(1)[:, None, :]
    blocks = torch.stack([ss.D.real, -ss.D.imag, ss.D.imag, ss.D.real], 1).unflatten(1, (2, 2))
    A.view(-1, 2, pairs, 2, pairs).diagonal(dim1=2, dim2=4).add_(blocks)
    return A


def kernel(ss: Discrete, C: Tensor, timesteps: int) -> Tensor:
    """K_l = C Ā^l B̄ for l < timesteps: (outputs, features, timesteps). C: (outputs, features, N/2) complex."""
    # A processor's cache holds the powers of about as many features; a graphics card wants all at once.
    at_once = 32 if C.device.type == "cpu" else C.shape[1]
    parts = zip(*(v.split(at_once) for v in (ss.D, ss.p, ss.q, ss.B)), C.split(at_once, 1), strict=True)
    kernels = []
    for D, p, q, B, some_C in parts:
        rows = covectors(some_C).flatten(2).transpose(0, 1)
        kernels.append(_Kernel.apply(transition(Discrete(D, p, q, B)), vectors(B).flatten(1), rows, timesteps))
    return torch.cat(kernels, 1)


class _Kernel(torch.autograd.Function):
    """C Ā^l B̄ for Ā (features, N, N), B̄ (features, N) and C (features, outputs, N), all real.

    Written out so that backward computes the powers again instead of keeping them: that costs a third of the time, and memory
    is then that of Ā.
    """

    @staticmethod
    def forward(ctx: Any, A: Tensor, B: Tensor, C: Tensor, timesteps: int) -> Tensor:
        ctx.save_for_backward(A, B, C)
        ctx.timesteps = timesteps
        _, X, Y = _factors(A, B, C, timesteps)
        features, outputs, _ = C.shape
        K = (torch.cat(Y, 1) @ X).view(features, -1, outputs, X.shape[2])
        return K.permute(2, 0, 1, 3).flatten(2)[..., :timesteps].contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        A, B, C = ctx.saved_tensors
        features, outputs, _ = C.shape
        powers, X, Y = _factors(A, B, C, ctx.timesteps)
        m, rows = X.shape[2], sum(block.shape[1] for block in Y) // outputs
        # All below is linear in it; of size 1, so that `shrunk` is about what matters.
        size = gradients[0].abs().amax().clamp_min(torch.finfo(A.dtype).tiny)
        d_K = F.pad(gradients[0] / size, (0, rows * m - ctx.timesteps)).view(outputs, features, rows, m)
        d_K = d_K.permute(1, 2, 0, 3).reshape(features, rows * outputs, m)
        d_X = shrunk(torch.cat(Y, 1).mT @ d_K)
        d_Y = [shrunk(block) for block in (d_K @ X.mT).split(Y[0].shape[1], 1)]

        power = powers.pop()
        for i in reversed(range(1, len(Y))):  # Y_i = Y_(i-1) power
            d_Y[i - 1] = shrunk(torch.baddbmm(d_Y[i - 1], d_Y[i], power.mT))
        d_power = torch.cat(Y[:-1], 1).mT @ torch.cat(d_Y[1:], 1) if len(Y) > 1 else torch.zeros_like(power)
        first, d_first = Y[0], d_Y[0]
        while d_first.shape[1] > outputs:  # Y = [Y', Y' power], and the next power is this one squared
            power = powers.pop()
            d_power = _squared_backward(power, d_power)
            first, (d_first, d_later) = first.chunk(2, 1)[0], d_first.contiguous().chunk(2, 1)
            d_power = torch.baddbmm(d_power, first.mT, d_later)
            d_first = shrunk(torch.baddbmm(d_first, d_later, power.mT))
        while d_X.shape[2] > 1:  # X = [X', power X']
            power = powers.pop()
            d_power = _squared_backward(power, d_power)
            X, (d_X, d_later) = X.chunk(2, 2)[0], d_X.chunk(2, 2)
            d_power = torch.baddbmm(d_power, d_later, X.mT)
            d_X = shrunk(torch.baddbmm(d_X, power.mT, d_later))
        return d_power * size, d_X[..., 0] * size, d_first * size, None


def _factors(A: Tensor, B: Tensor, C: Tensor, timesteps: int) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """What a kernel is the product of.

    Returns the powers Ā, Ā^2, Ā^4, ...; X = [B̄, ..., Ā^(m-1) B̄], (features, N, m); and the rows C Ā^(mr), in blocks
    (features, rows of a block * outputs, N), each of which is the last of the powers times the one before.
    """
    outputs, m = C.shape[1], power_of_two(math.isqrt(timesteps))
    rows = -(-timesteps // m)
    # Doubling the rows takes a squaring of Ā, as much work as 64 rows. So only the first sqrt(rows) rows are doubled.
    block = power_of_two(math.isqrt(rows))
    powers, X, Y = [shrunk(A)], B[..., None], [C]
    while X.shape[2] < m:
        X = torch.cat([X, shrunk(powers[-1] @ X)], 2)
        powers.append(shrunk(powers[-1] @ powers[-1]))
    while Y[0].shape[1] < block * outputs:
        Y = [torch.cat([Y[0], shrunk(Y[0] @ powers[-1])], 1)]
        powers.append(shrunk(powers[-1] @ powers[-1]))
    while len(Y) * block < rows:
        Y.append(shrunk(Y[-1] @ powers[-1]))
    return powers, X, Y


def _squared_backward(power: Tensor, d_square: Tensor) -> Tensor:
    return shrunk(torch.baddbmm(power.mT @ d_square, d_square, power.mT))


def shrunk(x: Tensor) -> Tensor:
    """x without numbers whose product is no normal number: CPUs are two hundred times slower at those, and here, where fast
    modes die out within the kernel, most would be."""
    return F.hardshrink(x, torch.finfo(x.dtype).tiny ** 0.5)


def power_of_two(n: int) -> int:
    """The least power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()


def fast_length(n: int) -> int:
    """The least even length of at least n that has no prime factor above 5, for which FFTs are fast."""
    best = power_of_two(max(n, 2))
    five = 1
    while five < best:
        three = five
        while three < best:
            best = min(best, three * max(2, power_of_two(-(-n // three))))
            three *= 3
        five *= 5
    return best


def transfer(kernels: Tensor, D: Tensor) -> Tensor:
    """The FFT, (features, frequencies), of kernels (directions, features, timesteps) and of D x, D: (features,).

    With two directions the second kernel runs backward in time, from the next timestep on.
    """
    timesteps, size = kernels.shape[-1], fast_length(2 * kernels.shape[-1])
    response = torch.fft.rfft(kernels[0], n=size)
    if len(kernels) == 2:
        response += torch.fft.rfft(F.pad(kernels[1].flip(-1), (size - timesteps, 0)))
    return response.add_(D[:, None])


def filtered(x: Tensor, response: Tensor) -> Tensor:
    """x (batch, features, timesteps) filtered by the response (features, frequencies) that `transfer` gave."""
    timesteps, size = x.shape[-1], fast_length(2 * x.shape[-1])
    return torch.fft.irfft(torch.fft.rfft(in_rows(x), n=size).mul_(response), n=size)[..., :timesteps]


LONG = 1024  # timesteps from which the order of numbers in memory is felt


def convolve(x: Tensor, kernels: Tensor, D: Tensor) -> Tensor:
    """K * x + D x for x (batch, features, timesteps); kernels, D: see `transfer`."""
    y: Tensor = _Convolution.apply(x, kernels, D)
    return y


class _Convolution(torch.autograd.Function):
    """See `convolve`. Written out since PyTorch's own backward of a real FFT is a complex one, of twice the work; and so that
    only x and the kernels are kept, not their spectra, which are four times as large."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, D: Tensor) -> Tensor:
        x = in_rows(x)
        ctx.save_for_backward(x, kernels, D)
        return filtered(x, transfer(kernels, D))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, kernels, D = ctx.saved_tensors
        timesteps, size = x.shape[-1], fast_length(2 * x.shape[-1])
        d_y = torch.fft.rfft(in_rows(gradients[0]), n=size)
        # in place, and without a sum over one: these spectra are the largest numbers of the layer
        products = torch.fft.rfft(x, n=size).conj_physical_()
        torch.mul(d_y, products, out=products)
        d_response = torch.fft.irfft(products[0] if len(products) == 1 else products.sum(0), n=size)
        d_kernels = [d_response[..., :timesteps]]
        if len(kernels) == 2:
            d_kernels.append(d_response[..., size - timesteps :].flip(-1))
        d_x = torch.fft.irfft(d_y.mul_(transfer(kernels, D).conj_physical_()), n=size)[..., :timesteps]
        if timesteps >= LONG:
            # what comes before has timesteps in front of features, and would go through rows of another order slowly
            d_x = d_x.transpose(1, 2).contiguous().transpose(1, 2)
        return d_x, torch.stack(d_kernels), d_response[:, 0].clone()


def in_rows(x: Tensor) -> Tensor:
    """x (batch, features, timesteps) with timesteps side by side in memory.

    PyTorch copies a transposed matrix in blocks that fit into a processor's cache, but not a batch of them: that is up to eight
    times as slow.
    """
    if x.is_contiguous() or x.device.type != "cpu" or x.stride(1) != 1:
        return x.contiguous()
    rows = torch.empty_like(x, memory_format=torch.contiguous_format)
    for matrix, into in zip(x, rows, strict=True):
        into.copy_(matrix)
    return rows

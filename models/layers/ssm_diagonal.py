"""Diagonal state spaces, S4D (Gu, Gupta, Goel & Ré 2022, arXiv:2206.11893): S4 without the low-rank part.

    x' = diag(w) x + B u,  y = 2 Re(sum C x),    K_l = 2 Re sum_n W_n z_n^l,  W = C B̄,  z = Ā

of N/2 states, one of each conjugate pair, as in `ssm.py`. The kernel is a Vandermonde product (ibid., section 3.2), and since
z^(mr + s) = z^(mr) z^s it is the real matrix product

    [W; W z^m; W z^2m; ...] [1, z, ..., z^(m-1)],    m ~ sqrt(timesteps),

of two real planes for each complex vector: N multiplications for each number of the kernel, as written out, but the powers
are 2 sqrt(timesteps) for each state instead of `timesteps`, and memory is O(features * (timesteps + N sqrt(timesteps))).

Differs from the paper: the exponents, log Ā, are computed in float64 and every square of a square of Ā from them, so that
slowly decaying modes keep their phase over any length. B is trained, from 1, as C is.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.layers import ssm
from models.layers.ssm import Discrete


def legs(d_state: int) -> Tensor:
    """S4D-LegS: the diagonal part of HiPPO-LegS (ibid., section 4); (d_state / 2,) complex128."""
    return ssm.hippo_legs(d_state)[0]


def inv(d_state: int) -> Tensor:
    """S4D-Inv (ibid., section 4), frequencies that fall as 1 / n; (d_state / 2,) complex128."""
    n = _pairs(d_state)
    return torch.complex(torch.full_like(n, -0.5), d_state / math.pi * (d_state / (2 * n + 1) - 1))


def lin(d_state: int) -> Tensor:
    """S4D-Lin (ibid., section 4), a Fourier series; (d_state / 2,) complex128."""
    n = _pairs(d_state)
    return torch.complex(torch.full_like(n, -0.5), math.pi * n)


def _pairs(d_state: int) -> Tensor:
    if d_state < 2 or d_state % 2:
        raise ValueError(f"d_state={d_state} must be even and at least 2, since states come in conjugate pairs")
    return torch.arange(d_state // 2, dtype=torch.float64, device="cpu")


INITIALIZATIONS: dict[str, Callable[[int], Tensor]] = {"s4d-legs": legs, "s4d-inv": inv, "s4d-lin": lin}


def bilinear(w: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """log Ā, and what B is multiplied with to be B̄; w: (features, N/2) complex, dt: (features,)."""
    half = dt[:, None] / 2 * w
    return ((1 + half) / (1 - half)).log(), dt[:, None] / (1 - half)


def zero_order_hold(w: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """As `bilinear`, for an input that stays the same during a timestep."""
    log_A = dt[:, None] * w
    return log_A, (log_A.exp() - 1) / w


DISCRETIZATIONS = {"bilinear": bilinear, "zoh": zero_order_hold}


def wide(x: Tensor) -> Tensor:
    """x in double precision, where the device has any (Metal does not)."""
    return x if x.device.type == "mps" else x.to(torch.complex128 if x.is_complex() else torch.float64)


class DiagonalSSM(nn.Module):
    """`d_model` diagonal state spaces of one input each, with the interface of `SSM` in s4.py, as it stores numbers.

    raw_dt: (d_model,), of which dt is `of_raw_dt`
    C:      (outputs, d_model, d_state / 2, 2); B: (n_ssm, d_state / 2, 2), 1 at first
    log_w_real, w_imag: (n_ssm, d_state / 2), of which w is -exp(log_w_real) + i w_imag
    """

    def __init__(
        self, init: str, discretization: str, d_state: int, n_ssm: int, outputs: int, raw_dt: Tensor,
        of_raw_dt: Callable[[Tensor], Tensor],
    ):  # fmt: skip
        super().__init__()
        self.discretize, self.of_raw_dt = DISCRETIZATIONS[discretization], of_raw_dt
        w = INITIALIZATIONS[init](d_state).to(torch.complex64).expand(n_ssm, -1)
        self.raw_dt = nn.Parameter(raw_dt)
        self.w_imag, self.log_w_real = nn.Parameter(w.imag.clone()), nn.Parameter((-w.real).log())
        self.B = nn.Parameter(torch.tensor([1.0, 0.0]).repeat(n_ssm, d_state // 2, 1))
        self.C = nn.Parameter(torch.randn(outputs, len(raw_dt), d_state // 2, 2) * math.sqrt(0.5))
        self.of_dynamics = ["raw_dt", "w_imag", "log_w_real", "B"]

    def _discretized(self, rate: float) -> tuple[Tensor, Tensor]:
        """log Ā and B̄ of every feature at a timestep of rate * dt, (d_model, d_state / 2) complex, in double precision."""
        dt = self.of_raw_dt(wide(self.raw_dt)) * rate
        w = torch.complex(-wide(self.log_w_real).exp(), wide(self.w_imag))
        w, B = (v.repeat(len(dt) // len(v), 1) for v in (w, wide(torch.view_as_complex(self.B))))
        log_A, gain = self.discretize(w, dt)
        return log_A, gain * B

    def discrete(self, rate: float = 1.0) -> Discrete:
        """Every feature's system at a timestep of rate * dt."""
        log_A, B = self._discretized(rate)
        like = torch.view_as_complex(self.C)
        none = like.new_zeros(log_A.shape)
        return Discrete(log_A.exp().to(like.dtype), none, none, B.to(like.dtype))

    def kernel(self, timesteps: int, rate: float = 1.0) -> Tensor:
        """(outputs, d_model, timesteps)."""
        with torch.autocast(self.C.device.type, enabled=False):  # powers need all bits
            log_A, B = self._discretized(rate)
            C = torch.view_as_complex(self.C)
            return vandermonde(C * B.to(C.dtype), log_A, timesteps)


def vandermonde(W: Tensor, log_z: Tensor, timesteps: int) -> Tensor:
    """2 Re sum_n W_n exp(l log_z_n) for l < timesteps: (outputs, features, timesteps), in W's precision.

    W: (outputs, features, N/2) complex; log_z: (features, N/2) complex, of real parts <= 0, best in double precision
    """
    # as many features as a processor's cache holds the powers of
    at_once = 32 if W.device.type == "cpu" else W.shape[1]
    parts = zip(W.split(at_once, 1), log_z.split(at_once), strict=True)
    kernels: list[Tensor] = [_Vandermonde.apply(*part, timesteps) for part in parts]
    return torch.cat(kernels, 1)


class _Vandermonde(torch.autograd.Function):
    """See `vandermonde`. Written out so that the powers are computed again and not kept, and since the gradient of a power is a
    product with its exponent: there is no way back through the squarings."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, log_z: Tensor, timesteps: int) -> Tensor:
        ctx.save_for_backward(W, log_z)
        ctx.timesteps = timesteps
        m, rows, X, Z = _factors(W, log_z, timesteps)
        Y = ssm.covectors(Z * W.transpose(0, 1)[:, :, None])  # (features, outputs, rows, 2, N/2)
        K = Y.flatten(1, 2).flatten(2) @ ssm.vectors(X).flatten(2).mT
        return K.view(len(X), len(W), rows * m).transpose(0, 1)[..., :timesteps].contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        W, log_z = ctx.saved_tensors
        m, rows, X, Z = _factors(W, log_z, ctx.timesteps)
        W = W.transpose(0, 1)[:, :, None]
        d_K = torch.nn.functional.pad(gradients[0], (0, rows * m - ctx.timesteps)).transpose(0, 1)
        d_K = d_K.reshape(len(X), -1, m)  # (features, outputs * rows, m)
        Y = ssm.covectors(Z * W).flatten(1, 2).flatten(2)
        d_X = torch.complex(*(d_K.mT @ Y).unflatten(2, (2, -1)).unbind(2))
        d_Y = torch.complex(*(d_K @ ssm.vectors(X).flatten(2)).unflatten(2, (2, -1)).unbind(2))
        d_Y = 2 * d_Y.conj().unflatten(1, (-1, rows)) * Z.conj()
        d_W = d_Y.sum(2)
        steps = torch.arange(max(m, rows), device=X.device, dtype=X.real.dtype)[:, None]
        d_log_z = (d_X * X.conj() * steps[:m]).sum(1) + (d_Y * W.conj() * (m * steps[:rows])).sum((1, 2))
        return d_W.transpose(0, 1), d_log_z.to(log_z.dtype), None


def _factors(W: Tensor, log_z: Tensor, timesteps: int) -> tuple[int, int, Tensor, Tensor]:
    """m, rows; the powers z^0 ... z^(m-1), (features, m, N/2); and z^0, z^m, ... z^(m (rows - 1)), (features, 1, rows, N/2)."""
    m = ssm.power_of_two(math.isqrt(timesteps))
    rows = -(-timesteps // m)
    return m, rows, _powers(log_z, m, W.dtype), _powers(log_z * m, rows, W.dtype)[:, None]


def _powers(log_z: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """exp(k log_z) for k < count: (features, count, N/2). Each doubling multiplies with a power that was rounded once."""
    powers = torch.ones_like(log_z[:, None], dtype=dtype)
    while powers.shape[1] < count:
        factor = (powers.shape[1] * log_z).exp().to(dtype)
        more = powers[:, : count - powers.shape[1]] * factor[:, None]
        powers = torch.cat([powers, torch.view_as_complex(ssm.shrunk(torch.view_as_real(more)))], 1)
    return powers

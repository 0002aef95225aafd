"""S4, a layer of structured state spaces, one for each feature (Gu, Goel & Ré 2022, arXiv:2111.00396), as SaShiMi uses it.

    y = K * x + D x,  K_l = C Ā^l B̄;    output = GLU(linear(GELU(y)))

Alone: `S4(64)(torch.randn(8, 16000, 64))`; step by step: `step = S4(64).stepper(8)`, then `step(torch.randn(8, 64))`.

Differs from the paper: both directions of time at wish (Goel et al. 2022, arXiv:2202.09729, section 4.2); A may be shared
by features, each with a timestep of its own; Q = P, which makes the system stable (ibid., section 4.1).
Diagonal A (S4D, Gu et al. 2022, arXiv:2206.11893) is a choice of `mode`; see `ssm_diagonal.py`.
Differs from the release: kernels are computed from the plain C and exact at any length (see `ssm.py`); steps are exact in
the diagonal-plus-rank-one form.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import ssm
from models.layers.ssm import Discrete
from models.layers.ssm_diagonal import DISCRETIZATIONS, INITIALIZATIONS, DiagonalSSM

# how dt is stored: the function of it, and its inverse
TRANSFORMS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "exp": (torch.exp, torch.log),
    "softplus": (F.softplus, lambda dt: dt.expm1().log()),
}
MODES = ("dplr", *INITIALIZATIONS)


def log_uniform(count: int, least: float, most: float) -> Tensor:
    """(count,) drawn evenly over the logarithm."""
    return torch.empty(count).uniform_(math.log(least), math.log(most)).exp()


class SSM(nn.Module):
    """`d_model` state spaces of one input each, A = diag(w) - P Q*; complex numbers are stored with a last axis (re, im).

    raw_dt: (d_model,), of which dt is the exp or softplus
    C:      (outputs, d_model, d_state / 2, 2); B, P: (n_ssm, d_state / 2, 2); w_imag: (n_ssm, d_state / 2)
    tied:   Q = P, and log_w_real (n_ssm, d_state / 2) is log(-Re w); otherwise w_real and Q are free
    frozen: raw_dt, w, P and B are buffers, and Q, (d_model, d_state / 2, 2), is trained with C
    """

    raw_dt: Tensor
    w_real: Tensor
    log_w_real: Tensor
    w_imag: Tensor
    P: Tensor
    B: Tensor
    Q: Tensor

    def __init__(
        self, d_model: int, d_state: int, n_ssm: int, outputs: int, tied: bool, frozen: bool,
        dt_min: float, dt_max: float, dt_transform: str,
    ):  # fmt: skip
        super().__init__()
        self.tied, self.dt_transform = tied, dt_transform
        w, P, B = (v.to(torch.complex64).expand(n_ssm, -1).clone() for v in ssm.hippo_legs(d_state))
        dt = log_uniform(d_model, dt_min, dt_max)
        dynamics = {"raw_dt": TRANSFORMS[dt_transform][1](dt), "w_imag": w.imag.clone()}
        dynamics |= {"log_w_real": (-w.real).log()} if tied else {"w_real": w.real.clone()}
        dynamics |= {"P": torch.view_as_real(P), "B": torch.view_as_real(B)}
        if not tied and not frozen:
            dynamics["Q"] = torch.view_as_real(P.clone())
        for name, value in dynamics.items():
            if frozen:
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, nn.Parameter(value))
        if frozen:
            self.Q = nn.Parameter(torch.view_as_real(P[:1].expand(d_model, -1).clone()))
        self.C = nn.Parameter(torch.randn(outputs, d_model, d_state // 2, 2) * math.sqrt(0.5))
        self.of_dynamics = [] if frozen else list(dynamics)

    def discrete(self, rate: float = 1.0) -> Discrete:
        """Every feature's system at a timestep of rate * dt."""
        dt = TRANSFORMS[self.dt_transform][0](self.raw_dt) * rate
        real = -self.log_w_real.exp() if self.tied else self.w_real
        P, B = torch.view_as_complex(self.P), torch.view_as_complex(self.B)
        Q = P if self.tied else torch.view_as_complex(self.Q)
        w, P, Q, B = (v.repeat(len(dt) // len(v), 1) for v in (torch.complex(real, self.w_imag), P, Q, B))
        return ssm.bilinear(w, P, Q, B, dt)

    def kernel(self, timesteps: int, rate: float = 1.0) -> Tensor:
        """(outputs, d_model, timesteps)."""
        with torch.autocast(self.C.device.type, enabled=False):  # powers need all bits
            return ssm.kernel(self.discrete(rate), torch.view_as_complex(self.C), timesteps)


class S4(nn.Module):
    """(batch, timesteps, d_model) -> (batch, timesteps, d_model), for any number of timesteps.

    d_state:       states of each feature, even: they come in conjugate pairs
    n_ssm:         how many matrices A and vectors B there are, which features share in turn; None: one for every feature
    bidirectional: a second C, whose kernel runs backward in time from the next timestep on; both outputs are added
    separate:      with `bidirectional`, a second state space, whose kernel runs backward from the same timestep on; the
                   outputs are concatenated before the linear layer (S4 of January 2022)
    glu:           the last linear layer has twice as many outputs, which are gated; otherwise it is all
    tied:          Q = P and Re w < 0, so that the system is stable by construction
    frozen:        only C, Q and D are trained (S4 of January 2022 in diffusion networks), not with `tied`
    dt_min, dt_max, dt_transform: timesteps are drawn log-uniformly between these, and stored before an exp or softplus
    mode:          "dplr", diagonal plus low rank, from HiPPO-LegS; or a diagonal A (S4D), which begins as "s4d-legs"
                   (HiPPO-LegS without its low rank), "s4d-inv" (frequencies that fall as 1 / n) or "s4d-lin" (a Fourier
                   series)
    discretization: of diagonal A, "bilinear" as dplr has it, or "zoh" (zero-order hold)
    Raises ValueError where these do not go together.
    """

    def __init__(
        self, d_model: int, d_state: int = 64, *, n_ssm: int | None = None, bidirectional: bool = False,
        separate: bool = False, glu: bool = True, tied: bool = True, frozen: bool = False, dt_min: float = 1e-3,
        dt_max: float = 0.1, dt_transform: str = "exp", mode: str = "dplr", discretization: str = "bilinear",
    ):  # fmt: skip
        super().__init__()
        n_ssm = d_model if n_ssm is None else n_ssm
        if n_ssm < 1 or d_model % n_ssm:
            raise ValueError(f"n_ssm={n_ssm} must divide d_model={d_model}")
        if separate and not bidirectional:
            raise ValueError("separate=True is about the two directions of time: it needs bidirectional=True")
        if frozen and tied:
            raise ValueError("frozen=True trains Q while P stays: it needs tied=False")
        if dt_transform not in TRANSFORMS:
            raise ValueError(f"unknown dt_transform {dt_transform!r}. Available: {', '.join(TRANSFORMS)}")
        if not 0 < dt_min <= dt_max:
            raise ValueError(f"dt_min={dt_min} must be above 0 and at most dt_max={dt_max}")
        for name, value, choices in (("mode", mode, MODES), ("discretization", discretization, [*DISCRETIZATIONS])):
            if value not in choices:
                raise ValueError(f"unknown {name} {value!r}. Available: {', '.join(choices)}")
        if mode == "dplr" and discretization != "bilinear":
            raise ValueError(f"discretization={discretization!r} needs a diagonal mode; dplr has bilinear")
        if mode != "dplr" and not tied:
            raise ValueError(
                f"tied=False leaves Q and Re w free, but mode={mode!r} has no Q and Re w < 0: set tied=True"
            )
        self.d_model, self.bidirectional, self.separate, self.glu = d_model, bidirectional, separate, glu
        outputs = 2 if bidirectional and not separate else 1

        def space() -> SSM | DiagonalSSM:
            if mode == "dplr":
                return SSM(d_model, d_state, n_ssm, outputs, tied, frozen, dt_min, dt_max, dt_transform)
            transform = TRANSFORMS[dt_transform]
            raw_dt = transform[1](log_uniform(d_model, dt_min, dt_max))
            return DiagonalSSM(mode, discretization, d_state, n_ssm, outputs, raw_dt, transform[0])

        self.ssm = space()
        self.backward_ssm = space() if separate else None
        self.D = nn.Parameter(torch.randn(d_model))
        self.output = nn.Linear(2 * d_model if separate else d_model, 2 * d_model if glu else d_model)
        self._remembered: dict[tuple[int, int], Tensor] | None = None

    def dynamics(self) -> list[nn.Parameter]:
        """What published recipes train at a learning rate of their own, 0.001, without weight decay: dt, A and B."""
        return [getattr(space, name) for space in self._spaces() for name in space.of_dynamics]

    def _spaces(self) -> list[SSM | DiagonalSSM]:
        return [self.ssm] if self.backward_ssm is None else [self.ssm, self.backward_ssm]

    def kernel(self, timesteps: int, rate: float = 1.0) -> Tensor:
        """(directions, d_model, timesteps); rate: of the timesteps it is for, relative to those of training."""
        return torch.cat([space.kernel(timesteps, rate) for space in self._spaces()])

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        u = x.transpose(1, 2).to(self.D.dtype)
        y = self._filtered(u, 0)
        if self.separate:
            y = torch.cat([y, self._filtered(u.flip(-1), 1).flip(-1)], 1)
        return self._finish(y.transpose(1, 2).contiguous())

    def _filtered(self, u: Tensor, which: int) -> Tensor:
        """K * u + D u for u (batch, d_model, timesteps), with the first or the second state space."""
        timesteps = u.shape[-1]
        if self._remembered is None:
            return ssm.convolve(u, self._spaces()[which].kernel(timesteps), self.D)
        if (timesteps, which) not in self._remembered:
            self._remembered[timesteps, which] = ssm.transfer(self._spaces()[which].kernel(timesteps), self.D)
        return ssm.filtered(u, self._remembered[timesteps, which])

    def _finish(self, y: Tensor) -> Tensor:
        y = self.output(F.gelu(y))
        return F.glu(y, -1) if self.glu else y

    @torch.no_grad()
    def stepper(self, batch: int) -> Callable[[Tensor], Tensor]:
        """A function from one timestep (batch, d_model) to the next output (batch, d_model), with the state of `batch` new
        sequences: the same as `forward`, exactly. The weights are those of now. Raises ValueError if not causal."""
        from models.layers.s4_steps import S4Step

        layer = S4Step(self, batch, fused=False)
        return torch.no_grad()(lambda x: layer(layer.weights, x.t(), *layer.state).t())


@contextmanager
def remembered_kernels(module: nn.Module) -> Iterator[None]:
    """Inside, every S4 of `module` computes its kernel once for each length; exact as long as no weight changes.

    For networks that are evaluated many times, as in diffusion sampling. Raises RuntimeError where gradients are recorded.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, S4)]
    if torch.is_grad_enabled() and any(p.requires_grad for layer in layers for p in layer.parameters()):
        raise RuntimeError("remembered kernels have no gradients: use them within torch.no_grad() or inference_mode()")
    before = [layer._remembered for layer in layers]
    for layer in layers:
        layer._remembered = {}
    try:
        yield
    finally:
        for layer, memory in zip(layers, before, strict=True):
            layer._remembered = memory

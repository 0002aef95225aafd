"""S4, one timestep at a time: the recurrence of `s4.py`, exact, for sampling. Columns are sequences: (channels, batch).

    x_t = Ā x_(t-1) + B̄ u_t,   Ā = diag(D) + p q',   y_t = C x_t + D u_t

Expanded in x_(t-1), an output needs two numbers of each feature's last state, s = q' x and r = C diag(D) x:

    y_t = r + (C p) s + (C B̄ + D) u_t

In two forms of the same function. `fused` is for a compiler, in real arithmetic and out of operations on single numbers: one
pass over the states moves them on and sums up s and r for the next timestep. `plain` is for running operation by operation,
and takes three passes.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from models.layers.s4 import S4

Weights = dict[str, Tensor]


class S4Step:
    """One layer by timesteps, for `batch` sequences; `weights` are those of now, `state` that of new sequences.

    Calling it, with weights and state as arguments so that a compiler sees nothing else, overwrites the state.
    Raises ValueError where the layer is bidirectional.
    """

    def __init__(self, layer: "S4", batch: int, *, fused: bool):
        if layer.bidirectional:
            raise ValueError("a bidirectional S4 cannot be run step by step: its output depends on what is to come")
        self.fused, self.glu = fused, layer.glu
        ss, C = layer.ssm.discrete(), torch.view_as_complex(layer.ssm.C[0])
        CD = C * ss.D
        from_p, from_B = (2 * (C * v).real.sum(-1)[:, None] for v in (ss.p, ss.B))
        self.weights: Weights = {
            "from_s": from_p, "from_u": from_B + layer.D[:, None],
            "output": layer.output.weight, "output_bias": layer.output.bias[:, None],
        }  # fmt: skip
        if fused:
            moves = [ss.D.real, ss.D.imag, ss.p.real, ss.p.imag, ss.B.real, ss.B.imag]
            reads = [2 * ss.q.real, -2 * ss.q.imag, 2 * CD.real, -2 * CD.imag]
            self.weights["coefficients"] = torch.stack(moves + reads)[:, :, None]
            new, size = ss.D.real.new_zeros, (len(CD), batch, CD.shape[1])
            self.state: tuple[Tensor, ...] = (new(size), new(size), new(2, len(CD), batch))
        else:
            self.weights["decay"] = ss.D[:, None]
            self.weights["read"] = torch.view_as_real(torch.stack([ss.q, CD], 1).conj_physical()).flatten(2) * 2
            self.weights["write"] = torch.view_as_real(torch.stack([ss.p, ss.B], 1)).flatten(2)
            self.state = (ss.D.new_zeros(len(CD), batch, CD.shape[1]), ss.D.real.new_empty(len(CD), 2, batch))

    def __call__(self, w: Weights, u: Tensor, *state: Tensor) -> Tensor:
        """The output (channels, batch) for the input u (channels, batch)."""
        y = self._fused(w, u, *state) if self.fused else self._plain(w, u, *state)
        y = torch.addmm(w["output_bias"], w["output"], F.gelu(y))
        return F.glu(y, 0) if self.glu else y

    def _fused(self, w: Weights, u: Tensor, real: Tensor, imag: Tensor, sums: Tensor) -> Tensor:
        """State: real and imag (features, batch, N/2), and s and r of them (2, features, batch)."""
        s, r = sums.unbind()
        y = r + w["from_s"] * s + w["from_u"] * u
        decay, turn, p_real, p_imag, B_real, B_imag, q_real, q_imag, c_real, c_imag = w["coefficients"].unbind()
        s, u = s[:, :, None], u[:, :, None]
        new_real = decay * real - turn * imag + p_real * s + B_real * u
        new_imag = decay * imag + turn * real + p_imag * s + B_imag * u
        new_s = (q_real * new_real + q_imag * new_imag).sum(-1)
        new_r = (c_real * new_real + c_imag * new_imag).sum(-1)
        real.copy_(new_real)
        imag.copy_(new_imag)
        sums.copy_(torch.stack([new_s, new_r]))
        return y

    def _plain(self, w: Weights, u: Tensor, states: Tensor, drive: Tensor) -> Tensor:
        """State: states (features, batch, N/2) complex; drive (features, 2, batch) is only scratch."""
        numbers, (s, r) = torch.view_as_real(states).flatten(2), drive.unbind(1)
        torch.bmm(w["read"], numbers.mT, out=drive)
        y = r + w["from_s"] * s + w["from_u"] * u
        r.copy_(u)  # what the states are driven by now: s and u
        states.mul_(w["decay"])
        numbers.baddbmm_(drive.mT, w["write"])
        return y

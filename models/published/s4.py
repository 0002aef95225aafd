"""S4 layers of published checkpoints, in every layout that there was:

    main          state-spaces/s4, 2023 and newer       layer.kernel.{inv_dt, A_real, A_imag, P, B, C, l_kernel}
    v3            albertfgu/diffwave-sashimi, master    kernel.kernel.{log_dt, inv_w_real, w_imag, P, B, C, L}
    2022          state-spaces/s4 with SaShiMi          kernel.kernel.{log_dt, w, Q or log_w_real, w_imag, P, B, C, omega, z}
    January 2022  the published diffusion networks      kernel(2).krylov.{log_dt, w, B, C, nodes, z}

All keep C (I - Ā^L) instead of C, once they have computed a kernel of length L. It is undone here, in float64.
"""

from typing import Any

import torch
from torch import Tensor

from models.layers import ssm
from models.layers.s4 import TRANSFORMS
from models.published import Released

CONJUGATE = torch.tensor([1.0, -1.0])  # times a last axis (re, im)


def take_s4(
    released: Released, prefix: str, length: int, dt_transform: str = "exp"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The options of `S4` and the state_dict of that layer, for the released layer whose names begin with `prefix`.

    length: timesteps that the layer works on, for layouts that do not store for how many their C is
    dt_transform: of the layout main, which does not tell it: "softplus" as in the release's training framework, or "exp"
    What is missing or misshapen is noted in `released`, as always.
    """
    if f"{prefix}kernel.krylov.C" in released:
        kernels = [_january_2022(released, f"{prefix}{name}.krylov.", length) for name in _krylov(released, prefix)]
        options: dict[str, Any] = {"tied": False, "frozen": True, "bidirectional": len(kernels) == 2}
        options |= {"separate": len(kernels) == 2, "n_ssm": 1}
        d_model = kernels[0]["C"].shape[1]
        D = released.take(f"{prefix}D", d_model)
    else:
        main = f"{prefix}kernel.kernel.C" not in released
        one = _main(released, f"{prefix}layer.kernel.", dt_transform) if main else _framework(released, prefix, length)
        kernels, (directions, d_model) = [one], one["C"].shape[:2]
        options = {"tied": "log_w_real" in one, "bidirectional": directions == 2, "n_ssm": len(one["w_imag"])}
        options |= {"dt_transform": dt_transform} if main else {}
        D = released.take(f"{prefix}layer.D" if main else f"{prefix}D", 1, d_model)[0]
    weight, bias = _linear(released, f"{prefix}output_linear.", d_model * (2 if options.get("separate") else 1))
    options |= {"d_model": d_model, "d_state": 2 * kernels[0]["C"].shape[2], "glu": len(weight) == 2 * d_model}
    state = {"D": D, "output.weight": weight, "output.bias": bias}
    for module, kernel in zip(("ssm", "backward_ssm"), kernels, strict=False):
        state |= {f"{module}.{name}": value.contiguous() for name, value in kernel.items()}
    return options, state


def _krylov(released: Released, prefix: str) -> list[str]:
    return [name for name in ("kernel", "kernel2") if f"{prefix}{name}.krylov.C" in released]


def _main(released: Released, prefix: str, dt_transform: str) -> dict[str, Tensor]:
    C = released.take(f"{prefix}C", None, None, None, 2)
    _, d_model, pairs, _ = C.shape
    real = released.take(f"{prefix}A_real", None, pairs)
    state = {"log_w_real": real, "w_imag": -released.take(f"{prefix}A_imag", len(real), pairs)}
    state |= {name: released.take(f"{prefix}{name}", 1, len(real), pairs, 2)[0] for name in "PB"}
    state["raw_dt"] = released.take(f"{prefix}inv_dt", d_model, 1)[:, 0]
    return state | {"C": _plain(C, state, int(released.take(f"{prefix}l_kernel")), dt_transform)}


def _framework(released: Released, prefix: str, length: int) -> dict[str, Tensor]:
    """The layouts v3 and 2022; where there is a Q, it is stored conjugated."""
    prefix = f"{prefix}kernel.kernel."
    C = released.take(f"{prefix}C", None, None, None, 2)
    _, d_model, pairs, _ = C.shape
    state = {"raw_dt": released.take(f"{prefix}log_dt", d_model)}
    if f"{prefix}w" in released:
        w = released.take(f"{prefix}w", None, pairs, 2)
        n_ssm, state["w_real"], state["w_imag"] = len(w), w[..., 0], w[..., 1]
        state["Q"] = released.take(f"{prefix}Q", 1, n_ssm, pairs, 2)[0] * CONJUGATE
    else:
        real = "inv_w_real" if f"{prefix}inv_w_real" in released else "log_w_real"
        state["log_w_real"] = released.take(f"{prefix}{real}", None, pairs)
        n_ssm = len(state["log_w_real"])
        state["w_imag"] = released.take(f"{prefix}w_imag", n_ssm, pairs)
    state |= {name: released.take(f"{prefix}{name}", 1, n_ssm, pairs, 2)[0] for name in "PB"}
    L = int(released.take(f"{prefix}L")) if f"{prefix}L" in released else _length(released, f"{prefix}omega", length)
    released.ignore(f"{prefix}omega", f"{prefix}z")
    return state | {"C": _plain(C, state, L)}


def _january_2022(released: Released, prefix: str, length: int) -> dict[str, Tensor]:
    """Of C and B, the second rows are Q, which every feature has its own of, and P; the first row of C is conjugated."""
    C = released.take(f"{prefix}C", None, 2, None, 2)
    d_model, _, pairs, _ = C.shape
    w = released.take(f"{prefix}w", pairs, 2)
    B, P = released.take(f"{prefix}B", 2, pairs, 2)
    state = {"raw_dt": released.take(f"{prefix}log_dt", d_model), "w_real": w[None, :, 0], "w_imag": w[None, :, 1]}
    state |= {"P": P[None], "B": B[None], "Q": C[:, 1]}
    L = _length(released, f"{prefix}z", length)
    released.ignore(f"{prefix}nodes", f"{prefix}z")
    return state | {"C": _plain(C[None, :, 0] * CONJUGATE, state, L)}


def _length(released: Released, nodes: str, length: int) -> int:
    """The L that a buffer of L // 2 + 1 FFT nodes was made for; the parity it leaves open, and all without it, is length's."""
    half = len(released.tensors[nodes]) - 1 if nodes in released else length // 2
    return length if length // 2 == half else max(1, 2 * half)


def _plain(C: Tensor, state: dict[str, Tensor], L: int, dt_transform: str = "exp") -> Tensor:
    """C (outputs, d_model, pairs, 2) out of the kept C (I - Ā^L)."""
    if L == 0:
        return C
    dt, w_imag = TRANSFORMS[dt_transform][0](state["raw_dt"].double()), state["w_imag"].double()
    real = -state["log_w_real"].double().exp() if "log_w_real" in state else state["w_real"].double()
    kept, P, Q, B = (
        torch.view_as_complex(v.double().contiguous()) for v in (C, state["P"], state.get("Q", state["P"]), state["B"])
    )
    w, P, Q, B = (v.repeat(len(dt) // len(v), 1) for v in (torch.complex(real, w_imag), P, Q, B))
    A = ssm.transition(ssm.bilinear(w, P, Q, B, dt))
    rows = ssm.covectors(kept).flatten(2).transpose(0, 1)  # (d_model, outputs, N)
    identity = torch.eye(A.shape[-1], dtype=A.dtype)
    # `_ex`, since of what is missing there are stand-ins here, which need not be regular
    solved, _ = torch.linalg.solve_ex(identity - torch.linalg.matrix_power(A, L), rows, left=False)
    real_part, imag_part = solved.transpose(0, 1).unflatten(2, (2, -1)).unbind(2)
    return torch.stack([real_part, -imag_part], -1).div(2).to(C.dtype)


def _linear(released: Released, prefix: str, inputs: int) -> tuple[Tensor, Tensor]:
    """Weight (outputs, inputs) and bias (outputs,), from any of linear layers, 1x1 convolutions and biases (outputs, 1)."""
    prefix = f"{prefix}0." if f"{prefix}0.weight" in released else prefix
    given = {name: released.tensors.get(f"{prefix}{name}", torch.zeros(())) for name in ("weight", "bias")}
    weight = released.take(f"{prefix}weight", None, inputs, *[1] * (given["weight"].ndim - 2))
    bias = released.take(f"{prefix}bias", len(weight), *[1] * (given["bias"].ndim - 1))
    return weight.reshape(len(weight), -1), bias.reshape(-1)

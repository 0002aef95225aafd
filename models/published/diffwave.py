"""DiffWave as philsyn (DiffWave-unconditional, 2021) and albertfgu (diffwave-sashimi, 2022 and 2023) publish it.

All keep the same tensors under the same names: weight-normed convolutions as `weight_g` and `weight_v`, or under the names of
newer PyTorch. Two things the weights do not tell, and `convert` is told them: after how many blocks dilations repeat, and
which function it was trained as. The published `.pkl` files are of the older code, in which the step embedding also goes
along the identity path; only what the master branch of albertfgu's repository trained is of the newer one.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.published import Converted, Released

CYCLES = {36: 12, 30: 10}  # of the published checkpoints, by their number of blocks


def convert(
    released: Mapping[str, Tensor], timesteps: int, *, legacy: bool = True, dilation_cycle: int | None = None
) -> Converted:
    """Our DiffWave from the published one. Raises ValueError where keys are missing, left over or misshapen.

    legacy: whether it was trained by the code that mutates its input, as all published checkpoints were
    dilation_cycle: blocks from one dilation of 1 to the next; by itself, as published for as many blocks, or half of them
    """
    state = Released(released, "a DiffWave with the WaveNet backbone")
    prefix = "residual_layer.residual_blocks."
    layers = max(1, len({key.split(".")[2] for key in released if key.startswith(prefix)}))
    C, channels, _ = direction(state, "init_conv.0.conv", (None, None, 1))
    S = direction(state, "final_conv.0.conv", (None, None, 1))[0]
    hidden, sines = state.take("residual_layer.fc_t1.weight", None, None).shape
    out = len(state.take("residual_layer.fc_t2.weight", None, hidden))

    converted = {
        "embedding.hidden.weight": state.take("residual_layer.fc_t1.weight", hidden, sines),
        "embedding.hidden.bias": state.take("residual_layer.fc_t1.bias", hidden),
        "embedding.out.weight": state.take("residual_layer.fc_t2.weight", out, hidden),
        "embedding.out.bias": state.take("residual_layer.fc_t2.bias", out),
        "stack.leave.weight": state.take("final_conv.2.conv.weight", channels, S, 1),
        "stack.leave.bias": state.take("final_conv.2.conv.bias", channels),
        **normed(state, "stack.enter", "init_conv.0.conv", (C, channels, 1)),
        **normed(state, "stack.end", "final_conv.0.conv", (S, S, 1)),
    }
    blocks = [f"{prefix}{layer}" for layer in range(layers)]
    converted["embedding.blocks.weight"] = torch.cat([state.take(f"{block}.fc_t.weight", C, out) for block in blocks])
    converted["embedding.blocks.bias"] = torch.cat([state.take(f"{block}.fc_t.bias", C) for block in blocks])
    for layer, block in enumerate(blocks):
        ours = f"stack.blocks.{layer}"
        converted |= normed(state, f"{ours}.dilated", f"{block}.dilated_conv_layer.conv", (2 * C, C, 3))
        halves = normed(state, "", f"{block}.res_conv", (C, C, 1)), normed(state, "", f"{block}.skip_conv", (S, C, 1))
        converted |= {f"{ours}.out{name}": torch.cat([half[name] for half in halves]) for name in halves[0]}
    state.check()
    settings = {
        "residual_channels": C, "skip_channels": S, "layers": layers, "time_in_residual": legacy, "step_sines": sines,
        "step_hidden": hidden, "step_channels": out, "bands": 0, "exponent": 1.0,
        "dilation_cycle": dilation_cycle or CYCLES.get(layers) or max(1, layers // 2),
    }  # fmt: skip
    return Converted(settings, converted, f"DiffWave, {'legacy' if legacy else 'master'} function")


def names(state: Released, name: str) -> tuple[str, str]:
    """The published names of a weight-normed convolution's gains and directions: those of newer PyTorch, or the old ones."""
    newer = f"{name}.parametrizations.weight.original"
    return (f"{newer}0", f"{newer}1") if f"{newer}0" in state else (f"{name}.weight_g", f"{name}.weight_v")


def direction(state: Released, name: str, shape: tuple[int | None, ...]) -> torch.Size:
    """The shape of a weight-normed convolution."""
    return state.take(names(state, name)[1], *shape).shape


def normed(state: Released, ours: str, name: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """A weight-normed convolution of that shape: gains, directions and bias under our names."""
    gain, direction = names(state, name)
    return {
        f"{ours}.parametrizations.weight.original0": state.take(gain, shape[0], *[1] * (len(shape) - 1)),
        f"{ours}.parametrizations.weight.original1": state.take(direction, *shape),
        f"{ours}.bias": state.take(f"{name}.bias", shape[0]),
    }

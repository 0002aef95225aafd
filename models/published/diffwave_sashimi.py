"""DiffWave with the SaShiMi backbone as albertfgu publishes it (diffwave-sashimi: branches `checkpoints`, 2022, and master).

    init_conv.0.conv, final_conv.{0,2}.conv, norm     before and after all tiers
    fc_t1, fc_t2, and fc_t in every block             the step embedding
    d_layers, c_layers, u_layers                      numbered through: on the way down, pools, with blocks in front of them in
                                                      a U-Net; the centre's blocks; on the way up, pools and blocks behind them

A block is S4 (`layer`, see `s4.py`) and a feed-forward network (`ff.ff`) with their norms. All other layers are weight-normed
convolutions with kernel size 1, linear layers here. S4 keeps C multiplied with I - A^L for the length L of its tier.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.layers.pooling import down_columns, up_rows
from models.published import Converted, Released
from models.published.diffwave import direction, normed
from models.published.s4 import take_s4

Pieces = dict[str, Tensor]


def convert(released: Mapping[str, Tensor], timesteps: int) -> Converted:
    """Our DiffWaveSaShiMi from the published one, of either generation of S4.

    timesteps: of the clips that it was trained on, for layers that do not tell the length that they were made for
    Raises ValueError where keys are missing, left over or misshapen.
    """
    source = Released(released, "a DiffWave with the SaShiMi backbone")
    width, channels, _ = direction(source, "init_conv.0.conv", (None, None, 1))
    hidden, sines = source.take("fc_t1.weight", None, None).shape
    out = len(source.take("fc_t2.weight", None, hidden))
    state = {
        **linear(source, "sashimi.enter", "init_conv.0.conv", width, channels),
        **linear(source, "sashimi.end", "final_conv.0.conv", width, width),
        "sashimi.leave.weight": source.take("final_conv.2.conv.weight", channels, width, 1)[..., 0],
        "sashimi.leave.bias": source.take("final_conv.2.conv.bias", channels),
        "embedding.hidden.weight": source.take("fc_t1.weight", hidden, sines),
        "embedding.hidden.bias": source.take("fc_t1.bias", hidden),
        "embedding.out.weight": source.take("fc_t2.weight", out, hidden),
        "embedding.out.bias": source.take("fc_t2.bias", out),
        **norm(source, "sashimi.norm", "norm"),
    }
    old = any(".krylov." in name for name in released)
    tiers = _Tiers(source, state, out)
    tiers.take("sashimi.tiers", width, timesteps, 0)
    state["embedding.blocks.weight"] = torch.cat([step for step, _ in tiers.steps])
    state["embedding.blocks.bias"] = torch.cat([bias for _, bias in tiers.steps])
    source.check()
    settings = {
        "d_model": width, "n_layers": tiers.n_layers, "pool": tuple(tiers.factors), "expand": tiers.growth,
        "ff": tiers.ff, "unet": tiers.unet, "norm": "scalar", "s4": "2022-01" if old else "v3", "bands": 0,
        "exponent": 1.0, "step_sines": sines, "step_hidden": hidden, "step_channels": out,
        **{name: tiers.s4[name] for name in ("d_state", "bidirectional", "glu")},
    }  # fmt: skip
    return Converted(settings, state, f"DiffWave with SaShiMi, S4 of {'January 2022' if old else 'version 3'}")


class _Tiers:
    """Everything between the first and the last layer, put into `state`; steps: of all blocks, in the order of their use."""

    def __init__(self, source: Released, state: Pieces, step_channels: int):
        self.source, self.state, self.step_channels = source, state, step_channels
        self.n_layers = max(1, self.count("c_layers"))
        down = range(self.count("d_layers"))
        self.pools = [i for i in down if any(name.startswith(f"d_layers.{i}.linear.") for name in source.tensors)]
        self.unet = bool(self.pools and self.pools[0])
        self.factors: list[int] = []
        self.growth, self.ff = 2, 2
        self.s4: dict[str, Any] = {}
        self.steps: list[tuple[Tensor, Tensor]] = []

    def count(self, kind: str) -> int:
        """How many layers of that kind there are."""
        return len({name.split(".")[1] for name in self.source.tensors if name.startswith(f"{kind}.")})

    def take(self, ours: str, width: int, length: int, depth: int) -> None:
        """The tier at that depth, of `length` positions, and all below it."""
        if depth == len(self.pools):
            self.blocks(f"{ours}.after", "c_layers", 0, width, length)
            return
        pool, up = self.pools[depth], (len(self.pools) - 1 - depth) * (self.n_layers + 1)
        if self.unet:
            self.blocks(f"{ours}.before", "d_layers", pool - self.n_layers, width, length)
        down_name, up_name = f"d_layers.{pool}.linear.conv", f"u_layers.{up}.linear.conv"
        below, inputs, _ = direction(self.source, down_name, (None, None, 1))
        factor = max(1, inputs // width)
        self.factors.append(factor)
        self.growth = max(1, below // width)
        down = linear(self.source, f"{ours}.down.linear", down_name, below, width * factor)
        self.state |= {name: down_columns(t, factor) if name.endswith("original1") else t for name, t in down.items()}
        self.take(f"{ours}.below", below, -(-length // factor), depth + 1)
        rising = linear(self.source, f"{ours}.up.linear", up_name, width * factor, below)
        self.state |= {name: up_rows(tensor, factor) for name, tensor in rising.items()}
        self.blocks(f"{ours}.after", "u_layers", up + 1, width, length)

    def blocks(self, ours: str, kind: str, first: int, width: int, length: int) -> None:
        """One tier's blocks, from the layer numbered `first` on."""
        source = self.source
        for n in range(self.n_layers):
            block, mine = f"{kind}.{first + n}", f"{ours}.{n}"
            inner = direction(source, f"{block}.ff.ff.0.conv", (None, width, 1))[0]
            self.ff = max(1, inner // width)
            self.s4, s4 = take_s4(source, f"{block}.layer.", length)
            self.state |= {f"{mine}.s4.{name}": tensor for name, tensor in s4.items()}
            self.state |= norm(source, f"{mine}.norm1", f"{block}.norm1") | norm(
                source, f"{mine}.norm2", f"{block}.norm2"
            )
            self.state |= linear(source, f"{mine}.ff.wide", f"{block}.ff.ff.0.conv", inner, width)
            self.state |= linear(source, f"{mine}.ff.narrow", f"{block}.ff.ff.2.conv", width, inner)
            step = source.take(f"{block}.fc_t.weight", width, self.step_channels)
            self.steps.append((step, source.take(f"{block}.fc_t.bias", width)))


def linear(source: Released, ours: str, name: str, outputs: int, inputs: int) -> Pieces:
    """A weight-normed convolution with kernel size 1 as a linear layer."""
    pieces = normed(source, ours, name, (outputs, inputs, 1))
    return {key: tensor[..., 0] if tensor.ndim == 3 else tensor for key, tensor in pieces.items()}


def norm(source: Released, ours: str, name: str) -> Pieces:
    """A scalar norm."""
    return {f"{ours}.{part}": source.take(f"{name}.{part}", 1) for part in ("m", "s")}

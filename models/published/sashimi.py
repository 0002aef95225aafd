"""The SaShiMi of the release (state-spaces/s4): as its training framework of 2022 and that of 2023 and later store it, with an
embedding and a head, and as its standalone files do, which are the backbone alone.

    encoder.weight, decoder.output_transform.*   2022; newer versions put a `0.` behind `encoder.` and `decoder.`
    model.d_layers, model.c_layers               pools on the way down (with blocks in front of them, in a U-Net); centre
    model.u_layers                               tiers on the way up, each a pool and its blocks; numbered through, in the
                                                 framework's U-Net
    model.norm                                   layer normalization at the end

Blocks alternate between S4 (`layer`, see `s4.py`) and a feed-forward network (`layer.ff`). Their norms are scalar in the
framework (`norm.norm.m` and `.s`), layer normalization in the standalone files. The framework's pools are weight-normed,
unless in its U-Net. S4 layers keep C multiplied with I - A^L for the length L of their own tier.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from models.layers.pooling import down_columns, up_rows
from models.layers.quantization import LEVELS
from models.published import Converted, Released
from models.published.s4 import take_s4

WHAT = "a SaShiMi of the SaShiMi release"


def convert(released: Mapping[str, Tensor], timesteps: int) -> Converted:
    """Our SaShiMi from one of the release's training framework.

    timesteps: of the clips that it was trained on, for layers that do not tell the length that they were made for
    Raises ValueError where keys are missing, left over or misshapen.
    """
    newer = any(re.match(r"(en|de)coder\.0\.", name) for name in released)
    source = Released({re.sub(r"^(en|de)coder\.0\.", r"\1coder.", name): released[name] for name in released}, WHAT)
    dt_transform = "softplus" if newer else "exp"  # as the release configures it; weights do not tell
    backbone = _Backbone(source, "model.", timesteps, dt_transform)
    backbone.take()
    if backbone.settings.pop("bidirectional"):
        raise ValueError(f"this is not {WHAT}: its S4 layers see the future, which no autoregressive model may")
    d_model = backbone.settings["d_model"]
    state = {
        "embedding.weight": source.take("encoder.weight", LEVELS, d_model),
        "head.weight": source.take("decoder.output_transform.weight", LEVELS, d_model),
        "head.bias": source.take("decoder.output_transform.bias", LEVELS),
        **{f"backbone.{name}": tensor for name, tensor in backbone.state.items()},
    }
    source.check()
    dt_transform = "softplus" if newer else "exp"  # what the release's configurations set; weights do not tell
    settings = backbone.settings | {"ordered_codes": False, "start_marker": False, "margin": 0}
    return Converted(settings, state, f"SaShiMi release, {'2023' if newer else '2022'}")


def convert_backbone(released: Mapping[str, Tensor], timesteps: int, dt_transform: str = "exp") -> Converted:
    """Our backbone (`models/layers/sashimi.py`) from one of the release's standalone files; `settings` are its arguments.

    dt_transform: "exp", the default there too, or "softplus"; weights do not tell
    Raises ValueError as `convert` does.
    """
    source = Released(released, f"the backbone of {WHAT}")
    backbone = _Backbone(source, "", timesteps, dt_transform)
    backbone.take()
    source.check()
    settings = backbone.settings | {"n_ssm": backbone.settings["n_ssm"] or None}
    return Converted(settings, backbone.state, "SaShiMi release, standalone")


@dataclass
class _Backbone:
    """settings and state of a backbone whose tensors' names begin with `prefix`."""

    source: Released
    prefix: str
    timesteps: int
    dt_transform: str
    settings: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)

    def take(self) -> None:
        """Take all of it."""
        weight = self.tensor("norm.weight", None)
        self.state |= {"norm.weight": weight, "norm.bias": self.tensor("norm.bias", len(weight))}
        n = 2 * max(1, self.count("c_layers") // 2)  # blocks in a row
        pools = [i for i in range(self.count("d_layers")) if f"{self.prefix}d_layers.{i}.linear.bias" in self.source]
        unet = bool(pools and pools[0])
        nested = f"{self.prefix}u_layers.0.0.linear.bias" in self.source

        width, length, tier, factors, widths = len(weight), self.timesteps, "tiers", [], [len(weight)]
        for depth, pool in enumerate(pools):
            up = len(pools) - 1 - depth
            rising = [f"u_layers.{up}.{i}" if nested else f"u_layers.{up * (n + 1) + i}" for i in range(n + 1)]
            if unet:
                self.blocks(f"{tier}.before", [f"d_layers.{i}" for i in range(pool - n, pool)], width, length)
            self.blocks(f"{tier}.after", rising[1:], width, length)
            below, factor = self.pools(f"{tier}.below", f"d_layers.{pool}", rising[0], width)
            factors.append(factor)
            widths.append(below)
            width, length, tier = below, -(-length // factor), f"{tier}.below.tier"
        self.blocks(f"{tier}.after", [f"c_layers.{i}" for i in range(n)], width, length)
        self.settings |= {
            "dt_transform": self.dt_transform, "d_model": widths[0], "n_layers": n // 2, "pool": tuple(factors), "unet": unet,
            "expand": max(1, widths[1] // widths[0]) if pools else 2,
        }  # fmt: skip

    def pools(self, ours: str, down: str, up: str, width: int) -> tuple[int, int]:
        """Both pools between a tier of `width` channels and the lower one. Returns the lower one's width and the factor."""
        below = len(self.vector(f"{down}.linear.bias", None))
        self.settings["weight_normed"] = normed = f"{self.prefix}{down}.linear.weight" not in self.source
        name, new = ("weight_v", "parametrizations.weight.original1") if normed else ("weight", "weight")
        weight = self.matrix(f"{down}.linear.{name}", below, None)
        factor = max(1, weight.shape[1] // width)
        self.state[f"{ours}.down.linear.{new}"] = down_columns(weight, factor)
        self.state[f"{ours}.down.linear.bias"] = self.vector(f"{down}.linear.bias", below)
        self.state[f"{ours}.up.linear.{new}"] = up_rows(
            self.matrix(f"{up}.linear.{name}", width * factor, below), factor
        )
        self.state[f"{ours}.up.linear.bias"] = up_rows(self.vector(f"{up}.linear.bias", width * factor), factor)
        if normed:
            gains = "linear.parametrizations.weight.original0"
            self.state[f"{ours}.down.{gains}"] = self.matrix(f"{down}.linear.weight_g", below, 1)
            self.state[f"{ours}.up.{gains}"] = up_rows(self.matrix(f"{up}.linear.weight_g", width * factor, 1), factor)
        return below, factor

    def blocks(self, ours: str, theirs: list[str], width: int, length: int) -> None:
        """Blocks in a row, S4 and feed-forward in turn."""
        for i, name in enumerate(theirs):
            block = f"{ours}.{i}"
            if i % 2 == 0:
                layer = self.s4(f"{name}.layer.", width, length)
            else:
                layer = self.feed_forward(f"{name}.layer.", width)
            self.state |= {f"{block}.layer.{key}": tensor for key, tensor in layer.items()}
            scalar = f"{self.prefix}{name}.norm.norm.m" in self.source
            self.settings["norm"] = "scalar" if scalar else "layer"
            for part in ("m", "s") if scalar else ("weight", "bias"):
                norm = (
                    self.tensor(f"{name}.norm.norm.{part}", 1) if scalar else self.tensor(f"{name}.norm.{part}", width)
                )
                self.state[f"{block}.norm.{part}"] = norm

    def s4(self, name: str, width: int, length: int) -> dict[str, Tensor]:
        """An S4 layer."""
        nodes = self.source.tensors.get(f"{self.prefix}{name}kernel.kernel.omega")
        if nodes is not None and len(nodes) == 1:
            length = 1  # it was never used, and begins with that length
        found, layer = take_s4(self.source, f"{self.prefix}{name}", length, self.dt_transform)
        self.settings |= {option: found[option] for option in ("d_state", "bidirectional", "glu", "tied")}
        self.settings["n_ssm"] = 0 if found["n_ssm"] == width else found["n_ssm"]
        return layer

    def feed_forward(self, name: str, width: int) -> dict[str, Tensor]:
        """A feed-forward network. The standalone files of 2022 store its layers twice, under names of their own as well."""
        inner = len(self.vector(f"{name}ff.0.0.bias", None))
        self.settings["ff"] = max(1, inner // width)
        twice = ("input_linear.0.weight", "input_linear.0.bias", "output_linear.weight", "output_linear.bias")
        self.source.ignore(*(f"{self.prefix}{name}{part}" for part in twice))
        return {
            "wide.weight": self.matrix(f"{name}ff.0.0.weight", inner, width),
            "wide.bias": self.vector(f"{name}ff.0.0.bias", inner),
            "narrow.weight": self.matrix(f"{name}ff.2.weight", width, inner),
            "narrow.bias": self.vector(f"{name}ff.2.bias", width),
        }

    def count(self, kind: str) -> int:
        """How many layers of a kind there are, by their largest number."""
        pattern = re.compile(rf"{re.escape(self.prefix)}{kind}\.(\d+)\.")
        found = (pattern.match(name) for name in self.source.tensors)
        return max((int(match[1]) + 1 for match in found if match), default=0)

    def tensor(self, name: str, *shape: int | None) -> Tensor:
        return self.source.take(f"{self.prefix}{name}", *shape)

    def matrix(self, name: str, rows: int, columns: int | None) -> Tensor:
        """A linear map, which some layouts store as a convolution with a kernel of 1: (rows, columns) or (rows, columns, 1)."""
        stored = self.source.tensors.get(f"{self.prefix}{name}")
        if stored is not None and stored.ndim == 3:
            return self.tensor(name, rows, columns, 1)[..., 0]
        return self.tensor(name, rows, columns)

    def vector(self, name: str, size: int | None) -> Tensor:
        """A bias, (size,) or (size, 1)."""
        stored = self.source.tensors.get(f"{self.prefix}{name}")
        return self.tensor(name, size, 1)[:, 0] if stored is not None and stored.ndim == 2 else self.tensor(name, size)

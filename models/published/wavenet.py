"""The WaveNet of the SaShiMi release (state-spaces/s4), 2022 and newer.

The release keeps a flat state_dict of its training module: `encoder` (embedding), `decoder` (last linear layer) and `model`;
newer versions put a `0.` behind `encoder.` and `decoder.`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.published import Converted, Released


def convert(released: Mapping[str, Tensor], timesteps: int) -> Converted:
    """Our WaveNet from the release's, of either version. Raises ValueError where keys are missing, left over or misshapen."""
    newer = "encoder.0.weight" in released
    state = Released(
        {key.replace("coder.0.", "coder."): tensor for key, tensor in released.items()},
        "a WaveNet of the SaShiMi release",
    )
    layers = max(1, sum(key.startswith("model.filter_convs.") for key in released))
    start = state.take("model.start_conv.weight", None, None, 1)
    residual, embedding = start.shape[:2]
    skip = len(state.take("model.skip_convs.0.weight", None, residual, 1))
    end = len(state.take("model.end_conv_1.weight", None, skip, 1))

    def stacked(kind: str, *shape: int) -> Tensor:
        return torch.stack([state.take(f"model.{kind}_convs.{layer}.weight", *shape) for layer in range(layers)])

    gated = [stacked(kind, residual, residual, 2) for kind in ("filter", "gate")]
    kernels = torch.cat(gated, dim=1)  # (layers, 2D, R, 2), the past tap first
    converted = {
        "embedding.weight": state.take("encoder.weight", 256, embedding),
        "start": start[..., 0],
        "past": kernels[..., 0].contiguous(),
        "current": kernels[..., 1].contiguous(),
        "residual": stacked("residual", residual, residual, 1)[..., 0],
        "skip": stacked("skip", skip, residual, 1)[..., 0],
        "end_1.weight": state.take("model.end_conv_1.weight", end, skip, 1)[..., 0],
        "end_1.bias": state.take("model.end_conv_1.bias", end),
        "end_2.weight": state.take("model.end_conv_2.weight", 256, end, 1)[..., 0],
        "end_2.bias": state.take("model.end_conv_2.bias", 256),
        "output.weight": state.take("decoder.output_transform.weight", 256, 256),
        "output.bias": state.take("decoder.output_transform.bias", 256),
    }
    state.check()
    in_blocks = (
        layers // 10 if layers % 10 == 0 else 1
    )  # the weights do not tell how dilations repeat; the release's, by tens
    settings = {
        "blocks": in_blocks, "layers": layers // in_blocks, "residual_channels": residual, "skip_channels": skip,
        "end_channels": end, "margin": 0, "ordered_codes": False, "start_marker": False,
    }  # fmt: skip
    return Converted(settings, converted, f"SaShiMi release, {'2023' if newer else '2022'}")

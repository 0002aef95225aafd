"""Weights of published checkpoints under the names of our networks. Loading files safely is `checkpoints.py`'s matter.

The SaShiMi release (state-spaces/s4) keeps a flat state_dict of its training module: `encoder` (embedding), `decoder` (last
linear layer) and `model`; newer versions put a `0.` behind `encoder.` and `decoder.`.
"""

import torch
from torch import Tensor


def wavenet_state(released: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state_dict of our WaveNet for that of the release's, of either version.

    Raises ValueError, naming the key, where the release's state lacks one.
    """
    state = {key.replace("coder.0.", "coder."): tensor for key, tensor in released.items()}

    def take(key: str) -> Tensor:
        if key not in state:
            raise ValueError(
                f"this is not a WaveNet of the SaShiMi release: it has no {key!r}, only {sorted(state)[:5]} ..."
            )
        return state[key]

    layers = sum(key.startswith("model.filter_convs.") for key in state)

    def stacked(kind: str) -> Tensor:
        return torch.stack([take(f"model.{kind}_convs.{layer}.weight") for layer in range(layers)])

    kernels = torch.cat([stacked("filter"), stacked("gate")], dim=1)  # (layers, 2D, R, 2), the past tap first
    return {
        "embedding.weight": take("encoder.weight"),
        "start": take("model.start_conv.weight")[..., 0],
        "past": kernels[..., 0].contiguous(),
        "current": kernels[..., 1].contiguous(),
        "residual": stacked("residual")[..., 0],
        "skip": stacked("skip")[..., 0],
        "end_1.weight": take("model.end_conv_1.weight")[..., 0],
        "end_1.bias": take("model.end_conv_1.bias"),
        "end_2.weight": take("model.end_conv_2.weight")[..., 0],
        "end_2.bias": take("model.end_conv_2.bias"),
        "output.weight": take("decoder.output_transform.weight"),
        "output.bias": take("decoder.output_transform.bias"),
    }

"""The SC09 classifier of the SaShiMi release: `resnext.pth`, a pickled DataParallel around its ResNeXt.

Its tensors have the names of ours. What the weights do not tell is what they were trained on: one-second clips at 16 kHz,
and the ten digits in their order, zero first.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.published import Converted, Released

STATISTICS = ("weight", "bias", "running_mean", "running_var")


def convert(released: Mapping[str, Tensor], timesteps: int) -> Converted:
    """Our ResNeXt from the release's. Raises ValueError where keys are missing, left over or misshapen."""
    state = Released(released, "a ResNeXt of the SaShiMi release")
    converted: dict[str, Tensor] = {}

    def take(name: str, *shape: int | None) -> torch.Size:
        converted[name] = state.take(name, *shape)
        return converted[name].shape

    def take_norm(name: str, channels: int) -> None:
        for statistic in STATISTICS:
            take(f"{name}.{statistic}", channels)
        take(f"{name}.num_batches_tracked")

    width = take("conv_1_3x3.weight", None, 1, 3, 3)[0]
    take_norm("bn_1", width)
    channels, blocks, inner, grouped, out = width, 1, 1, 1, width
    for stage in (1, 2, 3):
        prefix = f"stage_{stage}.stage_{stage}_bottleneck_"
        blocks = max(1, len({name.split(".")[1] for name in released if name.startswith(prefix)}))
        for block in (f"{prefix}{number}" for number in range(blocks)):
            inner = take(f"{block}.conv_reduce.weight", None, channels, 1, 1)[0]
            take_norm(f"{block}.bn_reduce", inner)
            grouped = take(f"{block}.conv_conv.weight", inner, None, 3, 3)[1]
            take_norm(f"{block}.bn", inner)
            out = take(f"{block}.conv_expand.weight", None, inner, 1, 1)[0]
            take_norm(f"{block}.bn_expand", out)
            if channels != out:
                take(f"{block}.shortcut.shortcut_conv.weight", out, channels, 1, 1)
                take_norm(f"{block}.shortcut.shortcut_bn", out)
            channels = out
    classes = take("classifier.weight", None, channels)[0]
    take("classifier.bias", classes)
    state.check()
    settings = {
        "depth": 9 * blocks + 2, "cardinality": inner // max(1, grouped), "base_width": grouped // 4, "width": width,
        "widen_factor": out // max(1, 4 * width), "first_stride": 1,
    }  # fmt: skip
    return Converted(settings, converted, "SaShiMi release, SC09 classifier")

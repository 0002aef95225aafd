"""The SampleRNN of the SaShiMi release (state-spaces/s4), 2022 and newer, which name its tensors alike.

The release keeps a flat state_dict of its training module, of which SampleRNN is the part `model`. Linear maps are stored as
convolutions with a kernel of 1, and a tier's upsampling as a transposed one.
"""

from collections.abc import Mapping

from torch import Tensor

from models.published import Converted, Released

LEVELS = 256


def convert(released: Mapping[str, Tensor], timesteps: int) -> Converted:
    """Our SampleRNN from the release's. Raises ValueError where keys are missing, left over or misshapen."""
    state = Released(released, "a SampleRNN of the SaShiMi release")
    tier_names = [f"model.frame_level_rnns.{i}" for i in range(_count(released, "model.frame_level_rnns.{}."))]
    layers = _count(released, "model.frame_level_rnns.0.rnn.weight_hh_l{}")
    converted: dict[str, Tensor] = {}
    frames: list[int] = []

    def normed(ours: str, name: str, *shape: int | None) -> Tensor:
        """Both halves of a weight-normed map; v, still in its published shape."""
        newer = f"{name}.parametrizations.weight.original"
        g, v = (f"{newer}0", f"{newer}1") if f"{newer}0" in state else (f"{name}.weight_g", f"{name}.weight_v")
        direction = state.take(v, *shape)
        converted[f"{ours}.gain"] = state.take(g, len(direction), 1, 1)[..., 0]
        converted[f"{ours}.direction"] = direction.flatten(1)
        return direction

    embedding = state.take("model.sample_level_mlp.embedding.weight", LEVELS, None)
    converted["embedding.weight"] = embedding
    first = normed("input", "model.sample_level_mlp.input", None, embedding.shape[1], None)
    converted["input.direction"] = first.transpose(1, 2).flatten(1)
    C, into = len(first), len(first)
    hidden = len(state.take(f"{tier_names[0]}.rnn.weight_hh_l0", None, None).t())
    for i, name in enumerate(tier_names):
        ours = f"tiers.{i}"
        up = normed(f"{ours}.upsample", f"{name}.upsampling.conv_t", hidden, into, None)
        frames.append(up.shape[2])
        converted[f"{ours}.upsample.direction"] = up.transpose(1, 2).flatten(1)
        converted[f"{ours}.upsample_bias"] = state.take(f"{name}.upsampling.bias", into, frames[-1]).t().flatten()
        frame = 1
        for size in frames:
            frame *= size
        normed(f"{ours}.expand", f"{name}.input_expand", hidden, frame, 1)
        converted[f"{ours}.expand_bias"] = state.take(f"{name}.input_expand.bias", hidden)
        converted[f"{ours}.h0"] = state.take(f"{name}.rnn.h0", layers, 1, hidden)
        for layer in range(layers):
            for kind in ("ih", "hh"):
                weight, bias = f"rnn.weight_{kind}_l{layer}", f"rnn.bias_{kind}_l{layer}"
                converted[f"{ours}.{weight}"] = state.take(f"{name}.{weight}", 3 * hidden, hidden)
                converted[f"{ours}.{bias}"] = state.take(f"{name}.{bias}", 3 * hidden)
        into = hidden
    for ours, theirs, rows in (("middle", "hidden", C), ("output", "output", LEVELS)):
        normed(ours, f"model.sample_level_mlp.{theirs}", rows, C, 1)
        converted[f"{ours}_bias"] = state.take(f"model.sample_level_mlp.{theirs}.bias", rows)
    if first.shape[2] != frames[0]:
        state.faults.append(
            f"misshapen: model.sample_level_mlp.input sees {first.shape[2]} timesteps, and the lowest tier's frame has "
            f"{frames[0]}"
        )
    state.check()
    settings = {
        "frames": tuple(frames), "hidden": hidden, "layers": layers, "embedding": embedding.shape[1], "code_hidden": C,
        "window": frame * max(1, 1024 // frame), "margin": 0, "memory": 0, "ordered_codes": False,
    }  # fmt: skip
    return Converted(settings, converted, "SaShiMi release, 2022 and newer")


def _count(released: Mapping[str, Tensor], pattern: str) -> int:
    """How many of `pattern`, with 0, 1, ... in its place, begin some name in `released`; at least 1."""
    count = 0
    while any(name.startswith(pattern.format(count)) for name in released):
        count += 1
    return max(count, 1)

"""The published layouts of WaveGAN: the authors' TensorFlow code (chrisdonahue/wavegan) and a PyTorch port of it.

TensorFlow keeps kernels as (taps, in, out), transposed ones as (1, taps, out, in), dense ones as (in, out), and flattens
feature maps frame by frame. The port (mostafaelaraby/wavegan-pytorch) has PyTorch's orders, flattens channel by channel,
pads by the larger half first, and carries batch normalizations that its default leaves unused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from models.published import Converted, Released

STRIDE = 4
IDLE = ("global_step", "beta1_power", "beta2_power", "/Adam", "/Adam_1")  # what TensorFlow's optimizers keep


@dataclass(frozen=True)
class Layout:
    """Where a published layout keeps each layer: names with a place for the layer's number and for `weight` or `bias`.

    zeros, nearest: the generator's layers by kind of upsampling; post: the post-filter; weight: what it calls a weight
    """

    name: str
    padding: str
    project: str
    zeros: str
    nearest: str
    post: str
    down: str
    output: str
    weight: str


TENSORFLOW = Layout(
    "the official TensorFlow code", "tensorflow", "G/z_project/dense/{}", "G/upconv_{}/conv2d_transpose/{}",
    "G/upconv_{}/conv1d/{}", "G/pp_filt/conv1d/kernel", "D/downconv_{}/conv1d/{}", "D/output/dense/{}", "kernel",
)  # fmt: skip
PORT = Layout(
    "the port wavegan-pytorch", "pytorch", "G.fc1.{}", "G.deconv_list.{}.transpose_ops.0.{}",
    "G.deconv_list.{}.transpose_ops.1.{}", "", "D.conv_layers.{}.conv1d.{}", "D.fc1.{}", "weight",
)  # fmt: skip


def convert(released: Mapping[str, Tensor], timesteps: int) -> Converted:
    """Our WaveGAN from a published one, in either layout, for clips of `timesteps`: generator and critic.

    Raises ValueError where tensors are missing, left over or misshapen, where batch normalization was in use, and where
    the network is one for clips of another length.
    """
    names = {name.removesuffix(":0"): tensor for name, tensor in released.items()}
    layout = TENSORFLOW if any(name.startswith(("G/", "D/")) for name in names) else PORT
    state = Released(names, f"a WaveGAN of {layout.name}")
    state.ignore(*(name for name in names if name.endswith(IDLE)))
    if layout is PORT:
        _ignore_batch_norm(state)
    settings, frames = _settings(state, layout)
    converted = _generator(state, layout, settings, frames) | _critic(state, layout, settings, frames)
    state.check()
    made_for = frames * STRIDE ** len(settings["strides"])
    if not 0 <= made_for - timesteps < made_for // frames:
        raise ValueError(
            f"this WaveGAN makes {made_for} timesteps, which is not what clips of {timesteps} need: give it a corpus of "
            f"{made_for - made_for // frames + 1} to {made_for} timesteps (at 16 kHz, seconds x 16,000)"
        )
    return Converted(settings, converted, layout.name)


def _settings(state: Released, layout: Layout) -> tuple[dict[str, Any], int]:
    """What the shapes tell of the settings, and the number of frames next to the latent vector."""
    weight, transposed = layout.weight, layout is TENSORFLOW
    layers = 0
    while layout.down.format(layers, weight) in state:
        layers += 1
    layers = max(layers, 1)
    first = state.take(layout.down.format(0, weight), None, 1, None)
    dim, kernel = (first.shape[2], first.shape[0]) if transposed else (first.shape[0], first.shape[2])
    project = state.take(layout.project.format(weight), None, None)
    latent, features = project.shape if transposed else project.shape[::-1]
    settings = {
        "dim": dim, "strides": (STRIDE,) * layers, "kernels": (kernel,) * layers, "latent": latent,
        "post_filter": len(state.take(layout.post, None, 1, 1)) if layout.post in state else 0,
        "padding": layout.padding,
        "upsampling": "nearest" if layout.nearest.format(0, weight) in state else "zeros",
    }  # fmt: skip
    return settings, max(1, features // (dim * 2 ** (layers - 1)))


def _generator(state: Released, layout: Layout, settings: dict[str, Any], frames: int) -> dict[str, Tensor]:
    dim, layers, taps = settings["dim"], len(settings["strides"]), settings["kernels"][0]
    widths = [*(dim * 2**layer for layer in reversed(range(layers))), 1]
    zeros = settings["upsampling"] == "zeros"
    named = layout.zeros if zeros else layout.nearest
    converted = _dense(state, layout, layout.project, settings["latent"], frames * widths[0])
    if layout is TENSORFLOW:  # features frame by frame, ours channel by channel
        converted = {
            kind: tensor.unflatten(0, (frames, widths[0])).transpose(0, 1).flatten(0, 1)
            for kind, tensor in converted.items()
        }
    converted = {f"G.project.{kind}": tensor for kind, tensor in converted.items()}
    for layer, (inputs, outputs) in enumerate(pairwise(widths)):
        name, bias = named.format(layer, layout.weight), named.format(layer, "bias")
        if layout is TENSORFLOW:
            shape = (1, taps, outputs, inputs) if zeros else (taps, inputs, outputs)
            weight = state.take(name, *shape).view(shape[-3:]).permute(2, 1, 0)
        else:
            weight = state.take(name, *((inputs, outputs, taps) if zeros else (outputs, inputs, taps)))
        converted |= {f"G.up.{layer}.weight": weight.contiguous(), f"G.up.{layer}.bias": state.take(bias, outputs)}
    if settings["post_filter"]:
        converted["G.post"] = state.take(layout.post, settings["post_filter"], 1, 1).view(1, 1, -1)
    return converted


def _critic(state: Released, layout: Layout, settings: dict[str, Any], frames: int) -> dict[str, Tensor]:
    dim, layers, taps = settings["dim"], len(settings["strides"]), settings["kernels"][0]
    widths = [1, *(dim * 2**layer for layer in range(layers))]
    converted: dict[str, Tensor] = {}
    for layer, (inputs, outputs) in enumerate(pairwise(widths)):
        name, bias = layout.down.format(layer, layout.weight), layout.down.format(layer, "bias")
        if layout is TENSORFLOW:
            weight = state.take(name, taps, inputs, outputs).permute(2, 1, 0)
        else:
            weight = state.take(name, outputs, inputs, taps)
        converted |= {f"D.down.{layer}.weight": weight.contiguous(), f"D.down.{layer}.bias": state.take(bias, outputs)}
    output = _dense(state, layout, layout.output, frames * widths[-1], 1)
    if layout is TENSORFLOW:
        output["weight"] = output["weight"].view(frames, widths[-1]).t().reshape(1, -1)
    return converted | {f"D.output.{kind}": tensor for kind, tensor in output.items()}


def _dense(state: Released, layout: Layout, named: str, inputs: int, outputs: int) -> dict[str, Tensor]:
    name = named.format(layout.weight)
    if layout is TENSORFLOW:
        weight = state.take(name, inputs, outputs).t().contiguous()
    else:
        weight = state.take(name, outputs, inputs)
    return {"weight": weight, "bias": state.take(named.format("bias"), outputs)}


def _ignore_batch_norm(state: Released) -> None:
    for name, tensor in state.tensors.items():
        if "batch_norm." in name or name.startswith("G.bn1."):
            state.ignore(name)
            if name.endswith("num_batches_tracked") and tensor.item():
                state.faults.append(
                    f"in use: the batch normalization of {name.rpartition('.')[0]}, which WaveGAN lacks"
                )

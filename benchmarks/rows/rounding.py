"""Whether a device computes the same: one step of training, one of denoising, features, at the same weights and inputs.

A graphics card is held against the processor, both in float32 and without TF32. The processor is held against itself in
float64: that is float32's own error, which two devices cannot be nearer to each other than. What stages compute in float32
whatever the weights are (cross-entropies, spectrograms) stays so, and puts a floor of some 1e-7 under the comparison.

Goals are tolerances. float32 keeps 6e-8. A loss is a mean over some thousand timesteps, whose errors cancel; an output went
through tens of layers, which add theirs; gradients went through as many again, those of many timesteps nearly cancel, and a
ReLU whose input is within rounding of 0 passes a gradient or none: models with such layers are some 1e-4 apart, SaShiMi 1e-6.
"""

import copy
from functools import partial
from typing import Any

from benchmarks.rows import denoising, training
from benchmarks.rows.base import SECOND, Figure, Row, Setting

LOSS, GRADIENTS, OUTPUTS = 1e-5, 1e-3, 1e-4
TIMESTEPS = 2048  # enough for every tier; in float64 a second of audio takes long


def pair(setting: Setting, net: Any) -> tuple[Any, Any]:
    """The network as it is measured, and the one that it is held against, on the CPU."""
    reference = copy.deepcopy(net).cpu()
    return net, reference if setting.card else reference.double()


def relative(found: Any, expected: Any) -> float:
    """The largest difference, in parts of the largest magnitude."""
    expected = expected.cpu().double()
    return float((found.cpu().double() - expected).abs().max() / expected.abs().max())


def of_training(model: str, setting: Setting) -> list[Figure]:
    """The loss, and all gradients as one vector: the length of the difference in parts of its length."""
    import torch

    from models.clips import Clips

    torch.set_num_threads(setting.threads)
    nets = pair(setting, setting.generator(model))
    waveforms = torch.rand(2, setting.pick(TIMESTEPS, 1024), generator=torch.Generator().manual_seed(1)) * 1.8 - 0.9
    losses, gradients = [], []
    for net in nets:
        rng = torch.Generator(net.device).manual_seed(0)
        loss = net.loss("model", Clips.of(waveforms.to(net.device)), rng)
        loss.backward()
        losses.append(loss.detach())
        parts = [p.grad.cpu().double().flatten() for p in net.parameters() if p.grad is not None]
        gradients.append(torch.cat(parts))
    apart = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    return [
        Figure("loss", "relative error", [relative(*losses)], LOSS),
        Figure("gradients", "relative error", [float(apart)], GRADIENTS),
    ]


def of_denoising(model: str, setting: Setting) -> list[Figure]:
    """The network's output."""
    import torch

    torch.set_num_threads(setting.threads)
    untrained = setting.generator(model)
    with torch.no_grad():
        for parameter in untrained.parameters():
            if not parameter.any():  # such is the last layer of a new network, and so would be what comes out
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    nets = pair(setting, untrained.freeze())
    positions = nets[0].representation.positions(setting.pick(TIMESTEPS, 1024))
    noise = torch.randn(2, nets[0].inputs, positions, generator=torch.Generator().manual_seed(1))
    outputs = []
    for net in nets:
        weights = next(net.parameters())
        with torch.inference_mode(), net.remembered():
            conditions = net.conditions(torch.tensor([7.0], device=weights.device, dtype=weights.dtype))
            outputs.append(net.network(noise.to(weights), conditions))
    return [Figure("", "relative error", [relative(*outputs)], OUTPUTS)]


def of_features(setting: Setting) -> list[Figure]:
    """Features by the frozen form; on a processor against the form that is trained, in float64."""
    import torch

    torch.set_num_threads(setting.threads)
    net, reference = pair(setting, setting.classifier("resnext"))
    clips = 0.1 * torch.randn(setting.pick(4, 2), SECOND, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = net.listen_in("float32").features(clips.to(setting.device))[0]
        if setting.card:
            expected = reference.listen_in("float32").features(clips)[0]
        else:
            expected = reference.trained_form(reference.logmel(clips)[:, None].double())
    return [Figure("", "relative error", [relative(found, expected)], OUTPUTS)]


DEVICES = ("cpu", "cuda")
ROWS = [
    *(
        Row(f"{model}-training-rounding", f"{name} training step, rounding", place, partial(of_training, model), 2, 2,
            DEVICES, exact=True)
        for place, (model, name) in enumerate(training.NAMES.items(), 21)
    ),
    *(
        Row(f"{model.replace('_', '-')}-denoising-rounding", f"{name} denoising step, rounding", place,
            partial(of_denoising, model), 2, 2, DEVICES, exact=True)
        for place, (model, name) in enumerate(denoising.NAMES.items(), 24)
    ),
    Row("features-rounding", "ResNeXt features, rounding", 26, of_features, 2, 2, DEVICES, exact=True),
]  # fmt: skip

"""Weights of published checkpoints under the names of our networks: one file per network, each with

    convert(released, timesteps) -> Converted

which takes a checkpoint's tensors under their published names, whichever published layout they are in, and gives the settings
that they imply and the state_dict of our network with these settings. Files are read by models/unpickling.py.

Of a file on disk, `open_checkpoint` makes one of our networks, ready for use.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import plugins
from models.plugins import Plugin
from models.unpickling import read_checkpoint


@dataclass(frozen=True)
class Converted:
    """What a published checkpoint is in our terms.

    settings: the fields of the network's `Config` that the weights imply, to be put into its `paper` preset
    state:    the state_dict of the network with these settings
    layout:   which of the published layouts it was, in words
    """

    settings: dict[str, Any]
    state: dict[str, Tensor]
    layout: str


@dataclass
class Released:
    """The tensors of a published checkpoint, taken one after the other; all that does not fit is told at once.

    tensors: by published name; what: whose checkpoint it should be, for the error message
    """

    tensors: Mapping[str, Tensor]
    what: str
    taken: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def take(self, name: str, *shape: int | None) -> Tensor:
        """The tensor of that name, which must have this shape, None standing for any size; without `shape`, any shape.

        Of one that is missing or misshapen a note is taken, and zeros of the wanted shape are given in its place.
        """
        self.taken.add(name)
        stand_in = torch.zeros([1 if size is None else size for size in shape])
        if name not in self.tensors:
            self.faults.append(f"missing: {name}" + (f" {_spell(shape)}" if shape else ""))
            return stand_in
        tensor = self.tensors[name]
        fits = len(shape) == tensor.ndim and all(
            want in (None, is_) for want, is_ in zip(shape, tensor.shape, strict=True)
        )
        if shape and not fits:
            self.faults.append(f"misshapen: {name} is {_spell(tuple(tensor.shape))}, not {_spell(shape)}")
            return stand_in
        return tensor.detach().clone()

    def weight_normed(self, name: str) -> Tensor:
        """A convolution's or linear layer's weight g v / |v|, of the names `name.weight_g` and `name.weight_v`, or the
        names of newer PyTorch, `name.parametrizations.weight.original0` and `...1`."""
        newer = f"{name}.parametrizations.weight.original"
        g, v = (f"{newer}0", f"{newer}1") if f"{newer}0" in self else (f"{name}.weight_g", f"{name}.weight_v")
        gain, direction = self.take(g), self.take(v)
        if not (gain.ndim and direction.ndim):  # missing, as was noted
            return direction
        return torch._weight_norm(direction, gain, 0)

    def ignore(self, *names: str) -> None:
        """These carry nothing that we need: buffers that can be computed again, an optimizer's state."""
        self.taken.update(names)

    def check(self) -> None:
        """Raise ValueError that lists everything missing, misshapen and left over, unless all is well."""
        faults = self.faults + [f"unknown: {name}" for name in sorted(set(self.tensors) - self.taken)]
        if faults:
            listed = "\n  ".join(faults)
            raise ValueError(f"this is not {self.what}; of its {len(self.tensors)} tensors:\n  {listed}")


@dataclass(frozen=True)
class Opened:
    """What a checkpoint became. network: ours, with its weights; container, layout: how they lay in the file, in words.

    implied: the settings that the weights implied; tensors: how many there were in the file
    """

    network: Any
    container: str
    layout: str
    implied: dict[str, Any]
    tensors: int


def names() -> list[str]:
    """The networks of which published checkpoints can be read, sorted. (Other files here are what several of them share.)"""
    files = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(files & {*plugins.names("generators"), *plugins.names("classifiers")})


def open_checkpoint(
    path: Path, plugin: Plugin, sample_rate: int, timesteps: int, settings: Mapping[str, Any], *labels: Any
) -> Opened:
    """The network of `plugin` with the weights in the file `path`: its `paper` preset, with what the weights imply, and
    with `settings` on top.

    labels: the class names, of a classifier. Raises ValueError where the file cannot be read, is of something else, or
    does not fit; everything that is missing, left over or misshapen is listed at once.
    """
    if plugin.name not in names():
        raise ValueError(
            f"there is no key map from published checkpoints to {plugin.name}; there is one for {', '.join(names())}. "
            f"Add it as models/published/{plugin.name}.py"
        )
    read = read_checkpoint(path)
    try:
        converted = importlib.import_module(f"{__name__}.{plugin.name}").convert(read.tensors, timesteps)
        paper = dataclasses.asdict(plugin.presets["paper"])
        config = plugin.config({**paper, **converted.settings, **settings})
        network = plugin.cls(config, sample_rate, timesteps, *labels)
        fill(network, converted.state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Opened(network, read.container, converted.layout, converted.settings, len(read.tensors))


def fill(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load all of a network's weights. Raises ValueError that lists everything missing, unknown and misshapen."""
    ours = network.state_dict()
    faults = [f"missing: {name} {_spell(tuple(ours[name].shape))}" for name in sorted(set(ours) - set(state))]
    faults += [f"unknown: {name}" for name in sorted(set(state) - set(ours))]
    faults += [
        f"misshapen: {name} is {_spell(tuple(tensor.shape))}, not {_spell(tuple(ours[name].shape))}"
        for name, tensor in state.items()
        if name in ours and ours[name].shape != tensor.shape
    ]
    if faults:
        listed = "\n  ".join(faults)
        raise ValueError(f"its weights, under our names, do not fit the network with these settings:\n  {listed}")
    network.load_state_dict(state)


def _spell(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"

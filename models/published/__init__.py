"""Weights of published checkpoints under the names of our networks: one file per network, each with

    convert(released, timesteps) -> Converted

which takes a checkpoint's tensors under their published names, whichever published layout they are in, and gives the settings
that they imply and the state_dict of our network with these settings. Loading files safely is `checkpoints.py`'s matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


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


def _spell(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"

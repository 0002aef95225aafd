"""A state_dict in every container that published checkpoints come in, each written by what publishes them."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

Container = Callable[[Mapping[str, Tensor], Path], tuple[Path, str]]
"""(a state_dict, a folder) -> (the file, what `read_checkpoint` calls its container)."""


def pickled_module(module: Any, path: Path, **options: Any) -> Path:
    """`torch.save(module)`, with classes that the reader does not have: they are of `models.resnext`, and gone afterwards."""
    place = ModuleType("models.resnext")
    classes = {type(part) for part in module.modules() if not _of_torch(part)}
    before = {cls: (cls.__module__, cls.__qualname__) for cls in classes}
    try:
        sys.modules["models.resnext"] = place
        for cls in classes:
            cls.__module__, cls.__qualname__ = "models.resnext", cls.__name__
            setattr(place, cls.__name__, cls)
        torch.save(module, path, **options)
    finally:
        del sys.modules["models.resnext"]
        for cls, names in before.items():
            cls.__module__, cls.__qualname__ = names
    return path


def _of_torch(part: nn.Module) -> bool:
    return type(part).__module__.startswith("torch.")


class CifarResNeXt(nn.Module):
    """A module with these weights, nested as their names say."""


def module_of(state: Mapping[str, Tensor]) -> nn.Module:
    root = CifarResNeXt()
    for name, tensor in state.items():
        *path, last = name.split(".")
        here: nn.Module = root
        for part in path:
            if part not in here._modules:
                here._modules[part] = CifarResNeXt()
            here = here.get_submodule(part)
        if tensor.is_floating_point():
            here._parameters[last] = nn.Parameter(tensor)
        else:
            here._buffers[last] = tensor
    return root


def _state_dict(state: Mapping[str, Tensor], folder: Path) -> tuple[Path, str]:
    torch.save(OrderedDict(state), path := folder / "weights.pt")
    return path, "zip of torch.save"


def _legacy(state: Mapping[str, Tensor], folder: Path) -> tuple[Path, str]:
    torch.save(OrderedDict(state), path := folder / "weights.pt", _use_new_zipfile_serialization=False)
    return path, "legacy torch.save"


def _lightning(state: Mapping[str, Tensor], folder: Path) -> tuple[Path, str]:
    about = {"epoch": 3, "global_step": 7, "pytorch-lightning_version": "1.5.10", "callbacks": {}, "loops": None}
    torch.save({**about, "state_dict": OrderedDict(state)}, path := folder / "weights.ckpt")
    return path, "zip of torch.save, under 'state_dict'"


def _model_state_dict(state: Mapping[str, Tensor], folder: Path) -> tuple[Path, str]:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {"model_state_dict": OrderedDict(state), "optimizer_state_dict": optimizer.state_dict()}
    torch.save(content, path := folder / "500000.pkl")
    return path, "zip of torch.save, under 'model_state_dict'"


def _data_parallel(state: Mapping[str, Tensor], folder: Path) -> tuple[Path, str]:
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path := folder / "weights.pt")
    return path, "zip of torch.save"


def _module(state: Mapping[str, Tensor], folder: Path) -> tuple[Path, str]:
    path = pickled_module(nn.DataParallel(module_of(state)), folder / "weights.pth")
    return path, "zip of torch.save, a pickled DataParallel"


def _legacy_module(state: Mapping[str, Tensor], folder: Path) -> tuple[Path, str]:
    module = nn.DataParallel(module_of(state))
    path = pickled_module(module, folder / "weights.pth", _use_new_zipfile_serialization=False)
    return path, "legacy torch.save, a pickled DataParallel"


def _safetensors(state: Mapping[str, Tensor], folder: Path) -> tuple[Path, str]:
    apart = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    save_file(apart, path := folder / "weights.safetensors")
    return path, "safetensors"


CONTAINERS: dict[str, Container] = {
    "state_dict": _state_dict, "legacy": _legacy, "Lightning": _lightning, "model_state_dict": _model_state_dict,
    "DataParallel": _data_parallel, "module": _module, "legacy module": _legacy_module, "safetensors": _safetensors,
}  # fmt: skip

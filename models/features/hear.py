"""Any module with the interface of HEAR 2021 (Turian et al. 2022) as ears: `--features path/to/module.py[:weights]`.

The module has `load_model(model_file_path) -> model`, a torch module with `sample_rate` and `scene_embedding_size`, and
`get_scene_embeddings(audio, model)`, from (n, timesteps) in [-1, 1] to (n, scene_embedding_size).

Differs from HEAR's evaluation kit: clips are resampled by soxr, of which each is heard whole. What the module itself does,
such as fetching files, is in its own hands.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from models.features.base import Ears

VERSION = 1
INTERFACE = ("load_model", "get_scene_embeddings")


class HearModule(Ears):
    """file: the module; weights: what it is told to load, None for nothing."""

    batch = 16

    def __init__(self, name: str, file: Path, weights: Path | None, device: str = "cpu"):
        """Raises ValueError where the module lacks a part of the interface."""
        self.name, self.device, self.module = name, device, _import(file)
        if absent := [part for part in INTERFACE if not callable(getattr(self.module, part, None))]:
            raise ValueError(
                f"{file} has no {' and no '.join(absent)}: the HEAR interface is {' and '.join(INTERFACE)}"
            )
        model = self.module.load_model(str(weights) if weights else "")
        for part in ("sample_rate", "scene_embedding_size"):
            if not isinstance(getattr(model, part, None), int):
                raise ValueError(f"{file}: the model that load_model gives must have {part}, a whole number")
        self.model = model.to(device).eval() if isinstance(model, torch.nn.Module) else model
        self.sample_rate, self.dimensions = model.sample_rate, model.scene_embedding_size

    def listen(self, waveforms: np.ndarray) -> np.ndarray:
        """(n, timesteps) float32 -> (n, dimensions) float32."""
        with torch.no_grad():
            sound = torch.from_numpy(np.ascontiguousarray(waveforms)).to(self.device)
            heard: np.ndarray = self.module.get_scene_embeddings(sound, self.model).float().cpu().numpy()
        return heard


def _import(file: Path) -> ModuleType:
    name = f"earshot_ears_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses look a class's module up by name
    found.loader.exec_module(module)
    return module

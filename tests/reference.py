"""The fixtures that the reference implementations produced: weights, inputs and outputs, looked up by name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
PLACES = (HERE / "reference", HERE.parent.parent / "shared" / "reference")


@dataclass(frozen=True)
class Reference:
    """config: the fixture's config.json; arrays: `in_*` and `out_*`; state: the reference's state_dict, or {}."""

    folder: Path
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def state(self) -> dict[str, Any]:
        from safetensors.torch import load_file

        path = self.folder / "state.safetensors"
        return load_file(path) if path.exists() else {}


def load(name: str) -> Reference:
    """The fixture of that name; the test is skipped where it is not at hand."""
    for place in PLACES:
        folder = place / name
        if (folder / "io.npz").exists():
            with np.load(folder / "io.npz") as arrays:
                return Reference(folder, json.loads((folder / "config.json").read_text()), dict(arrays))
    pytest.skip(f"the reference fixture {name!r} is not beside this checkout")

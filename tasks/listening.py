"""Inside the stages that cache features: what the classifier hears in real or generated clips."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import machine
from tasks.artifact import Progress
from tasks.training import device

if TYPE_CHECKING:
    import numpy as np

BATCH = 64


def cache(classifier: Path, sets: Mapping[str, "np.ndarray"], out: Path, progress: Progress) -> dict[str, int]:
    """For each set of int16 clips (n, timesteps), `<name>.npz`: features (n, D) float32, log_probabilities (n, C) float64.

    A set that a killed attempt finished is kept. Returns the number of clips in each.
    """
    import numpy as np
    import torch

    import models
    from models.assessment import embed

    torch.set_num_threads(machine.threads())
    model = models.load(classifier, device())
    total, done = sum(map(len, sets.values())), 0
    for name, codes in sets.items():
        if not (out / f"{name}.npz").exists():
            offset = done

            def report(clips: int, of: int, text: str = "", offset: int = offset) -> None:
                progress(offset + clips, total, "clips")

            features, log_probabilities = embed(model, codes, BATCH, report)
            with open(out / f".{name}.npz.tmp", "wb") as file:
                np.savez(file, features=features, log_probabilities=log_probabilities)
            (out / f".{name}.npz.tmp").rename(out / f"{name}.npz")
        done += len(codes)
    return {name: len(codes) for name, codes in sets.items()}


def read(folder: Path, name: str) -> dict[str, Any]:
    """The arrays of one set that `cache` wrote."""
    import numpy as np

    with np.load(folder / f"{name}.npz") as arrays:
        return dict(arrays)

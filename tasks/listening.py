"""Inside the stages that cache features: what the classifier, or other ears, hear in real or generated clips."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import machine
from tasks.artifact import Progress

if TYPE_CHECKING:
    import numpy as np

    from models.features import Source

BATCH = 64
# int16 clips (n, timesteps) -> features (n, D) float32 and, of the classifier, log_probabilities (n, C) float64.
Listen = Callable[["np.ndarray", Progress], dict[str, "np.ndarray"]]


def by_classifier(folder: Path, precision: str = "float32") -> Listen:
    """What the classifier in the folder hears. precision: see `Classifier.listen_in`"""
    import torch

    import models
    from models.assessment import embed
    from tasks.training import device

    torch.set_num_threads(machine.threads())
    model = models.load(folder, device()).listen_in(precision)

    def listen(codes: "np.ndarray", progress: Progress) -> dict[str, "np.ndarray"]:
        features, log_probabilities = embed(model, codes, BATCH, progress)
        return {"features": features, "log_probabilities": log_probabilities}

    return listen


def by_ears(source: "Source", sample_rate: int) -> Listen:
    """What other ears hear in clips at `sample_rate` Hz. torch is imported only for those that need it."""
    where = "cpu"
    if source.uses_torch:
        import torch

        from tasks.training import device

        torch.set_num_threads(machine.threads())
        where = device()
    ears = source.load(where)

    def listen(codes: "np.ndarray", progress: Progress) -> dict[str, "np.ndarray"]:
        return {"features": ears.embed(codes, sample_rate, progress)}

    return listen


def cache(listen: Listen, sets: Mapping[str, "np.ndarray"], out: Path, progress: Progress) -> dict[str, int]:
    """For each set of int16 clips (n, timesteps) what `listen` hears, as `<name>.npz`.

    A set that a killed attempt finished is kept. Returns the number of clips in each.
    """
    import numpy as np

    total, done = sum(map(len, sets.values())), 0
    for name, codes in sets.items():
        if not (out / f"{name}.npz").exists():
            offset = done

            def report(clips: int, of: int, text: str = "", offset: int = offset) -> None:
                progress(offset + clips, total, "clips")

            arrays: dict[str, Any] = listen(codes, report)
            with open(out / f".{name}.npz.tmp", "wb") as file:
                np.savez(file, **arrays)
            (out / f".{name}.npz.tmp").rename(out / f"{name}.npz")
        done += len(codes)
    return {name: len(codes) for name, codes in sets.items()}


def read(folder: Path, name: str) -> dict[str, Any]:
    """The arrays of one set that `cache` wrote."""
    import numpy as np

    with np.load(folder / f"{name}.npz") as arrays:
        return dict(arrays)

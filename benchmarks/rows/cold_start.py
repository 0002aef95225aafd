"""From the start of a process to its first samples, with compiled code: from an empty cache, and again from what it then holds.

Python, libraries, the model with random weights and 128 timesteps of a batch are in it, so that every graph that samples need
has run; beside it is what the same process takes operation by operation. What the cache holds is counted, to show that it is
used.
"""

import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.rows.base import Figure, Row, Setting
from benchmarks.rows.sampling import NAMES
from benchmarks.timing import command

GOAL = 90
TIMESTEPS = 128  # twice what a graph of a card holds come first, plainly
BATCHES = {"wavenet": (32, 1)}  # a single sequence has code of its own


def first_samples(model: str, preset: str, device: str, batch: int, compiled: bool) -> None:
    """What the process does. Raises RuntimeError where nothing could be compiled."""
    import torch

    from models import plugins
    from models.randomness import SampleRandom
    from models.stepping import Drawing

    torch.set_num_threads(1)
    torch.manual_seed(0)
    plugin = plugins.find("generators", model)
    net = plugin.cls(plugin.presets[preset], 16000, 16000).freeze().to(device)
    drawing = Drawing(net, batch, compiled=compiled)
    drawing(SampleRandom(0).uniform(batch, TIMESTEPS).to(device))
    if drawing.compiled != compiled:
        raise RuntimeError("it could not be compiled")


def run(model: str, setting: Setting) -> list[Figure]:
    """Figures for each batch."""
    figures = []
    for batch in (256,) if setting.card else setting.pick(BATCHES.get(model, (32,)), (1,)):
        figures += of_batch(model, batch, setting)
    return figures


def of_batch(model: str, batch: int, setting: Setting) -> list[Figure]:
    """Seconds until the first samples."""

    def seconds(compiled: bool, cache: Path) -> float:
        words = [sys.executable, "-m", __name__, model, setting.preset, setting.device, str(batch), str(int(compiled))]
        places = {f"{name}_CACHE_DIR": str(cache) for name in ("TORCHINDUCTOR", "TRITON")}
        started = time.perf_counter()
        command(words, places)
        return time.perf_counter() - started

    cold, warm, eager = [], [], []
    for attempt in range(setting.pick(2, 1)):
        cache = setting.scratch / f"cache-{batch}-{attempt}"
        cold.append(seconds(True, cache))
        kept = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) / 2**20
        warm.append(seconds(True, cache))
        eager.append(seconds(False, cache))
    return [
        Figure(
            f"batch {batch}, empty cache", "s", cold, setting.pick(GOAL, None), beside={"eager": eager},
            note=f"{kept:.0f} MiB are kept",
        ),
        Figure(f"batch {batch}, full cache", "s", warm),
    ]  # fmt: skip


ROWS = [
    Row(f"{model}-cold-start", f"{name} cold start", place, partial(run, model), 2, 1, ("cpu", "cuda"))
    for place, (model, name) in enumerate(NAMES.items(), 15)
]

if __name__ == "__main__":
    first_samples(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), bool(int(sys.argv[5])))

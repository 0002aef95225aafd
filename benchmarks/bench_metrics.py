"""Time and memory of the metrics: `python -m benchmarks.bench_metrics [--threads 2] [--real 31158]`.

The reference side once, then one model against it, each in a fresh process, at the paper's size: synthetic features (ten
classes of rectified Gaussians), waveforms (tones of a second) and likelihoods, so that every metric applies. A row is a
metric file; what several files share (SHARED in `evaluation/measure.py`) has rows of its own, or counts to the first file
that asks for it. Other programs disturb processor time less than wall time; peak is the process' largest resident size so far
(Linux only).
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.timing import peak_bytes
from evaluation import SampleSet
from evaluation import metrics as plugins
from evaluation.measure import SHARED

CLASSES, RATE = 10, 16000
PITCHES = 64
PASSES = ("own", "across", "second_order", "part_neighbours")


def clips(count: int, dimensions: int, seed: int) -> SampleSet:
    """With features, labels, class probabilities that agree with them mostly, and waveforms."""
    rng, world = np.random.default_rng(seed), np.random.default_rng(0)
    centres = world.standard_normal((CLASSES, dimensions), dtype=np.float32)
    scale = np.linspace(1, 0.1, dimensions, dtype=np.float32)
    labels = rng.integers(CLASSES, size=count)
    features = rng.standard_normal((count, dimensions), dtype=np.float32)
    features *= scale
    features += centres[labels]
    logits = 6.0 * np.eye(CLASSES)[labels] + rng.normal(size=(count, CLASSES))
    return SampleSet(
        features=np.maximum(features, 0, out=features),
        log_probabilities=logits - np.logaddexp.reduce(logits, axis=1, keepdims=True),
        labels=labels,
        waveforms=_tones()[rng.integers(PITCHES, size=count)],
        sample_rate=RATE,
    )


def _tones() -> np.ndarray:
    """(PITCHES, RATE) int16: they swell, and fade."""
    time, pitch = np.arange(RATE) / RATE, np.geomspace(100, 1000, PITCHES)[:, None]
    return (8000 * np.hanning(RATE) * np.sin(2 * np.pi * pitch * time)).astype(np.int16)


def reference_of(real: int, held_out: int, dimensions: int) -> SampleSet:
    """A corpus: its training clips, its test clips, and as many for validation."""
    others = clips(held_out, dimensions, 2)
    return replace(clips(real, dimensions, 1), held_out=others, calibration=others)


def generated_of(count: int, held_out: int, dimensions: int) -> SampleSet:
    """A model's samples, and what it thinks of the test clips."""
    nats = np.random.default_rng(4).normal(-3.0 * RATE, 0.1 * RATE, held_out)
    asked = SampleSet(log_likelihood=nats, timesteps=np.full(held_out, RATE), likelihood_space="8-bit mu-law")
    return replace(clips(count, dimensions, 3), held_out=asked)


class Table:
    """Rows of seconds and peak memory, printed as they come."""

    def __init__(self, title: str) -> None:
        self.start = _clocks()
        print(f"\n{title:<44}{'seconds':>10}{'CPU s':>10}{'peak MiB':>10}", flush=True)
        self._row("(Python, libraries, features)", self.start)

    @contextmanager
    def row(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        start = _clocks()
        yield
        self._row(name, start)

    def finish(self) -> None:
        """The last row."""
        self._row("all", self.start)

    def _row(self, name: str, start: np.ndarray) -> None:
        wall, processor = _clocks() - start
        print(f"{name:<44}{wall:>10.2f}{processor:>10.2f}{peak_bytes() / 2**20:>10.0f}", flush=True)


def prepare(options: argparse.Namespace, path: Path) -> None:
    """Time the reference side, and write it."""
    reference = reference_of(options.real, options.held_out, options.dimensions)
    with threadpool_limits(options.threads):
        table = Table(f"reference side, {options.real:,} clips")
        prepared: dict[str, np.ndarray] = {}
        for name, (run, _) in SHARED.items():
            with table.row(f"shared: {name}"):
                prepared |= {f"{name}.{key}": array for key, array in run(reference).items()}
        for name, module in _applicable(reference, "reference"):
            with table.row(name):
                prepared |= {f"{name}.{key}": array for key, array in module.prepare(reference).items()}
        table.finish()
    np.savez(path, **prepared)  # type: ignore[arg-type]


def compute(options: argparse.Namespace, path: Path) -> None:
    """Time one model against what `prepare` wrote."""
    with np.load(path) as arrays:
        prepared = dict(arrays)
    generated = generated_of(options.generated, options.held_out, options.dimensions)
    with threadpool_limits(options.threads):
        table = Table(f"one model, {options.generated:,} clips")
        views: dict[str, Any] = {}
        for name, (_, view) in SHARED.items():
            with table.row(f"shared: {name}"):
                views[name] = view(_part(prepared, name), generated)
        for name in PASSES:
            with table.row(f"shared: comparison.{name}"):
                getattr(views["comparison"], name)
        for name, module in _applicable(generated, "generated"):
            uses = {use: views[use] for use in getattr(module, "USES", ())}
            with table.row(name):
                module.compute(_part(prepared, name) | uses, generated)
        table.finish()


def _applicable(samples: SampleSet, side: str) -> list[tuple[str, Any]]:
    return [
        (name, module) for name, module in plugins.modules().items() if not module.METRICS[0].obstacle(samples, side)
    ]


def _part(prepared: dict[str, np.ndarray], name: str) -> dict[str, Any]:
    return {key.removeprefix(f"{name}."): array for key, array in prepared.items() if key.startswith(f"{name}.")}


def _clocks() -> np.ndarray:
    """Seconds on the wall, and of processor time."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--real", type=int, default=31158)
    parser.add_argument("--held-out", type=int, default=3081)
    parser.add_argument("--generated", type=int, default=2048)
    parser.add_argument("--dimensions", type=int, default=1024)
    options = parser.parse_args()
    stages: tuple[Callable[[argparse.Namespace, Path], None], ...] = (prepare, compute)
    with tempfile.TemporaryDirectory() as folder:
        for stage in stages:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(stage, (options, Path(folder) / "reference.npz"))


if __name__ == "__main__":
    main()

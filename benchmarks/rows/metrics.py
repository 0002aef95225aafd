"""All metrics of a new model, with their intervals, against a reference that is prepared: SC09's sizes.

Synthetic features, waveforms and likelihoods: `benchmarks/bench_metrics.py`, which says what each metric takes.
"""

import multiprocessing
from dataclasses import replace
from pathlib import Path

from benchmarks import counts
from benchmarks.rows.base import Figure, Row, Setting
from benchmarks.timing import GIB, interleaved, peak_bytes

REAL, HELD_OUT, GENERATED, DIMENSIONS = 31158, 3081, 2048, 1024
GOAL, REFERENCE, MEMORY = 15, 5.7, 2  # the reference: five metrics without intervals
NOTE = "the reference: five metrics without intervals"


def prepare(path: Path, real: int, held_out: int, dimensions: int) -> None:
    """Write what is known of the reference beforehand."""
    import numpy as np

    from benchmarks.bench_metrics import reference_of
    from evaluation.measure import prepare as prepare_reference

    np.savez(path, **prepare_reference(reference_of(real, held_out, dimensions)))  # type: ignore[arg-type]


def run(setting: Setting) -> list[Figure]:
    """Seconds of all metrics, and the most memory that this process ever had."""
    import numpy as np

    from benchmarks.bench_metrics import generated_of
    from evaluation.measure import compute
    from evaluation.metrics import frechet_infinity

    real, held_out, generated, dimensions = setting.pick((REAL, HELD_OUT, GENERATED, DIMENSIONS), (400, 100, 200, 16))
    path = setting.scratch / "prepared.npz"
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # its memory is not a model's
        pool.apply(prepare, (path, real, held_out, dimensions))
    with np.load(path) as arrays:
        prepared = dict(arrays)
    samples = generated_of(generated, held_out, dimensions)

    def all_metrics() -> None:
        # what one call computes for its metrics is kept with the samples
        compute(prepared, replace(samples))

    seconds = interleaved({"": all_metrics}, setting.pick(3, 1), warm_up=setting.pick(1, 0))[""]
    sizes = frechet_infinity.subset_sizes(generated).tolist()
    work = counts.metrics(real, generated, dimensions, sizes, frechet_infinity.PERMUTATIONS)
    return [
        setting.figure("", "s", seconds, work=work, goal=GOAL, reference=REFERENCE, note=NOTE),
        Figure("peak memory", "GiB", [peak_bytes() / GIB], setting.pick(MEMORY, None)),
    ]


ROWS = [Row("metrics", "all metrics of a new model", 10, run, 2, 2)]

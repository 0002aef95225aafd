"""Wavs to clips: a corpus of SC09's size, 31,158 training clips of one second, by two processes.

Synthetic wavs, just written, so that they are read from memory. The limit is what as many processes take to read these files,
and to write as many bytes to one file.
"""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.rows.base import SAMPLE_RATE, SECOND, Figure, Row, Setting

CLIPS, GOAL, WORKERS = 31158, 60, 2


def corpus() -> Any:
    """Every wav of a folder; a thousandth of them are validation and test, so that every split has some."""
    from tasks.corpora.base import Corpus, Recording

    class Tones(Corpus):
        """A folder of wavs."""

        def recordings(self, config: Any, folder: Path) -> Iterator[Any]:
            for number, path in enumerate(sorted(folder.glob("*/*.wav"))):
                split = {0: "validation", 1: "test"}.get(number % 1000, "train")
                yield Recording(f"{path.parent.name}/{path.name}", path.parent.name, None, split)

    return Tones()


def write_wavs(folder: Path, count: int) -> None:
    """Noise, in ten folders."""
    import numpy as np
    import soundfile

    noise = np.random.default_rng(0).integers(-8000, 8000, (64, SECOND), dtype=np.int16)
    for number in range(count):
        file = folder / str(number % 10) / f"{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, np.roll(noise[number % 64], number), SAMPLE_RATE, subtype="PCM_16")


def copy_bytes(files: Sequence[Path], out: Path) -> float:
    """Read files, and write their bytes to one; the seconds."""
    started = time.perf_counter()
    with open(out, "wb", buffering=0) as into:
        for path in files:
            with open(path, "rb", buffering=0) as file:
                into.write(file.read())
    return time.perf_counter() - started


def run(setting: Setting) -> list[Figure]:
    """Seconds of `prepare_clips`, files that are there already."""
    from tasks.clips import prepare_clips
    from tasks.corpora.base import CorpusConfig

    source, count = setting.scratch / "wavs", setting.pick(CLIPS, 200)
    write_wavs(source, count)
    os.sync()
    values = []
    for round_ in range(setting.pick(3, 1)):
        started = time.perf_counter()
        prepare_clips(corpus(), CorpusConfig(), source, setting.scratch / f"clips-{round_}", WORKERS, lambda *_: None)
        values.append(time.perf_counter() - started)
    files = sorted(source.glob("*/*.wav"))
    parts = [files[first::WORKERS] for first in range(WORKERS)]
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        limit = max(pool.map(copy_bytes, parts, [setting.scratch / f"copy-{i}" for i in range(WORKERS)]))
    return [Figure(f"{count:,} wavs", "s", values, setting.pick(GOAL, None), limit=limit)]


ROWS = [Row("clips", "wavs to clips, two workers", 11, run, 2)]

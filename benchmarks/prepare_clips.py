"""How long PrepareClips takes for a corpus of the size of SC09: 31,158 training clips of one second.

`python benchmarks/prepare_clips.py [--clips 31158] [--rate 16000] [--workers 2]` writes synthetic wavs to a temporary
folder (TMPDIR says where), prepares them, and prints a row of a table. Writing the wavs is not counted.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.clips import prepare_clips
from tasks.corpora.base import Corpus, CorpusConfig, Recording


class Tones(Corpus):
    """A thousandth of the files are validation and test, so that every split has some."""

    def recordings(self, config: Any, folder: Path) -> Iterator[Recording]:
        for number, path in enumerate(sorted(folder.glob("*/*.wav"))):
            split = {0: "validation", 1: "test"}.get(number % 1000, "train")
            yield Recording(f"{path.parent.name}/{path.name}", path.parent.name, None, split)


def main() -> None:
    import numpy as np
    import soundfile

    parser = argparse.ArgumentParser(description="Time PrepareClips on synthetic one-second wavs.")
    parser.add_argument("--clips", type=int, default=31158)
    parser.add_argument("--rate", type=int, default=16000, help="of the wavs, in Hz; clips are at 16000")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place, "source"), Path(place, "out")
        noise = np.random.default_rng(0).integers(-8000, 8000, (64, options.rate), dtype=np.int16)
        for number in range(options.clips):
            file = source / str(number % 10) / f"{number}.wav"
            if number < 10:
                file.parent.mkdir(parents=True)
            soundfile.write(file, np.roll(noise[number % 64], number), options.rate, subtype="PCM_16")
        started = time.perf_counter()
        metrics = prepare_clips(Tones(), CorpusConfig(), source, out, options.workers, lambda *_: None)
        seconds = time.perf_counter() - started
    print("| clips | source rate | workers | seconds | clips/s |\n|---|---|---|---|---|")
    total = sum(metrics["clips"].values())
    print(f"| {total:,} | {options.rate} | {options.workers} | {seconds:.1f} | {total / seconds:,.0f} |")


if __name__ == "__main__":
    main()

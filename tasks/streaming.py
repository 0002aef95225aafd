"""Samples longer than clips: drawn and merged piece by piece, so that memory does not grow with how long they are.

`samples.npy` is an array as any other (int16, samples x timesteps); here it is written and read a stretch of a row at a time,
by position. A memory map would do the same, but its pages count as the process's memory until the system wants them back.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifact import Progress

if TYPE_CHECKING:
    import numpy as np

    from models.generators.base import Samples

STRETCH = 2**20  # timesteps of one row that are in memory at once
ITEM = 2  # bytes of an int16


class Rows:
    """The rows of a `.npy` of int16 (rows, timesteps), by stretches of them."""

    def __init__(self, path: Path) -> None:
        import numpy as np

        self.path = path
        codes = np.load(path, mmap_mode="r")
        if codes.dtype != np.int16 or codes.ndim != 2:
            raise ValueError(f"{path} holds {codes.dtype} of shape {codes.shape}, not int16 samples x timesteps")
        self.shape: tuple[int, int] = codes.shape
        self._first = path.stat().st_size - ITEM * codes.size

    @classmethod
    def new(cls, path: Path, count: int, timesteps: int) -> "Rows":
        """A file of zeros, in place of what a killed attempt has left."""
        import numpy as np

        path.unlink(missing_ok=True)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=(count, timesteps)).flush()
        return cls(path)

    def read(self, row: int) -> "Iterator[np.ndarray]":
        """(at most STRETCH,) int16, one stretch of the row after the other."""
        import numpy as np

        with open(self.path, "rb") as file:
            file.seek(self._at(row, 0))
            for start in range(0, self.shape[1], STRETCH):
                yield np.fromfile(file, np.int16, min(STRETCH, self.shape[1] - start))

    def write(self, row: int, start: int, codes: "np.ndarray") -> None:
        """Codes (rows, timesteps) int16, from that row and timestep on."""
        with open(self.path, "r+b") as file:
            for i, stretch in enumerate(codes):
                file.seek(self._at(row + i, start))
                file.write(stretch.tobytes())

    def _at(self, row: int, timestep: int) -> int:
        return self._first + ITEM * (row * self.shape[1] + timestep)


def keep(pieces: "Iterable[Samples]", row: int, out: Rows) -> "Samples":
    """Write the pieces of a batch, whose first sample is that row, as they come; what is left of them, without waveforms."""
    from models.autoregressive import joined
    from models.clips import to_int16

    start, rest = 0, []
    for piece in pieces:
        codes = to_int16(piece.waveforms.cpu().numpy())
        out.write(row, start, codes)
        start += codes.shape[1]
        rest.append(replace(piece, waveforms=piece.waveforms[:, :0].clone()))  # a view would keep all of it
    if start != out.shape[1]:
        raise RuntimeError(f"the model drew {start} timesteps instead of {out.shape[1]}")
    return joined(rest)


def merge(
    sources: Sequence[tuple[Rows, int]], names: Sequence[str], rate: int, codes: Path, out: Path, progress: Progress
) -> dict[str, Any]:
    """Write row i of the new file `codes`, and the wav `names[i]` in `out`, from the source i: a file and its row.

    Returns root_mean_square and peak of all samples, full scale being 1.
    """
    import numpy as np
    import soundfile

    timesteps = sources[0][0].shape[1]
    merged = Rows.new(codes, len(sources), timesteps)
    squares, peak = 0, 0
    for number, ((source, row), name) in enumerate(zip(sources, names, strict=True)):
        progress(number, len(sources), "wavs")
        start = 0
        with soundfile.SoundFile(out / name, "w", rate, 1, "PCM_16") as wav:
            for stretch in source.read(row):
                merged.write(number, start, stretch[None])
                wav.write(stretch)
                wide = stretch.astype(np.int64)
                squares, peak = squares + int(wide @ wide), max(peak, int(np.abs(wide).max()))
                start += len(stretch)
    mean = squares / (len(sources) * timesteps)
    return {"root_mean_square": math.sqrt(mean) / 32768, "peak": peak / 32768}

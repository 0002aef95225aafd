"""One gain for a whole corpus: how loud its clips are to each other stays, and 8 bits are used to the full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import audio

if TYPE_CHECKING:
    from tasks.preparing import Prepared


def to_full_scale(clips: Path, kept: Sequence[Prepared], loudest: int) -> tuple[list[Prepared], float]:
    """Multiply every row of `clips` so that the code `loudest` becomes the highest there is; returns (results, gain).

    kept: what became of each row, in their order; returned with the levels that they have now. loudest: of the training
    clips, since the others are not to be known; what is louder among those is clipped, and counted.
    """
    import numpy as np

    highest = audio.FULL_SCALE - 1
    if loudest in (0, highest, audio.FULL_SCALE):
        return list(kept), 1.0
    gain = highest / loudest
    results = []
    header = np.load(clips, mmap_mode="r")
    (_, timesteps), before = header.shape, header.offset
    with open(clips, "r+b") as file:
        for row, result in enumerate(kept):
            file.seek(before + 2 * timesteps * row)
            louder = np.rint(np.frombuffer(file.read(2 * timesteps), np.int16) * gain)
            codes = np.clip(louder, -audio.FULL_SCALE, highest).astype(np.int16)
            file.seek(before + 2 * timesteps * row)
            file.write(codes.tobytes())
            wide = codes.astype(np.int64)
            beyond = result.clipped + int(np.count_nonzero(louder != codes))
            results.append(replace(result, peak=int(np.abs(wide).max()), squares=int(wide @ wide), clipped=beyond))
    return results, gain

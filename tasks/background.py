"""Background noise that comes with a corpus, as clips for a classifier's augmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def prepare_background(files: Sequence[Path], config: Any, out: Path) -> int:
    """Write `out`, (n, timesteps) int16: the files at the corpus's rate, cut into clips; returns n.

    Differs from the release, which cuts a clip at a random place each time it needs one: ours lie end to end, one for
    every second of noise. Raises ValueError for a file that cannot be read.
    """
    import numpy as np

    from tasks import audio

    clips = []
    for path in files:
        heard = audio.read(path)
        sound = audio.resample(audio.mono(heard.waveform), heard.rate, config.sample_rate, config.resampler)
        waveform = audio.to_int16(sound)
        count = len(waveform) // config.timesteps
        clips.append(waveform[: count * config.timesteps].reshape(count, config.timesteps))
    np.save(out, np.concatenate(clips))
    return sum(map(len, clips))

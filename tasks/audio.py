"""Audio files as arrays: decode, mix to mono, resample, pad or cut to a length, round to 16 bits.

Shared by the preparation of clips and the import of samples, so that real and generated audio take the same path.
Everything that is wrong with one file is an `AudioError`, whose message is the reason and not the file's name.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FULL_SCALE = 32768  # int16 code c stands for the amplitude c / 32768, as in models/clips.py
MARGIN_SECONDS = 0.1  # read beyond the end of a clip, so that the resampling filter sees what follows


class AudioError(ValueError):
    """Why one file cannot be used."""


@dataclass(frozen=True)
class Audio:
    """waveform: (frames, channels) float32, nominally in [-1, 1]; rate in Hz.

    total: the frames that were there to be read; more than len(waveform) where a limit was given.
    """

    waveform: np.ndarray
    rate: int
    total: int


def read(path: Path, start: int = 0, frames: int | None = None, limit_seconds: float | None = None) -> Audio:
    """Decode a wav, flac or ogg file, or `frames` frames of it from frame `start` on, at its own rate.

    limit_seconds: read no more than that and a margin. Raises AudioError where the file is unreadable, cut short,
    empty, or holds NaN or infinity; FileNotFoundError where there is none.
    """
    import numpy as np
    import soundfile

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with soundfile.SoundFile(path) as file:
            rate, total = file.samplerate, file.frames - start if frames is None else frames
            if total <= 0:
                raise AudioError("empty: it holds no audio")
            if start + total > file.frames:
                raise AudioError(f"cut short: frames {start} to {start + total} were asked for, it has {file.frames}")
            wanted = total if limit_seconds is None else min(total, math.ceil((limit_seconds + MARGIN_SECONDS) * rate))
            file.seek(start)
            waveform = file.read(wanted, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"unreadable: {error.error_string}") from error
    if lost := _lost_bytes(path):
        raise AudioError(f"cut short: {lost} bytes that its header announces are not there")
    if len(waveform) < wanted:
        raise AudioError(f"cut short: {start + len(waveform)} of {start + wanted} frames could be decoded")
    broken = int(np.count_nonzero(~np.isfinite(waveform)))
    if broken:
        raise AudioError(f"{broken} values are NaN or infinite")
    return Audio(waveform, rate, total)


def _lost_bytes(path: Path) -> int:
    """How much of a wav lies beyond its end, by its header: libsndfile takes what is there without a word.

    0 for other formats, and where the header was written before the length was known (0, or about the most it can say).
    """
    with open(path, "rb") as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                return max(0, file.tell() + length - size) if length < 0x7F000000 else 0
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0


def mono(waveform: np.ndarray, most: int = 2) -> np.ndarray:
    """(frames, channels) -> (frames,): the mean of the channels. Raises AudioError for more than `most` channels."""
    channels = waveform.shape[1]
    if channels > most:
        raise AudioError(f"{channels} channels, where {'mono' if most == 1 else 'mono or stereo'} is expected")
    mixed: np.ndarray = waveform[:, 0] if channels == 1 else waveform.mean(axis=1)
    return mixed


def resample(waveform: np.ndarray, rate: int, sample_rate: int, resampler: str = "soxr") -> np.ndarray:
    """(frames,) float32 at `rate` Hz -> (about frames * sample_rate / rate,) at `sample_rate`; as it is at equal rates."""
    import numpy as np

    if rate == sample_rate:
        return waveform
    if resampler == "soxr":
        import soxr

        resampled: np.ndarray = soxr.resample(waveform, rate, sample_rate, quality="HQ")
    elif resampler == "resampy":
        import resampy

        if round(len(waveform) * sample_rate / rate) < 1:
            return np.zeros(0, np.float32)
        resampled = resampy.resample(waveform, rate, sample_rate, filter="kaiser_best")
    else:
        raise ValueError(f"unknown resampler {resampler!r}. Available: soxr, resampy")
    return resampled


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Round to 16 bits; what lies outside [-1, 1] is clipped, as by `models.clips.to_int16` (which needs torch)."""
    import numpy as np

    codes = np.rint(np.asarray(waveform, dtype=np.float64) * FULL_SCALE)
    return np.clip(codes, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


@dataclass(frozen=True)
class Fitted:
    """One clip. codes: (timesteps,) int16, zero-padded at the end; valid: how many of them are audio.

    cut: whether there was more audio than fits; clipped: how many timesteps lay outside [-1, 1] before rounding.
    """

    codes: np.ndarray
    valid: int
    cut: bool
    clipped: int


def fit(waveform: np.ndarray, timesteps: int) -> Fitted:
    """Pad a mono waveform with zeros at the end, or cut it, to `timesteps`, in 16 bits."""
    import numpy as np

    kept = waveform[:timesteps]
    codes = np.zeros(timesteps, np.int16)
    codes[: len(kept)] = to_int16(kept)
    clipped = int(np.count_nonzero(np.abs(kept) > 1)) if len(kept) else 0
    return Fitted(codes, len(kept), len(waveform) > timesteps, clipped)

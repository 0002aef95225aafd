"""Audio files as arrays: decode, mix to mono, resample, pad or cut to a length, round to 16 bits.

Shared by the preparation of clips and the import of samples, so that real and generated audio take the same path.
Everything that is wrong with one file is an `AudioError`, whose message is the reason and not the file's name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

FULL_SCALE = 32768  # int16 code c stands for the amplitude c / 32768, as in models/clips.py
MARGIN_SECONDS = 0.1  # read beyond the end of a clip, so that the resampling filter sees what follows
MOST_CHANNELS = 2
UNKNOWN_FRAMES = 1 << 40  # libsndfile says "as many as can be" of streams that were never closed
BLOCK = 1 << 16  # frames that are decoded at once


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
    """Decode a wav, flac, ogg or mp3 file, or `frames` frames of it from frame `start` on, at its own rate.

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
        raise AudioError(_unreadable(error)) from error
    if lost := _lost_bytes(path):
        raise AudioError(f"cut short: {lost} bytes that its header announces are not there")
    if len(waveform) < wanted:
        raise AudioError(f"cut short: {start + len(waveform)} of {start + wanted} frames could be decoded")
    broken = int(np.count_nonzero(~np.isfinite(waveform)))
    if broken:
        raise AudioError(f"{broken} values are NaN or infinite")
    return Audio(waveform, rate, total)


def _unreadable(error: Any) -> str:
    reason = error.error_string.strip()  # of a damaged mp3 it is empty, or says that there is no such file
    unknown = not reason or "does not exist" in reason
    return f"unreadable: {'damaged, or no audio of a known format' if unknown else reason}"


def measure(path: Path) -> tuple[int, int]:
    """(frames, rate in Hz) that a file announces. Raises AudioError where it is unreadable, cut short or empty."""
    import soundfile

    try:
        about = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise AudioError(_unreadable(error)) from error
    if lost := _lost_bytes(path):
        raise AudioError(f"cut short: {lost} bytes that its header announces are not there")
    if about.frames <= 0:
        raise AudioError("empty: it holds no audio")
    if about.frames > UNKNOWN_FRAMES:
        raise AudioError("its header does not say how long it is: convert it, which writes the header anew")
    if about.channels > MOST_CHANNELS:
        raise AudioError(_many(about.channels, MOST_CHANNELS))
    return about.frames, about.samplerate


def windows(
    path: Path, wanted: Sequence[int], timesteps: int, sample_rate: int, resampler: str = "soxr"
) -> Iterator[np.ndarray | AudioError]:
    """The stretches number `wanted`, ascending, of a file that is cut into consecutive ones of `timesteps`, in mono.

    Each is (timesteps,) float32 at `sample_rate` Hz, or shorter where the file ends; at equal rates, they are the file's
    own values. The file is decoded once, from its beginning, and no more of it is held than one stretch and 0.1 s on
    either side, which the resampling filter sees. In place of a stretch that cannot be had, there is the reason.
    """
    import numpy as np
    import soundfile

    try:
        opened = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        yield from [AudioError(_unreadable(error))] * len(wanted)
        return
    with opened as file:
        rate, total = file.samplerate, file.frames
        step, unit = sample_rate // math.gcd(rate, sample_rate), rate // math.gcd(rate, sample_rate)
        margin = 0 if rate == sample_rate else math.ceil(MARGIN_SECONDS * sample_rate)
        held, first, ended = np.zeros(0, np.float32), 0, ""  # mono, from frame `first` of the file on
        for window in wanted:
            begin = window * timesteps
            start = max(0, begin - margin) // step * unit  # where a frame and a timestep coincide
            needed = min(total, math.ceil((begin + timesteps) * rate / sample_rate))
            stop = min(total, math.ceil((begin + timesteps + margin) * rate / sample_rate))
            while first + len(held) < stop and not ended:
                held, first = held[max(0, start - first) :], min(max(first, start), first + len(held))
                try:
                    block = mono(file.read(BLOCK, dtype="float32", always_2d=True))
                except (soundfile.LibsndfileError, AudioError) as error:
                    block, ended = held[:0], str(error) if isinstance(error, AudioError) else _unreadable(error)
                if not len(block):
                    ended = ended or f"cut short: {first + len(held)} of {total} frames could be decoded"
                held = np.concatenate([held, block])
            if first + len(held) < needed:
                yield AudioError(ended)
                continue
            heard = held[start - first : stop - first]
            if broken := int(np.count_nonzero(~np.isfinite(heard))):
                yield AudioError(f"{broken} values are NaN or infinite")
                continue
            offset = begin - start // unit * step
            yield resample(heard, rate, sample_rate, resampler)[offset : offset + timesteps]


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


def mono(waveform: np.ndarray, most: int = MOST_CHANNELS) -> np.ndarray:
    """(frames, channels) -> (frames,): the mean of the channels. Raises AudioError for more than `most` channels."""
    channels = waveform.shape[1]
    if channels > most:
        raise AudioError(_many(channels, most))
    mixed: np.ndarray = waveform[:, 0] if channels == 1 else waveform.mean(axis=1)
    return mixed


def _many(channels: int, most: int) -> str:
    return f"{channels} channels, where {'mono' if most == 1 else 'mono or stereo'} is expected"


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


def loudest_db(codes: np.ndarray, sample_rate: int) -> float:
    """The level of the loudest tenth of a second in int16 codes, in dB of full scale (a square wave of it is 0 dB)."""
    import numpy as np

    length = min(len(codes), max(1, sample_rate // 10))
    tenths = codes[: len(codes) // length * length].reshape(-1, length).astype(np.float64)
    power = float(np.square(tenths).mean(axis=1).max()) / FULL_SCALE**2
    return 10 * math.log10(power) if power else -math.inf

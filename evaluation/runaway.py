"""Runaway noise: where in a clip the sound degenerates into noise, as an autoregressive model's may when it leaves its path.

Short-time spectral flatness (Gray & Markel 1974) and power, in frames of 25 ms as in `metrics/acoustics.py`, are looked at in
windows of half a second, one every eighth. A window is *noise* where three quarters of its frames are as loud as the corpus
usually is, within 20 dB, and three quarters are flatter than the threshold. So a hiss between notes is none, since it is quiet,
and neither is an s or a drum, which is short. Clips shorter than a window are one window.

The threshold is learned from real clips that nothing else is measured on (the validation split). What the flattest loud window
of a clip reaches exceeds it in one of two hundred of them at most. Since they may be few, it is also no lower than what one
more would stay below with a probability of 0.999 if these were normal (Student's prediction limit), as far as that leaves room
for noise, nor than -12 dB, whatever the corpus. A real clip that is exchangeable with these is flagged with a probability of at
most (allowed + 1) / (clips + 1): the conformal bound (Vovk et al. 2005), which `bound` has. Where real clips are as flat as
white noise themselves, noise cannot be told from them, and that is said.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.special import stdtrit

FULL_SCALE = 32768
ROUNDING = 1 / (12 * FULL_SCALE**2)  # mean power of what rounding to 16 bits took away
FRAME_SECONDS, FRAMES, HOP = 0.025, 20, 5  # of a frame; frames in a window, and from one window to the next
QUIET_DB = 20.0  # below the corpus's usual window: not looked at
SILENT_DB, SILENT_FLATNESS = -60.0, -100.0  # digital silence is as flat as noise, and is none
SURE, LEAST_DB = 0.999, -12.0  # nothing that is less flat is called noise
SUSTAINED = 0.25  # this quantile of a window's frames tells for it: three quarters are above
ALLOWED = 1 / 200  # real clips that may be above it
ROOM_DB, WHITE_DB = -5.0, -3.2  # white noise has -2.7 on average at this quantile, and hardly ever less than the latter
TIMESTEPS_AT_ONCE = 2**20
NEVER = -np.inf


@dataclass(frozen=True)
class Windows:
    """Of n clips in w windows each. level: (n, w) dB re full scale, and flatness: (n, w) dB, which three quarters of a window's
    frames reach; starts: (w,) seconds; seconds: how long a window is
    """

    level: np.ndarray
    flatness: np.ndarray
    starts: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Limits:
    """What makes a window noise: a level of at least `level` and a flatness above `flatness`, both in dB.

    bound: the largest probability with which a real clip is flagged; clips: how many real ones they come from
    """

    level: float
    flatness: float
    bound: float
    clips: int

    @property
    def obstacle(self) -> str:
        """Why nothing can be found with them; "" where it can."""
        if self.flatness <= WHITE_DB:
            return ""
        return f"real clips are as flat as white noise ({self.flatness:.1f} dB), so that noise cannot be told from them"


@dataclass(frozen=True)
class Found:
    """Of n clips. noisy: (n,) bool; onset: (n,) seconds to the first window of noise, NaN without; share: (n,) of windows that
    are noise; flatness: (n,) dB of the flattest loud window, -inf where none is loud; level: (n,) dB of the loudest window
    """

    noisy: np.ndarray
    onset: np.ndarray
    share: np.ndarray
    flatness: np.ndarray
    level: np.ndarray


def windows(codes: np.ndarray, sample_rate: int) -> Windows:
    """Level and flatness over time of int16 clips (n, timesteps), which may be memory-mapped; some are read at a time."""
    rows = max(1, TIMESTEPS_AT_ONCE // codes.shape[1])
    parts = [_frames(codes[first : first + rows], sample_rate) for first in range(0, len(codes), rows)]
    power, flatness = (np.concatenate(part) for part in zip(*parts, strict=True))
    length = min(FRAMES, power.shape[1])
    starts = np.arange(0, power.shape[1] - length + 1, HOP)

    def cut(values: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(values, length, axis=1)[:, starts]

    frame = min(codes.shape[1], _frame(sample_rate)) / sample_rate
    return Windows(
        10 * np.log10(np.quantile(cut(power), SUSTAINED, axis=2)),
        np.quantile(cut(flatness), SUSTAINED, axis=2),
        starts * frame,
        length * frame,
    )


def calibrate(real: Windows) -> Limits:
    """The limits that real clips set."""
    sounding = real.level[real.level >= SILENT_DB]
    level = max(SILENT_DB, float(np.median(sounding)) - QUIET_DB) if len(sounding) else SILENT_DB
    flattest = np.sort(_flattest(real, level))
    allowed = int(ALLOWED * len(flattest))
    likely = _prediction_limit(flattest[np.isfinite(flattest)])
    limit = max(LEAST_DB, float(flattest[-1 - allowed]), min(likely, ROOM_DB))
    return Limits(level, limit, (allowed + 1) / (len(flattest) + 1), len(flattest))


def find(clips: Windows, limits: Limits) -> Found:
    """Which clips have noise, and from when on."""
    noise = (clips.level >= limits.level) & (clips.flatness > limits.flatness)
    noisy = np.asarray(noise.any(axis=1))
    onset = np.where(noisy, clips.starts[noise.argmax(axis=1)], np.nan)
    return Found(noisy, onset, noise.mean(axis=1), _flattest(clips, limits.level), clips.level.max(axis=1))


def _prediction_limit(values: np.ndarray) -> float:
    """What one more value stays below with the probability `SURE`, if all are normal; of fewer than two, infinity."""
    if (n := len(values)) < 2:
        return np.inf
    return float(values.mean() + stdtrit(n - 1, SURE) * values.std(ddof=1) * np.sqrt(1 + 1 / n))


def _flattest(clips: Windows, level: float) -> np.ndarray:
    """(n,) flatness of each clip's flattest window of at least that level."""
    return np.where(clips.level >= level, clips.flatness, NEVER).max(axis=1)


def _frame(sample_rate: int) -> int:
    return max(2, round(FRAME_SECONDS * sample_rate))


def _frames(codes: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean power and flatness in dB of every frame, both (n, frames)."""
    length = min(codes.shape[1], _frame(sample_rate))
    frames = codes[:, : codes.shape[1] // length * length].reshape(len(codes), -1, length) / FULL_SCALE
    power = np.einsum("nft,nft->nf", frames, frames) / length + ROUNDING
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    spectrum = scipy.fft.rfft(frames * window)[..., 1:]
    bins = np.square(spectrum.real) + np.square(spectrum.imag) + ROUNDING * np.square(window).sum()
    flatness = 10 * (np.log10(bins).mean(axis=-1) - np.log10(bins.mean(axis=-1)))
    return power, np.where(power >= 10 ** (SILENT_DB / 10), flatness, SILENT_FLATNESS)

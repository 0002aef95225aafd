"""The rows that make the others readable: clips of known quality, measured like any generator's.

Held-out clips show what a perfect generator would score at this count, silence and noise what no generator should fall
below. The other three are traps: a metric that does not punish them is blind to memorization or collapse.
Clips are int16 codes, (n, timesteps); clip i of a row depends on (seed, i) and the corpus alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FULL_SCALE = 32768  # int16 code c stands for the amplitude c / 32768
BLOCK = 1024  # clips that are read at a time


def choose(total: int, count: int, seed: int) -> np.ndarray:
    """(count,) different rows out of `total`, in random order; more of them begin with the same ones.

    Raises ValueError where there are not that many.
    """
    if not 1 <= count <= total:
        raise ValueError(f"{count} clips were asked for and there are {total}; lower the count")
    return np.random.default_rng([seed, total]).permutation(total)[:count]


def held_out(test: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of the test clips, none twice."""
    return test[choose(len(test), count, seed)]


def copied(train: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of the training clips, none twice."""
    return train[choose(len(train), count, seed)]


def repeated(train: np.ndarray, count: int, seed: int) -> np.ndarray:
    """One training clip, `count` times."""
    return np.repeat(copied(train, 1, seed), count, axis=0)


def half_collapsed(test: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Test clips, none twice, alternating with the first of them over and over."""
    clips = held_out(test, (count + 1) // 2, seed)
    result = np.repeat(clips[:1], count, axis=0)
    result[::2] = clips
    return result


def silence(count: int, timesteps: int) -> np.ndarray:
    """Zeros."""
    return np.zeros((count, timesteps), dtype=np.int16)


def white_noise(count: int, timesteps: int, rms: float, seed: int) -> np.ndarray:
    """Gaussian noise of that RMS, full scale being 1; beyond it codes are clipped, as by a sound card."""
    if not 0 < rms <= 1:
        raise ValueError(f"the RMS of noise must be in (0, 1], it is {rms}; of a silent corpus there is no noise row")
    clips = np.empty((count, timesteps), dtype=np.int16)
    for i in range(count):
        noise = np.random.default_rng([seed, i]).normal(0.0, rms * FULL_SCALE, timesteps)
        clips[i] = np.clip(np.rint(noise), -FULL_SCALE, FULL_SCALE - 1)
    return clips


def root_mean_square(clips: np.ndarray) -> float:
    """The RMS of all clips together, full scale being 1."""
    total = sum(
        float(np.square(clips[start : start + BLOCK].astype(np.float64)).sum()) for start in range(0, len(clips), BLOCK)
    )
    return float(np.sqrt(total / clips.size)) / FULL_SCALE


@dataclass(frozen=True)
class Control:
    """A row: its name, what it tells a reader, and draw(train, test, count, seed) -> (count, timesteps) int16.

    trap: a row for checking the metrics themselves, not shown in every leaderboard.
    """

    name: str
    explanation: str
    draw: Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
    trap: bool = False


CONTROLS = (
    Control(
        "held-out",
        "real clips that nothing was trained on: the score of a perfect generator at this count",
        lambda train, test, count, seed: held_out(test, count, seed),
    ),
    Control(
        "silence",
        "digital silence: no metric may like it",
        lambda train, test, count, seed: silence(count, test.shape[1]),
    ),
    Control(
        "white-noise",
        "Gaussian noise as loud as the corpus: the floor",
        lambda train, test, count, seed: white_noise(count, test.shape[1], root_mean_square(test), seed),
    ),
    Control(
        "copied",
        "training clips: a perfect score for a generator that only remembers",
        lambda train, test, count, seed: copied(train, count, seed),
        trap=True,
    ),
    Control(
        "repeated",
        "one training clip over and over: good sound, no variety",
        lambda train, test, count, seed: repeated(train, count, seed),
        trap=True,
    ),
    Control(
        "half-collapsed",
        "real clips, every second one the same: half the variety",
        lambda train, test, count, seed: half_collapsed(test, count, seed),
        trap=True,
    ),
)

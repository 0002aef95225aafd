"""The rows that make the others readable: clips of known quality, measured like any generator's.

Held-out clips show what a perfect generator would score at this count, silence and noise what no generator should fall
below. The other three are traps: a metric that does not punish them is blind to memorization or collapse, and some must.
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


def repeated_rows(total: int, count: int, seed: int) -> np.ndarray:
    """(count,) times the same row out of `total`."""
    return np.repeat(choose(total, 1, seed), count)


def half_collapsed_rows(total: int, count: int, seed: int) -> np.ndarray:
    """(count,) rows out of `total`, none twice, alternating with the first of them over and over."""
    chosen = choose(total, (count + 1) // 2, seed)
    rows = np.repeat(chosen[:1], count)
    rows[::2] = chosen
    return rows


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
    """A row: its name, and what it tells a reader. Its clips are taken from a split, or made.

    split: "train" or "test", with rows(total, count, seed) -> (count,) of its clips; or "", with
    make(count, timesteps, rms, seed) -> (count, timesteps) int16, rms being that of the test clips
    trap:  a set with which a generator could get good numbers and should not
    """

    name: str
    explanation: str
    split: str = ""
    rows: Callable[[int, int, int], np.ndarray] = choose
    make: Callable[[int, int, float, int], np.ndarray] = white_noise
    trap: bool = False

    def draw(self, train: np.ndarray, test: np.ndarray, count: int, seed: int) -> np.ndarray:
        """(count, timesteps) int16, from the clips of both splits."""
        if not self.split:
            return self.make(count, test.shape[1], root_mean_square(test), seed)
        clips = train if self.split == "train" else test
        return clips[self.rows(len(clips), count, seed)]


CONTROLS = (
    Control(
        "held-out",
        "real clips that nothing was trained on: the score of a perfect generator at this count",
        split="test",
    ),
    Control(
        "silence",
        "digital silence: no metric may like it",
        make=lambda count, timesteps, rms, seed: silence(count, timesteps),
    ),
    Control(
        "white-noise",
        "Gaussian noise as loud as the corpus: the floor",
        make=white_noise,
    ),
    Control(
        "copied",
        "training clips: a perfect score for a generator that only remembers",
        split="train",
        trap=True,
    ),
    Control(
        "repeated",
        "one training clip over and over: good sound, no variety",
        split="train",
        rows=repeated_rows,
        trap=True,
    ),
    Control(
        "half-collapsed",
        "real clips, every second one the same: half the variety",
        split="test",
        rows=half_collapsed_rows,
        trap=True,
    ),
)

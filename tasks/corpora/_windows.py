"""Long files as consecutive clips: how many there are, what is left over, and how a file is divided between the splits."""

from collections.abc import Iterator
from typing import Any

from tasks.corpora.base import Recording

GAP = 1  # clips between two splits of one file, which belong to none: neighbours share what rings on
LEAST = 3 + 2 * GAP  # clips of a file that is divided


def count(frames: int, rate: int, config: Any) -> tuple[int, int]:
    """(clips of a file of so many frames, timesteps at its end that become none).

    What is left over at the end is a clip, padded with silence, if it fills half of one, or is all that there is.
    """
    full, rest = divmod(frames * config.sample_rate // rate, config.timesteps)
    if full == 0 or 2 * rest >= config.timesteps:
        return full + 1, 0
    return full, rest


def cut(whole: Recording, frames: int, rate: int, config: Any) -> Iterator[Recording]:
    """The clips of a file; of one whose split is "", the clips of its three parts.

    A file with one clip stands for itself.
    """
    clips, _ = count(frames, rate, config)
    shares = divide(clips, config) if not whole.split else {whole.split: range(clips)}
    for split, numbers in shares.items():
        for number in numbers:
            start = number * config.timesteps * rate // config.sample_rate
            window = number if clips > 1 else None
            yield Recording(whole.path, whole.label, whole.speaker, split, start, None, whole.sha256, window)


def divide(clips: int, config: Any) -> dict[str, range]:
    """Which clips of a file go where: its beginning to training, then validation, its end to the test split.

    Between two splits, one clip is left out. A file of fewer than five clips is for training alone.
    """
    if clips < LEAST:
        return {"train": range(clips)}
    test = max(1, round(config.test_fraction * clips))
    validation = max(1, round(config.validation_fraction * clips))
    while test + validation + 2 * GAP >= clips:
        test, validation = max(1, test - 1), max(1, validation - 1)
    train = clips - test - validation - 2 * GAP
    return {
        "train": range(train),
        "validation": range(train + GAP, clips - test - GAP),
        "test": range(clips - test, clips),
    }

"""Which split each file of a folder goes to: as its table says, dealt out by label, speaker or length, or divided by time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.corpora import _windows
from tasks.corpora._dealing import deal, deal_by_length
from tasks.corpora._listing import Listed
from tasks.corpora.base import SPLITS

Measured = tuple[Listed, int, int]
"""A file, its frames and its rate."""


def measured(root: Path, found: Sequence[Listed]) -> tuple[list[Measured], list[tuple[str, str]]]:
    """(the files that can be used, (path, reason) of the others)."""
    from tasks import audio

    usable: list[Measured] = []
    refused = []
    for row in found:
        try:
            usable.append((row, *audio.measure(root / row.path)))
        except audio.AudioError as error:
            refused.append((row.path, str(error)))
    return usable, refused


def splits_of(files: Sequence[Measured], config: Any) -> list[str]:
    """The split of each file, "" where it is divided by time."""
    found = [row for row, _, _ in files]
    divided, reason = by_time(found, config)
    if divided:
        most = max((_windows.count(frames, rate, config)[0] for _, frames, rate in files), default=0)
        if most < _windows.LEAST:
            raise ValueError(
                f"{reason}. Nor can they be divided by time: the longest has {most} clips of {config.clip_seconds:g} s, and "
                f"{_windows.LEAST} are needed"
            )
        return ["" for _ in files]
    if found[0].split:
        return [row.split for row in found]
    fractions = (config.validation_fraction, config.test_fraction)
    units, groups = _units(found)
    if not any(groups) and units == [f"file {row.path}" for row in found]:
        milliseconds = [frames * 1000 // rate for _, frames, rate in files]
        return deal_by_length(units, milliseconds, *fractions, config.split_seed)
    return deal(units, groups, *fractions, config.split_seed)


def _units(found: Sequence[Listed]) -> tuple[list[str], list[str]]:
    """What is dealt out together (a speaker, or a file), and of what every split should have some."""
    if any(row.speaker for row in found):
        return [f"speaker {row.speaker}" if row.speaker else f"file {row.path}" for row in found], ["" for _ in found]
    return [f"file {row.path}" for row in found], [row.label or "" for row in found]


def by_time(found: Sequence[Listed], config: Any) -> tuple[bool, str]:
    """Whether the files are divided by time, and why they cannot be dealt out whole, if so.

    Raises ValueError where they cannot, and may not be divided.
    """
    if config.split_by == "time":
        return True, "corpus.split_by=time"
    if not found:
        return True, "no file can be read"
    if found[0].split:
        return False, ""
    if len(found) < len(SPLITS) and not any(row.label or row.speaker for row in found):
        few = f"{len(found)} {'file' if len(found) == 1 else 'files'} cannot fill training, validation and test"
        if config.split_by == "file":
            raise ValueError(f"{few}; give at least 3, or --set corpus.split_by=time")
        return True, few
    try:
        deal(*_units(found), config.validation_fraction, config.test_fraction, config.split_seed)
    except ValueError as error:
        if config.split_by == "file" or any(row.speaker for row in found):
            raise
        return True, str(error)
    return False, ""

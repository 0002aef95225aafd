"""Conditional generation: which real clips samples continue, and how a draw that does so is asked for and named.

Sample i begins with the first timesteps of clip order[i // repeats]. The order depends on the seed alone: not on the number of
samples, on shards, or on the library that shuffles. A clip whose audio ends before the prefix does is passed over.
"""

import csv
import functools
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import luigi

from tasks import descriptions, folders
from tasks.corpora.base import SPLITS
from tasks.errors import EarshotError, unknown

DEFAULT_SPLIT = "test"
PREFIX_IN_NAME = re.compile(r"(?<=/)\+prefix=[^+/]+(\+repeats=\d+)?(\+split=[a-z]+)?")  # as `Prefix.name` writes it
PREFIX_DEFAULTS: dict[str, Any] = {"prefix_seconds": 0.0, "repeats": 1, "split": DEFAULT_SPLIT}


class SplitParameter(luigi.Parameter[str]):
    """train, validation or test."""

    def normalize(self, value: str) -> str:
        if value not in SPLITS:
            raise EarshotError(unknown("split", value, SPLITS))
        return value


class PrefixParameters:
    """What a task needs to be asked for samples that continue real clips. `DrawSamples` says what they mean together."""

    prefix_seconds = luigi.FloatParameter(
        default=0.0, description="begin samples with so many seconds of real clips; 0: with nothing"
    )
    repeats = luigi.IntParameter(default=1, description="how often each of these clips is continued")
    split = SplitParameter(default=DEFAULT_SPLIT, description="of which clips: train, validation or test")


@dataclass(frozen=True)
class Prefix:
    """What samples begin with: the first `timesteps` of clips of a split, each of them continued `repeats` times."""

    timesteps: int
    repeats: int = 1
    split: str = DEFAULT_SPLIT

    @classmethod
    def asked(cls, seconds: float, repeats: int, split: str, sample_rate: int, timesteps: int) -> Self | None:
        """Read what was asked for, of clips of `timesteps` timesteps; None where samples are to begin with nothing.

        Raises EarshotError where it makes no sense.
        """
        if seconds == 0:
            if repeats != 1 or split != DEFAULT_SPLIT:
                raise EarshotError(
                    "--repeats and --split are for samples that continue real clips: give --prefix-seconds"
                )
            return None
        given = round(seconds * sample_rate) if math.isfinite(seconds) else 0
        if not 0 < given < timesteps:
            raise EarshotError(
                f"--prefix-seconds {seconds:g} is {given} of the {timesteps} timesteps of a clip at {sample_rate} Hz: take "
                f"more than 0 and less than the clip's {timesteps / sample_rate:g} s, so that something is left to draw"
            )
        if repeats < 1:
            raise EarshotError(f"--repeats {repeats}: each clip is continued at least once")
        return cls(given, repeats, split)

    def name(self, seconds: float) -> str:
        """What paths call it: `+prefix=0.25s+repeats=2+split=validation`, without what is as usual."""
        repeats = f"+repeats={self.repeats}" if self.repeats != 1 else ""
        split = f"+split={self.split}" if self.split != DEFAULT_SPLIT else ""
        return f"+prefix={seconds:g}s{repeats}{split}"

    def settings(self) -> dict[str, Any]:
        """As a part of a draw's settings, and so of its identity."""
        return asdict(self)


class Clip(NamedTuple):
    """One that is continued: its row in the split, its number in the corpus, and the file that it came from."""

    row: int
    number: int
    source: str


def check_continues(spec: str) -> None:
    """Raise EarshotError, and name the models that can, where a model cannot continue a prefix."""
    if not descriptions.of_model("generators", spec)["continues"]:
        able = ", ".join(descriptions.generators_that_continue())
        raise EarshotError(
            f"{spec} cannot continue a clip: leave --prefix-seconds out, or take a model that can: {able}"
        )


def order(clips: Path, prefix: Prefix, seed: int, count: int) -> list[Clip]:
    """The clips of the folder of PrepareClips that `count` samples continue, `prefix.repeats` samples each.

    Raises ValueError where there are too few.
    """
    wanted = -(-count // prefix.repeats)
    usable = _usable(clips, folders.digest_of(clips), prefix.split, prefix.timesteps)
    if wanted > len(usable):
        most, repeats = len(usable) * prefix.repeats, -(-count // max(1, len(usable)))
        raise ValueError(
            f"{count} samples with --repeats {prefix.repeats} continue {wanted} different clips, but the split {prefix.split} "
            f"has {len(usable)} whose audio is at least {prefix.timesteps} timesteps long: take --count {most} or fewer, "
            f"--repeats {repeats} or more, a shorter prefix, or another --split"
        )
    return sorted(usable, key=lambda clip: hashlib.sha256(f"prefix {seed} {clip.number}".encode()).digest())[:wanted]


@functools.lru_cache(maxsize=8)
def _usable(clips: Path, digest: str, split: str, timesteps: int) -> list[Clip]:
    """The split's clips with so much audio; digest: of the folder, whose table is read once."""
    with open(clips / "clips.csv", newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["split"] == split]
    able = [(row, line) for row, line in enumerate(lines) if int(line["valid"]) >= timesteps]
    return [Clip(row, int(line["index"]), line["source"]) for row, line in able]


def columns(chosen: Sequence[Clip], prefix: Prefix, samples: Sequence[int]) -> dict[str, list[Any]]:
    """What samples.csv says of samples with these draw indices. clip: its index in clips.csv; source: its file."""
    clips = [chosen[i // prefix.repeats] for i in samples]
    return {
        "clip": [clip.number for clip in clips],
        "source": [clip.source for clip in clips],
        "repeat": [i % prefix.repeats for i in samples],
        "prefix_timesteps": [prefix.timesteps for _ in samples],
    }


def file_name(row: int, more: Mapping[str, Sequence[Any]]) -> str:
    """The wav of a row of samples.csv: `sample_00012.wav`, or what tells that it continues a clip."""
    if "clip" not in more:
        return f"sample_{row:05d}.wav"
    return f"continued_{row:05d}_clip_{int(more['clip'][row]):06d}_repeat_{more['repeat'][row]}.wav"


def prefix_metrics(prefix: Prefix, more: Mapping[str, Sequence[Any]], rate: int) -> dict[str, Any]:
    """What metrics.json says of a draw that continues clips."""
    return {
        "conditional": "prefix",
        "prefix_seconds": prefix.timesteps / rate,
        "prefix_timesteps": prefix.timesteps,
        "repeats": prefix.repeats,
        "split": prefix.split,
        "clips": len(set(more["clip"])),
    }


def condition(samples: Mapping[str, Any]) -> str:
    """What the samples of a draw were given, by its metrics.json: `0.25 s prefix`, `class`; "" where they had nothing."""
    given = ["class"] if samples.get("class_conditional") else []
    if samples.get("conditional") == "prefix":
        given.append(f"{samples['prefix_seconds']:g} s prefix")
        given += [f"{samples['repeats']} repeats"] if samples["repeats"] != 1 else []
        given += [f"{samples['split']} split"] if samples["split"] != DEFAULT_SPLIT else []
    return ", ".join(given)

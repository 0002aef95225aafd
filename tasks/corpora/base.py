"""What a corpus is: where its recordings come from, what is said in them, and which split each belongs to.

A corpus is one file beside this one: a module docstring (its first line is the title; lines that start with `Licence:`,
`Citation:` and `Homepage:` are shown by `--plan`), `VERSION`, a frozen dataclass `Config`, and one subclass of
`Corpus`. Nothing registers it. These modules import nothing heavy at the top: `--plan` reads them all.
"""

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

Progress = Callable[[int, int, str], None]
"""progress(done, total, text): `done` of `total` units of work are finished; `text` is for people."""

SPLITS = ("train", "validation", "test")
STATED = ("title", "licence", "citation", "homepage")
RESAMPLERS = ("soxr", "resampy")
SOURCE = "source.json"  # where the recordings were taken from: two equal downloads may differ in it
LEAST_TIMESTEPS = 32  # of a clip: fewer make no picture that a classifier could look at
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")


@dataclass(frozen=True)
class CorpusConfig:
    """The settings that every corpus has; each corpus' `Config` inherits them."""

    sample_rate: int = 16000
    """Of the prepared clips, in Hz; recordings at another rate are resampled."""
    clip_seconds: float = 1.0
    """Length of a clip: shorter recordings are zero-padded at the end, longer ones cut."""
    resampler: str = "soxr"
    """"soxr" (its HQ quality) or "resampy" (kaiser_best, some fifty times slower)."""

    def __post_init__(self) -> None:
        if self.sample_rate < 1000:
            raise ValueError(f"corpus.sample_rate={self.sample_rate} is not a rate in Hz; try 16000 or 8000")
        if self.timesteps < LEAST_TIMESTEPS:
            raise ValueError(
                f"corpus.clip_seconds={self.clip_seconds} at {self.sample_rate} Hz are {self.timesteps} timesteps, and a clip "
                f"needs {LEAST_TIMESTEPS}: take --clip-seconds {LEAST_TIMESTEPS / self.sample_rate:g} or more"
            )
        if self.resampler not in RESAMPLERS:
            raise ValueError(f"unknown corpus.resampler {self.resampler!r}. Available: {', '.join(RESAMPLERS)}")

    @property
    def timesteps(self) -> int:
        """Length of a clip in timesteps."""
        return round(self.sample_rate * self.clip_seconds)


@dataclass(frozen=True)
class Recording:
    """One stretch of audio that becomes one clip: a whole file, or `frames` frames of it from frame `start` on."""

    path: str
    """Relative to the corpus' root, with forward slashes."""
    label: str | None
    speaker: str | None
    split: str
    """"train", "validation" or "test"."""
    start: int = 0
    """First frame, at the file's own rate."""
    frames: int | None = None
    """Number of frames; None is all that follow."""
    sha256: str | None = None
    """Of the whole file, where it lies outside `_workdir` and may have changed since it was listed."""
    window: int | None = None
    """The clip is that one of the file's consecutive stretches of a clip's length, 0 the first; the file is resampled as a
    whole, and `start` only tells where the stretch begins. None: what `start` and `frames` say is resampled by itself."""


class Corpus:
    """A set of recordings. Subclasses write `download` and `recordings`; the attributes below come from the docstring.

    `title`, `licence`, `citation` and `homepage` are read from the docstring of the module that defines the subclass.
    """

    title: ClassVar[str]
    licence: ClassVar[str]
    citation: ClassVar[str]
    homepage: ClassVar[str]
    labels: ClassVar[tuple[str, ...]] = ()
    """The classes in their natural order; () = none, or, where `has_classes` says so, the labels that occur, naturally
    sorted."""
    needs_source: ClassVar[bool] = False
    """Whether the corpus is nothing without `--source`."""
    download_settings: ClassVar[tuple[str, ...]] = ()
    """The fields of `Config` that decide what `download` leaves behind; the others concern the clips alone."""
    quantization: ClassVar[str] = ""
    """The codes, mu-law or linear, that autoregressive models hear at the corpus' front door; "" leaves them to the models."""
    most_rejected: ClassVar[float] = 0.01
    """The share of the recordings that may be unusable; where there are more, nothing is prepared."""

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        fields = docstring_fields(sys.modules[cls.__module__].__doc__ or "")
        for name in STATED:
            setattr(cls, name, fields.get(name, ""))

    def check(self, config: Any, source: Path | None) -> None:
        """Raise ValueError where it can be known before anything runs that no benchmark can come of this.

        Labels are not needed, but all recordings have one or none has.
        """

    def has_classes(self, config: Any, source: Path | None) -> bool:
        """Whether recordings say which class they are of: then a classifier is the judge, else independent ears.

        Known before anything runs: from `labels`, unless a subclass finds out otherwise.
        """
        return bool(self.labels)

    def fingerprint(self, config: Any, source: Path | None) -> str:
        """What else decides what `download` leaves behind: "", or a hash of what lies at `source`. Called often."""
        return ""

    def download(
        self, config: Any, folder: Path, source: Path | None, progress: Progress, workers: int
    ) -> dict[str, Any]:
        """Fetch or make the recordings in `folder`, resuming what a killed attempt left there; returns metrics.

        source: a local archive or folder to take them from instead of the network. Where they came from is written to
        `folder/source.json`, which is no part of what they are. Raises ValueError where they cannot be had.
        """
        raise NotImplementedError

    def expected_size(self, config: Any) -> tuple[int, int]:
        """(bytes of the download, recordings in it), where they are known beforehand; else (0, 0). For `--plan`."""
        return 0, 0

    def recordings(self, config: Any, folder: Path) -> Iterable[Recording]:
        """Everything in the finished folder, in an order that depends on the recordings alone."""
        raise NotImplementedError

    def background(self, config: Any, folder: Path) -> list[Path]:
        """Files of background noise in the finished folder, for a classifier to be trained with; usually none."""
        return []

    def rejected(self, config: Any, folder: Path) -> list[tuple[str, str]]:
        """(path, reason) of every file that `download` found but cannot be used, and so is in no recording."""
        return []

    def left_out(self, config: Any, folder: Path) -> dict[str, float]:
        """Seconds of usable audio that become no clip, by the reason in words: "at the ends of files", say."""
        return {}

    def silence_db(self, config: Any) -> float | None:
        """The level in dB of full scale that a clip must exceed for a tenth of a second to be taken; None: all are."""
        return None

    def rescales(self, config: Any) -> bool:
        """Whether all clips are made louder by one factor, with which the loudest training clip reaches full scale."""
        return False

    def root(self, config: Any, folder: Path) -> Path:
        """The folder that `Recording.path` is relative to."""
        return folder


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Sorts "take 2" before "take 10", upper case before lower case."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if position % 2 else part for position, part in enumerate(parts)], text


def docstring_fields(docstring: str) -> dict[str, str]:
    """The title (first line, up to its first colon) and every `Name: text` paragraph of a corpus' docstring."""
    lines = docstring.strip().splitlines()
    fields = {"title": lines[0].split(":")[0].strip().rstrip(".")} if lines else {}
    current = None
    for line in lines[1:]:
        name, colon, text = line.partition(":")
        if colon and name in ("Licence", "Citation", "Homepage"):
            current = name.lower()
            fields[current] = text.strip()
        elif not line.strip():
            current = None
        elif current:
            fields[current] = f"{fields[current]} {line.strip()}"
    return {name: text for name, text in fields.items() if text}

"""A folder of your own: any wav, flac or ogg files, given by --source, labelled by sub-folders or a table.

The files stay where they are: what is kept is `index.csv`, with the relative path, size and sha256 of each. They are
read once more when the clips are made, and a file that has changed or gone by then stops the run; from then on the
clips stand for themselves. The splits follow from the relative paths (or speakers) and the seed alone.

Licence: whatever holds for your recordings.
Citation: whatever your recordings ask for.
Homepage: none.
"""

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tasks import folders, names
from tasks.corpora._dealing import deal
from tasks.corpora.base import (
    AUDIO_SUFFIXES,
    SOURCE,
    SPLITS,
    Corpus,
    CorpusConfig,
    Progress,
    Recording,
    natural_key,
)

VERSION = 1

INDEX = "index.csv"
COLUMNS = ("path", "label", "speaker", "split", "size", "sha256")


@dataclass(frozen=True)
class Config(CorpusConfig):
    name: str = ""
    """What the corpus is called in paths; the front door takes the name of the source folder."""
    labels: str = "folders"
    """What is said in a file. "folders": the name of the first sub-folder on its way; no labels where there are none.
    "none": no labels. Else the name of a CSV file in the folder, with the columns path,label[,split,speaker]: only the
    files that it lists are taken."""
    validation_fraction: float = 0.1
    """Of the files, exactly, up to rounding, and evenly of all labels; at least one of each label with three files or more.
    Where the table names speakers: of the speakers, whatever they say."""
    test_fraction: float = 0.1
    """The same for the test split. Where the table has a column `split`, it counts, and the fractions do not."""
    split_seed: int = 0
    """Another one deals the files out to the splits differently."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name:
            names.check("corpus.name", self.name)
        if min(self.validation_fraction, self.test_fraction) <= 0 or self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"corpus.validation_fraction={self.validation_fraction} and corpus.test_fraction={self.test_fraction} "
                "must be above 0 and leave something for training"
            )


class Folder(Corpus):
    needs_source = True
    download_settings = ("name", "labels", "validation_fraction", "test_fraction", "split_seed")

    def check(self, config: Config, source: Path | None) -> None:
        """Whether there are files, labels for all of them or for none, and enough of them for three splits."""
        root = _existing(source)
        listed = _listed(root, config.labels)
        bare = [row.path for row in listed if row.label is None]
        if bare and len(bare) < len(listed):
            raise ValueError(f"{len(bare)} of {len(listed)} files in {root} have no label, e.g. {', '.join(bare[:3])}")
        if len({row.label for row in listed}) < 2 and not bare:
            raise ValueError(
                f"all files in {root} have the label {listed[0].label!r}: give two classes or more, or none at all "
                "(--set corpus.labels=none)"
            )
        _splits(listed, config)

    def has_classes(self, config: Config, source: Path | None) -> bool:
        """Whether sub-folders or the table name any."""
        return any(row.label is not None for row in _listed(_existing(source), config.labels))

    def fingerprint(self, config: Config, source: Path | None) -> str:
        """A hash of the names and sizes of the audio files, and of the table: quick enough for every run."""
        root = _existing(source)
        parts = [f"{name}\0{size}" for name, size in _audio_files(root)]
        if config.labels not in ("folders", "none"):
            parts.append(_table(root, config.labels).read_text(encoding="utf-8-sig"))
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def download(
        self, config: Config, folder: Path, source: Path | None, progress: Progress, workers: int
    ) -> dict[str, Any]:
        """Write `index.csv`: every recording with its label, speaker, split, size and sha256. Nothing is copied."""
        root = _existing(source)
        listed = _listed(root, config.labels)
        splits = _splits(listed, config)
        folder.mkdir(parents=True, exist_ok=True)
        total = 0
        hashes: Counter[str] = Counter()
        with open(folder / INDEX, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for done, (row, split) in enumerate(zip(listed, splits, strict=True), 1):
                size, sha256 = (root / row.path).stat().st_size, folders.sha256(root / row.path)
                table.writerow((row.path, row.label or "", row.speaker or "", split, size, sha256))
                total += size
                hashes[sha256] += 1
                progress(done, len(listed), f"{done} of {len(listed)} files listed, {total / 1e6:.0f} MB")
        (folder / SOURCE).write_text(json.dumps({"folder": str(root)}, indent=1) + "\n", encoding="utf-8")
        return {
            "recordings": len(listed),
            "splits": dict(sorted(Counter(splits).items())),
            "bytes": total,
            "duplicates": sum(count - 1 for count in hashes.values()),
        }

    def recordings(self, config: Config, folder: Path) -> Iterator[Recording]:
        """In the natural order of the paths."""
        with open(folder / INDEX, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield Recording(
                    row["path"], row["label"] or None, row["speaker"] or None, row["split"], sha256=row["sha256"]
                )

    def root(self, config: Config, folder: Path) -> Path:
        """The user's own folder."""
        root = Path(json.loads((folder / SOURCE).read_text(encoding="utf-8"))["folder"])
        if not root.is_dir():
            raise ValueError(
                f"{root}, which this corpus was listed from, is gone: put it back, or list the corpus again from "
                "another place with --source (an equal folder gives an equal corpus)"
            )
        return root


@dataclass(frozen=True)
class _Listed:
    """A file as its folder or table tells it; split is "" where the fractions decide."""

    path: str
    label: str | None
    speaker: str | None = None
    split: str = ""


def _existing(source: Path | None) -> Path:
    if source is None:
        raise ValueError("the corpus `folder` is what --source says: give --source path/to/audio")
    if not source.is_dir():
        raise ValueError(
            f"--source {source} is not a folder; the corpus `folder` needs one with wav, flac or ogg files"
        )
    return source.resolve()


def _audio_files(root: Path) -> list[tuple[str, int]]:
    """(relative path, size) of all audio files below root, in natural order; hidden ones are left out."""
    found = []
    for place, below, files in os.walk(root, followlinks=False):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            path = Path(place, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".") and path.is_file():
                found.append((path.relative_to(root).as_posix(), path.stat().st_size))
    if not found:
        raise ValueError(f"--source {root} holds no audio file ({', '.join(AUDIO_SUFFIXES)}), nor do its sub-folders")
    return sorted(found, key=lambda each: natural_key(each[0]))


def _table(root: Path, name: str) -> Path:
    path = root / name
    if not path.is_file():
        raise ValueError(
            f"corpus.labels={name!r}: there is no such table in {root}. Use a CSV's name, `folders` or `none`"
        )
    return path


def _listed(root: Path, labels: str) -> list[_Listed]:
    """All recordings with their labels, in natural order."""
    if labels not in ("folders", "none"):
        return sorted(_read_table(root, labels), key=lambda row: natural_key(row.path))
    files = [name for name, _size in _audio_files(root)]
    if labels == "none" or not any("/" in name for name in files):
        return [_Listed(name, None) for name in files]
    bare = [name for name in files if "/" not in name]
    if bare:
        raise ValueError(
            f"{len(bare)} files in {root} lie in no sub-folder and so have no label, e.g. {bare[0]}: move them into "
            "one, or use --set corpus.labels=none"
        )
    return [_Listed(name, name.split("/")[0]) for name in files]


def _read_table(root: Path, name: str) -> Iterator[_Listed]:
    """The rows of path,label[,split,speaker]; ValueError where a row is incomplete, strange or there twice."""
    with open(_table(root, name), newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        columns = set(table.fieldnames or ())
        if "path" not in columns or not columns <= {"path", "label", "split", "speaker"}:
            raise ValueError(f"{root / name} has the columns {sorted(columns)}; it needs path,label[,split,speaker]")
        seen = set()
        for row in table:
            where = f"{root / name}, line {table.line_num}"
            path, split = PurePosixPath(row["path"] or ""), row.get("split") or ""
            if path.is_absolute() or ".." in path.parts or not (root / path).is_file():
                raise ValueError(f"{where}: {row['path']!r} is no file in {root}; paths are relative to that folder")
            if str(path) in seen:
                raise ValueError(f"{where}: {row['path']!r} is listed twice")
            if "split" in columns and split not in SPLITS:
                raise ValueError(f"{where}: the split is {split!r}. Available: {', '.join(SPLITS)}")
            seen.add(str(path))
            yield _Listed(str(path), row.get("label") or None, row.get("speaker") or None, split)
    if not seen:
        raise ValueError(f"{root / name} lists no file")


def _splits(listed: list[_Listed], config: Config) -> list[str]:
    """The split of each file: the table's, or by fractions of the speakers, or of the files of every label."""
    if listed[0].split:
        return [row.split for row in listed]
    fractions = (config.validation_fraction, config.test_fraction)
    if any(row.speaker for row in listed):
        units = [f"speaker {row.speaker}" if row.speaker else f"file {row.path}" for row in listed]
        return deal(units, ["" for _ in units], *fractions, config.split_seed)
    return deal(
        [f"file {row.path}" for row in listed], [row.label or "" for row in listed], *fractions, config.split_seed
    )

"""The audio files of a folder, with what their sub-folders or a table say of them."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.corpora.base import AUDIO_SUFFIXES, SPLITS, natural_key

SUFFIXES = (*AUDIO_SUFFIXES, ".mp3", ".opus", ".aif", ".aiff")
UNREADABLE_SUFFIXES = (".m4a", ".aac", ".mp4", ".wma", ".ape", ".mpc", ".wv")  # audio, but nothing here decodes it
CONVERT = "convert them to flac or wav, e.g. with `ffmpeg -i song.m4a song.flac`"


@dataclass(frozen=True)
class Listed:
    """A file as its folder or table tells it; split is "" where the fractions decide."""

    path: str
    label: str | None
    speaker: str | None = None
    split: str = ""


def existing(source: Path | None) -> Path:
    if source is None:
        raise ValueError("the corpus `folder` is what --source says: give --source path/to/audio")
    if not source.is_dir():
        raise ValueError(
            f"--source {source} is not a folder; the corpus `folder` needs one with wav, flac, ogg, mp3, opus or aiff "
            "files"
        )
    return source.resolve()


def audio_files(root: Path) -> list[tuple[str, int]]:
    """(relative path, size) of all audio files below root, in natural order; hidden ones are left out."""
    found = _files(root, SUFFIXES)
    if not found:
        others = _files(root, UNREADABLE_SUFFIXES)
        hint = f". Its {len(others)} files like {others[0][0]} cannot be read here: {CONVERT}" if others else ""
        raise ValueError(f"--source {root} holds no audio file ({', '.join(SUFFIXES)}), nor do its sub-folders{hint}")
    return found


def foreign_files(root: Path) -> list[tuple[str, int]]:
    """The same of audio files that nothing here decodes."""
    return _files(root, UNREADABLE_SUFFIXES)


def _files(root: Path, suffixes: tuple[str, ...]) -> list[tuple[str, int]]:
    found = []
    for place, below, files in os.walk(root, followlinks=False):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            path = Path(place, name)
            if path.suffix.lower() in suffixes and not name.startswith(".") and path.is_file():
                found.append((path.relative_to(root).as_posix(), path.stat().st_size))
    return sorted(found, key=lambda each: natural_key(each[0]))


def table_of(root: Path, name: str) -> Path:
    path = root / name
    if not path.is_file():
        raise ValueError(
            f"corpus.labels={name!r}: there is no such table in {root}. Use a CSV's name, `folders` or `none`"
        )
    return path


def listed(root: Path, labels: str) -> list[Listed]:
    """All recordings with their labels, in natural order; one sub-folder for all of them is no label."""
    if labels not in ("folders", "none"):
        return sorted(_read_table(root, labels), key=lambda row: natural_key(row.path))
    files = [name for name, _size in audio_files(root)]
    if labels == "none" or not any("/" in name for name in files):
        return [Listed(name, None) for name in files]
    bare = [name for name in files if "/" not in name]
    if bare:
        raise ValueError(
            f"{len(bare)} files in {root} lie in no sub-folder and so have no label, e.g. {bare[0]}: move them into "
            "one, or use --set corpus.labels=none"
        )
    labelled = len({name.split("/")[0] for name in files}) > 1
    return [Listed(name, name.split("/")[0] if labelled else None) for name in files]


def _read_table(root: Path, name: str) -> Iterator[Listed]:
    """The rows of path,label[,split,speaker]; ValueError where a row is incomplete, strange or there twice."""
    with open(table_of(root, name), newline="", encoding="utf-8-sig") as file:
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
            yield Listed(str(path), row.get("label") or None, row.get("speaker") or None, split)
    if not seen:
        raise ValueError(f"{root / name} lists no file")

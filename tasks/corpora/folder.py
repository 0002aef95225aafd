"""A folder of your own: wav, flac, ogg, mp3, opus or aiff files of any rate and length, given by --source.

Long files are cut into consecutive clips. What is left over at the end of a file is a clip, padded with silence, if it
fills half of one. A file that cannot be read is listed with the reason, and the others are taken.

No file is in two splits: about a tenth of the audio goes to each of validation and test, in whole files (with labels:
of the files of every label). Where there are fewer than three, each is divided by time: its beginning is for training,
its end for the test, and between two splits one clip is left out.

The files stay where they are: what is kept is `index.csv`, with the relative path, length, size and sha256 of each.
They are read once more when the clips are made, and a file that has changed or gone by then stops the run; from then on
the clips stand for themselves. The splits follow from the relative paths, lengths (or labels, speakers) and the seed
alone.

Licence: whatever holds for your recordings.
Citation: whatever your recordings ask for.
Homepage: none.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import folders, names
from tasks.corpora import _windows
from tasks.corpora._listing import CONVERT, audio_files, existing, foreign_files, listed, table_of
from tasks.corpora._splitting import by_time, measured, splits_of
from tasks.corpora.base import SOURCE, Corpus, CorpusConfig, Progress, Recording

VERSION = 2

INDEX = "index.csv"
COLUMNS = ("path", "label", "speaker", "split", "frames", "rate", "size", "sha256")
REJECTED = "rejected.csv"
MOST_REJECTED = 0.5


@dataclass(frozen=True)
class Config(CorpusConfig):
    name: str = ""
    """What the corpus is called in paths; the front door takes the name of the source folder."""
    labels: str = "folders"
    """What is said in a file. "folders": the name of the first sub-folder on its way; no labels where there are not two.
    "none": no labels. Else the name of a CSV file in the folder, with the columns path,label[,split,speaker]: only the
    files that it lists are taken."""
    validation_fraction: float = 0.1
    """Of the audio, in whole files. With labels: of the files, exactly, up to rounding, and evenly of all labels; at least
    one of each label with three files or more. Where the table names speakers: of the speakers, whatever they say."""
    test_fraction: float = 0.1
    """The same for the test split. Where the table has a column `split`, it counts, and the fractions do not."""
    split_seed: int = 0
    """Another one deals the files out to the splits differently."""
    split_by: str = "auto"
    """"file": no file is in two splits. "time": every file is divided, with a gap. "auto": by file if there are enough."""
    long_files: str = "windows"
    """"windows": consecutive clips, to their end. "first": one clip of each file, its beginning."""
    skip_silence: bool = False
    """Leave out clips that are silent from end to end."""
    silence_db: float = -50.0
    """What counts as silent: no tenth of a second is louder than that, in dB of full scale."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name:
            names.check("corpus.name", self.name)
        if min(self.validation_fraction, self.test_fraction) <= 0 or self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"corpus.validation_fraction={self.validation_fraction} and corpus.test_fraction={self.test_fraction} "
                "must be above 0 and leave something for training"
            )
        for field, choices in (("split_by", ("auto", "file", "time")), ("long_files", ("windows", "first"))):
            if getattr(self, field) not in choices:
                raise ValueError(f"unknown corpus.{field} {getattr(self, field)!r}. Available: {', '.join(choices)}")


class Folder(Corpus):
    needs_source = True
    download_settings = ("name", "labels", "validation_fraction", "test_fraction", "split_seed", "split_by")
    most_rejected = MOST_REJECTED

    def check(self, config: Config, source: Path | None) -> None:
        """Whether there are files, labels for all of them or for none, and enough of them for three splits."""
        root = existing(source)
        found = listed(root, config.labels)
        bare = [row.path for row in found if row.label is None]
        if bare and len(bare) < len(found):
            raise ValueError(f"{len(bare)} of {len(found)} files in {root} have no label, e.g. {', '.join(bare[:3])}")
        if len({row.label for row in found}) < 2 and not bare:
            raise ValueError(
                f"all files in {root} have the label {found[0].label!r}: give two classes or more, or none at all "
                "(--set corpus.labels=none)"
            )
        if by_time(found, config)[0]:
            splits_of(measured(root, found)[0], config)

    def has_classes(self, config: Config, source: Path | None) -> bool:
        """Whether sub-folders or the table name any."""
        return any(row.label is not None for row in listed(existing(source), config.labels))

    def fingerprint(self, config: Config, source: Path | None) -> str:
        """A hash of the names and sizes of the audio files, and of the table: quick enough for every run."""
        root = existing(source)
        parts = [f"{name}\0{size}" for name, size in (*audio_files(root), *foreign_files(root))]
        if config.labels not in ("folders", "none"):
            parts.append(table_of(root, config.labels).read_text(encoding="utf-8-sig"))
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def download(
        self, config: Config, folder: Path, source: Path | None, progress: Progress, workers: int
    ) -> dict[str, Any]:
        """Write `index.csv` and `rejected.csv`: what can be used, with its length, and what cannot. Nothing is copied."""
        root = existing(source)
        usable, refused = measured(root, listed(root, config.labels))
        if config.labels in ("folders", "none"):
            refused += [(name, f"not readable here: {CONVERT}") for name, _size in foreign_files(root)]
        if len(refused) > MOST_REJECTED * (len(usable) + len(refused)):
            told = "; ".join(f"{path} ({reason})" for path, reason in refused[:3])
            raise ValueError(
                f"{len(refused)} of {len(usable) + len(refused)} files in {root} cannot be used: {told}"
                f"{'; ...' if len(refused) > 3 else ''}. Repair them or move them away"
            )
        splits = splits_of(usable, config)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / REJECTED, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("path", "reason"), *refused])
        total = 0
        hashes: Counter[str] = Counter()
        with open(folder / INDEX, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for done, ((row, frames, rate), split) in enumerate(zip(usable, splits, strict=True), 1):
                size, sha256 = (root / row.path).stat().st_size, folders.sha256(root / row.path)
                what = (row.path, row.label or "", row.speaker or "", split)
                table.writerow((*what, frames, rate, size, sha256))
                total += size
                hashes[sha256] += 1
                progress(done, len(usable), f"{done} of {len(usable)} files listed, {total / 1e6:.0f} MB")
        (folder / SOURCE).write_text(json.dumps({"folder": str(root)}, indent=1) + "\n", encoding="utf-8")
        return {
            "recordings": len(usable),
            "rejected": len(refused),
            "splits": dict(sorted(Counter(split or "by time" for split in splits).items())),
            "seconds": round(sum(frames / rate for _, frames, rate in usable), 3),
            "bytes": total,
            "duplicates": sum(count - 1 for count in hashes.values()),
        }

    def recordings(self, config: Config, folder: Path) -> Iterator[Recording]:
        """In the natural order of the paths."""
        for row, frames, rate in _index(folder):
            if config.long_files == "windows" or not row.split:
                yield from _windows.cut(row, frames, rate, config)
            else:
                yield row

    def rejected(self, config: Config, folder: Path) -> list[tuple[str, str]]:
        with open(folder / REJECTED, newline="", encoding="utf-8") as file:
            return [(row["path"], row["reason"]) for row in csv.DictReader(file)]

    def left_out(self, config: Config, folder: Path) -> dict[str, float]:
        ends = gaps = 0.0
        for row, frames, rate in _index(folder):
            clips, rest = _windows.count(frames, rate, config)
            taken = len(list(_windows.cut(row, frames, rate, config)))
            if config.long_files == "windows" or not row.split:
                ends += rest / config.sample_rate
                gaps += (clips - taken) * config.clip_seconds
            else:
                ends += max(0.0, frames / rate - config.clip_seconds)
        return {"at the ends of files": round(ends, 3), "between two splits of one file": round(gaps, 3)}

    def silence_db(self, config: Config) -> float | None:
        return config.silence_db if config.skip_silence else None

    def root(self, config: Config, folder: Path) -> Path:
        """The user's own folder."""
        root = Path(json.loads((folder / SOURCE).read_text(encoding="utf-8"))["folder"])
        if not root.is_dir():
            raise ValueError(
                f"{root}, which this corpus was listed from, is gone: put it back, or list the corpus again from "
                "another place with --source (an equal folder gives an equal corpus)"
            )
        return root


def _index(folder: Path) -> Iterator[tuple[Recording, int, int]]:
    """(whole file, its frames, its rate) of every row; the split of a file that is divided by time is ""."""
    with open(folder / INDEX, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            whole = Recording(
                row["path"], row["label"] or None, row["speaker"] or None, row["split"], sha256=row["sha256"]
            )
            yield whole, int(row["frames"]), int(row["rate"])

"""What the two music corpora of the SaShiMi release share: archives of wavs on the Hub, splits by file, windows.

The splits are by file, in natural order: the first int(0.88 n) are for training, those up to int(0.94 n) for
validation, the rest for the test. Every file is cut into consecutive windows from its beginning, and what is left over
at its end is dropped. Both are exactly as in the release.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from tasks import download, folders, hub
from tasks.corpora import _origin
from tasks.corpora.base import Corpus, CorpusConfig, Progress, Recording, natural_key

HUB = f"{hub.HUB}/datasets/krandiash"
TRAIN, TRAIN_AND_VALIDATION = 0.88, 0.94


@dataclass(frozen=True)
class MusicConfig(CorpusConfig):
    """The settings of both."""

    level: str = "corpus"
    """"corpus": all clips are made louder alike, so that the loudest of the training clips reaches full scale. "recorded":
    they are left as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level not in ("corpus", "recorded"):
            raise ValueError(f"unknown corpus.level {self.level!r}. Available: corpus, recorded")


class ReleaseMusic(Corpus):
    """A corpus of the release. Subclasses say what it is called there, and how large it is."""

    archive: ClassVar[str]
    """`<archive>/resolve/main/<archive>.zip` on the Hub."""
    size: ClassVar[int]
    """Of the archive, in bytes, about."""
    files: ClassVar[int]
    """In it, about."""
    seconds: ClassVar[float]
    """Of a file, as a rule."""

    @property
    def url(self) -> str:
        """Where the archive lies."""
        return hub.mirrored(f"{HUB}/{self.archive}/resolve/main/{self.archive}.zip")

    def download(
        self, config: Any, folder: Path, source: Path | None, progress: Progress, workers: int
    ) -> dict[str, Any]:
        """Fill `folder/recordings` with the wavs, from the Hub's archive, or from `source`: the archive, or its folder.

        No sha256 is published: that of the first download is noted beside `folder`, and later ones must have the same.
        """
        folder.mkdir(parents=True, exist_ok=True)
        recordings = folder / "recordings"
        if source is None:
            self._fetch(folder, recordings, progress)
        elif source.is_dir():
            _origin.note(folder, {"folder": str(source.resolve())})
            found = _only_folder(source)
            _origin.copy(found, sorted(path.name for path in found.glob("*.wav")), recordings, progress)
        elif source.is_file():
            _origin.note(folder, {"archive": str(source.resolve()), "sha256": folders.sha256(source)})
            download.extract(source, recordings, _is_wanted, progress)
        else:
            raise ValueError(f"--source {source} does not exist: name {self.archive}.zip, or the folder that it holds")
        files = self._files(folder)
        return {"recordings": len(files), "bytes": sum(path.stat().st_size for path in files)}

    def _fetch(self, folder: Path, recordings: Path, progress: Progress) -> None:
        archive, origin = folder / f"{self.archive}.zip", {"url": self.url}
        if recordings.exists() and _origin.noted(folder) != origin:  # of an attempt with a --source
            shutil.rmtree(recordings)
        _origin.note(folder, origin)
        if not recordings.exists():
            try:
                download.fetch(self.url, archive, None, progress)
                hub.pin(folder.parent / f"{archive.name}.sha256", archive.name, folders.sha256(archive))
            except ValueError as error:
                archive.unlink(missing_ok=True)
                raise ValueError(
                    f"{self.url}: {error}; or fetch it by other means and give --source path/to/{archive.name}"
                ) from error
            download.extract(archive, recordings, _is_wanted, progress)
        archive.unlink(missing_ok=True)

    def expected_size(self, config: Any) -> tuple[int, int]:
        return 2 * self.size, self.files * int(self.seconds // config.clip_seconds)

    def rescales(self, config: Any) -> bool:
        return bool(config.level == "corpus")

    def recordings(self, config: Any, folder: Path) -> Iterator[Recording]:
        """File by file, in natural order. Raises ValueError for a damaged file, or where none is as long as a clip."""
        from tasks import audio

        files, longest = self._files(folder), 0.0
        for number, path in enumerate(files):
            name = path.relative_to(folder).as_posix()
            try:
                frames, rate = audio.measure(path)
            except audio.AudioError as error:
                raise ValueError(f"{name} of {self.archive} cannot be used: {error}. Fetch the archive anew") from error
            longest = max(longest, frames / rate)
            for window in range(frames * config.sample_rate // rate // config.timesteps):
                start = window * config.timesteps * rate // config.sample_rate
                yield Recording(name, None, None, split_of(number, len(files)), start, window=window)
        if longest < config.clip_seconds:
            raise ValueError(
                f"no file of {self.archive} is as long as a clip of {config.clip_seconds:g} s: the longest has {longest:g} s. "
                f"Take --clip-seconds {longest:g} or less"
            )

    def left_out(self, config: Any, folder: Path) -> dict[str, float]:
        from tasks import audio

        rest = 0.0
        for path in self._files(folder):
            frames, rate = audio.measure(path)
            rest += frames * config.sample_rate // rate % config.timesteps / config.sample_rate
        return {"at the ends of files": round(rest, 3)}

    def _files(self, folder: Path) -> list[Path]:
        """All wavs, in natural order, as the splits count them."""
        return sorted(_only_folder(folder / "recordings").glob("*.wav"), key=lambda path: natural_key(path.name))


def split_of(number: int, count: int) -> str:
    """Where the file of that number, of so many in natural order, belongs."""
    if number < int(TRAIN * count):
        return "train"
    return "validation" if number < int(TRAIN_AND_VALIDATION * count) else "test"


def _only_folder(place: Path) -> Path:
    """`place`, or the one folder below it, in which wavs lie. Raises ValueError where there is none, or several."""
    found = sorted({path.parent for path in place.rglob("*.wav") if _is_wanted(path.relative_to(place).as_posix())})
    if len(found) != 1:
        raise ValueError(f"{place} holds wavs in {len(found)} folders; this corpus is one folder of wavs")
    return found[0]


def _is_wanted(name: str) -> bool:
    """Whether a member of the archive is a recording; archives made on a Mac hold shadows of each in __MACOSX/."""
    path = PurePosixPath(name)
    return path.suffix == ".wav" and not any(part.startswith((".", "__")) for part in path.parts)

"""SC09: the ten spoken digits of the Speech Commands data set, one second each.

Recorded by volunteers with their own microphones: mono, 16 kHz, 16 bits, about one second a clip. Version v0.02, which
the SaShiMi and DiffWave papers use, has 31,158 training, 3,643 validation and 4,107 test clips; v0.01, which WaveGAN
uses, has 18,620 training clips. The splits are the official lists: no speaker is in two of them. The archive (2.4 GB;
v0.01: 1.5 GB) holds 35 words; only the digits are kept, and `_background_noise_`, which classifiers are trained with.

Licence: Creative Commons BY 4.0.
Citation: Pete Warden. Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition. arXiv:1804.03209, 2018.
Homepage: https://arxiv.org/abs/1804.03209
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tasks import download, folders
from tasks.corpora import _origin
from tasks.corpora.base import Corpus, CorpusConfig, Progress, Recording

VERSION = 1

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
NOISE = "_background_noise_"
DOCUMENTS = ("LICENSE", "README.md")

URL = "http://download.tensorflow.org/data/speech_commands_{version}.tar.gz"
SHA256 = {
    "v0.01": "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
    "v0.02": "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
}

SIZES = {"v0.01": (1_490_000_000, 23_666), "v0.02": (2_430_000_000, 38_908)}
"""Of the archive in bytes (gone once the digits are out), and recordings of digits."""


@dataclass(frozen=True)
class Config(CorpusConfig):
    version: str = "v0.02"
    """Of Speech Commands: "v0.02", or "v0.01" (fewer clips of the same words, other splits)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version not in SHA256:
            raise ValueError(f"unknown corpus.version {self.version!r}. Available: {', '.join(SHA256)}")


class SC09(Corpus):
    labels = DIGITS
    download_settings = ("version",)

    def download(
        self, config: Config, folder: Path, source: Path | None, progress: Progress, workers: int
    ) -> dict[str, Any]:
        """Fill `folder/recordings` with the digits, the lists and the noise.

        source: the archive or the unpacked data set, taken as it is: whether it is the published one is noted in
        `source.json`, not required.
        """
        folder.mkdir(parents=True, exist_ok=True)
        recordings, url = folder / "recordings", URL.format(version=config.version)
        if source is None:
            archive = folder / PurePosixPath(url).name
            origin = {"url": url, "sha256": SHA256[config.version], "published": True}
            if recordings.exists() and _origin.noted(folder) != origin:  # of an attempt with a --source
                shutil.rmtree(recordings)
            _origin.note(folder, origin)
            if not recordings.exists():
                self._fetch(url, archive, SHA256[config.version], progress)
                download.extract(archive, recordings, is_wanted, progress)
            archive.unlink(missing_ok=True)
        elif source.is_dir():
            _origin.note(folder, {"folder": str(source.resolve())})
            _copy(_find_root(source), recordings, progress)
        elif source.is_file():
            found = folders.sha256(source)
            published = found == SHA256[config.version]
            if not published:
                print(f"warning: {source} is not the published {url}: its sha256 is {found}")
            _origin.note(folder, {"archive": str(source.resolve()), "sha256": found, "published": published})
            download.extract(source, recordings, is_wanted, progress)
        else:
            raise ValueError(
                f"--source {source} does not exist: name a speech_commands archive, or its unpacked folder"
            )
        found_splits = Counter(recording.split for recording in self.recordings(config, folder))
        return {"recordings": found_splits.total(), "splits": dict(sorted(found_splits.items()))}

    def expected_size(self, config: Config) -> tuple[int, int]:
        archive, recordings = SIZES[config.version]
        return archive + recordings * 32_044, recordings

    def recordings(self, config: Config, folder: Path) -> Iterator[Recording]:
        """Digit by digit, files by name; the official lists say what is validation and test, the rest is training."""
        root = folder / "recordings"
        split_of: dict[str, str] = {}
        for split, name in LISTS.items():
            if not (root / name).is_file():
                raise ValueError(f"the Speech Commands data in {root} have no {name}: they are incomplete")
            split_of.update(dict.fromkeys((root / name).read_text(encoding="utf-8").split(), split))
        for digit in DIGITS:
            files = sorted(path.name for path in (root / digit).glob("*.wav"))
            if not files:
                raise ValueError(f"the Speech Commands data in {root} have no recordings of {digit!r}: is this all?")
            for name in files:
                speaker, nohash, _ = name.partition("_nohash_")
                yield Recording(
                    path=f"recordings/{digit}/{name}",
                    label=digit,
                    speaker=speaker if nohash else None,
                    split=split_of.get(f"{digit}/{name}", "train"),
                )

    def background(self, config: Config, folder: Path) -> list[Path]:
        """The release's six recordings of noise."""
        return sorted((folder / "recordings" / NOISE).glob("*.wav"))

    @staticmethod
    def _fetch(url: str, archive: Path, sha256: str, progress: Progress) -> None:
        try:
            download.fetch(url, archive, sha256, progress)
        except download.DownloadError as error:
            raise ValueError(f"{error}; or fetch it by other means and give --source path/to/{archive.name}") from error


def is_wanted(name: str) -> bool:
    """Whether a member of the archive is kept: "zero/0a7c2a8d_nohash_0.wav", the two lists, the noise, the papers."""
    parts = PurePosixPath(name).parts
    if len(parts) == 1:
        return name in LISTS.values() or name in DOCUMENTS
    return len(parts) == 2 and parts[0] in (*DIGITS, NOISE) and not parts[1].startswith(".")


def _find_root(source: Path) -> Path:
    """The folder with the lists: `source`, or one up to two levels below it."""
    for pattern in ("", "*/", "*/*/"):
        found = sorted(source.glob(f"{pattern}{LISTS['test']}"))
        if len(found) == 1:
            return found[0].parent
    raise ValueError(f"--source {source} is no unpacked Speech Commands data set: there is no {LISTS['test']} in it")


def _copy(source: Path, target: Path, progress: Progress) -> None:
    """Copy what is wanted; `target` appears only when all of it is there."""
    names = [path.name for path in source.iterdir() if path.is_file()]
    for part in (*DIGITS, NOISE):
        names += [f"{part}/{path.name}" for path in (source / part).glob("*") if path.is_file()]
    _origin.copy(source, sorted(filter(is_wanted, names)), target, progress)

"""Samples from elsewhere: a folder of audio files, a zip of one, or an array, brought into the form of our own.

The rule: a sample at another rate is resampled to the corpus' rate; one that is shorter than a clip is padded with zeros
at the end (`valid` tells how much is audio), one that is longer keeps its beginning. Nothing is ever scaled: a value
outside [-1, 1] is clipped at 16 bits, as a sound card would, and counted. The order is the natural one of the names.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tasks import audio, folders
from tasks.artifact import Progress
from tasks.corpora.base import AUDIO_SUFFIXES, natural_key

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Imported:
    """codes: (n, timesteps) int16; valid: (n,) int64; names: of the files, or row numbers of the array.

    metrics: samples, padded, cut, resampled (how many samples), clipped_samples, clipped_timesteps (outside [-1, 1]).
    """

    codes: np.ndarray
    valid: np.ndarray
    names: list[str]
    metrics: dict[str, Any] = field(default_factory=dict)


def read_samples(
    path: Path, sample_rate: int, timesteps: int, samples_rate: int | None, resampler: str = "soxr"
) -> Imported:
    """All samples at `path`, as clips of `timesteps` at `sample_rate` Hz.

    path: a folder of wav, flac or ogg files, or a .npy of shape (n, T), (n, T, 1) or (n, 1, T), float or int16.
    samples_rate: of a .npy, in Hz; None or 0 for files, which carry their own. resampler: soxr or resampy.

    Raises ValueError that names the files or rows which are unreadable, empty, not mono, or hold NaN or infinity.
    """
    import numpy as np

    sources, total = _sources(path, samples_rate)
    codes, valid = np.zeros((total, timesteps), np.int16), np.zeros(total, np.int64)
    names: list[str] = []
    refused: list[str] = []
    cut = resampled = clipped_samples = clipped_timesteps = 0
    for row, (name, waveform, rate) in enumerate(sources):
        names.append(name)
        try:
            if isinstance(waveform, Path):
                heard = audio.read(waveform)
                waveform, rate = audio.mono(heard.waveform, most=1), heard.rate
            broken = int(np.count_nonzero(~np.isfinite(waveform)))
            if broken:
                raise audio.AudioError(f"{broken} values are NaN or infinite")
            clip = audio.fit(audio.resample(waveform, rate, sample_rate, resampler), timesteps)
            if clip.valid == 0:
                raise audio.AudioError("empty: less than one timestep")
        except audio.AudioError as error:
            refused.append(f"{name} ({error})")
            continue
        codes[row], valid[row] = clip.codes, clip.valid
        cut, resampled = cut + clip.cut, resampled + (rate != sample_rate)
        clipped_samples, clipped_timesteps = clipped_samples + (clip.clipped > 0), clipped_timesteps + clip.clipped
    if refused:
        raise ValueError(
            f"{len(refused)} of {total} samples in {path} are refused: {'; '.join(refused[:5])}"
            f"{'; ...' if len(refused) > 5 else ''}. Repair or remove them; nothing was imported"
        )
    metrics = {
        "samples": total,
        "padded": int(np.count_nonzero(valid < timesteps)),
        "cut": cut,
        "resampled": resampled,
        "clipped_samples": clipped_samples,
        "clipped_timesteps": clipped_timesteps,
    }
    return Imported(codes, valid, names, metrics)


def fingerprint(path: Path) -> str:
    """A hash of the samples' content and names: what makes another import of them the same or not."""
    digest = hashlib.sha256()
    for file in [path] if path.suffix in (".npy", ".zip") and path.is_file() else _files(path):
        content = folders.known_sha256(file)
        digest.update(f"{file.name if file != path else ''}\0{content}\n".encode())
    return digest.hexdigest()


def names(folder: Path) -> list[str]:
    """What the samples in a folder of audio files are called, in the order of their import."""
    return [file.name for file in _files(folder)]


def unpack(archive: Path, folder: Path, progress: Progress) -> Path:
    """Unpack the audio files of a zip into `folder`, which is made; returns the one folder in it that they lie in.

    Raises ValueError where there are none, or they lie in several: which of them is meant is not known.
    """
    from tasks import download

    inside, _ = _look_into(archive)
    download.extract(archive, folder, _is_audio, progress)
    return folder / inside


def _is_audio(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__")) for part in path.parts)  # such as __MACOSX/
    return path.suffix.lower() in AUDIO_SUFFIXES and not hidden


def _look_into(archive: Path) -> tuple[PurePosixPath, int]:
    """The one folder of a zip that holds audio files, and how many. Raises ValueError as `unpack` does."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if _is_audio(name)]
    except zipfile.BadZipFile:
        raise ValueError(f"{archive} is no zip archive") from None
    inside = sorted({PurePosixPath(name).parent for name in names})
    if not inside:
        raise ValueError(f"there is no wav, flac or ogg file in {archive}")
    if len(inside) > 1:
        told = ", ".join(map(str, inside))
        raise ValueError(
            f"{archive} holds audio files in {len(inside)} folders ({told}): unpack it, and give one of them"
        )
    return inside[0], len(names)


Source = tuple[str, "np.ndarray | Path", int]
"""Name, and the waveform with its rate or the file that holds both."""


def _sources(path: Path, samples_rate: int | None) -> tuple[Iterator[Source], int]:
    """The samples one by one, and how many there are."""
    if path.suffix == ".npy" and path.is_file():
        if not samples_rate or samples_rate < 0:
            raise ValueError(f"{path} does not say its sample rate: give --samples-rate, e.g. --samples-rate 16000")
        rows = _rows(path)
        return ((f"row {row}", _as_float(rows[row]), samples_rate) for row in range(len(rows))), len(rows)
    if samples_rate:
        raise ValueError(f"--samples-rate is for a .npy; the files in {path} say their rate themselves: leave it out")
    files = _files(path)
    return ((file.name, file, 0) for file in files), len(files)


def _files(path: Path) -> list[Path]:
    """The audio files in a folder, naturally sorted."""
    if not path.is_dir():
        kind = "is neither a folder nor a .npy or .zip" if path.exists() else "does not exist"
        raise ValueError(
            f"the samples {path}: this {kind}. Give a folder of wav, flac or ogg files, a .zip of one, or a .npy"
        )
    found = [file for file in path.iterdir() if file.suffix.lower() in AUDIO_SUFFIXES and not file.name.startswith(".")]
    if not found:
        inside = [file.name for file in path.iterdir()][:3]
        hint = f"it holds {', '.join(inside)}, ..." if inside else "it is empty"
        raise ValueError(f"the samples {path}: there is no wav, flac or ogg file directly in it ({hint})")
    return sorted(found, key=lambda file: natural_key(file.name))


def count_files(path: Path) -> int:
    """The number of audio files in a folder or a zip; 0 for an array. Raises ValueError where there are none."""
    if path.is_file() and path.suffix == ".zip":
        return _look_into(path)[1]
    return 0 if path.is_file() and path.suffix == ".npy" else len(_files(path))


def _rows(path: Path) -> np.ndarray:
    """The array in a .npy as (n, T), memory-mapped; ValueError where it is nothing of that kind."""
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if "pickle" in str(error) or "Python objects" in str(error):  # what numpy takes all else for
            raise ValueError(f"{path} is no .npy array") from None
        raise ValueError(f"{path} cannot be read as a .npy array: {error}") from error
    if not isinstance(array, np.ndarray):  # an .npz by that name
        raise ValueError(f"{path} is no .npy array")
    if array.ndim == 3 and 1 in array.shape[1:]:
        array = array.reshape(len(array), -1)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{path} has the shape {array.shape}; samples are (n, T), (n, T, 1) or (n, 1, T)")
    if array.dtype != np.int16 and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{path} holds {array.dtype}; samples are int16, or floats in [-1, 1]")
    return np.asarray(array) if array.base is None else array


def _as_float(row: np.ndarray) -> np.ndarray:
    import numpy as np

    if row.dtype == np.int16:
        return row.astype(np.float32) / audio.FULL_SCALE
    return np.asarray(row, dtype=np.float32)

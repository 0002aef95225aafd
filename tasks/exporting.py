"""Inside the stage ExportClips: clips as shards in a format that others train from, `spec.json` and a loader to paste.

Every shard holds clips of one split, in the order of `clips.csv`, and is written in chunks: memory does not grow with the
corpus. Waveforms stay 16-bit integers; equal clips give equal files.
"""

import csv
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import folders, tfrecord
from tasks.corpora.base import SPLITS, Progress
from tasks.loaders import LOADERS

if TYPE_CHECKING:
    import numpy as np

SPEC, LOADER = "spec.json", "loader.py"
SCALE = 1 / 32768
FIELDS = {
    "audio": "int16, little-endian: timesteps of one channel; amplitude = code * scale",
    "label": "the index of its label in `labels`; -1 where the corpus has none",
    "valid": "timesteps that are audio; silence fills the rest",
    "index": "its row in clips.npy and clips.csv, which it was exported from",
    "source": "the recording that it was cut from",
    "speaker": "who speaks, or nothing",
}
Rows = Sequence[Mapping[str, Any]]
Writer = Callable[[Path, "np.ndarray", Rows, int], None]


def export(clips: Path, kind: str, shard_mb: float, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the clips of a 2-clips folder as shards of about `shard_mb` megabytes of audio; returns metrics."""
    import numpy as np

    told = folders.read_json(clips / folders.METRICS)
    labels: list[str] = json.loads((clips / "labels.json").read_text(encoding="utf-8"))
    codes = np.load(clips / "clips.npy", mmap_mode="r")
    rows = _rows(clips, labels)
    rate, timesteps = told["sample_rate"], told["timesteps"]
    size = max(1, int(shard_mb * 1e6 // (2 * timesteps)))
    write, suffix = WRITERS[kind]
    shards: list[dict[str, Any]] = []
    done = 0
    for split in SPLITS:
        of_split = [row for row in rows if row["split"] == split]
        count = -(-len(of_split) // size)
        for number in range(count):
            part = of_split[number * size : (number + 1) * size]
            first = part[0]["index"]
            path = out / f"{split}-{number:05d}-of-{count:05d}{suffix}"
            write(path, codes[first : first + len(part)], part, rate)
            shards.append({"file": path.name, "split": split, "clips": len(part), "first": first, **_content(path)})
            done += len(part)
            progress(done, len(rows), f"{len(shards)} shards")
    by_label = Counter((row["split"], row["label"]) for row in rows)
    spec = {
        "format": kind, "sample_rate": rate, "timesteps": timesteps, "seconds": timesteps / rate, "channels": 1,
        "dtype": "int16", "scale": SCALE, "labels": labels, "fields": FIELDS,
        "counts": {split: sum(row["split"] == split for row in rows) for split in SPLITS},
        "label_counts": {s: {label: by_label[s, i] for i, label in enumerate(labels)} for s in SPLITS},
        "clips_digest": folders.digest_of(clips), "shards": shards,
    }  # fmt: skip
    folders.write_json(out / SPEC, spec)
    (out / LOADER).write_text(LOADERS[kind], encoding="utf-8")
    return {"clips": spec["counts"], "shards": len(shards), "bytes": sum(shard["bytes"] for shard in shards)}


def _rows(clips: Path, labels: list[str]) -> list[dict[str, Any]]:
    """clips.csv with numbers as numbers and labels as indices."""
    with open(clips / "clips.csv", newline="", encoding="utf-8") as file:
        return [
            {
                "index": int(row["index"]), "split": row["split"], "valid": int(row["valid"]), "source": row["source"],
                "label": labels.index(row["label"]) if labels else -1, "speaker": row["speaker"],
            }
            for row in csv.DictReader(file)
        ]  # fmt: skip


def _content(path: Path) -> dict[str, Any]:
    """Size and sha256 of a shard; of a folder of wavs, those of its table, which has those of the wavs."""
    if not path.is_dir():
        return {"bytes": path.stat().st_size, "sha256": folders.sha256(path)}
    size = sum(file.stat().st_size for file in path.iterdir())
    return {"bytes": size, "sha256": folders.sha256(path / "clips.csv")}


def _wav(codes: "np.ndarray", rate: int) -> bytes:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, codes, rate, "PCM_16", format="WAV")
    return out.getvalue()


def _write_tfrecord(path: Path, codes: "np.ndarray", rows: Rows, rate: int) -> None:
    """One tf.train.Example per clip."""
    with open(path, "wb") as file:
        for clip, row in zip(codes, rows, strict=True):
            texts = {name: row[name].encode("utf-8") for name in ("source", "speaker")}
            numbers = {name: row[name] for name in ("label", "valid", "index")}
            audio = clip.astype("<i2", copy=False).tobytes()
            tfrecord.write_record(file, tfrecord.encode({"audio": audio, **numbers, **texts}))


def _write_npz(path: Path, codes: "np.ndarray", rows: Rows, rate: int) -> None:
    """One array per field; not compressed, so that reading costs nothing."""
    import numpy as np

    others: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in FIELDS if name != "audio"}
    np.savez(path, audio=codes, **others)


def _write_webdataset(path: Path, codes: "np.ndarray", rows: Rows, rate: int) -> None:
    """A tar with two files per clip, called by its index: .wav, and .json with the other fields."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for clip, row in zip(codes, rows, strict=True):
            told = json.dumps({name: row[name] for name in FIELDS if name != "audio"}, ensure_ascii=False)
            for suffix, data in (("wav", _wav(clip, rate)), ("json", told.encode("utf-8"))):
                member = tarfile.TarInfo(f"{row['index']:09d}.{suffix}")  # no clock time in it, nor a user's name
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _write_wav(path: Path, codes: "np.ndarray", rows: Rows, rate: int) -> None:
    """A folder with a wav per clip and `clips.csv`: file, the other fields, sha256."""
    import hashlib

    path.mkdir(exist_ok=True)
    others = [name for name in FIELDS if name != "audio"]
    with open(path / "clips.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", *others, "sha256"))
        for clip, row in zip(codes, rows, strict=True):
            name, data = f"{row['index']:09d}.wav", _wav(clip, rate)
            (path / name).write_bytes(data)
            table.writerow((name, *(row[other] for other in others), hashlib.sha256(data).hexdigest()))


WRITERS: dict[str, tuple[Writer, str]] = {
    "tfrecord": (_write_tfrecord, ".tfrecord"),
    "npz": (_write_npz, ".npz"),
    "webdataset": (_write_webdataset, ".tar"),
    "wav": (_write_wav, ""),
}

"""Clips for people who train elsewhere: every format is read back by the very loader that is handed out."""

import base64
import csv
import hashlib
import importlib.util
import json
import struct
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import exporting, folders, machine, tfrecord
from tasks.errors import EarshotError
from tasks.export import ExportClips
from tasks.loaders import LOADERS, to_paste
from tests import toy_runs
from tests.test_doors import artifacts, command

RATE, T = 8000, 400
SPLITS = {"train": 7, "validation": 2, "test": 3}
LABELS = ["one", "two"]
# What TensorFlow 2.21 wrote: an Example with audio b"\x01\x00\xff\xff", label -1, valid 300, source "ü.wav"; an empty record.
OF_TENSORFLOW = (
    "VQAAAAAAAADX3w/BClMKFwoFbGFiZWwSDhoMCgr///////////8BChEKBWF1ZGlvEggKBgoEAQD//woPCgV2YWxpZBIGGgQKAqwCChQKBnNvdXJj"
    "ZRIKCggKBsO8LndhdnQGrIIAAAAAAAAAACkDmAfY6oKi"
)
EXAMPLE = {"label": -1, "audio": b"\x01\x00\xff\xff", "valid": 300, "source": "ü.wav".encode()}


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return np.random.default_rng(0).integers(-32768, 32768, (sum(SPLITS.values()), T)).astype(np.int16)


def clips_folder(folder: Path, codes: np.ndarray, labels: list[str]) -> Path:
    """As PrepareClips leaves one."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "clips.npy", codes)
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    with open(folder / "clips.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("index", "source", "window", "label", "speaker", "split", "offset", "valid"))
        for row, split in enumerate(splits):
            label = labels[row % len(labels)] if labels else ""
            table.writerow((row, f"ü/{row}.wav", 0, label, f"s{row}", split, 0, T - row))
    (folder / "labels.json").write_text(json.dumps(labels))
    folders.write_json(folder / folders.METRICS, {"sample_rate": RATE, "timesteps": T})
    folders.write_json(folder / folders.MANIFEST, {"digest": "d" * 64})
    return folder


@pytest.fixture(scope="module")
def exports(codes: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each format, in shards of three clips."""
    root = tmp_path_factory.mktemp("exports")
    clips = clips_folder(root / "clips", codes, LABELS)
    for kind in LOADERS:
        (root / kind).mkdir()
        exporting.export(clips, kind, 3 * 2 * T / 1e6, root / kind, lambda *_: None)
    return {kind: root / kind for kind in LOADERS}


def spec_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "spec.json").read_text())
    return found


def loader(kind: str, folder: Path) -> Any:
    """The file that is handed out, as a module."""
    spec = importlib.util.spec_from_file_location(f"handed_out_{kind}", folder / "loader.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(pairs: Iterator[tuple[Any, Any]], codes: np.ndarray, split: str, ordered: bool = True) -> None:
    """The clips of a split, all of them, exactly, with their labels."""
    first = {"train": 0, "validation": 7, "test": 9}[split]
    expected = [(codes[row] / 32768, row % 2) for row in range(first, first + SPLITS[split])]
    found = [(np.asarray(audio), int(label)) for audio, label in pairs]
    if not ordered:
        found, expected = (sorted(each, key=lambda pair: pair[0].tolist()) for each in (found, expected))
    assert len(found) == len(expected)
    for (audio, label), (waveform, index) in zip(found, expected, strict=True):
        assert audio.dtype == np.float32
        assert (audio == waveform).all()
        assert label == index


@pytest.mark.parametrize("kind", list(LOADERS))
def test_the_spec_says_what_is_there(kind: str, exports: dict[str, Path]) -> None:
    folder, spec = exports[kind], spec_of(exports[kind])
    assert (spec["format"], spec["sample_rate"], spec["timesteps"], spec["channels"]) == (kind, RATE, T, 1)
    assert (spec["dtype"], spec["scale"], spec["labels"]) == ("int16", 1 / 32768, LABELS)
    assert spec["counts"] == SPLITS
    assert spec["label_counts"]["train"] == {"one": 4, "two": 3}
    assert [shard["clips"] for shard in spec["shards"]] == [3, 3, 1, 2, 3]
    for shard in spec["shards"]:
        path = folder / shard["file"]
        path = path / "clips.csv" if kind == "wav" else path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]
    assert len({shard["file"] for shard in spec["shards"]}) == 5


@pytest.mark.parametrize("split", list(SPLITS))
def test_numpy_reads_npz(split: str, exports: dict[str, Path], codes: np.ndarray) -> None:
    shards = loader("npz", exports["npz"]).load(exports["npz"], split)
    check((pair for audio, labels in shards for pair in zip(audio, labels, strict=True)), codes, split)


@pytest.mark.parametrize("split", list(SPLITS))
def test_torch_reads_wavs(split: str, exports: dict[str, Path], codes: np.ndarray) -> None:
    import torch

    clips = loader("wav", exports["wav"]).Clips(exports["wav"], split)
    check((clips[i] for i in range(len(clips))), codes, split)
    audio, label = next(iter(torch.utils.data.DataLoader(clips, batch_size=2)))
    assert audio.shape == (2, T)
    assert label.shape == (2,)


@pytest.mark.parametrize("split", list(SPLITS))
def test_webdataset_reads_tars(split: str, exports: dict[str, Path], codes: np.ndarray) -> None:
    pytest.importorskip("webdataset")
    check(loader("webdataset", exports["webdataset"]).load(exports["webdataset"], split), codes, split, ordered=False)


def test_tars_are_as_webdataset_wants_them(exports: dict[str, Path]) -> None:
    """Files of one clip stand together, and what precedes the first dot is its key."""
    names = []
    for shard in spec_of(exports["webdataset"])["shards"]:
        with tarfile.open(exports["webdataset"] / shard["file"]) as tar:
            names += [member.name for member in tar]
            assert all(member.mtime == member.uid == 0 and not member.uname for member in tar)
    assert names == [f"{row:09d}.{suffix}" for row in range(12) for suffix in ("wav", "json")]


@pytest.mark.parametrize("split", list(SPLITS))
def test_tensorflow_reads_tfrecords(split: str, exports: dict[str, Path], codes: np.ndarray) -> None:
    pytest.importorskip("tensorflow")
    check(loader("tfrecord", exports["tfrecord"]).load(exports["tfrecord"], split), codes, split)


def test_tfrecords_hold_every_field(exports: dict[str, Path], codes: np.ndarray) -> None:
    shards = [exports["tfrecord"] / shard["file"] for shard in spec_of(exports["tfrecord"])["shards"]]
    examples = [tfrecord.decode(data) for path in shards for data in tfrecord.read_records(path)]
    assert [example["index"] for example in examples] == list(range(12))
    for row, example in enumerate(examples):
        assert example["audio"] == codes[row].tobytes()
        assert (example["label"], example["valid"]) == (row % 2, T - row)
        assert (example["source"], example["speaker"]) == (f"ü/{row}.wav".encode(), f"s{row}".encode())


def test_what_tensorflow_wrote_is_read_and_written_alike(tmp_path: Path) -> None:
    whole = base64.b64decode(OF_TENSORFLOW)
    (tmp_path / "theirs").write_bytes(whole)
    example, empty = tfrecord.read_records(tmp_path / "theirs")
    assert tfrecord.decode(example) == EXAMPLE
    assert empty == b""
    with open(tmp_path / "ours", "wb") as file:
        tfrecord.write_record(file, tfrecord.encode(EXAMPLE))
        tfrecord.write_record(file, b"")
    assert (tmp_path / "ours").read_bytes() == whole


def test_damage_is_noticed(tmp_path: Path) -> None:
    whole = base64.b64decode(OF_TENSORFLOW)
    for at in (3, 40, len(whole) - 1):
        (tmp_path / "file").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"damaged|cut short"):
            list(tfrecord.read_records(tmp_path / "file"))
    (tmp_path / "file").write_bytes(whole[:50])
    with pytest.raises(ValueError, match="cut short"):
        list(tfrecord.read_records(tmp_path / "file"))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2**31, 2**63 - 1, -1, -(2**63)])
def test_integers_come_back(value: int) -> None:
    assert tfrecord.decode(tfrecord.encode({"n": value})) == {"n": value}


def test_the_checksum_is_crc32c() -> None:
    """The check value of CRC-32C over "123456789" is E3069283 (RFC 3720 lists others), and TensorFlow's mask on it."""
    crc = 0xE3069283
    rotated = struct.unpack("<I", struct.pack("<Q", (crc << 32 | crc) >> 15)[:4])[0]
    assert tfrecord.masked_crc(b"123456789") == (rotated + 0xA282EAD8) % 2**32


def test_a_corpus_without_labels_is_exported_too(codes: np.ndarray, tmp_path: Path) -> None:
    clips = clips_folder(tmp_path / "clips", codes, [])
    exporting.export(clips, "npz", 100, tmp_path, lambda *_: None)
    assert spec_of(tmp_path)["labels"] == []
    ((_, labels),) = loader("npz", tmp_path).load(tmp_path)
    assert set(labels) == {-1}


@pytest.mark.parametrize("kind", list(LOADERS))
def test_equal_clips_give_equal_files(kind: str, codes: np.ndarray, exports: dict[str, Path], tmp_path: Path) -> None:
    clips = clips_folder(tmp_path / "clips", codes, LABELS)
    exporting.export(clips, kind, 3 * 2 * T / 1e6, tmp_path, lambda *_: None)
    assert spec_of(tmp_path) == spec_of(exports[kind])


def test_the_task_hands_out_the_loader(codes: np.ndarray, tmp_path: Path) -> None:
    with toy_runs.settings(workdir=tmp_path):
        task = ExportClips(corpus="spoken_digits", format="npz")
        clips = task.inputs()["clips"]
        toy_runs.publish(clips.inputs()["download"], {"a": "b"})
        clips_folder(folders.partial(clips.folder), codes, LABELS)
        building = folders.partial(clips.folder)
        (building / folders.MANIFEST).unlink()
        folders.write_json(building / folders.CONFIG, clips.identity())
        folders.publish(building, clips.folder, (), machine.workdir())
        assert not task.complete()
        folder = toy_runs.build(task)
        assert task.complete()
        assert folder == tmp_path / "spoken-digits" / "exports" / "npz-100mb"
        assert spec_of(folder)["clips_digest"] == folders.digest_of(clips.folder)
        told = task.told()
        assert (folder / "loader.py").read_text() in told
        assert str(folder) in told
        pasted = to_paste("npz", str(folder)).replace("print(audio.shape, label)", "shape = audio.shape")
        names: dict[str, Any] = {}
        exec(pasted, names)
        assert names["shape"] == (7, T)


@pytest.mark.parametrize("kind", list(LOADERS))
def test_what_is_pasted_is_python(kind: str) -> None:
    compile(to_paste(kind, "a 'quoted' folder"), "loader.py", "exec")


def test_wrong_words_are_answered(tmp_path: Path) -> None:
    with pytest.raises(EarshotError, match="Did you mean tfrecord"):
        ExportClips(format="tfrecords")
    with pytest.raises(EarshotError, match="--shard-mb 0"):
        ExportClips(shard_mb=0).place()
    for words, told in (
        (["--format", "tfrecords"], "Did you mean tfrecord?"),
        (["--shard-mb", "-1"], "--shard-mb -1"),
        (["--set", "corpus.sample_rat=8000"], "Did you mean sample_rate?"),
    ):
        answer = command(sys.executable, "-m", "pipeline.export", "--workdir", str(tmp_path), *words)
        assert answer.returncode == 2, answer.stderr
        assert told in answer.stderr
        assert "Traceback" not in answer.stderr
    answer = command(sys.executable, "-m", "pipeline.export", "--workdir", str(tmp_path), "--format", "wav", "--plan")
    assert "spoken-digits/exports/wav-100mb" in answer.stdout, answer.stderr
    assert artifacts(tmp_path) == []

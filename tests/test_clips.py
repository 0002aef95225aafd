"""Recordings to clips: what is in the file, what is refused, and that the number of workers does not matter."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from models import clips
from models.clips import ClipArray, load_split
from models.clips import to_int16 as to_int16_of_models
from tasks import audio
from tasks.clips import prepare_clips
from tasks.corpora.base import Corpus, CorpusConfig, Recording
from tasks.preparing import CHUNK

CONFIG = CorpusConfig(sample_rate=8000, clip_seconds=0.05)  # 400 timesteps
T = CONFIG.timesteps
RNG = np.random.default_rng(1)


class Listed(Corpus):
    """The recordings it was given."""

    def __init__(self, recordings: Sequence[Recording]):
        self.listed = recordings

    def recordings(self, config: Any, folder: Path) -> Iterable[Recording]:
        return self.listed


def quiet(done: int, total: int, text: str) -> None:
    assert 0 <= done <= total


def prepare(folder: Path, recordings: Sequence[Recording], config: CorpusConfig = CONFIG, workers: int = 1) -> dict:
    return prepare_clips(Listed(recordings), config, folder, folder / "out", workers, quiet)


def write(folder: Path, name: str, wave: np.ndarray, rate: int = 8000, subtype: str | None = "PCM_16") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, wave, rate, subtype=subtype)
    return folder / name


def noise(frames: int = T) -> np.ndarray:
    return RNG.integers(-20000, 20000, frames, dtype=np.int16)


def corpus(folder: Path, count: int) -> list[Recording]:
    """Labelled one-clip wavs, with the splits mixed up."""
    splits = ("test", "train", "validation", "train")
    for number in range(count):
        write(folder, f"{number}.wav", noise())
    return [Recording(f"{n}.wav", f"word{n % 3}", f"speaker{n % 5}", splits[n % 4]) for n in range(count)]


def table(folder: Path, name: str = "clips.csv") -> list[dict[str, str]]:
    with open(folder / "out" / name, newline="") as file:
        return list(csv.DictReader(file))


def test_splits_are_contiguous_and_load_bit_for_bit(tmp_path: Path) -> None:
    metrics = prepare(tmp_path, corpus(tmp_path, 9))
    rows = table(tmp_path)
    assert [row["split"] for row in rows] == ["train"] * 4 + ["validation"] * 2 + ["test"] * 3
    assert [row["source"] for row in rows] == [f"{n}.wav" for n in (1, 3, 5, 7, 2, 6, 0, 4, 8)]
    assert [int(row["index"]) for row in rows] == list(range(9))
    test = load_split(tmp_path / "out", "test")
    assert isinstance(test.codes, np.memmap), "a corpus may be larger than memory"
    for position, number in enumerate((0, 4, 8)):
        assert np.array_equal(test.codes[position], soundfile.read(tmp_path / f"{number}.wav", dtype="int16")[0])
    assert test.labels is not None
    assert test.labels.tolist() == [0, 1, 2]
    assert metrics["clips"] == {"train": 4, "validation": 2, "test": 3}
    assert metrics["labels"]["test"] == {"word0": 1, "word1": 1, "word2": 1}
    assert metrics["speakers"]["train"] == 4
    every = np.concatenate([load_split(tmp_path / "out", split).codes for split in ("train", "validation", "test")])
    assert metrics["peak"] == np.abs(every.astype(int)).max() / 32768
    assert metrics["rms"] == pytest.approx(np.sqrt(np.mean((every / 32768) ** 2)), rel=1e-12)


def test_a_batch_goes_to_its_device_in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []
    monkeypatch.setattr(clips, "_to", lambda x, device: moved.append((x.dtype, tuple(x.shape), device)) or x)
    codes = noise(T * 4).reshape(4, T)
    batch = ClipArray(codes, np.full(4, T)).batch([2, 0], "cuda")
    assert (torch.int16, (2, T), "cuda") in moved
    assert torch.equal(batch.waveforms, torch.from_numpy(codes[[2, 0]]).float() / 32768)


def test_the_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    recordings = corpus(tmp_path, 3 * CHUNK + 5)
    (tmp_path / "17.wav").write_text("broken")
    found = []
    for workers in (1, 2):
        metrics = prepare(tmp_path, recordings, replace(CONFIG, sample_rate=6000), workers)
        found.append((metrics, *((tmp_path / "out" / name).read_bytes() for name in os.listdir(tmp_path / "out"))))
    assert found[0] == found[1]
    assert sorted(os.listdir(tmp_path / "out")) == ["clips.csv", "clips.npy", "labels.json", "rejected.csv"]


def test_short_is_padded_and_long_is_cut(tmp_path: Path) -> None:
    recordings = corpus(tmp_path, 4)
    short, long = noise(100), noise(T + 1)
    write(tmp_path, "1.wav", short)
    write(tmp_path, "3.wav", long)
    metrics = prepare(tmp_path, recordings)
    train = load_split(tmp_path / "out", "train")
    assert train.valid.tolist() == [100, T]
    assert np.array_equal(train.codes[0], np.concatenate([short, np.zeros(T - 100, np.int16)]))
    assert np.array_equal(train.codes[1], long[:T])
    assert (metrics["padded"], metrics["cut"], metrics["mean_valid"]) == (1, 1, (3 * T + 100) / 4)


def test_every_format_and_stereo_give_the_same_clip(tmp_path: Path) -> None:
    wave = noise()
    write(tmp_path, "a.wav", wave)
    write(tmp_path, "b.flac", wave)
    write(tmp_path, "c.wav", (wave / 32768).astype(np.float32), subtype="FLOAT")
    write(tmp_path, "d.wav", np.stack([wave, np.zeros_like(wave)], axis=1) & ~1)
    write(tmp_path, "e.wav", wave.astype(np.int32) << 16, subtype="PCM_24")
    tone = (np.sin(np.arange(T) / 5) * 10000).astype(np.int16)
    write(tmp_path, "f.ogg", tone, subtype=None)
    names = ("a.wav", "b.flac", "c.wav", "d.wav", "e.wav", "f.ogg")
    splits = ("train", "train", "train", "train", "validation", "test")
    metrics = prepare(tmp_path, [Recording(n, None, None, s) for n, s in zip(names, splits, strict=True)])
    codes = np.load(tmp_path / "out" / "clips.npy")
    for row in (0, 1, 2, 4):
        assert np.array_equal(codes[row], wave)
    assert np.array_equal(codes[3], (wave & ~1) // 2)
    assert np.corrcoef(codes[5], tone)[0, 1] > 0.9
    assert metrics["labels"] == {"train": {}, "validation": {}, "test": {}}
    assert load_split(tmp_path / "out", "train").labels is None


def test_windows_of_one_file_are_clips_of_their_own(tmp_path: Path) -> None:
    wave = noise(5 * T)
    write(tmp_path, "long.flac", wave)
    splits = ("train", "train", "validation", "test")
    prepare(tmp_path, [Recording("long.flac", None, None, s, start=i * T, frames=T - i) for i, s in enumerate(splits)])
    rows, codes = table(tmp_path), np.load(tmp_path / "out" / "clips.npy")
    assert [(r["window"], r["offset"], r["valid"]) for r in rows] == [
        (str(i), f"{i * T}", f"{T - i}") for i in range(4)
    ]
    assert np.array_equal(codes[2, : T - 2], wave[2 * T : 3 * T - 2])
    assert not codes[2, T - 2 :].any()


@pytest.mark.parametrize("resampler", ["soxr", "resampy"])
def test_resampling_keeps_a_tone_and_drops_what_would_alias(tmp_path: Path, resampler: str) -> None:
    config = CorpusConfig(sample_rate=8000, clip_seconds=0.5, resampler=resampler)
    seconds = np.arange(22050) / 22050
    tone = 0.5 * np.sin(2 * np.pi * 1000 * seconds)
    write(tmp_path, "tone.wav", tone, 22050)
    write(tmp_path, "high.wav", 0.5 * np.sin(2 * np.pi * 7000 * seconds), 22050)
    files = ("tone.wav", "high.wav", "tone.wav")
    splits = ("train", "validation", "test")
    prepare(tmp_path, [Recording(f, None, None, s) for f, s in zip(files, splits, strict=True)], config)
    codes = np.load(tmp_path / "out" / "clips.npy") / 32768
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)
    assert np.abs(codes[0] - expected)[200:-1].max() < 2e-3
    assert np.abs(codes[1])[200:].max() < 1e-3


def test_reading_the_beginning_of_a_long_file_changes_nothing(tmp_path: Path) -> None:
    wave = RNG.uniform(-0.5, 0.5, 22050 * 3)
    path = write(tmp_path, "long.wav", wave, 22050)
    whole = audio.resample(audio.mono(audio.read(path).waveform), 22050, 16000)
    beginning = audio.read(path, limit_seconds=1.0)
    assert len(beginning.waveform) < 1.2 * 22050
    assert beginning.total == len(wave)
    part = audio.resample(audio.mono(beginning.waveform), 22050, 16000)
    assert np.abs(part[:16000] - whole[:16000]).max() < 1e-6


def test_bad_recordings_are_listed_and_left_out(tmp_path: Path) -> None:
    recordings = corpus(tmp_path, 600)
    write(tmp_path, "5.wav", np.zeros(0, np.int16))
    write(tmp_path, "7.wav", np.array([0.1, np.nan, 0.1], np.float32), subtype="FLOAT")
    write(tmp_path, "8.wav", np.zeros((T, 3), np.int16))
    (tmp_path / "9.wav").write_bytes(os.urandom(1000))
    flac = write(tmp_path, "13.flac", noise(20_000)).read_bytes()
    (tmp_path / "13.wav").write_bytes(flac[: len(flac) // 2])
    recordings[17] = replace(recordings[17], start=T - 10, frames=20)
    config = replace(CONFIG, clip_seconds=2.0)
    metrics = prepare(tmp_path, recordings, config)
    rejected = {row["source"]: row["reason"] for row in table(tmp_path, "rejected.csv")}
    assert metrics["rejected"] == len(rejected) == 6
    for name, reason in (
        ("5.wav", "empty"),
        ("7.wav", "1 values are NaN"),
        ("8.wav", "3 channels"),
        ("9.wav", "unreadable"),
        ("17.wav", "cut short"),
    ):
        assert reason in rejected[name]
    assert "13.wav" in rejected
    rows, codes = table(tmp_path), np.load(tmp_path / "out" / "clips.npy")
    assert len(rows) == len(codes) == 594
    assert not {row["source"] for row in rows} & set(rejected)
    for row in (rows[0], rows[300], rows[-1]):
        wave, _ = soundfile.read(tmp_path / row["source"], dtype="int16")
        assert np.array_equal(codes[int(row["index"]), :T], wave)


def test_more_than_one_percent_is_an_error_that_names_them(tmp_path: Path) -> None:
    recordings = corpus(tmp_path, 199)
    for number in (1, 2):
        (tmp_path / f"{number}.wav").write_text("broken")
    with pytest.raises(ValueError, match=r"2 of 199 recordings.*1\.wav \(unreadable.*rejected\.csv"):
        prepare(tmp_path, recordings)
    assert len(table(tmp_path, "rejected.csv")) == 2
    assert not (tmp_path / "out" / "clips.csv").exists()


def test_what_a_corpus_must_have(tmp_path: Path) -> None:
    recordings = corpus(tmp_path, 4)
    with pytest.raises(ValueError, match=r"no clips in the split test"):
        prepare(tmp_path, recordings[1:])
    with pytest.raises(ValueError, match=r"1 of 4 recordings have no label, e\.g\. 0\.wav"):
        prepare(tmp_path, [replace(recordings[0], label=None), *recordings[1:]])
    with pytest.raises(ValueError, match="holds no recordings"):
        prepare(tmp_path, [])


def test_a_file_that_has_changed_or_gone_stops_the_run(tmp_path: Path) -> None:
    recordings = corpus(tmp_path, 4)
    recordings[2] = replace(recordings[2], sha256="0" * 64)
    with pytest.raises(ValueError, match=r"2\.wav has changed"):
        prepare(tmp_path, recordings)
    (tmp_path / "2.wav").unlink()
    with pytest.raises(ValueError, match=r"2\.wav is gone"):
        prepare(tmp_path, recordings)


def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match=r"MB are free: make room"):
        prepare(tmp_path, corpus(tmp_path, 4))
    assert not (tmp_path / "out" / "clips.npy").exists()


def test_rounding_is_that_of_the_models() -> None:
    waves = np.concatenate([RNG.uniform(-1.2, 1.2, 1000), [1.0, -1.0, 0.5 / 32768, 1.5 / 32768, 0.0]])
    assert np.array_equal(audio.to_int16(waves), to_int16_of_models(waves))


SLOW = """
import sys, time
from pathlib import Path
from tasks import clips
from tasks.corpora.base import Corpus, CorpusConfig, Recording
from tasks.preparing import CHUNK

class Listed(Corpus):
    def recordings(self, config, folder):
        return [Recording(f"{n % 4}.wav", None, None, "train") for n in range(2000)]

def progress(done, total, text):
    print(done, flush=True)
    time.sleep(60)

if __name__ == "__main__":
    place = Path(sys.argv[1])
    clips.prepare_clips(Listed(), CorpusConfig(clip_seconds=0.05), place, place / "out", 2, progress)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for left-over processes in /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    corpus(tmp_path, 4)
    (tmp_path / "slow.py").write_text(SLOW)
    root = Path(__file__).parent.parent
    command = [sys.executable, str(tmp_path / "slow.py"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) > 0
        children = [int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
        assert len(children) >= 2
        parent.send_signal(signal.SIGKILL)
    patience = time.monotonic() + 10
    while alive := [pid for pid in children if _runs(pid)]:
        assert time.monotonic() < patience, alive
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

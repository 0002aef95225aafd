"""Music as corpora: long files in windows, folders of mixed recordings, the release's piano music, and our own miniatures."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from models.layers.quantization import Quantizer
from tasks import audio, console
from tasks.clips import prepare_clips
from tasks.corpora import _release_music, _score, _tones, _windows, beethoven, miniatures, youtubemix
from tasks.corpora import folder as folder_module
from tasks.corpora._dealing import deal_by_length
from tasks.corpora._release_music import split_of
from tasks.corpora.base import SPLITS, Recording
from tasks.corpus import PrepareClips
from tasks.settings import of_corpus
from tests import reference

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(3)


def quiet(done: int, total: int, text: str) -> None:
    assert 0 <= done <= total


def prepared(corpus: Any, config: Any, source: Path | None, out: Path, workers: int = 1) -> dict[str, Any]:
    corpus.download(config, out / "1", source, quiet, workers)
    metrics: dict[str, Any] = prepare_clips(corpus, config, out / "1", out / "2", workers, quiet)
    return metrics


def rows_of(out: Path) -> list[dict[str, str]]:
    with open(out / "2" / "clips.csv", newline="") as file:
        return list(csv.DictReader(file))


def codes_of(out: Path) -> np.ndarray:
    return np.load(out / "2" / "clips.npy")


# ---------------------------------------------------------------------------------------------- windows of long files


@pytest.mark.parametrize(("rate", "resampler"), [(8000, "soxr"), (11025, "soxr"), (44100, "soxr"), (12000, "resampy")])
def test_windows_are_those_of_the_file_resampled_as_a_whole(tmp_path: Path, rate: int, resampler: str) -> None:
    sound = RNG.uniform(-0.5, 0.5, (3 * rate + 777, 2)).astype(np.float32)
    soundfile.write(tmp_path / "long.flac", sound, rate)
    mono = audio.mono(audio.read(tmp_path / "long.flac").waveform)
    whole = audio.resample(mono, rate, 8000, resampler)
    timesteps = 1001
    count = -(-len(whole) // timesteps)
    wanted = [number for number in range(count) if number not in (2, 3)]
    found = list(audio.windows(tmp_path / "long.flac", wanted, timesteps, 8000, resampler))
    for number, heard in zip(wanted, found, strict=True):
        assert isinstance(heard, np.ndarray)
        expected = whole[number * timesteps : (number + 1) * timesteps]
        assert abs(len(heard) - len(expected)) <= 1
        shared = min(len(heard), len(expected))
        difference = np.abs(heard[:shared] - expected[:shared]).max()
        assert difference == 0 if rate == 8000 else difference < 2e-5, number


def test_a_file_that_breaks_off_gives_what_there_is(tmp_path: Path) -> None:
    sound = RNG.uniform(-0.3, 0.3, 10 * 16000)
    soundfile.write(tmp_path / "a.mp3", sound, 16000, format="MP3")
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(content[: len(content) // 2])
    found = list(audio.windows(tmp_path / "a.mp3", range(10), 16000, 16000))
    assert all(isinstance(heard, np.ndarray) and len(heard) == 16000 for heard in found[:4])
    assert [str(heard).startswith("cut short") for heard in found[5:]] == [True] * 5
    found = list(audio.windows(ROOT / "README.md", [0, 1], 16000, 16000))
    assert [type(heard) for heard in found] == [audio.AudioError] * 2


@pytest.mark.parametrize(
    ("seconds", "clips", "left"), [(0.01, 1, 0.0), (1.0, 1, 0.0), (1.49, 1, 0.49), (1.5, 2, 0.0), (7.2, 7, 0.2)]
)
def test_the_end_of_a_file_is_a_clip_if_it_fills_half_of_one(seconds: float, clips: int, left: float) -> None:
    found, rest = _windows.count(round(44100 * seconds), 44100, folder_module.Config())
    assert found == clips
    assert rest == pytest.approx(left * 16000, abs=1)


@pytest.mark.parametrize("clips", [5, 6, 17, 100])
def test_a_divided_file_keeps_a_gap_between_its_parts(clips: int) -> None:
    parts = _windows.divide(clips, folder_module.Config(validation_fraction=0.2))
    ordered = [number for split in SPLITS for number in parts[split]]
    assert ordered == sorted(set(ordered))
    assert (ordered[0], ordered[-1], len(ordered)) == (0, clips - 1, clips - 2)
    for before, after in (("train", "validation"), ("validation", "test")):
        assert parts[after][0] - parts[before][-1] == 2
    assert _windows.divide(4, folder_module.Config()) == {"train": range(4)}


# ---------------------------------------------------------------------------------------------- a musician's folder


def tone(rate: int, seconds: float, hertz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Eight files that are fine, of as many kinds, and five that are not."""
    source = tmp_path / "my recordings"
    source.mkdir()
    stereo = np.stack([tone(44100, 10), tone(44100, 10, 550)], axis=1)
    soundfile.write(source / "take 1.mp3", stereo, 44100, format="MP3")
    soundfile.write(source / "take 2.flac", tone(48000, 6.3), 48000)
    soundfile.write(source / "take 10.wav", tone(22050, 4.2), 22050)
    soundfile.write(source / "take 11.ogg", tone(16000, 3), 16000)
    soundfile.write(source / "take 12.aiff", tone(8000, 2.7), 8000)
    soundfile.write(source / "take 13.mp3", tone(32000, 1.2), 32000, format="MP3")
    soundfile.write(source / "take 14.opus", tone(48000, 3), 48000, format="OGG", subtype="OPUS")
    soundfile.write(source / "take 15.wav", np.concatenate([tone(16000, 1), np.zeros(48000, np.float32)]), 16000)
    (source / "broken.mp3").write_bytes(os.urandom(3000))
    (source / "empty.wav").write_bytes(b"")
    (source / "song.m4a").write_bytes(b"....ftypM4A ")
    shutil.copy(source / "take 2.flac", source / "take 2b.flac")
    soundfile.write(source / "surround.wav", RNG.uniform(-0.1, 0.1, (16000, 6)), 16000)
    return source


def test_mixed_recordings_are_taken_and_the_broken_ones_named(recordings: Path, tmp_path: Path) -> None:
    corpus, config = folder_module.Folder(), folder_module.Config(skip_silence=True)
    corpus.check(config, recordings)
    metrics = prepared(corpus, config, recordings, tmp_path / "a")
    rows, codes = rows_of(tmp_path / "a"), codes_of(tmp_path / "a")
    clips = Counter(row["source"] for row in rows)
    assert clips == {
        "take 1.mp3": 10, "take 2.flac": 6, "take 10.wav": 4, "take 11.ogg": 3, "take 12.aiff": 3, "take 13.mp3": 1,
        "take 14.opus": 3, "take 15.wav": 1,
    }  # fmt: skip
    assert len(codes) == 31 == sum(metrics["clips"].values())
    for name in clips:
        assert len({row["split"] for row in rows if row["source"] == name}) == 1
    for row, code in zip(rows, codes, strict=True):
        assert int(np.abs(code).max()) > 0.1 * 32768, row
        spectrum = np.abs(np.fft.rfft(code[: int(row["valid"])] * np.hanning(int(row["valid"]))))
        hertz = spectrum.argmax() * 16000 / int(row["valid"])
        assert min(abs(hertz - 440), abs(hertz - 550)) < 3, row
    assert metrics["quiet"] == 3
    assert metrics["rejected_files"] == 5
    with open(tmp_path / "a" / "2" / "rejected.csv", newline="") as file:
        rejected = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert set(rejected) == {"broken.mp3", "empty.wav", "song.m4a", "surround.wav", "take 2b.flac"}
    assert rejected["take 2b.flac"] == "the same as take 2.flac"
    assert "convert them to flac or wav" in rejected["song.m4a"]
    account = "\n".join(metrics["account"])
    assert "31 clips of 1 s at 16000 Hz" in account
    assert "3.0 s of silence (3 clips that never exceed -50 dB)" in account
    assert "surround.wav: 6 channels, where mono or stereo is expected" in account
    # as many workers as you like, and somewhere else
    os.rename(recordings, tmp_path / "moved")
    assert prepared(corpus, config, tmp_path / "moved", tmp_path / "b", workers=2) == metrics
    for name in os.listdir(tmp_path / "a" / "2"):
        assert (tmp_path / "a" / "2" / name).read_bytes() == (tmp_path / "b" / "2" / name).read_bytes(), name


def test_most_of_a_folder_must_be_usable(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    corpus, config = folder_module.Folder(), folder_module.Config()
    for number in range(3):
        (source / f"{number}.m4a").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds no audio file.*Its 3 files like 0\.m4a cannot be read here: convert"):
        corpus.check(config, source)
    soundfile.write(source / "a.wav", tone(16000, 9), 16000)
    with pytest.raises(ValueError, match=r"3 of 4 files .* cannot be used: 0\.m4a"):
        corpus.download(config, tmp_path / "out", source, quiet, 1)


def test_few_files_are_divided_by_time(tmp_path: Path) -> None:
    source, corpus, config = tmp_path / "in", folder_module.Folder(), folder_module.Config()
    source.mkdir()
    sound = RNG.integers(-3000, 3000, 20 * 16000, dtype=np.int16)
    soundfile.write(source / "concert.flac", sound, 16000)
    corpus.check(config, source)
    metrics = prepared(corpus, config, source, tmp_path / "a")
    assert metrics["clips"] == {"train": 14, "validation": 2, "test": 2}
    assert metrics["left_out_seconds"] == {"at the ends of files": 0.0, "between two splits of one file": 2.0}
    rows = rows_of(tmp_path / "a")
    assert [int(row["window"]) for row in rows] == [*range(14), 15, 16, 18, 19]
    for row, codes in zip(rows, codes_of(tmp_path / "a"), strict=True):
        start = int(row["offset"])
        assert start == 16000 * int(row["window"])
        assert np.array_equal(codes, sound[start : start + 16000])
    with pytest.raises(ValueError, match="1 file cannot fill training, validation and test; give at least 3"):
        corpus.check(replace(config, split_by="file"), source)
    with pytest.raises(ValueError, match=r"Nor can they be divided by time: the longest has 3 clips of 8 s, and 5 are"):
        corpus.check(replace(config, clip_seconds=8.0), source)
    # three files are dealt out whole, unless time is asked for
    for number in range(2):
        soundfile.write(source / f"{number}.wav", sound[number:][: 16000 * 6], 16000)
    prepared(corpus, config, source, tmp_path / "b")
    assert {row["source"]: row["split"] for row in rows_of(tmp_path / "b")}["concert.flac"] == "train"
    metrics = prepared(corpus, replace(config, split_by="time"), source, tmp_path / "c")
    assert metrics["clips"] == {"train": 14 + 2 + 2, "validation": 4, "test": 4}
    first = prepared(corpus, replace(config, long_files="first"), source, tmp_path / "d")
    assert first["clips"] == {"train": 1, "validation": 1, "test": 1}


def test_whole_files_are_dealt_out_by_length() -> None:
    lengths = {"symphony": 2400.0, "song": 180.0, "etude": 150.0, "jingle": 9.0, "waltz": 160.0}
    for seed in range(5):
        splits = dict(zip(lengths, deal_by_length(list(lengths), list(lengths.values()), 0.1, 0.1, seed), strict=True))
        assert splits["symphony"] == "train"
        assert set(splits.values()) == set(SPLITS)
        for split in ("validation", "test"):
            assert sum(lengths[name] for name in lengths if splits[name] == split) >= 9.0


def test_short_labelled_files_are_what_they_were(tmp_path: Path) -> None:
    for label in ("yes", "no"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for number in range(6):
            soundfile.write(tmp_path / "in" / label / f"{number}.wav", RNG.uniform(-1, 1, 9000 + 999 * number), 11025)
    corpus, config = folder_module.Folder(), folder_module.Config()
    metrics = prepared(corpus, config, tmp_path / "in", tmp_path / "out")
    assert metrics["recordings"] == 12
    for row, codes in zip(rows_of(tmp_path / "out"), codes_of(tmp_path / "out"), strict=True):
        heard = audio.read(tmp_path / "in" / row["source"], limit_seconds=1.0)
        alone = audio.fit(audio.resample(heard.waveform[:, 0], 11025, 16000), 16000)
        assert np.array_equal(codes, alone.codes)
        assert int(row["valid"]) == alone.valid
        assert row["label"] in ("yes", "no")


HOURS = """
import sys, resource
from pathlib import Path
from tasks.clips import prepare_clips
from tasks.corpora.folder import Config, Folder
corpus, config, out = Folder(), Config(clip_seconds=4.0), Path(sys.argv[2])
corpus.download(config, out / "1", Path(sys.argv[1]), lambda *_: None, 1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare_clips(corpus, config, out / "1", out / "2", 1, lambda *_: None)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux")
def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    block = RNG.integers(-300, 300, 16000 * 60, dtype=np.int16)
    with soundfile.SoundFile(tmp_path / "in" / "hours.wav", "w", 16000, 1, "PCM_16") as file:
        for _ in range(120):
            file.write(block)
    command = [sys.executable, "-c", HOURS, str(tmp_path / "in"), str(tmp_path / "out")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert np.load(tmp_path / "out" / "2" / "clips.npy", mmap_mode="r").nbytes > 200e6
    assert int(answer.stdout.splitlines()[-1]) < 60, "megabytes"


def test_recordings_stand_for_themselves_unless_they_are_numbered() -> None:
    assert Recording("a.wav", None, None, "train").window is None
    cut = list(_windows.cut(Recording("a.wav", None, None, "train"), 32000, 16000, folder_module.Config()))
    assert [(each.window, each.start) for each in cut] == [(0, 0), (1, 16000)]


# ---------------------------------------------------------------------------------------------- the release's piano music


def release_folder(place: Path, names: list[str], sounds: list[np.ndarray], rate: int = 16000) -> Path:
    place.mkdir(parents=True)
    for name, sound in zip(names, sounds, strict=True):
        soundfile.write(place / name, sound, rate)
    return place


def archive_of(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")
            archive.writestr(f"__MACOSX/{folder.name}/._{file.name}", b"shadow")
    return path


@pytest.mark.parametrize("collection", ["beethoven", "youtubemix", "mixed"])
def test_the_splits_are_those_of_the_release(tmp_path: Path, collection: str) -> None:
    fixture = reference.load("dataset_splits").folder
    names = json.loads((fixture / "in_listings.json").read_text())[collection]
    expected = json.loads((fixture / "out_splits.json").read_text())[collection]
    source = release_folder(tmp_path / "in", names, [RNG.integers(-99, 99, 300, dtype=np.int16)] * len(names))
    corpus = (youtubemix if collection == "youtubemix" else beethoven).__dict__
    cls = corpus["YouTubeMix" if collection == "youtubemix" else "Beethoven"]
    config = corpus["Config"](clip_seconds=300 / 16000)
    cls().download(config, tmp_path / "out", archive_of(source, tmp_path / "any.zip"), quiet, 1)
    found: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for recording in cls().recordings(config, tmp_path / "out"):
        found[recording.split.replace("validation", "val")].append(Path(recording.path).name)
    assert found == expected


def test_the_sizes_of_the_splits_are_those_of_the_release() -> None:
    for count, *sizes in reference.load("dataset_splits").arrays["out_split_sizes"].tolist():
        found = Counter(split_of(number, count) for number in range(count))
        assert [found[split] for split in SPLITS] == sizes


@pytest.mark.parametrize(("slicing", "law"), [("drop", "mu-law"), ("padded", "mu-law"), ("keep", "linear")])
def test_windows_and_codes_are_those_of_the_release(tmp_path: Path, slicing: str, law: str) -> None:
    fixture = reference.load("dataset_splits")
    timesteps = fixture.config["config"]["slicings"][slicing]["sample_len"]
    ends = np.cumsum(fixture.arrays["in_lengths"])
    sounds = np.split(fixture.arrays["in_audio"], ends[:-1])
    names = [f"rec{number}.wav" for number in range(len(sounds))]
    source = release_folder(tmp_path / "in", names, sounds)
    corpus, config = beethoven.Beethoven(), beethoven.Config(clip_seconds=timesteps / 16000)
    corpus.download(config, tmp_path / "out", source, quiet, 1)
    found = list(corpus.recordings(config, tmp_path / "out"))
    listed = json.loads((fixture.folder / "out_examples.json").read_text())[slicing]
    whole = [tuple(example) for example in listed if example[2] == timesteps]
    assert [(Path(each.path).name, each.start, timesteps) for each in found] == whole
    for item in fixture.config["config"]["items"]:
        name, start, length = listed[item]
        if length < timesteps:
            continue
        window = start // timesteps
        (heard,) = audio.windows(tmp_path / "out" / "recordings" / name, [window], timesteps, 16000)
        assert isinstance(heard, np.ndarray)
        codes = Quantizer(law, per_clip=True).encode(torch.from_numpy(heard)[None])[0].numpy()
        expected = fixture.arrays[f"out_{slicing}__item{item}_y"][:, 0]
        assert np.abs(codes - expected).max() <= 1
        assert np.mean(codes != expected) < 0.01


def test_an_archive_its_folder_and_the_hub_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minute = [RNG.integers(-2000, 2000, (2 * 4000 + 99, 2), dtype=np.int16) for _ in range(20)]
    folder = release_folder(tmp_path / "youtube_mix", [f"out{number:03d}.wav" for number in range(20)], minute, 4000)
    archive = archive_of(folder, tmp_path / "local.zip")
    asked: list[str] = []

    def fetch(url: str, target: Path, sha256: str | None, progress: Any) -> None:
        assert sha256 is None
        asked.append(url)
        shutil.copy(archive, target)

    monkeypatch.setattr(_release_music.download, "fetch", fetch)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    corpus, config = youtubemix.YouTubeMix(), youtubemix.Config(sample_rate=4000, clip_seconds=1.0)
    found = []
    for name, source in (("archive", archive), ("folder", folder), ("hub", None)):
        metrics = prepared(corpus, config, source, tmp_path / name / "corpus")
        found.append((metrics, codes_of(tmp_path / name / "corpus").tobytes()))
    assert found[0] == found[1] == found[2]
    assert asked == ["https://huggingface.co/datasets/krandiash/youtubemix/resolve/main/youtubemix.zip"]
    metrics = found[0][0]
    assert metrics["clips"] == {"train": 34, "validation": 2, "test": 4}
    assert metrics["left_out_seconds"] == {"at the ends of files": pytest.approx(20 * 99 / 4000, abs=1e-3)}
    # one gain for all: from the training clips alone, the mean of the channels before it
    mixed = [sound.astype(np.float64).mean(axis=1) for sound in minute]
    loudest = max(np.abs(np.rint(sound[:8000])).max() for sound in mixed[:17])
    assert metrics["gain"] == 32767 / loudest
    expected = np.rint(np.rint(mixed[3][4000:8000]) * metrics["gain"])
    assert np.array_equal(np.load(tmp_path / "hub" / "corpus" / "2" / "clips.npy")[7], expected)
    # another content under the same address is refused, and said so
    assert (tmp_path / "hub" / "corpus" / "youtubemix.zip.sha256").exists()
    shutil.rmtree(tmp_path / "hub" / "corpus" / "1")
    archive_of(release_folder(tmp_path / "other", ["a.wav"], minute[:1]), archive)
    with pytest.raises(ValueError, match="when it was first downloaded, as noted in"):
        corpus.download(config, tmp_path / "hub" / "corpus" / "1", None, quiet, 1)


def test_what_is_wrong_with_a_release_archive_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, config = beethoven.Beethoven(), beethoven.Config()
    folder = release_folder(tmp_path / "in", [f"{n}.wav" for n in range(20)], [np.zeros(16000, np.int16)] * 20)
    corpus.download(config, tmp_path / "out", folder, quiet, 1)
    with pytest.raises(
        ValueError, match=r"as long as a clip of 8 s: the longest has 1 s\. Take --clip-seconds 1 or less"
    ):
        list(corpus.recordings(config, tmp_path / "out"))
    with pytest.raises(ValueError, match=r"does not exist: name beethoven\.zip"):
        corpus.download(config, tmp_path / "out", tmp_path / "nowhere", quiet, 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="wavs in 0 folders"):
        corpus.download(config, tmp_path / "out", tmp_path / "empty", quiet, 1)
    with pytest.raises(ValueError, match=r"unknown corpus\.level 'clip'\. Available: corpus, recorded"):
        beethoven.Config(level="clip")

    def fetch(url: str, *_: Any) -> None:
        raise _release_music.download.DownloadError(f"cannot download {url}: Name or service not known")

    monkeypatch.setattr(_release_music.download, "fetch", fetch)
    with pytest.raises(ValueError, match=r"Name or service not known; or fetch it.*--source path/to/beethoven\.zip"):
        corpus.download(config, tmp_path / "new" / "1", None, quiet, 1)


def test_the_published_lengths_are_the_defaults() -> None:
    assert (beethoven.Config().timesteps, youtubemix.Config().timesteps) == (128_000, 131_072)
    assert beethoven.Beethoven().expected_size(beethoven.Config())[1] == 4328
    assert youtubemix.YouTubeMix().expected_size(youtubemix.Config())[1] == 240 * 7


def test_beethovens_models_hear_linear_codes_unless_told_otherwise() -> None:
    models = ["wavenet", "noise"]
    assert of_corpus("beethoven", models, "smoke") == ["wavenet.quantization=linear"]
    assert of_corpus("youtubemix", models, "paper") == of_corpus("folder", models, "small") == []


# ---------------------------------------------------------------------------------------------- miniatures


def test_the_pieces_are_different_and_playable() -> None:
    pieces = [_score.compose(number) for number in range(64)]
    assert _score.compose(5) == pieces[5]
    assert len({(piece.key, piece.figure, piece.beats_per_minute) for piece in pieces}) > 55
    assert {piece.instrument for piece in pieces} == {"plucked", "struck"}
    for piece in pieces:
        assert 10 < piece.seconds < 20
        assert len(piece.notes) > 20
        for note in piece.notes:
            assert 34 <= note.pitch <= 84
            assert 0 < note.velocity < 1
            assert 0 <= note.start < note.start + note.seconds < piece.seconds + 1
    for split, count in (("train", 48), ("validation", 8), ("test", 8)):
        members = [piece for number, piece in enumerate(pieces) if miniatures.split_of(number) == split]
        assert len(members) == count
        assert 2 * sum(piece.instrument == "struck" for piece in members) == count


@pytest.mark.parametrize("instrument", ["plucked", "struck"])
@pytest.mark.parametrize("pitch", [36, 50, 69, 84])
def test_tones_are_in_tune_ring_down_and_sound_as_they_are_struck(instrument: str, pitch: int) -> None:
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    soft, hard = (_tones.tone(instrument, _score.Note(0, 2.0, pitch, v), v) for v in (0.25, 0.875))
    assert np.isfinite(hard).all()
    assert abs(hard.mean()) < 0.01
    spectrum = np.abs(np.fft.rfft(hard * np.hanning(len(hard)), 1 << 19))
    near = np.fft.rfftfreq(1 << 19, 1 / _tones.RATE)
    inside = (near > 0.97 * hertz) & (near < 1.03 * hertz)
    heard = near[inside][spectrum[inside].argmax()]
    assert abs(1200 * np.log2(heard / hertz)) < 4  # cents
    level = [float(np.sqrt(np.mean(part**2))) for part in np.array_split(hard[: 2 * _tones.RATE], 4)]
    assert level[0] > level[1] > level[2] > level[3] > 0

    def brightness(tone: np.ndarray) -> float:
        power = np.square(np.abs(np.fft.rfft(tone[:12000])))
        return float((power * np.fft.rfftfreq(12000)).sum() / power.sum())

    assert brightness(hard) > brightness(soft)


def test_turning_is_that_of_the_library_to_rounding() -> None:
    for angle in np.linspace(0.001, 6.2, 50):
        assert np.allclose(_tones.turn(angle), (np.cos(angle), np.sin(angle)), atol=1e-12)
    n = np.arange(3000)
    assert np.allclose(_tones.damped(0.3, 0.999, 3000), 0.999**n * np.sin(0.3 * n), atol=1e-10)


def test_miniatures_are_the_same_everywhere_and_after_a_kill(tmp_path: Path) -> None:
    corpus, config = miniatures.Miniatures(), miniatures.Config(pieces=8, clip_seconds=2.0)
    metrics = prepared(corpus, config, None, tmp_path / "a")
    first = tmp_path / "a" / "1" / "recordings" / "0000.wav"
    # 16 bits of a sum of some fifty tones: another order of additions, or another library's sine, would show here
    digest = hashlib.sha256(first.read_bytes()).hexdigest()[:12]
    assert digest == "d975ffd66cba"
    assert metrics["clips"] == {"train": 44, "validation": 8, "test": 7}
    assert json.loads((tmp_path / "a" / "2" / "labels.json").read_text()) == []
    codes = codes_of(tmp_path / "a")
    assert np.abs(codes.astype(int)).max(axis=1).min() > 300
    places = {split: {row["source"] for row in rows_of(tmp_path / "a") if row["split"] == split} for split in SPLITS}
    assert not places["train"] & places["test"] | places["train"] & places["validation"]
    # what a killed attempt may leave
    (tmp_path / "b" / "1" / "recordings").mkdir(parents=True)
    shutil.copy(first, tmp_path / "b" / "1" / "recordings" / "0000.wav")
    (tmp_path / "b" / "1" / "recordings" / "0001.77.tmp").write_text("half")
    assert prepared(corpus, config, None, tmp_path / "b") == metrics
    assert np.array_equal(codes_of(tmp_path / "b"), codes)
    assert len(list((tmp_path / "b" / "1" / "recordings").iterdir())) == 8
    with pytest.raises(ValueError, match="leave out --source"):
        corpus.download(config, tmp_path / "c", tmp_path, quiet, 1)
    with pytest.raises(ValueError, match=r"corpus\.pieces=4 leaves splits empty; take at least 8"):
        miniatures.Config(pieces=4)


def test_the_account_is_printed_where_there_is_something_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    whole, part = {"account": ["Taken: all."]}, {"account": ["Taken: some.", "Left out: 2.0 s at the ends of files."]}
    assert PrepareClips(corpus="miniatures").account(whole) == []
    assert PrepareClips(corpus="folder").account(whole) == whole["account"]
    assert PrepareClips(corpus="miniatures").account({}) == []  # clips from before there were accounts
    console.finished("here/2-clips", 1.0, "3 train", PrepareClips(corpus="miniatures").account(part))
    told = capsys.readouterr().err.splitlines()
    assert told[0].endswith("here/2-clips  done in 1.0 s: 3 train")
    assert told[1:] == ["    Taken: some.", "    Left out: 2.0 s at the ends of files."]

"""Every corpus file keeps the contract; spoken digits, SC09 and a folder of one's own give the recordings they promise."""

import csv
import hashlib
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tasks import corpora
from tasks.clips import prepare_clips
from tasks.corpora import folder as folder_module
from tasks.corpora import sc09 as sc09_module
from tasks.corpora import spoken_digits as spoken_module
from tasks.corpora.base import SPLITS, CorpusConfig, Recording, docstring_fields, natural_key
from tests import reference

ROOT = Path(__file__).parent.parent


def quiet(done: int, total: int, text: str) -> None:
    assert 0 <= done <= total


def content(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ---------------------------------------------------------------------------------------------- every corpus


@pytest.mark.parametrize("name", corpora.names())
def test_every_corpus_keeps_the_contract(name: str) -> None:
    plugin = corpora.find(name)
    assert plugin.version >= 1
    assert plugin.source_path.name == f"{name}.py"
    for said in ("title", "licence", "citation", "homepage"):
        assert getattr(plugin.cls, said), said
    config = plugin.config()
    assert is_dataclass(config)
    assert isinstance(config, CorpusConfig)
    assert config.sample_rate == 16000
    assert config.timesteps == round(16000 * config.clip_seconds)
    names = {field.name for field in fields(config)}
    assert set(plugin.cls.download_settings) <= names
    assert not set(plugin.cls.download_settings) & {"sample_rate", "clip_seconds", "resampler"}
    lines = [
        line
        for cls in type(config).__mro__[:-1]
        for line in inspect.getsource(sys.modules[cls.__module__]).splitlines()
    ]
    own = [name for name in names if name not in {field.name for field in fields(CorpusConfig)}]
    for name in own:
        line = next(i for i, text in enumerate(lines) if text.startswith(f"    {name}: "))
        assert '"""' in lines[line + 1], f"the setting {name} has no line of documentation"


def test_names_are_found_in_both_spellings_and_unknown_ones_are_helped() -> None:
    assert {"folder", "sc09", "spoken_digits"} <= set(corpora.names())
    assert corpora.find("spoken-digits") == corpora.find("spoken_digits")
    with pytest.raises(
        ValueError, match=r"unknown corpus 'sc9'\. Did you mean sc09\? Available: .*tasks/corpora/sc9\.py"
    ):
        corpora.find("sc9")


def test_corpora_are_light() -> None:
    code = (
        "import sys; from tasks import corpora; [corpora.find(n) for n in corpora.names()]; "
        "print([m for m in ('numpy', 'soundfile', 'torch', 'requests', 'luigi', 'pandas', 'soxr') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_settings_that_make_no_sense() -> None:
    for wrong in ({"sample_rate": 0}, {"clip_seconds": 0.0}, {"resampler": "sinc"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
            CorpusConfig(**wrong)
    with pytest.raises(ValueError, match=r"0\.001 at 16000 Hz are 16 timesteps, .* take --clip-seconds 0\.002 or more"):
        CorpusConfig(clip_seconds=0.001)
    assert CorpusConfig(sample_rate=22050, clip_seconds=0.5).timesteps == 11025


def test_docstring_fields() -> None:
    said = docstring_fields(
        "Name: what it is.\n\nText: no field.\n\nLicence: CC BY\n  4.0.\n\nHomepage: https://x.y/z\n"
    )
    assert said == {"title": "Name", "licence": "CC BY 4.0.", "homepage": "https://x.y/z"}


def test_natural_order() -> None:
    names = ["take 10.wav", "take 9.wav", "Take 11.wav", "take 9b.wav", "2", "10", "a01", "a1"]
    assert sorted(names, key=natural_key) == [
        "2", "10", "Take 11.wav", "a01", "a1", "take 9.wav", "take 9b.wav", "take 10.wav"
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- spoken digits

VARIANTS = [f"voice{n}" for n in range(104)]


@pytest.mark.parametrize("clips_per_digit", [8, 100, 416, 4154])
def test_the_plan_is_balanced_and_has_no_utterance_twice(clips_per_digit: int) -> None:
    splits = spoken_module.deal_variants(VARIANTS)
    assert Counter(splits.values()) == {"train": 78, "validation": 13, "test": 13}
    plan = spoken_module.plan_utterances(clips_per_digit, splits)
    said = Counter((splits[variant], each.label) for variant in plan for each in plan[variant])
    eighth = round(clips_per_digit / 8)
    for digit in spoken_module.DIGITS:
        assert said["validation", digit] == said["test", digit] == eighth
        assert said["train", digit] == clips_per_digit - 2 * eighth
    for variant in plan:
        assert len(set(plan[variant])) == len(plan[variant])
    for split in SPLITS:
        counts = [len(plan.get(variant, [])) for variant in splits if splits[variant] == split]
        assert max(counts) - min(counts) <= 10


def test_voices_that_sound_the_same_share_a_split() -> None:
    known = sorted(path.name for path in Path(spoken_module._espeak_paths()[1], "voices", "!v").iterdir())
    splits = spoken_module.deal_variants(known)
    assert Counter(splits.values()) == {"train": 78, "validation": 13, "test": 13}
    assert len({variant for twins in spoken_module.TWINS for variant in twins}) == sum(map(len, spoken_module.TWINS))
    for twins in spoken_module.TWINS:
        assert len({splits[variant] for variant in twins}) == 1


def test_a_larger_plan_says_all_that_a_smaller_one_says() -> None:
    splits = spoken_module.deal_variants(VARIANTS)
    small, large = (spoken_module.plan_utterances(count, splits) for count in (50, 416))
    assert all(set(small[variant]) <= set(large[variant]) for variant in small)


def test_a_plan_beyond_the_voices_is_an_error() -> None:
    with pytest.raises(ValueError, match="at most 10920"):
        spoken_module.plan_utterances(20_000, spoken_module.deal_variants(VARIANTS))
    with pytest.raises(ValueError, match="at least 8"):
        spoken_module.Config(clips_per_digit=4)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A small corpus, made by one worker without interruption."""
    folder = tmp_path_factory.mktemp("spoken")
    return folder, spoken_module.SpokenDigits().download(SMALL, folder, None, quiet, 1)


SMALL = spoken_module.Config(clips_per_digit=8)

KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.corpora.spoken_digits import Config, SpokenDigits

def progress(done, total, text):
    if done >= 20:
        os.kill(os.getpid(), signal.SIGKILL)

SpokenDigits().download(Config(clips_per_digit=8), Path(sys.argv[1]), None, progress, 2)
"""


def test_spoken_digits_are_the_same_after_a_kill_and_with_two_workers(
    spoken: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("recordings/*.wav")}
    assert 0 < len(before) < 70
    # and some more of what a crash may leave: a cut file, a table without its wav, a scratch file, another plan's voice
    first, second, third = sorted(before)[:3]
    first.write_bytes(first.read_bytes()[:-100])
    second.unlink()
    (third.parent / "f3.123.tmp").write_text("half")
    (third.parent / "nobody.wav").write_bytes(third.read_bytes())
    metrics = spoken_module.SpokenDigits().download(SMALL, tmp_path, None, quiet, 2)
    assert content(tmp_path) == content(spoken[0])
    assert metrics == spoken[1]
    assert third.stat().st_mtime_ns == before[third]


def test_spoken_digits_become_audible_clips(spoken: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    corpus, folder = spoken_module.SpokenDigits(), spoken[0]
    listed = list(corpus.recordings(SMALL, folder))
    assert len(listed) == spoken[1]["recordings"] == 80
    speakers = {split: {each.speaker for each in listed if each.split == split} for split in SPLITS}
    assert not speakers["train"] & speakers["test"] | speakers["train"] & speakers["validation"]
    assert not speakers["validation"] & speakers["test"]
    metrics = prepare_clips(corpus, SMALL, folder, tmp_path, 1, quiet)
    assert metrics["clips"] == {"train": 60, "validation": 10, "test": 10}
    assert metrics["rejected"] == metrics["silent"] == 0
    assert json.loads((tmp_path / "labels.json").read_text()) == list(spoken_module.DIGITS)
    codes = np.load(tmp_path / "clips.npy").astype(float)
    with open(tmp_path / "clips.csv", newline="") as file:
        for row, code in zip(csv.DictReader(file), codes, strict=True):
            assert 0.1 < int(row["valid"]) / 16000 <= 1.0
            assert np.sqrt(np.mean(code[: int(row["valid"])] ** 2)) > 300, row


def speak(variant: str, said: list[tuple[str, int, int, str]], folder: Path) -> subprocess.CompletedProcess[str]:
    library, data = spoken_module._espeak_paths()
    job = {"library": library, "data": data, "variant": variant, "stem": str(folder / variant), "utterances": said}
    command = [sys.executable, "-I", "-S", str(spoken_module.CHILD)]
    return subprocess.run(command, input=json.dumps(job), capture_output=True, text=True)


@pytest.mark.parametrize("variant", ["f3", "whisper", "Mr serious"])
def test_breath_and_whisper_do_not_depend_on_the_clock(variant: str, tmp_path: Path) -> None:
    said = [("en-US", 50, 170, "seven"), ("en", 50, 170, "six")]
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        assert speak(variant, said, folder).returncode == 0
        found.append(content(folder))
    assert found[0] == found[1]


def test_pitch_rate_accent_and_variant_are_heard(tmp_path: Path) -> None:
    said = [
        ("en-US", 50, 170, "nine"),
        ("en-US", 80, 170, "nine"),
        ("en-US", 50, 140, "nine"),
        ("en-029", 50, 170, "nine"),
    ]
    assert speak("m1", said, tmp_path).returncode == 0
    assert speak("f1", said[:1], tmp_path).returncode == 0
    with open(tmp_path / "m1.csv", newline="") as file:
        rows = [(int(row["start"]), int(row["frames"])) for row in csv.DictReader(file)]
    audio, rate = soundfile.read(tmp_path / "m1.wav")
    assert rate == 22050
    plain, high, slow, accent = (audio[start : start + frames] for start, frames in rows)
    assert len(slow) > 1.1 * len(plain)
    assert pitch(high) > 1.2 * pitch(plain)
    assert not np.array_equal(accent[:2000], plain[:2000])
    assert pitch(soundfile.read(tmp_path / "f1.wav")[0]) > 1.2 * pitch(plain)
    for each in (plain, high, slow, accent):
        assert min(abs(each[0]), abs(each[-1])) > np.abs(each).max() / 1001


def pitch(wave: np.ndarray) -> float:
    """Hz: the strongest period between 60 and 400 Hz in the middle of a word."""
    middle = wave[len(wave) // 3 : len(wave) // 3 + 4096]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 16384)) ** 2
    correlation = np.fft.irfft(spectrum)
    return float(22050 / (55 + int(np.argmax(correlation[55:367]))))


def test_the_child_says_what_is_wrong(tmp_path: Path) -> None:
    for variant, said, reason in (
        ("nobody", ("en", 50, 170, "one"), "no voice variant 'nobody'"),
        ("f3", ("en-XX", 50, 170, "one"), "refuses voice gmw/en-XX"),
        ("f3", ("en", 50, 170, ""), "said nothing"),
    ):
        died = speak(variant, [said], tmp_path)
        assert died.returncode == 1
        assert reason in died.stderr
        assert "Traceback" not in died.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_the_synthesizer_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ValueError, match="-m pip install espeakng-loader"):
        spoken_module.SpokenDigits().download(SMALL, tmp_path, None, quiet, 1)
    with pytest.raises(ValueError, match="leave out --source"):
        spoken_module.SpokenDigits().download(SMALL, tmp_path, tmp_path, quiet, 1)


# ---------------------------------------------------------------------------------------------- SC09


def speech_commands(folder: Path, words: dict[str, list[str]], validation: list[str], test: list[str]) -> Path:
    """A data set laid out as the published one."""
    wave = np.random.default_rng(0).integers(-3000, 3000, 16000, dtype=np.int16)
    for word, names in words.items():
        (folder / word).mkdir(parents=True)
        for name in names:
            soundfile.write(folder / word / name, np.roll(wave, len(word + name)), 16000)
    for name, lines in (("validation_list.txt", validation), ("testing_list.txt", test), ("LICENSE", ["CC BY 4.0"])):
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def archive_of(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, ".")
    return path


@pytest.fixture
def small_sc09(tmp_path: Path) -> Path:
    names = [f"0{n}ab12cd_nohash_{k}.wav" for n in range(3) for k in range(2)]
    words = dict.fromkeys((*sc09_module.DIGITS, "bed"), names) | {"_background_noise_": ["pink_noise.wav"]}
    lists = [[f"{word}/{names[k]}" for word in words if word != "_background_noise_"] for k in (2, 3, 4, 5)]
    return speech_commands(tmp_path / "speech_commands_v0.02", words, lists[0] + lists[1], lists[2] + lists[3])


CONFIG = sc09_module.Config()


def test_sc09_from_an_archive_or_its_folder_is_the_same(small_sc09: Path, tmp_path: Path) -> None:
    corpus = sc09_module.SC09()
    archive = archive_of(small_sc09, tmp_path / "any_name.tar.gz")
    sources = {"archive": archive, "folder": small_sc09, "above": tmp_path}
    found = {}
    for name, source in sources.items():
        if name == "above":
            shutil.move(small_sc09, tmp_path / "deep" / "speech_commands_v0.02")
            source = tmp_path / "deep"
        out = tmp_path / "out" / name
        metrics = corpus.download(CONFIG, out, source, quiet, 1)
        assert metrics == {"recordings": 60, "splits": {"test": 20, "train": 20, "validation": 20}}
        origin = json.loads((out / "source.json").read_text())
        (out / "source.json").unlink()
        found[name] = content(out)
        if name == "archive":
            assert origin["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
            assert origin["published"] is False
    assert found["archive"] == found["folder"] == found["above"]
    assert len(found["archive"]) == 60 + 1 + 3
    assert "recordings/_background_noise_/pink_noise.wav" in found["archive"]
    assert not [name for name in found["archive"] if "bed" in name]
    listed = list(corpus.recordings(CONFIG, tmp_path / "out" / "folder"))
    assert listed[0] == Recording("recordings/zero/00ab12cd_nohash_0.wav", "zero", "00ab12cd", "train")
    splits_of = {split: {each.speaker for each in listed if each.split == split} for split in SPLITS}
    assert splits_of == {"train": {"00ab12cd"}, "validation": {"01ab12cd"}, "test": {"02ab12cd"}}
    metrics = prepare_clips(corpus, CONFIG, tmp_path / "out" / "folder", tmp_path / "clips", 1, quiet)
    assert metrics["clips"] == {"train": 20, "validation": 20, "test": 20}


def test_sc09_is_downloaded_checked_and_resumed(
    small_sc09: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(small_sc09, tmp_path / "published.tar.gz")
    asked: list[str] = []

    def fetch(url: str, target: Path, sha256: str, progress: Any) -> None:
        asked.append(url)
        assert sha256 == "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
        shutil.copy(archive, target)

    monkeypatch.setattr(sc09_module.download, "fetch", fetch)
    out, corpus = tmp_path / "out", sc09_module.SC09()
    metrics = corpus.download(CONFIG, out, None, quiet, 1)
    assert asked == ["http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"]
    assert sorted(path.name for path in out.iterdir()) == ["recordings", "source.json"]
    # killed after unpacking, before the archive was deleted: nothing is fetched or unpacked twice
    (out / "speech_commands_v0.02.tar.gz").touch()
    assert corpus.download(CONFIG, out, None, quiet, 1) == metrics
    assert len(asked) == 1
    assert not (out / "speech_commands_v0.02.tar.gz").exists()


def test_sc09_without_a_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, *_: Any) -> None:
        raise sc09_module.download.DownloadError(f"cannot download {url}: Name or service not known")

    monkeypatch.setattr(sc09_module.download, "fetch", fetch)
    with pytest.raises(ValueError, match=r"v0\.01\.tar\.gz: Name or.*--source path/to/speech_commands_v0\.01\.tar\.gz"):
        sc09_module.SC09().download(sc09_module.Config(version="v0.01"), tmp_path, None, quiet, 1)


def test_sc09_sources_that_are_none(small_sc09: Path, tmp_path: Path) -> None:
    corpus, out = sc09_module.SC09(), tmp_path / "out"
    with pytest.raises(ValueError, match="does not exist"):
        corpus.download(CONFIG, out, tmp_path / "nowhere", quiet, 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no testing_list\.txt"):
        corpus.download(CONFIG, out, tmp_path / "empty", quiet, 1)
    shutil.rmtree(small_sc09 / "four")
    with pytest.raises(ValueError, match="no recordings of 'four'"):
        corpus.download(CONFIG, out, small_sc09, quiet, 1)
    with pytest.raises(ValueError, match=r"unknown corpus\.version 'v3'\. Available: v0\.01, v0\.02"):
        sc09_module.Config(version="v3")


def test_sc09_splits_are_those_of_the_release(tmp_path: Path) -> None:
    fixture = reference.load("dataset_splits").folder
    words: dict[str, list[str]] = {}
    for line in (fixture / "in_sc09_files.txt").read_text().split():
        word, name = line.split("/")
        words.setdefault(word, []).append(name)
    lists = [(fixture / f"in_sc09_{name}_list.txt").read_text().split() for name in ("validation", "testing")]
    source = speech_commands(tmp_path / "source", words, *lists)
    corpus = sc09_module.SC09()
    corpus.download(CONFIG, tmp_path / "out", source, quiet, 1)
    expected = json.loads((fixture / "out_splits.json").read_text())["sc09"]
    digits = tuple(f"{digit}/" for digit in sc09_module.DIGITS)
    for split in SPLITS:
        listed = [each for each in corpus.recordings(CONFIG, tmp_path / "out") if each.split == split]
        found = {each.path.removeprefix("recordings/") for each in listed}
        assert found == {name for name in expected[split] if name.startswith(digits)}
        assert found


# ---------------------------------------------------------------------------------------------- a folder


def audio_folder(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.full(1000, number, np.int16), 16000)
    return folder


def listed(source: Path, out: Path, config: folder_module.Config) -> list[Recording]:
    folder_module.Folder().download(config, out, source, quiet, 1)
    return list(folder_module.Folder().recordings(config, out))


PLAIN = folder_module.Config()


def test_a_folder_is_listed_not_copied(tmp_path: Path) -> None:
    names = [f"{bird}/{n}.{kind}" for bird in ("wren", "robin") for n in range(10) for kind in ("wav", "flac")]
    source = audio_folder(tmp_path / "birds", *names)
    (source / "notes.txt").write_text("no audio")
    audio_folder(source, ".hidden/a.wav", "wren/.b.wav")
    found = listed(source, tmp_path / "out", PLAIN)
    assert sorted(os.listdir(tmp_path / "out")) == ["index.csv", "rejected.csv", "source.json"]
    assert [each.path for each in found[:3]] == ["robin/0.flac", "robin/0.wav", "robin/1.flac"]
    assert {each.label for each in found} == {"wren", "robin"}
    assert Counter(each.split for each in found) == {"train": 32, "validation": 4, "test": 4}
    metrics = prepare_clips(folder_module.Folder(), PLAIN, tmp_path / "out", tmp_path / "clips", 1, quiet)
    assert metrics["clips"] == {"train": 32, "validation": 4, "test": 4}
    # the same folder in another place is the same corpus
    shutil.copytree(source, tmp_path / "elsewhere")
    assert listed(tmp_path / "elsewhere", tmp_path / "out2", PLAIN) == found
    assert (tmp_path / "out2" / "index.csv").read_bytes() == (tmp_path / "out" / "index.csv").read_bytes()
    corpus = folder_module.Folder()
    assert corpus.fingerprint(PLAIN, source) == corpus.fingerprint(PLAIN, tmp_path / "elsewhere")


@pytest.mark.parametrize("count", [3, 4, 10, 37, 100])
def test_fractions_are_exact_and_the_seed_matters(tmp_path: Path, count: int) -> None:
    source = audio_folder(tmp_path / "in", *(f"{n}.wav" for n in range(count)))
    config = replace(PLAIN, validation_fraction=0.2, test_fraction=0.25)
    found = listed(source, tmp_path / "out", config)
    splits = Counter(each.split for each in found)
    assert splits["validation"] == max(1, round(0.2 * count))
    assert splits["test"] == max(1, round(0.25 * count))
    assert splits["train"] > 0
    assert {each.label for each in found} == {None}
    assert listed(source, tmp_path / "out", config) == found
    if count > 10:
        assert listed(source, tmp_path / "out", replace(config, split_seed=1)) != found


def test_every_label_is_in_every_split(tmp_path: Path) -> None:
    sizes = {"wren": 50, "robin": 23, "owl": 3, "kiwi": 2, "dodo": 1}
    source = audio_folder(tmp_path / "in", *(f"{bird}/{n}.wav" for bird, size in sizes.items() for n in range(size)))
    config = replace(PLAIN, validation_fraction=0.2, test_fraction=0.2)
    found = Counter((each.label, each.split) for each in listed(source, tmp_path / "out", config))
    for split in ("validation", "test"):
        assert sum(found[bird, split] for bird in sizes) == round(0.2 * 79)
        assert abs(found["wren", split] - 10) <= 1
        assert abs(found["robin", split] - 4.6) <= 1
        assert found["owl", split] == 1
        assert found["dodo", split] == 0
    assert all(found[bird, "train"] for bird in sizes)


def test_many_small_labels_each_have_one_in_every_split(tmp_path: Path) -> None:
    source = audio_folder(tmp_path / "in", *(f"{bird}/{n}.wav" for bird in "abcdef" for n in range(3)))
    found = Counter((each.label, each.split) for each in listed(source, tmp_path / "out", PLAIN))
    assert found == {(bird, split): 1 for bird in "abcdef" for split in SPLITS}


def test_what_cannot_be_judged_is_refused_before_anything_runs(tmp_path: Path) -> None:
    check = folder_module.Folder().check
    for source, reason in ((None, "give --source"), (tmp_path, "no audio file"), (tmp_path / "gone", "not a folder")):
        with pytest.raises(ValueError, match=reason):
            check(PLAIN, source)
    check(PLAIN, audio_folder(tmp_path / "bare", *(f"{n}.wav" for n in range(9))))
    birds = audio_folder(tmp_path / "birds", *(f"{bird}/{n}.wav" for bird in "ab" for n in range(3)))
    check(PLAIN, birds)
    check(replace(PLAIN, labels="none"), birds)
    (birds / "table.csv").write_text("path,label\na/0.wav,x\na/1.wav,\na/2.wav,y\n")
    with pytest.raises(ValueError, match=r"1 of 3 files.*no label, e\.g\. a/1\.wav"):
        check(replace(PLAIN, labels="table.csv"), birds)
    check(PLAIN, audio_folder(tmp_path / "one", *(f"a/{n}.wav" for n in range(9))))  # one sub-folder says nothing
    (birds / "table.csv").write_text("path,label\na/0.wav,x\na/1.wav,x\na/2.wav,x\n")
    with pytest.raises(ValueError, match="two classes or more, or none at all"):
        check(replace(PLAIN, labels="table.csv"), birds)
    with pytest.raises(ValueError, match="give at least 3 of a label"):
        check(PLAIN, audio_folder(tmp_path / "few", "a/0.wav", "b/0.wav", "c/0.wav", "d/0.wav"))


@pytest.mark.parametrize("name", ["..", "a/b", "/etc", ".hidden", "-x", "a b", "x.partial"])
def test_a_corpus_name_stays_in_the_workdir(name: str) -> None:
    with pytest.raises(ValueError, match=r"corpus\.name .* cannot name a folder"):
        folder_module.Config(name=name)
    assert folder_module.Config(name="my-birds_2.0").name == "my-birds_2.0"


def test_a_table_gives_labels_splits_and_speakers(tmp_path: Path) -> None:
    source = audio_folder(tmp_path / "in", *(f"x/{n}.wav" for n in range(12)))
    rows = ["path,label,speaker"] + [f"x/{n}.wav,word{n % 2},person{n // 3}" for n in range(12)]
    (source / "labels.csv").write_text("\ufeff" + "\n".join(rows), encoding="utf-8")
    config = replace(PLAIN, labels="labels.csv", test_fraction=0.25)
    found = listed(source, tmp_path / "out", config)
    assert [each.label for each in found] == ["word0", "word1"] * 6
    for speaker in {each.speaker for each in found}:
        assert len({each.split for each in found if each.speaker == speaker}) == 1
    assert Counter(each.split for each in found) == {"train": 6, "validation": 3, "test": 3}
    corpus = folder_module.Folder()
    before = corpus.fingerprint(config, source)
    (source / "labels.csv").write_text("path,split\nx/0.wav,train\nx/1.wav,validation\nx/2.wav,test\n")
    assert [(each.path, each.split) for each in listed(source, tmp_path / "out", config)] == [
        ("x/0.wav", "train"),
        ("x/1.wav", "validation"),
        ("x/2.wav", "test"),
    ]
    assert corpus.fingerprint(config, source) != before


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("file,label\nx/0.wav,a\n", "it needs path,label"),
        ("path,label\nx/9.wav,a\n", r"line 2: 'x/9\.wav' is no file"),
        ("path,label\n../secret.wav,a\n", "is no file in"),
        ("path,label\n/etc/passwd,a\n", "is no file in"),
        ("path,label\nx/0.wav,a\nx/0.wav,b\n", "line 3.*listed twice"),
        ("path,split\nx/0.wav,dev\n", "the split is 'dev'. Available: train, validation, test"),
        ("path,label\n", "lists no file"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, table: str, reason: str) -> None:
    source = audio_folder(tmp_path / "in", *(f"x/{n}.wav" for n in range(4)))
    audio_folder(tmp_path, "secret.wav")
    (source / "labels.csv").write_text(table)
    with pytest.raises(ValueError, match=reason):
        listed(source, tmp_path / "out", replace(PLAIN, labels="labels.csv"))


def test_folders_that_are_wrong(tmp_path: Path) -> None:
    for source, reason in (
        (None, "give --source"),
        (tmp_path / "nowhere", "not a folder"),
        (tmp_path, "no audio file"),
    ):
        with pytest.raises(ValueError, match=reason):
            folder_module.Folder().download(PLAIN, tmp_path / "out", source, quiet, 1)
    source = audio_folder(tmp_path / "in", "a.wav", "x/b.wav")
    with pytest.raises(ValueError, match=r"1 files in .* no sub-folder.*a\.wav.*corpus\.labels=none"):
        listed(source, tmp_path / "out", PLAIN)
    with pytest.raises(ValueError, match="cannot fill training"):
        listed(source, tmp_path / "out", replace(PLAIN, labels="none"))
    with pytest.raises(ValueError, match="no such table"):
        listed(source, tmp_path / "out", replace(PLAIN, labels="other.csv"))
    with pytest.raises(ValueError, match="leave something for training"):
        folder_module.Config(test_fraction=0.9, validation_fraction=0.1)


def test_a_folder_that_changes_is_noticed(tmp_path: Path) -> None:
    source = audio_folder(tmp_path / "in", *(f"{n}.wav" for n in range(10)))
    corpus = folder_module.Folder()
    before = corpus.fingerprint(PLAIN, source)
    listed(source, tmp_path / "out", PLAIN)
    soundfile.write(source / "3.wav", np.full(1000, 77, np.int16), 16000)
    with pytest.raises(ValueError, match=r"3\.wav has changed"):
        prepare_clips(corpus, PLAIN, tmp_path / "out", tmp_path / "clips", 1, quiet)
    (source / "3.wav").unlink()
    with pytest.raises(ValueError, match=r"3\.wav is gone"):
        prepare_clips(corpus, PLAIN, tmp_path / "out", tmp_path / "clips", 1, quiet)
    assert corpus.fingerprint(PLAIN, source) != before
    shutil.rmtree(source)
    with pytest.raises(ValueError, match="is gone: put it back"):
        prepare_clips(corpus, PLAIN, tmp_path / "out", tmp_path / "clips", 1, quiet)

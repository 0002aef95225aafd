"""The release's cache, samples and layout: its numbers from arrays, its archives by name, our probabilities saved as its."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation import release_cache
from pipeline import compare as compare_door
from pipeline import recompute as door
from pipeline.options import parse
from tasks import drawing, folders
from tasks.errors import EarshotError
from tasks.evaluation import CompareGenerators, EvaluateSamples
from tasks.external import ExportProbabilities
from tasks.imported import ImportSamples
from tasks.importing import unpack
from tasks.recomputing import cache_folder
from tasks.releases import CACHES, RELEASES, SAMPLE_SETS, DownloadRelease, find
from tests import reference, toy_runs
from tests.test_import_checkpoint import SHORT, make
from tests.test_releases import Hub, hub  # noqa: F401  (a fixture)

RNG = np.random.default_rng(0)
SETS = {"train": 80, "test": 40}
PRINTED = {"fid": "fid", "inception": "is", "m_inception": "mis", "am": "am"}


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def write(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Made-up outputs of a classifier of three classes, in the release's files."""
    arrays = {f"{name}_probs": softmax(RNG.normal(size=(n, 3))) for name, n in SETS.items()}
    arrays |= {f"{name}_activations": RNG.normal(size=(n, 5)).astype(np.float32) for name, n in SETS.items()}
    arrays["2048-wavegan-resnext-probs"] = softmax(RNG.normal(size=(60, 3)))
    return write(tmp_path / "cache", **arrays)


def test_the_scripts_numbers_come_out(tmp_path: Path) -> None:
    """What the unmodified script printed, with and without its threshold, from the files that it keeps."""
    known = reference.load("metrics_threshold_script").arrays
    acts = {name: known[f"in_{name}_acts"] for name in ("train", "test", "sample")}
    probs = {name: softmax(array @ known["in_W"].T + known["in_b"]) for name, array in acts.items()}
    arrays = {
        f"{name}_{kind}": values[name] for name in SETS for kind, values in (("probs", probs), ("activations", acts))
    }
    folder = write(tmp_path / "cache", **arrays)
    write(tmp_path, probs=known["out_sample_probs"], acts=acts["sample"])
    found = release_cache.read(folder, {"toy": (tmp_path / "probs.npy", tmp_path / "acts.npy")})
    rows = {row.name: row.scores for row in release_cache.recompute(found, ["toy"])}
    assert list(rows) == ["train", "test", "toy", "toy, cut at 0.40 and 0.95"]
    told = ("plain__train_set", "plain__test_set", "plain__sample", "tuned__sample")
    for scores, prefix in zip(rows.values(), told, strict=True):
        for printed, key in PRINTED.items():
            expected = float(known[f"out_{prefix}_scores__{printed}"])
            assert scores[f"sashimi/{key}"].value == pytest.approx(expected, rel=1e-4, abs=1e-8), (prefix, key)
        assert scores["v1/fid"].value == pytest.approx(scores["sashimi/fid"].value, rel=1e-4, abs=1e-8)


def test_sets_are_found_and_what_they_lack_is_said(cache: Path) -> None:
    found = release_cache.read(cache)
    assert {name: len(samples) for name, samples in found.sets.items()} == {"train": 80, "test": 40, "2048-wavegan": 60}
    rows = {row.name: row for row in release_cache.recompute(found)}
    assert rows["test"].scores["v1/fid"].n_reference == 80
    wavegan = rows["2048-wavegan"]
    assert {"v1/is", "v1/mis", "v1/am", "sashimi/is", "sashimi/mis"} <= set(wavegan.scores)
    assert "no features (generated side)" in wavegan.scores.not_applicable["v1/fid"]
    text = "\n".join(release_cache.lines(wavegan))
    assert text.splitlines()[0].split()[:3] == ["2048-wavegan", "60", "FID"]
    assert "2.03" in text, "the published number stands beside it"
    lines = [release_cache.head(), *release_cache.lines(rows["test"])]
    assert len({line.rindex(" ") for line in lines if not line.startswith("    ")}) <= 3


def test_probabilities_of_exactly_zero_are_a_reason_and_no_crash(cache: Path) -> None:
    probabilities = softmax(RNG.normal(size=(60, 3)))
    probabilities[7] = (1, 0, 0)
    write(cache, **{"sure-resnext-probs": probabilities})
    row = next(row for row in release_cache.recompute(release_cache.read(cache)) if row.name == "sure")
    assert "v1/mis" not in row.scores
    assert "zero" in row.scores.not_applicable["v1/mis"]
    assert row.scores["v1/is"].value > 1
    assert row.scores["v1/am"].value > 0
    assert any("zero" in line for line in release_cache.lines(row))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ({"test_probs": np.zeros((40, 3), np.float32)}, r"test_probs\.npy: 40 of 40 rows are no probabilities"),
        ({"test_probs": np.ones((40, 3), np.int64)}, r"test_probs\.npy holds int64 of shape \(40, 3\)"),
        ({"test_probs": np.zeros(40, np.float32)}, r"of shape \(40,\)"),
        (
            {"test_activations": np.zeros((39, 5), np.float32)},
            "not of the same clips: 40 log_probabilities and 39 features",
        ),
        ({"test_activations": np.full((40, 5), np.nan, np.float32)}, r"test_activations\.npy: .*NaN"),
        ({"test_activations": np.zeros((40, 4), np.float32)}, "test has 4 columns of features, and the training set 5"),
        ({"test_probs": np.array([None])}, r"test_probs\.npy is no \.npy array$"),
    ],
)
def test_arrays_that_make_no_sense_are_named(cache: Path, spoil: dict[str, np.ndarray], told: str) -> None:
    write(cache, **spoil)
    with pytest.raises(ValueError, match=told):
        release_cache.read(cache)


def test_text_and_archives_by_the_name_of_an_array_are_none(cache: Path) -> None:
    for content in (b"hello, this is text", zipped({"a.txt": b"x"})):
        (cache / "test_probs.npy").write_bytes(content)
        with pytest.raises(ValueError, match=r"test_probs\.npy is no \.npy array$"):
            release_cache.read(cache)


def test_where_the_numbers_go_is_checked_first(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door.main([str(cache), "--json", str(tmp_path / "gone" / "a.json")]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count(f"there is no folder {tmp_path / 'gone'}")) == ("", 1)
    assert door.main([str(cache), "--json", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_places_that_are_no_cache_are_named(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        release_cache.read(tmp_path / "gone")
    with pytest.raises(
        ValueError, match=r"neither train_probs\.npy nor train_activations\.npy.*it holds no \.npy at all"
    ):
        release_cache.read(write(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"gone\.npy does not exist"):
        release_cache.read(cache, {"mine": (tmp_path / "gone.npy", None)})
    with pytest.raises(
        ValueError, match=r"no probabilities of a set 'mine'; there are those of train, test, 2048-wavegan"
    ):
        list(release_cache.recompute(release_cache.read(cache), ["mine"]))
    (cache / "test_probs.npy").unlink()
    (cache / "test_activations.npy").unlink()
    with pytest.raises(ValueError, match=r"a threshold needs test_probs\.npy"):
        list(release_cache.recompute(release_cache.read(cache), ["2048-wavegan"]))


def test_the_door_prints_a_table_and_writes_json(
    cache: Path, workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = write(tmp_path, probs=softmax(RNG.normal(size=(30, 3))), acts=RNG.normal(size=(30, 5)))
    for name in ("a", "b"):
        words = [
            str(cache),
            "--samples",
            f"mine={mine}/probs.npy,{mine}/acts.npy",
            "--json",
            str(tmp_path / f"{name}.json"),
        ]
        assert door.main(words) == 0
    out = capsys.readouterr().out
    for text in ("set", "v1", "script", "published", "train", "test", "2048-wavegan", "mine", "8.33"):
        assert text in out
    page = json.loads((tmp_path / "a.json").read_text())
    assert page["rows"]["mine"]["scores"]["sashimi/fid"]["n_generated"] == 30
    assert compare_door.main([str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--metric", "FID"]) == 0
    assert door.main([str(tmp_path / "gone")]) == 2
    assert "is no folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        door.main([str(cache), "--samples", "probs.npy"])
    assert "NAME=PROBS.npy" in capsys.readouterr().err


def test_help_needs_no_heavy_library() -> None:
    code = (
        "import sys, pipeline.recompute; print([m for m in ('numpy', 'luigi', 'torch', 'scipy') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=toy_runs.REPOSITORY, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    with toy_runs.settings(workdir=tmp_path / "workdir"):
        yield tmp_path / "workdir"


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def wav(value: int) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, np.full(320, value, np.int16), 16000, format="WAV", subtype="PCM_16")
    return content.getvalue()


ARCHIVE = zipped({f"2048-wavegan/gen_{i}.wav": wav(i) for i in (10, 9, 1)} | {"__MACOSX/2048-wavegan/._gen_1.wav": b"x",
                 "2048-wavegan/readme.txt": b"hello"})  # fmt: skip


def test_the_names_are_the_releases() -> None:
    assert set(SAMPLE_SETS) >= {"10240-sashimi-8-glu", "10240-samplernn-3", "10240-wavenet-1024", "2048-wavegan"}
    assert len(SAMPLE_SETS) == 11
    assert not set(SAMPLE_SETS) & set(RELEASES)
    assert find("2048-wavegan", SAMPLE_SETS).url.endswith("/sashimi-release/resolve/main/samples/sc09/2048-wavegan.zip")
    assert find("cache", CACHES).url.endswith("/sc09_classifier/cache.zip")
    with pytest.raises(EarshotError, match=r"unknown release '2048-wavgan'\. Did you mean 2048-wavegan\?"):
        find("2048-wavgan", SAMPLE_SETS)
    with pytest.raises(EarshotError, match="unknown release '2048-wavegan'"):
        find("2048-wavegan")  # these are no weights


def test_published_samples_come_by_name(hub: Hub, workdir: Path) -> None:  # noqa: F811
    hub.content = ARCHIVE
    task = ImportSamples(name="theirs", samples="release:2048-wavegan", settings=SHORT)
    assert task.known_count() == 2048
    (download,) = task.inputs().values()
    assert isinstance(download, DownloadRelease)
    make(download)
    assert hub.asked[-1][0].endswith("/samples/sc09/2048-wavegan.zip")
    folder = make(task)
    assert np.load(folder / drawing.SAMPLES)[:, 0].tolist() == [1, 9, 10]
    assert "gen_9.wav" in (folder / drawing.TABLE).read_text()
    assert not (folder / "unpacked").exists()
    assert folders.read_json(folder / folders.CONFIG)["inputs"] == {}
    folders.remove(download.folder)
    assert task.complete(), "they need not be kept"
    assert ImportSamples(name="theirs", settings=SHORT).complete()
    with pytest.raises(EarshotError, match="unknown release 'gone'"):
        ImportSamples(name="other", samples="release:gone", settings=SHORT).inputs()


def test_a_zip_of_ones_own_works_as_well(workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_bytes(ARCHIVE)
    folder = make(ImportSamples(name="mine", samples=str(tmp_path / "mine.zip"), settings=SHORT))
    assert folders.read_json(folder / folders.METRICS)["samples"] == 3


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a/1.wav": wav(1), "b/1.wav": wav(2)}, r"audio files in 2 folders \(a, b\): unpack it"),
        ({"a/readme.txt": b"x"}, "there is no wav, flac or ogg file in"),
    ],
)
def test_a_zip_must_hold_one_folder_of_samples(tmp_path: Path, files: dict[str, bytes], told: str) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(files))
    with pytest.raises(ValueError, match=told):
        unpack(tmp_path / "x.zip", tmp_path / "out", lambda done, total, text: None)


def test_the_cache_comes_by_name(hub: Hub, workdir: Path, cache: Path) -> None:  # noqa: F811
    files = {f"cache/{file.name}": file.read_bytes() for file in cache.glob("*.npy")}
    hub.content = zipped(files | {"__MACOSX/cache/._train_probs.npy": b"x"})
    with cache_folder("release:cache") as folder:
        assert len(release_cache.read(folder).sets) == 3
    assert not folder.exists()
    assert len(hub.asked) == 1
    with cache_folder("release:cache") as folder:
        assert folder.is_dir()
    assert len(hub.asked) == 1, "it is fetched once"
    with pytest.raises(EarshotError, match="unknown release 'resnext'"), cache_folder("release:resnext"):
        pass
    with cache_folder(str(cache)) as folder:
        assert folder == cache


def test_a_flag_asks_for_our_probabilities_and_changes_nothing_else(workdir: Path) -> None:
    assert parse("sc09", ["--save-probabilities"]).save_probabilities
    plain, saving = (
        EvaluateSamples(model="noise", preset="smoke", classifier="smoke", save_probabilities=s) for s in (False, True)
    )
    assert plain.task_id == saving.task_id
    assert plain.place() == saving.place()
    more = set(saving.requires()) - set(plain.requires())
    assert more == {"spoken-digits/noise/smoke-seed0/draw-32/4-probabilities-smoke-seed0"}
    assert plain.inputs().keys() == saving.inputs().keys()
    board = CompareGenerators(models=("noise",), preset="smoke", classifier="smoke", save_probabilities=True)
    assert more <= set(board.inputs())
    assert not more & set(board.clone(save_probabilities=False).inputs())


def test_our_probabilities_are_saved_in_its_layout(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = reference.load("metrics_threshold_script").arrays
    logits = (known["in_sample_acts"] @ known["in_W"].T + known["in_b"]).astype(np.float64)
    heard = tmp_path / "heard"
    heard.mkdir()
    np.savez(heard / "samples.npz", log_probabilities=logits - np.logaddexp.reduce(logits, axis=1)[:, None])
    task = ExportProbabilities(name="mine", classifier="smoke", samples="x")
    monkeypatch.setattr(
        ExportProbabilities, "inputs", lambda self: {"features": type("Heard", (), {"folder": heard})()}
    )
    (out := tmp_path / "out").mkdir()
    told = task.build(out, lambda done, total, text: None)
    assert told == {"file": "240-mine-resnext-probs.npy", "samples": 240, "classes": 10}
    saved = np.load(out / told["file"])
    assert (saved.dtype, saved.shape) == (np.float32, (240, 10))
    np.testing.assert_allclose(saved, known["out_sample_probs"], atol=1e-6)
    assert task.place().name == "4-probabilities-smoke-seed0"
    assert task.headline(told) == told["file"]

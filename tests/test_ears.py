"""`--features classifier,melproj`: what other ears hear has folders of its own, and stands in the classifier's rows."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline import command, plan
from pipeline.options import parse
from tasks import descriptions, drawing, folders, inspection, machine, measuring
from tasks.classifier import CacheFeatures, PrepareReference
from tasks.commands import _features
from tasks.controls import EvaluateControls
from tasks.corpus import PrepareClips
from tasks.errors import EarshotError
from tasks.evaluation import CacheSampleFeatures, CompareGenerators, EvaluateSamples
from tasks.rows import all_ears, heard_by_others, rows
from tests import toy_runs
from tests.test_features import MODULE
from tests.toy_runs import build_here

RATE, TIMESTEPS = 8000, 2000
CORPUS: Mapping[str, Any] = {
    "corpus": "folder", "settings": f"corpus.name=toy,corpus.sample_rate={RATE},corpus.clip_seconds={TIMESTEPS / RATE}"
}  # fmt: skip
MELPROJ = {"features": "melproj"}


def tones(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(TIMESTEPS) / RATE
    return 0.3 * np.sin(2 * np.pi * rng.uniform(200, 800, (count, 1)) * time + rng.uniform(0, 6, (count, 1)))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A corpus of tones, and imported samples of others, as melproj hears them."""
    top = tmp_path_factory.mktemp("ears")
    for label in ("high", "low"):
        (top / "recordings" / label).mkdir(parents=True)
        for number, waveform in enumerate(tones(15, seed=len(label))):
            soundfile.write(top / "recordings" / label / f"{number}.wav", waveform, RATE)
    np.save(top / "samples.npy", np.rint(tones(12, seed=9) * 32768).astype(np.int16))
    with toy_runs.settings(workdir=top / "workdir", source=str(top / "recordings"), device="cpu"):
        (top / "workdir").mkdir()
        build_here(evaluation(top))
        build_here(EvaluateControls(count=4, **CORPUS, **MELPROJ))
        yield top


def evaluation(top: Path, features: str = "melproj", **more: Any) -> EvaluateSamples:
    about = {"samples": str(top / "samples.npy"), "samples_rate": RATE, "name": "theirs"}
    return EvaluateSamples(**{**CORPUS, **about, "features": features, **more})


# --- paths and identities -------------------------------------------------------------------------------------------------


def test_other_ears_have_folders_beside_the_classifiers(workdir: Path) -> None:
    corpus = machine.workdir() / PrepareClips(**CORPUS).place().parent
    assert {path.parent.relative_to(corpus).as_posix() for path in corpus.rglob("manifest.json")} == {
        "2-clips", "4-features/melproj", "5-reference/melproj", "controls/draw-4/4-evaluation-melproj",
        "imported/theirs/2-samples", "imported/theirs/3-features-melproj", "imported/theirs/4-evaluation-melproj",
    }  # fmt: skip


def test_nothing_of_the_classifier_is_in_them(workdir: Path) -> None:
    for task in (
        CacheFeatures(**CORPUS, **MELPROJ),
        PrepareReference(**CORPUS, **MELPROJ),
        EvaluateControls(count=4, **CORPUS, **MELPROJ),
        evaluation(workdir),
    ):
        text = (task.folder / folders.CONFIG).read_text()
        assert "classifier" not in text
        assert json.loads(text)["parameters"]["features"] == "melproj"
    judge = {"classifier": "paper", "classifier_seed": 3}
    other = evaluation(workdir, settings=CORPUS["settings"] + ",classifier.width=16", **judge).upstream(
        CacheSampleFeatures
    )
    assert other.task_id == evaluation(workdir).upstream(CacheSampleFeatures).task_id
    assert evaluation(workdir, **judge).complete()


def test_the_classifiers_own_identity_is_what_it_was() -> None:
    own = CacheFeatures(classifier="smoke")
    assert own.identity_parameters() == {"corpus": "spoken_digits", "classifier": "smoke", "classifier_seed": "0"}
    assert own.resolved() == {}
    assert own.place().as_posix().endswith("4-features/smoke-seed0")
    assert set(own.inputs()) == {"clips", "classifier"}
    assert set(CacheFeatures(classifier="smoke", **MELPROJ).inputs()) == {"clips"}
    judged = EvaluateSamples(model="noise", preset="smoke", classifier="smoke", features="classifier")
    assert set(judged.identity_parameters()) == {"samples"}


def test_features_are_cached_with_their_version(workdir: Path) -> None:
    assert CacheFeatures(**CORPUS, **MELPROJ).resolved() == {"features_version": 1, "weights": None}
    task = evaluation(workdir).upstream(CacheSampleFeatures)
    with np.load(task.folder / "samples.npz") as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {"features": (12, 256)}


# --- what is measured -----------------------------------------------------------------------------------------------------


def test_only_what_needs_nothing_but_features_is_measured(workdir: Path) -> None:
    found = folders.read_json(evaluation(workdir).folder / folders.METRICS)
    heard = {metric["key"] for metric in descriptions.of_metrics() if descriptions.hears(metric)}
    assert "v1/fid" in found["scores"]
    assert set(found["scores"]) <= heard
    assert not {"v1/is", "v1/accuracy", "v1/acoustics/loudness"} & heard
    for key in ("v1/is", "v1/acoustics/loudness"):
        assert key in found["not_applicable"]
    assert "class_counts" not in found
    config = folders.read_json(evaluation(workdir).folder / folders.CONFIG)
    assert set(config["settings"]["metrics"]) == heard
    controls = folders.read_json(EvaluateControls(count=4, **CORPUS, **MELPROJ).folder / folders.METRICS)["rows"]
    values = {name: row["scores"]["v1/fid"]["value"] for name, row in controls.items()}
    assert values["held-out"] < values["white-noise"]
    assert values["held-out"] < values["silence"]


def test_columns_of_other_ears_are_called_by_them() -> None:
    plain, both = descriptions.of_metrics(), descriptions.of_metrics(("melproj", "wavlm-base"))
    assert [metric for metric in both if "@" not in metric["key"]] == plain
    assert [metric["key"] for metric in both[:3]] == ["v1/fid", "v1/fid@melproj", "v1/fid@wavlm-base"]
    fid = both[1]
    assert (fid["name"], fid["headline"], fid["version"]) == ("FID (melproj)", True, plain[0]["version"])
    assert "melproj" in fid["doc"]
    assert "the classifier's features" not in fid["doc"]
    suffixed = {metric["key"].partition("@")[0] for metric in both if "@" in metric["key"]}
    assert suffixed == {metric["key"] for metric in plain if descriptions.hears(metric)}


# --- the leaderboard ------------------------------------------------------------------------------------------------------


@pytest.fixture
def judged(workdir: Path) -> Iterator[Path]:
    """The same samples as a classifier that never was heard them."""
    folder = evaluation(workdir).folder.with_name("4-evaluation-toy")
    folder.mkdir()
    config = folders.read_json(evaluation(workdir).folder / folders.CONFIG)
    folders.write_json(folder / folders.CONFIG, config | {"parameters": {"samples": "x"}})
    score = {"value": 5.0, "low": 4.0, "high": 6.0, "standard_error": 0.5, "version": 1, "better": "lower"}
    metrics = {"scores": {"v1/fid": score}, "not_applicable": {"v1/is": "no classes"}, "samples": 12}
    folders.write_json(folder / folders.METRICS, metrics)
    folders.write_json(folder / folders.MANIFEST, {"digest": "d", "files": {}})
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_what_other_ears_heard_stands_in_the_row_of_the_same_samples(workdir: Path, judged: Path) -> None:
    from evaluation.standings import standings

    corpus = machine.workdir() / PrepareClips(**CORPUS).place().parent
    beside = heard_by_others(judged)
    assert beside == [evaluation(workdir).folder]
    [row] = rows(corpus, [judged, *beside])
    assert (row["name"], row["kind"], all_ears([row])) == ("theirs", "imported", ("melproj",))
    scores = row["runs"][0]["scores"]
    assert {"v1/fid", "v1/fid@melproj"} <= set(scores)
    assert scores["v1/fid@melproj"] == folders.read_json(beside[0] / folders.METRICS)["scores"]["v1/fid"]
    assert row["reasons"]["v1/is"] == "no classes"
    cells = standings([row], descriptions.of_metrics(("melproj",)))[0].cells
    assert cells["v1/fid"].runs[0]["source"] == "imported/theirs/4-evaluation-toy"
    assert cells["v1/fid@melproj"].runs[0]["source"] == "imported/theirs/4-evaluation-melproj"
    assert cells["v1/fid@melproj"].runs[0]["digest"] == folders.digest_of(beside[0])
    assert all_ears(rows(corpus, [judged])) == ()


def test_the_leaderboard_asks_for_every_row_by_all_ears() -> None:
    board = CompareGenerators(models=("noise",), preset="smoke", classifier="smoke", features="melproj,classifier")
    wanted = [task.place().name for task in board.inputs().values()]
    assert wanted.count("4-evaluation-melproj") == wanted.count("4-evaluation-smoke-seed0")
    assert set(board.identity_inputs()) == {"clips", "classifier", "reference"}
    assert board.reference().place().name == "smoke-seed0"
    with pytest.raises(EarshotError, match="classifier,melproj"):
        CompareGenerators(models=("noise",), preset="smoke", features="melproj").inputs()


def test_the_command_of_a_row_names_ears_that_are_not_the_usual_ones(workdir: Path) -> None:
    corpus = machine.workdir() / PrepareClips(**CORPUS).place().parent
    heard = {"melproj": {"source": "imported/theirs/4-evaluation-melproj"}}
    assert _features({"runs": [{"others": heard}]}, corpus) == []
    assert _features({"runs": [{}]}, corpus) == []
    (corpus / "4-evaluation-mine").mkdir()
    asked = {"request": {"parameters": {"features": "/some/where/mine.py:/some/where/w.pt"}}}
    folders.write_json(corpus / "4-evaluation-mine" / folders.PROVENANCE, asked)
    heard["hear-mine-w"] = {"source": "4-evaluation-mine"}
    words = _features({"runs": [{"others": heard}]}, corpus)
    assert words == ["--features", "classifier,PATH/mine.py:PATH/w.pt,melproj"]


# --- the doors ------------------------------------------------------------------------------------------------------------


def test_the_luigi_command_evaluates_by_the_classifier_and_by_melproj(workdir: Path) -> None:
    both = EvaluateSamples(model="noise", preset="smoke", classifier="smoke")
    assert both.features == ("classifier", "melproj")
    assert both.place().name == "4-evaluation-smoke-seed0"
    assert [task.place().name for task in both.requires().values()][-1] == "4-evaluation-melproj"
    assert all("melproj" not in str(task.place()) for task in both.inputs().values())
    assert evaluation(workdir).complete()
    assert not evaluation(workdir, "melproj,hubert-base").others()[0].folder.exists()
    assert evaluation(workdir, "melproj,melproj").features == ("melproj",)


def test_features_are_asked_for_at_the_front_door() -> None:
    assert parse("sc09", []).features == ["classifier", "melproj"]
    task = command.benchmark(parse("sc09", ["--features", "classifier,wavlm-base"]))
    assert task.features == ("classifier", "wavlm-base")
    assert task.to_str_params()["features"] == "classifier,wavlm-base"
    with pytest.raises(EarshotError, match=r"Did you mean melproj\?.*classifier, melproj.*path/to/module\.py"):
        command.benchmark(parse("sc09", ["--features", "classifier,melpro"]))
    with pytest.raises(EarshotError, match="--features names none"):
        command.benchmark(parse("sc09", ["--features", ","]))


def test_absent_weights_are_told_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    words = ["--models", "noise", "--preset", "smoke", "--features", "classifier,wavlm-base"]
    with toy_runs.settings(workdir=tmp_path / "workdir"), pytest.raises(EarshotError) as error:
        plan.steps(command.benchmark(parse("spoken_digits", words)))
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "wavlm_base.pth") in str(error.value)
    assert "download.pytorch.org" in str(error.value)


# --- ears of one's own ----------------------------------------------------------------------------------------------------


def test_a_module_with_the_hear_interface_is_known_by_its_source(workdir: Path, tmp_path: Path) -> None:
    module = tmp_path / "toy.py"
    module.write_text(MODULE)
    asked = {"features": str(module)}
    folder = build_here(PrepareReference(**CORPUS, **asked))
    features = CacheFeatures(**CORPUS, **asked)
    assert (folder.name, features.folder.name) == ("hear-toy", "hear-toy")
    with np.load(features.folder / "train.npz") as arrays:
        assert arrays["features"].shape[1] == 2
    version = features.resolved()["features_version"]
    assert features.complete()
    module.write_text(MODULE + "\nanother = 1\n")
    assert features.resolved()["features_version"] != version
    assert [difference.field for difference in features.differences()] == ["settings.features_version"]
    module.unlink()
    assert features.complete(), "what was heard is there; who heard it may be gone"
    with pytest.raises(EarshotError, match=r"there is no module .*toy\.py"):
        evaluation(workdir, str(module)).complete()


def test_weights_count_by_their_content(workdir: Path, tmp_path: Path) -> None:
    module, weights = tmp_path / "toy.py", tmp_path / "scale.txt"
    module.write_text(MODULE)
    weights.write_text("2.0")
    task = CacheFeatures(**CORPUS, features=f"{module}:{weights}")
    assert task.place().name == "hear-toy-scale"
    before = task.resolved()["weights"]
    assert before == folders.sha256(weights)
    weights.write_text("3.00")
    assert task.resolved()["weights"] != before


# --- status, and labels ---------------------------------------------------------------------------------------------------


def test_status_knows_them(workdir: Path) -> None:
    for task in (CacheFeatures(**CORPUS, **MELPROJ), PrepareReference(**CORPUS, **MELPROJ), evaluation(workdir)):
        again = inspection.recreate(task.folder)
        assert again.place() == task.place()
        assert again.differences() == []
    state, remark = inspection.finished_state(evaluation(workdir).folder)
    assert (state, remark.partition(" ")[0]) == (inspection.DONE, "FID")
    assert "FID (melproj)" in remark


def test_labels_of_what_was_asked_for_reach_the_metrics(tmp_path: Path) -> None:
    samples, heard, reference, out = (tmp_path / name for name in ("samples", "heard", "reference", "out"))
    for folder in (samples, heard, reference, out):
        folder.mkdir()
    np.save(samples / drawing.SAMPLES, np.rint(tones(6, 0) * 32768).astype(np.int16))
    folders.write_json(samples / folders.METRICS, {"sample_rate": RATE})
    lines = [f"{i},{i},,0.25,{RATE},x.wav,{i % 2}" for i in range(6)]
    logs = np.log(np.tile([[0.8, 0.2]], (6, 1)))
    np.savez(heard / "samples.npz", features=np.random.default_rng(0).normal(size=(6, 3)), log_probabilities=logs)
    np.savez(reference / measuring.REFERENCE)
    for columns, there in ((drawing.COLUMNS, False), ((*drawing.COLUMNS, drawing.LABEL), True)):
        table = [",".join(columns), *(line if there else line.rpartition(",")[0] for line in lines)]
        (samples / drawing.TABLE).write_text("\n".join(table))
        found = measuring.evaluate(reference, samples, heard, None, out, lambda done, total, text="": None)
        assert found["class_counts"] == [6, 0]
        if there:
            assert found["scores"]["v1/accuracy"]["value"] == 0.5
        else:
            assert "no labels" in found["not_applicable"]["v1/accuracy"]

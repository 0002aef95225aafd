"""A corpus without classes: no classifier, independent ears as the judge, and class-based measures not applicable."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from evaluation import metrics as plugins
from evaluation.metrics.base import BY_CLASS, Metric
from evaluation.sample_set import SampleSet
from pipeline import plan
from tasks import corpora, descriptions, folders, machine
from tasks.artifact import ArtifactTask
from tasks.benchmark import RunBenchmark
from tasks.classifier import CacheFeatures, TrainClassifier
from tasks.controls import EvaluateControls
from tasks.corpus import PrepareClips
from tasks.errors import EarshotError
from tasks.evaluation import CompareGenerators, EvaluateSamples
from tasks.external import ExportProbabilities
from tasks.selection import EvaluateCheckpoints
from tests import toy_runs
from tests.test_ears import RATE, TIMESTEPS, tones
from tests.toy_runs import build_here

CORPUS: Mapping[str, Any] = {
    "corpus": "folder", "settings": f"corpus.name=bare,corpus.sample_rate={RATE},corpus.clip_seconds={TIMESTEPS / RATE}"
}  # fmt: skip
ABSENT = "not applicable: the corpus has no classes"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A corpus of bare tones with two imports, one of other tones and one of noise, on a leaderboard."""
    top = tmp_path_factory.mktemp("unlabelled")
    (top / "recordings").mkdir()
    for number, waveform in enumerate(tones(40, seed=3)):
        soundfile.write(top / "recordings" / f"{number}.wav", waveform, RATE)
    noise = 0.2 * np.random.default_rng(0).normal(size=(12, TIMESTEPS))
    for name, waveforms in (("tones", tones(12, seed=9)), ("hiss", noise)):
        np.save(top / f"{name}.npy", np.rint(waveforms * 32768).astype(np.int16))
    with toy_runs.settings(workdir=top / "workdir", source=str(top / "recordings"), device="cpu"):
        (top / "workdir").mkdir()
        build_here(board(top))
        board(top).clean_up()
        yield top


def board(top: Path, **more: Any) -> CompareGenerators:
    sets = tuple((name, str(top / f"{name}.npy")) for name in ("tones", "hiss"))
    return CompareGenerators(**{**CORPUS, "models": (), "sample_sets": sets, "samples_rate": RATE, "count": 12, **more})


def place() -> Path:
    return machine.workdir() / PrepareClips(**CORPUS).place().parent


def page() -> dict[str, Any]:
    found: dict[str, Any] = folders.read_json(place() / "6-leaderboard" / "melproj" / "leaderboard.json")
    return found


# --- the chain --------------------------------------------------------------------------------------------------------------


def test_nothing_is_trained_as_a_judge_and_the_ears_name_stands_for_it(workdir: Path) -> None:
    found = {path.parent.relative_to(place()).as_posix() for path in place().rglob("manifest.json")}
    assert found == {
        "2-clips", "4-features/melproj", "5-reference/melproj", "6-leaderboard/melproj",
        "controls/draw-12/4-evaluation-melproj", "controls/splits/4-evaluation-melproj",
        *(f"imported/{name}/{stage}" for name in ("tones", "hiss")
          for stage in ("2-samples", "3-features-melproj", "4-evaluation-melproj")),
    }  # fmt: skip


def test_all_tasks_agree_on_who_listens(workdir: Path) -> None:
    for asked in (("classifier", "melproj"), ("classifier",), ("melproj",)):
        task = EvaluateControls(count=12, features=asked, **CORPUS)
        assert task.place().name == "4-evaluation-melproj"
        assert set(task.inputs()) == {"clips", "features", "reference"}
        assert task.complete()
        assert "classifier" not in json.dumps(task.identity())
        assert task.judging
    other = CacheFeatures(**CORPUS, features=("classifier", "wavlm-base", "melproj"))
    assert other.place().name == "wavlm-base"
    assert board(workdir, features=("wavlm-base", "melproj")).place().name == "wavlm-base"


def test_only_metrics_that_need_no_classes_are_part_of_what_it_is(workdir: Path) -> None:
    known = plugins.metrics()
    assert set(EvaluateControls(count=4, **CORPUS).metric_versions()) == {
        key for key, metric in known.items() if not metric.needs_classes
    }
    assert {"v1/is", "v1/fid/per-class", "sashimi/fid", "v1/accuracy"} <= {
        key for key, metric in known.items() if metric.needs_classes
    }
    assert not known["v1/vendi"].needs_classes


def test_a_rerun_has_nothing_to_do(workdir: Path) -> None:
    assert board(workdir).complete()
    sets = board(workdir).sample_sets
    task = RunBenchmark(**CORPUS, models=(), sample_sets=sets, samples_rate=RATE, count=12)
    assert task.complete()
    assert {step.state for step in plan.steps(task)} == {plan.DONE}


def test_what_was_found_in_the_folder_is_remembered_without_it(workdir: Path) -> None:
    with toy_runs.settings(source=""):
        assert not PrepareClips(**CORPUS).has_classes()
        assert board(workdir).complete()


def test_a_plan_trains_no_classifier(workdir: Path) -> None:
    task = RunBenchmark(**CORPUS, models=("wavenet", "noise"), preset="smoke", classifier="smoke", count=4)
    places = {step.task.place().as_posix() for step in plan.steps(task)}
    assert not any("3-classifier" in place for place in places)
    assert any(place.endswith("wavenet/smoke-seed0/2-likelihood") for place in places)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"features": ("classifier",)}, "--features classifier needs a classifier"),
        ({"classifier": "release:resnext"}, "--classifier release:resnext needs a classifier"),
        ({"save_probabilities": True}, "--save-probabilities needs a classifier"),
        ({"settings": CORPUS["settings"] + ",classifier.width=8"}, "--set classifier.width needs a classifier"),
    ],
)
def test_what_needs_a_classifier_is_refused(workdir: Path, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(EarshotError, match=f"{told}.*have no labels.*--features melproj"):
        board(workdir, **asked).inputs()


def test_tasks_of_a_classifier_are_refused(workdir: Path) -> None:
    row = {"samples": str(workdir / "tones.npy"), "samples_rate": RATE, "name": "tones"}
    tasks: list[ArtifactTask] = [TrainClassifier(**CORPUS), ExportProbabilities(**CORPUS, **row)]
    for task in tasks:
        with pytest.raises(EarshotError, match="have no labels"):
            task.complete()
    checkpoints = EvaluateCheckpoints(**CORPUS, model="noise", preset="smoke", criterion="v1/is")
    with pytest.raises(EarshotError, match="v1/is"):
        checkpoints.criterion_metric()


def test_a_labelled_corpus_is_judged_as_ever() -> None:
    labelled = EvaluateControls(count=4)
    assert labelled.has_classes()
    assert labelled.listeners() == ("classifier",)
    assert labelled.metric_versions().keys() == plugins.metrics().keys()
    heard = EvaluateControls(count=4, features="melproj")
    assert not heard.judging
    assert set(heard.metric_versions()) == {m["key"] for m in descriptions.of_metrics() if descriptions.hears(m)}


def test_a_corpus_that_says_otherwise_is_told(workdir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(PrepareClips, "has_classes", lambda self: True)
    with pytest.raises(ValueError, match="have no labels, and its file says otherwise"):
        PrepareClips(**CORPUS).build(tmp_path, lambda done, total, text="": None)


def test_corpora_say_whether_they_have_classes(tmp_path: Path) -> None:
    for name in ("sc09", "spoken_digits"):
        plugin = corpora.find(name)
        assert plugin.cls().has_classes(plugin.config(), None)
    for below, labels, classes in (("", "folders", False), ("a", "folders", True), ("a", "none", False)):
        root = tmp_path / f"{below}{labels}"
        for folder in (below, below and "b"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / "1.wav").touch()
        plugin = corpora.find("folder")
        assert plugin.cls().has_classes(plugin.config(labels=labels), root) == classes


# --- what is shown ----------------------------------------------------------------------------------------------------------


def test_the_judge_is_named(workdir: Path) -> None:
    judge = page()["judge"]
    evaluation = EvaluateSamples(**CORPUS, samples=str(workdir / "tones.npy"), samples_rate=RATE, name="tones")
    assert judge["classifier"] == "melproj"
    assert judge == folders.read_json(evaluation.folder / folders.METRICS)["judge"]
    assert page()["sorted_by"] == "v1/fid"
    names = {metric["key"]: metric["name"] for metric in page()["metrics"]}
    assert (names["v1/fid"], names["v1/kid"]) == ("FID (melproj)", "KID")
    assert not any("@" in key for key in names)
    assert "the features that are compared are those of melproj" in (place() / "leaderboard.md").read_text()


def test_class_based_measures_are_not_applicable(workdir: Path) -> None:
    inapplicable = {key for key, metric in plugins.metrics().items() if metric.needs_classes}
    for row in page()["rows"]:
        for key, score in row["scores"].items():
            assert key not in inapplicable or (score["value"], score["reason"]) == (None, ABSENT)
    measured = page()["rows"][0]["scores"]
    for key in ("v1/fid", "v1/kad", "v1/vendi", "v1/acoustics/loudness", "v1/runaway"):
        assert measured[key]["value"] is not None, key
    with open(place() / "leaderboard.csv", newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["metric"] == "v1/is"]
    assert {(line["value"], line["reason"]) for line in lines} == {("", ABSENT)}
    assert {line["row"] for line in lines} == {row["name"] for row in page()["rows"]}


def test_the_tables_say_so_and_keep_their_columns_for_numbers(workdir: Path) -> None:
    markdown = (place() / "leaderboard.md").read_text()
    [line] = [line for line in markdown.splitlines() if line.startswith("| IS ↑")]
    assert line.count("not applicable") == 2
    assert "Not applicable, since the corpus has no classes: IS, mIS, AM" in markdown
    head = next(line for line in markdown.splitlines() if line.startswith("| rank"))
    assert " IS " not in head
    assert "runaway noise" in head
    assert "Not applicable, since the corpus has no classes: IS" in (place() / "leaderboard.tex").read_text()
    assert r"not applicable: the corpus has no classes} \\" in (place() / "leaderboard-all.tex").read_text()
    told = (place() / "6-leaderboard" / "melproj" / "leaderboard.txt").read_text()
    assert "Not applicable, since the corpus has no classes: IS, mIS, AM and" in told


def test_the_report_is_of_ears(workdir: Path) -> None:
    report = (place() / "report" / "index.html").read_text()
    assert "ears that nobody has trained on these recordings (melproj)" in report
    assert "Not applicable, since the corpus has no classes" in report
    assert 'id="classifier"' not in report
    assert "heard as" not in report
    assert "the classifier's features" not in report
    assert "⚠ noise throughout" in report


def test_noise_is_told_of_every_sample(workdir: Path) -> None:
    evaluation = place() / "imported" / "hiss" / "4-evaluation-melproj"
    with open(evaluation / "runaway.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == [str(row) for row in range(12)]
    assert {(line["noisy"], line["onset_seconds"], line["share"]) for line in lines} == {("1", "0.000", "1.000")}
    assert folders.read_json(evaluation / folders.METRICS)["noisy"] == 12
    scores = {row["name"]: row["scores"]["v1/runaway"]["value"] for row in page()["rows"]}
    assert (scores["hiss"], scores["tones"], scores["white-noise"], scores["train-split"]) == (1.0, 0.0, 1.0, 0.0)


# --- the contract of metrics --------------------------------------------------------------------------------------------


def test_a_newcomers_metric_says_that_it_needs_classes() -> None:
    metric = Metric("v1/mine", "mine", 1, "lower", ("waveforms", "classes"), "Mine.")
    assert metric.needs_classes
    assert metric.to_json()["needs_classes"]
    bare = SampleSet(waveforms=np.zeros((3, 10), np.int16))
    assert metric.obstacle(bare) == "no classes (generated side)"
    labelled = SampleSet(waveforms=np.zeros((3, 10), np.int16), labels=np.array([0, 2, 1]))
    assert labelled.classes == 3
    assert metric.obstacle(labelled) == ""
    assert not Metric("v1/mine", "mine", 1, "lower", ("waveforms",), "Mine.").needs_classes
    assert "classes" in BY_CLASS

"""Many checkpoints of a training: kept without a trace in its result, judged by draws of their own, the best one chosen."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from models.checkpoints import load_weights
from tasks import choosing, drawing, folders, machine
from tasks.artifact import ArtifactTask, request
from tasks.choosing import FIRST, Judged, curve
from tasks.corpus import PrepareClips
from tasks.errors import EarshotError
from tasks.evaluation import EvaluateSamples
from tasks.generator import DrawSamples, TrainGenerator
from tasks.rows import curves
from tasks.selection import CheckpointsParameter, EvaluateCheckpoints, JudgeCheckpoint, PrepareValidation
from tasks.trained import TakeCheckpoint
from tests import toy_runs
from tests import training_toys as toys
from tests.training_toys import contents

# -- a training that keeps weights on its way --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    toys.train(folder, keep_every=8)
    return folder


def steps(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("step-")) for path in sorted((folder / "kept").iterdir())]


def test_keeping_weights_changes_nothing_else(kept: Path, tmp_path: Path) -> None:
    toys.train(tmp_path)
    assert contents(tmp_path) == contents(kept)
    assert not (tmp_path / "kept").exists()
    assert steps(kept) == [8, 16, 24, 32, 40, 48, 56, 60], "every eighth, and the last"


def test_they_are_kept_as_they_are_validated(kept: Path, tmp_path: Path) -> None:
    best = toys.train(tmp_path)["best_step"]  # with averaged weights
    ours = load_weights(kept / "kept" / f"step-{best:07d}.safetensors")
    theirs = load_weights(kept / "model.safetensors")
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_a_training_that_was_interrupted_keeps_the_same(kept: Path, tmp_path: Path) -> None:
    def die() -> Any:
        raise RuntimeError("the power is gone")

    with pytest.raises(RuntimeError, match="power"):
        toys.train(tmp_path, keep_every=8, listen=die)
    assert steps(tmp_path) == [8, 16]
    toys.train(tmp_path, keep_every=8)
    for path in sorted((kept / "kept").iterdir()):
        assert path.read_bytes() == (tmp_path / "kept" / path.name).read_bytes()


# -- the choice, from finished judgements ------------------------------------------------------------------------------

FID = {"key": "v1/fid", "name": "FID", "better": "lower", "version": 1, "digits": 3}
ABOUT = {"title": "a training", "samples": 50, "reference": "validation"}


def judged(place: Path, step: int, value: float, influence: np.ndarray) -> Judged:
    (folder := place / str(step)).mkdir()
    error = float(np.sqrt((influence**2).sum() / (50 * 49)))
    score = {"value": value, "low": value - 1.96 * error, "high": value + 1.96 * error, "standard_error": error}
    score |= {"better": "lower", "version": 1, "n_reference": 20, "n_generated": 50}
    scores = {"v1/fid": score, "v1/is": score | {"value": -value, "better": "higher"}}
    folders.write_json(folder / folders.METRICS, {"scores": scores, "not_applicable": {"v1/nll": "no likelihood"}})
    folders.write_json(folder / folders.MANIFEST, {"digest": str(step)})
    np.savez(folder / "per_sample.npz", **{"v1.fid": influence, "v1.is": influence})
    return Judged(f"step {step}", step, f"take {step}", folder)


@pytest.fixture
def three(tmp_path: Path) -> list[Judged]:
    """Of the same noise: 200 is ahead of 100, which shares nothing with it, and a little ahead of 300, which shares most."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=50)
    noise = [rng.normal(size=50), shared, shared + 0.05 * rng.normal(size=50)]
    values = [(100, 10.1), (200, 10.0), (300, 10.05)]
    return [judged(tmp_path, step, value, some) for (step, value), some in zip(values, noise, strict=True)]


def test_the_best_is_chosen_and_ties_are_told_by_pairs(three: list[Judged], tmp_path: Path) -> None:
    (out := tmp_path / "curve").mkdir()
    metrics = curve(three, FID, ABOUT, out)
    assert metrics["best"] == {"name": "step 200", "step": 200, "command": "take 200", "value": 10.0}
    assert metrics["tied"] == ["step 100"], "300 lost to it sample by sample, 100 may only have been unlucky"
    page = json.loads((out / "curve.json").read_text())
    assert (page["best"], page["reference"], page["format"]) == ("step 200", "validation", 1)
    assert [entry["best"] for entry in page["checkpoints"]] == [False, True, False]
    far = page["checkpoints"][2]["difference_to_best"]
    assert far["value"] == pytest.approx(0.05)
    assert far["method"].startswith("paired by sample")
    lines = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    assert [(line["step"], line["metric"]) for line in lines[:2]] == [("100", "v1/fid"), ("100", "v1/is")]
    assert len(lines) == 6
    text = (out / "curve.md").read_text()
    assert "step 200 has the best FID" in text
    assert "    take 200\n" in text
    assert text.count("cannot be told apart from it") == 1


def test_a_criterion_that_should_be_high(three: list[Judged], tmp_path: Path) -> None:
    metrics = curve(three, FID | {"key": "v1/is", "name": "IS", "better": "higher"}, ABOUT, tmp_path)
    assert metrics["best"]["step"] == 200
    with pytest.raises(ValueError, match="the criterion v1/nll is not known of step 100: no likelihood"):
        curve(three, FID | {"key": "v1/nll"}, ABOUT, tmp_path)


# -- the tasks ---------------------------------------------------------------------------------------------------------

CORPUS = (("corpus.clip_seconds", "0.25"), ("corpus.clips_per_digit", "16"))
ASKED: dict[str, Any] = {"model": "noise", "preset": "smoke", "settings": CORPUS}
HEARD: dict[str, Any] = {"features": ("melproj",), "count": 12}


def make(task: ArtifactTask) -> Path:
    """The finished artifact of `task` and of what it needs, made in this process: a stage's takes seconds to start."""
    for upstream in task.inputs().values():
        make(upstream)  # type: ignore[arg-type]
    if not task.complete():
        building = folders.partial(task.folder)
        building.mkdir(parents=True, exist_ok=True)
        folders.write_json(building / folders.CONFIG, task.identity())
        folders.write_json(building / folders.METRICS, task.build(building, lambda done, total, text: None))
        folders.write_json(building / folders.PROVENANCE, {"seconds": 1.0, "request": request(task)})
        folders.publish(building, task.folder, task.unhashed, None if task.derived else machine.workdir())
    return task.folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir with a training of 60 steps that has kept every twentieth, and its curve."""
    workdir = tmp_path_factory.mktemp("trained")
    with toy_runs.settings(workdir=workdir, keep_every=20):
        make(EvaluateCheckpoints(**ASKED, **HEARD))
    return workdir


@pytest.fixture
def workdir(trained: Path) -> Iterator[Path]:
    with toy_runs.settings(workdir=trained):
        yield trained


def test_the_curve_of_a_training(workdir: Path) -> None:
    task = EvaluateCheckpoints(**ASKED, **HEARD)
    assert task.complete()
    page = folders.read_json(task.folder / "curve.json")
    names = [entry["name"] for entry in page["checkpoints"]]
    last = folders.read_json(TrainGenerator(**ASKED).folder / folders.METRICS)["kept_step"]
    assert [entry["step"] for entry in page["checkpoints"]] == [20, 40, 60]
    assert f"result (step {last})" in names
    values = {entry["name"]: entry["scores"]["v1/fid"]["value"] for entry in page["checkpoints"]}
    assert page["best"] == min(values, key=lambda name: values[name])
    assert task.place().as_posix().endswith("/noise/smoke-seed0/selection-12/5-curve-melproj")
    assert curves(workdir / task.corpus_place(), "melproj") == [task.folder]


def test_the_reference_is_the_validation_split_and_nothing_of_the_test_split(workdir: Path) -> None:
    task = JudgeCheckpoint(checkpoint="step:20", **ASKED, **HEARD)
    metrics = folders.read_json(task.folder / folders.METRICS)
    clips = folders.read_json(PrepareClips(settings=CORPUS).folder / folders.METRICS)["clips"]
    assert metrics["scores"]["v1/fid"]["n_reference"] == clips["validation"]
    assert "v1/ct" not in metrics["scores"], "it asks for held-out clips, and there are none"
    with np.load(PrepareValidation(settings=CORPUS, features=("melproj",)).folder / "reference.npz") as arrays:
        assert not any("held_out" in name for name in arrays.files)
        assert {len(arrays[name]) for name in arrays.files if name.endswith(".features")} == {clips["validation"]}


def test_its_samples_are_drawn_for_it_alone(workdir: Path, tmp_path: Path) -> None:
    judge = JudgeCheckpoint(checkpoint="step:20", **ASKED, **HEARD)
    draw = DrawSamples(checkpoint="step:20", count=12, **ASKED)
    assert {path.name for path in (judge.folder / "wavs").iterdir()} == {f"sample_{FIRST + i}.wav" for i in range(8)}
    taken = draw.trained().folder
    settings = draw.sampling_settings()
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    drawing.draw(taken, 0, FIRST, FIRST + 12, settings, None, tmp_path / "a", lambda *_: None)
    drawing.draw(taken, 0, 0, 12, settings, None, tmp_path / "b", lambda *_: None)
    ours, theirs = (np.load(tmp_path / name / "samples.npy") for name in "ab")
    assert not any(np.array_equal(one, other) for one in ours for other in theirs)


def test_a_judgement_that_was_killed_goes_on_and_ends_alike(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "SHARD", 5)
    task = JudgeCheckpoint(checkpoint="step:40", **ASKED, **HEARD)
    digest, folder = folders.digest_of(task.folder), folders.partial(task.folder)
    task.folder.rename(workdir / "before")
    draw, drawn = drawing.draw, []

    def dying(*args: Any) -> Any:
        drawn.append(args[2])
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(drawing, "draw", dying)
    with pytest.raises(KeyboardInterrupt):
        make(task)
    assert (folder / "shards" / "000000").exists()
    make(task)
    assert drawn == [FIRST, FIRST + 5, FIRST + 5, FIRST + 10], "the first shard was kept"
    assert folders.digest_of(task.folder) == digest


def test_a_checkpoint_of_a_step_is_a_trained_model_with_a_row_of_its_own(workdir: Path) -> None:
    task = TakeCheckpoint(step=20, **ASKED)
    assert task.place().as_posix().endswith("/noise/smoke+step=20-seed0/1-checkpoint")
    assert models.load(task.folder).sample(2).waveforms.shape == (2, 4000)
    assert [line.split(",")[0] for line in (task.folder / "curve.csv").read_text().splitlines()[1:]] == ["0", "20"]
    evaluation = EvaluateSamples(checkpoint="step:20", classifier="smoke", **ASKED)
    assert evaluation.place().parts[1:3] == ("noise", "smoke+step=20-seed0")
    draw = evaluation.samples_task()
    assert draw.identity_parameters()["checkpoint"] == "step-20"  # type: ignore[attr-defined]
    assert draw.identity_parameters()["preset"] == "smoke"


def test_another_criterion_makes_the_curve_anew_and_nothing_else(workdir: Path) -> None:
    other = EvaluateCheckpoints(criterion="v1/coverage", **ASKED, **HEARD)
    assert not other.complete()
    assert all(task.complete() for task in other.inputs().values())
    make(other)
    assert folders.read_json(other.folder / folders.METRICS)["criterion"] == "v1/coverage"
    assert not EvaluateCheckpoints(**ASKED, **HEARD).complete()
    make(EvaluateCheckpoints(**ASKED, **HEARD))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"criterion": "v1/fit"}, "unknown criterion 'v1/fit'. Did you mean v1/fid"),
        ({"criterion": "v1/nll"}, "unknown criterion 'v1/nll'"),
        ({"criterion": "v1/ct"}, "unknown criterion 'v1/ct'"),
        ({"seed": 5}, "is not trained yet, and would keep no weights on its way: --keep-every"),
        ({"model": ""}, "say whose checkpoints they are"),
    ],
)
def test_what_cannot_be_chosen_by_is_told_at_once(asked: dict[str, Any], told: str, workdir: Path) -> None:
    with pytest.raises(EarshotError) as error:
        EvaluateCheckpoints(**(ASKED | HEARD | asked)).inputs()
    assert told in str(error.value)


def test_a_step_that_was_not_kept_is_told_before_anything_runs(workdir: Path) -> None:
    with pytest.raises(EarshotError, match=r"has kept no weights of step 25: of the steps 20, 40, 60 only"):
        TakeCheckpoint(step=25, **ASKED).complete()
    with pytest.raises(EarshotError, match=r"would keep no weights of step 20: --keep-every 500"):
        TakeCheckpoint(step=20, seed=5, **ASKED).complete()
    with toy_runs.settings(keep_every=10):
        assert not TakeCheckpoint(step=20, seed=5, **ASKED).complete()
        planned = EvaluateCheckpoints(**(ASKED | HEARD | {"seed": 5})).candidates()
        assert [step for _, step, _ in planned] == [10, 20, 30, 40, 50, 60, 60]
    for wrong in ("step:", "step:0", "step:ten"):
        with pytest.raises(EarshotError, match="write step:N"):
            DrawSamples(checkpoint=wrong, **ASKED)


def test_files_from_elsewhere_are_in_the_order_of_their_steps(tmp_path: Path, workdir: Path) -> None:
    (run := tmp_path / "my run").mkdir()
    for name in ("epoch1-step900.pt", "epoch10-step9000.pt", "epoch2-step1800.pt"):
        (run / name).touch()
    task = EvaluateCheckpoints(model="wavenet", checkpoints=f"{run}/*.pt")
    assert [step for _, step, _ in task.candidates()] == [900, 1800, 9000]
    assert task.place().parts[1:3] == ("wavenet", "checkpoints-my-run-seed0")
    inputs = task.inputs()
    assert inputs["epoch1-step900"].place().parts[2] == "checkpoint-epoch1-step900-seed0"
    named = EvaluateCheckpoints(model="wavenet", checkpoints=f"{run}/*.pt", name="mine")
    assert named.place().parts[2] == "checkpoints-mine-seed0"
    (run / "final.pt").touch()
    steps = [step for _, step, _ in EvaluateCheckpoints(model="wavenet", checkpoints=f"{run}/*.pt").candidates()]
    assert steps == [1, 2, 3, 4], "one has no number: their order is all that is known"


def test_files_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    for name in ("a/last.pt", "b/last.pt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    parameter = CheckpointsParameter()
    with pytest.raises(EarshotError, match="2 files are called 'last'"):
        parameter.normalize(f"{tmp_path}/*/last.pt")
    with pytest.raises(EarshotError, match="no file is called like that"):
        parameter.normalize(f"{tmp_path}/*.ckpt")
    one = parameter.normalize(f"{tmp_path}/a/*.pt")
    assert parameter.normalize(parameter.parse(parameter.serialize(one))) == one

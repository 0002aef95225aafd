"""TuneThresholds over made-up samples and features: our own draws, imports with a table or an order, and what is refused.

Everything upstream is published without the work; only the stage itself is run, in its own process.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import evaluation
from tasks import drawing, folders, likelihoods, machine, measuring, tuning
from tasks.artifact import ArtifactTask, request
from tasks.classifier import PrepareReference
from tasks.errors import EarshotError
from tasks.evaluation import CacheSampleFeatures
from tasks.generator import DrawSamples, ImportSamples
from tasks.thresholds import TuneThresholds
from tests import toy_runs
from tests.test_doors import command
from tests.test_rejection import clips

COUNT, RATE = 60, 16000
ASKED: dict[str, Any] = {"preset": "smoke", "classifier": "smoke", "settings": "corpus.clips_per_digit=16"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What models say of themselves, asked for once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, cache: Path) -> Iterator[Path]:
    (folder := tmp_path / "workdir").mkdir()
    (folder / ".cache").symlink_to(cache)
    with toy_runs.settings(workdir=folder, device="cpu", stale="refuse"):
        yield folder


def publish(task: ArtifactTask) -> None:
    """The finished artifact of `task` and of all before it, as far as they are not there."""
    if (task.folder / folders.MANIFEST).exists():
        return
    for upstream in task.inputs().values():
        publish(upstream)
    building = folders.partial(task.folder)
    building.mkdir(parents=True)
    folders.write_json(building / folders.CONFIG, task.identity())
    folders.write_json(building / folders.METRICS, payload(task, building))
    folders.write_json(building / folders.PROVENANCE, {"seconds": 1.0, "request": request(task)})
    (building / folders.LOG).write_text("done\n")
    folders.publish(building, task.folder, task.unhashed, machine.workdir())


def payload(task: ArtifactTask, out: Path) -> dict[str, Any]:
    """The files of the artifact that the stage reads; returns its metrics."""
    real, samples = clips(np.random.default_rng(0), 200), clips(np.random.default_rng(1), COUNT, broken=0.25)
    if isinstance(task, ImportSamples):
        return task.build(out, lambda *_: None)
    if isinstance(task, PrepareReference):
        np.savez(out / measuring.REFERENCE, **evaluation.prepare(real))
        return {"reference_clips": 200, "held_out_clips": 50}
    if isinstance(task, CacheSampleFeatures):
        np.savez(out / "samples.npz", features=samples.features, log_probabilities=samples.log_probabilities)
    if isinstance(task, DrawSamples):
        codes = np.random.default_rng(2).integers(-3000, 3000, (COUNT, 400)).astype(np.int16)
        np.save(out / drawing.SAMPLES, codes)
        drawing._write(out, codes.shape[1], np.arange(COUNT), samples.array("log_likelihood"), RATE)
    return {"samples": COUNT, "sample_rate": RATE}


def tuned(task: TuneThresholds) -> dict[str, Any]:
    """The metrics of the stage, which runs."""
    for upstream in task.inputs().values():
        publish(upstream)
    return folders.read_json(toy_runs.build(task) / folders.METRICS)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_our_own_draw_is_tuned_on_one_half_and_measured_on_the_other() -> None:
    task = TuneThresholds(model="wavenet", count=COUNT, **ASKED)
    metrics = tuned(task)
    assert task.place().name == "5-thresholds-smoke-seed0"
    assert task.place().parent.name == f"draw-{COUNT}"
    assert task.complete()
    assert (metrics["criterion"], metrics["metric"], metrics["by"], metrics["better"]) == (
        "fid",
        "v1/fid",
        "values",
        "lower",
    )
    assert metrics["samples"] == {"tuning": 30, "reporting": 30, "kept": metrics["samples"]["kept"]}
    inside, whole = (metrics["scores"][part] for part in ("inside", "whole"))
    assert inside["v1/fid"]["value"] < whole["v1/fid"]["value"]
    assert inside["v1/fid"]["n_generated"] == metrics["samples"]["kept"]
    assert {"v1/is", "v1/am", "v1/mis"} <= set(inside)
    assert "v1/nll" not in metrics["not_applicable"]["inside"], "it is of the model, not of samples"
    rows = table(task.folder / tuning.SURFACE)
    assert len(rows) == len(metrics["surface"]) == 40
    assert [float(row["value"]) for row in rows] == [cell["value"] for cell in metrics["surface"]]
    assert metrics["chosen"] == min(metrics["surface"], key=lambda cell: cell["value"])
    halves = table(task.folder / tuning.HALVES)
    kept = [row for row in halves if row["kept"] == "1"]
    assert len(halves) == COUNT
    assert len(kept) == metrics["samples"]["kept"]
    low = metrics["thresholds"]["tuning"]["low"]
    assert all(row["half"] == "reporting" and float(row["log_likelihood_nats"]) >= low for row in kept)
    assert json.dumps(metrics, allow_nan=False)
    script = metrics["script"]
    assert (script["lower"], script["upper"]) == pytest.approx((0.40, 0.95))
    assert script["samples"] == {"tuning": 30, "reporting": 30, "kept": 16}
    assert script["scores"]["sashimi/fid"]["n_generated"] == 16
    assert "FID" in task.headline(metrics)


def test_other_searches_have_folders_of_their_own() -> None:
    task = TuneThresholds(model="wavenet", count=COUNT, criterion="is", upper="0.8,1", **ASKED)
    assert task.place().name == "5-thresholds+criterion=is+upper=0.8,1-smoke-seed0"
    metrics = tuned(task)
    assert (metrics["metric"], len(metrics["surface"])) == ("v1/is", 10)
    assert "IS" in task.headline(metrics)


@pytest.fixture
def wavs(tmp_path: Path) -> Path:
    (folder := tmp_path / "wavs").mkdir()
    for number in range(COUNT):
        soundfile.write(folder / f"take_{number}.wav", np.full(400, number, np.int16), RATE, subtype="PCM_16")
    return folder


def write(path: Path, lines: list[tuple[Any, ...]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return path


def imported(wavs: Path, **how: Any) -> TuneThresholds:
    return TuneThresholds(name="mine", samples=str(wavs), **{**ASKED, "preset": "small"}, **how)


def told() -> list[float]:
    return clips(np.random.default_rng(1), COUNT, broken=0.25).array("log_likelihood").tolist()


def test_imports_bring_a_table_or_an_order(wavs: Path, tmp_path: Path) -> None:
    backwards = [(f"wavs/take_{n}.wav", nats) for n, nats in reversed(list(enumerate(told())))]
    write(wavs / likelihoods.SIDECAR, [("name", "log_likelihood_nats"), *backwards])
    task = imported(wavs)
    metrics = tuned(task)
    halves = table(task.folder / tuning.HALVES)
    assert [row["name"] for row in halves] == [f"take_{n}.wav" for n in range(COUNT)]
    assert [float(row["log_likelihood_nats"]) for row in halves] == told()
    assert metrics["scores"]["inside"]["v1/fid"]["value"] < metrics["scores"]["whole"]["v1/fid"]["value"]
    elsewhere = write(tmp_path / "elsewhere.csv", [(f"take_{n}.wav", nats) for n, nats in enumerate(told())])
    write(wavs / likelihoods.SIDECAR, [])
    named = imported(wavs, likelihoods=str(elsewhere))
    assert [d.field for d in named.differences()] == ["settings.likelihood"], "another table is another identity"
    (wavs / likelihoods.SIDECAR).unlink()
    assert imported(wavs).complete(), "what was finished is known without its table"
    ordered = imported(wavs, likelihood_from_order=True)
    assert ordered.place().name == "5-thresholds+order-smoke-seed0"
    assert "surface" in tuned(ordered)
    halves = table(ordered.folder / tuning.HALVES)
    assert [float(row["log_likelihood_nats"]) for row in halves] == list(range(COUNT))


def test_a_table_that_does_not_fit_is_refused_before_anything_runs(wavs: Path) -> None:
    lines = [(f"take_{n}.wav", nats) for n, nats in enumerate(told())]
    sidecar = wavs / likelihoods.SIDECAR
    cases = {
        "no likelihood for 2 of 60 samples: take_58.wav, take_59.wav": lines[:-2],
        "take_3.wav is there twice": [*lines, lines[3]],
        "the log-likelihood of take_60.wav is 'nan'": [*lines, ("take_60.wav", "nan")],
        "empty file": [],
        "a heading like name,log_likelihood_nats is needed": [("clip", "how", "good"), *lines],
        "a file name and a log-likelihood are needed": [*lines, ("take_61.wav",)],
    }
    for message, content in cases.items():
        write(sidecar, content)
        with pytest.raises(EarshotError, match=message):
            imported(wavs).complete()
    sidecar.unlink()
    with pytest.raises(EarshotError, match=r"come without likelihoods: give --likelihoods FILE.csv"):
        imported(wavs).complete()
    with pytest.raises(EarshotError, match="there is no file"):
        imported(wavs, likelihoods=str(wavs / "gone.csv")).complete()
    for number in range(19, COUNT):
        (wavs / f"take_{number}.wav").unlink()
    with pytest.raises(EarshotError, match="at least 20 samples"):
        imported(wavs, likelihood_from_order=True).complete()


def test_rows_of_an_array_are_named_by_their_number(tmp_path: Path) -> None:
    path = write(tmp_path / "likelihood.csv", [("row", "nats"), (0, -5.0), (1, -7.5)])
    assert likelihoods.match(["row 1", "row 0"], likelihoods.read(path), path) == [-7.5, -5.0]


WRONG = {
    "diffusion": (["--model", "diffwave"], ["diffwave gives no likelihood", "wavenet"]),
    "few": (["--model", "wavenet", "--count", "8"], ["at least 20 samples", "not 8"]),
    "paper": (
        ["--model", "wavenet", "--count", "512", "--paper"],
        ["10,240 samples", "there are 512", "--count 10240"],
    ),
    "criterion": (["--model", "wavenet", "--criterion", "fd"], ["'fd'", "Did you mean fid?"]),
    "quantiles": (["--model", "wavenet", "--lower", "0,40"], ["between 0 and 1"]),
    "grid": (["--model", "wavenet", "--upper", "0.3"], ["0.4 is not below 0.3"]),
    "table": (["--model", "wavenet", "--likelihoods", "a.csv"], ["are for imported samples"]),
    "both": (
        ["--samples", "wavs", "--name", "mine", "--likelihoods", "a.csv", "--likelihood-from-order"],
        ["give one of them"],
    ),
    "ears": (["--model", "wavenet", "--criterion", "is", "--features", "melproj"], ["class probabilities", "melproj"]),
}


@pytest.mark.parametrize("case", ["diffusion"])
def test_the_luigi_command_tunes_thresholds(case: str, workdir: Path) -> None:
    import sys

    words, told = WRONG[case]
    program = str(Path(sys.executable).with_name("luigi"))
    answer = command(
        program, "--module", "pipeline.evaluate", "TuneThresholds", "--machine-workdir", str(workdir), *words
    )
    shown = answer.stdout + answer.stderr
    assert answer.returncode != 0
    assert all(text in shown for text in told), shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_before_anything_runs(case: str) -> None:
    from tasks.thresholds import TuneThresholds as Task

    words, told = WRONG[case]
    with pytest.raises(EarshotError) as error:
        Task.from_str_params(_parameters(words)).complete()
    assert all(text in str(error.value) for text in told), str(error.value)


def _parameters(words: list[str]) -> dict[str, str]:
    """As Luigi reads them from its command line."""
    found: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            found[name] = "true"
        else:
            found[name] = word
    return found

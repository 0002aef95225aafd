"""Several sets of samples at once: what they are called, which are refused, and one command from folders to a leaderboard."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.options import parse
from tasks.errors import EarshotError
from tasks.evaluation import CompareGenerators, EvaluateSamples
from tasks.sample_sets import SampleSetsParameter, named
from tasks.settings import MODELS
from tests import toy_runs

SMALL = "corpus.clips_per_digit=16"


def folder(path: Path, count: int = 3, seconds: float = 0.1) -> Path:
    path.mkdir(parents=True)
    rng = np.random.default_rng(len(str(path)))
    for number in range(count):
        soundfile.write(path / f"{number}.wav", rng.uniform(-0.3, 0.3, int(16000 * seconds)), 16000)
    return path


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["run/wavenet/samples"], ["wavenet"]),
        (["mine"], ["mine"]),
        (["samples"], ["WHERE"]),
        (["a/wavs", "b/2-samples/wavs"], ["a", "b"]),
        (["a/final", "b/final"], ["a", "b"]),
        (["x/a/final", "y/a/final", "z"], ["x", "y", "z"]),
        (["x/a/0", "y/b/0"], ["x-a", "y-b"]),
        (["my model (v2)"], ["my-model-v2"]),
        (["a.npy", "b.zip"], ["a", "b"]),
        (["release:2048-wavegan", "a"], ["2048-wavegan", "a"]),
    ],
)
def test_a_set_is_called_by_what_its_path_says(paths: list[str], names: list[str], tmp_path: Path) -> None:
    words = [path if path.startswith("release:") else str(tmp_path / "WHERE" / path) for path in paths]
    assert [name for name, _ in named(words)] == names


def test_a_name_can_be_given_and_a_pattern_stands_for_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("run10/wavs", "run9/wavs", "other"):
        folder(tmp_path / place)
    (tmp_path / "run9" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert named(["mine=other"]) == (("mine", str(tmp_path / "other")),)
    assert [name for name, _ in named(["run*/wavs"])] == ["run9", "run10"]
    assert [name for name, _ in named(["run9/*"])] == ["run9"], "a text file is no set of samples"
    assert named(["other", "other"]) == named(["other"])
    folder(tmp_path / "a=b")
    assert [name for name, _ in named(["a=b"])] == ["a=b"], "a folder that is called like that"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run*/wavs"], "no folder, .npy or .zip is called like that"),
        (["x/a/wavs", "x/b/../a/wavs", "a=y"], "would both be called 'a': write NAME=PATH"),
        (["m=x/*"], "2 sets cannot all be called 'm'"),
        (["silence"], "what tables call a row of their own"),
        (["train-split=x/a"], "what tables call a row of their own"),
        (["m="], "give a folder of wavs, or NAME=PATH"),
    ],
)
def test_what_cannot_be_a_row_is_refused(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("x/a/wavs", "x/b/wavs"):
        folder(tmp_path / place)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EarshotError, match=told.replace(".", r"\.")):
        named(words)


def test_the_parameter_survives_a_command_line(tmp_path: Path) -> None:
    parameter = SampleSetsParameter()
    sets = named([str(tmp_path / "a, b" / "wavs"), f"c={tmp_path}/[d]", "release:2048-x"])
    assert parameter.normalize(parameter.parse(parameter.serialize(sets))) == sets
    assert parameter.parse("") == ()
    assert parameter.parse(str(tmp_path / "e")) == (("e", str(tmp_path / "e")),)
    with pytest.raises(EarshotError, match="cannot read"):
        parameter.parse("[a, b]")


def test_samples_alone_train_no_generator() -> None:
    assert parse("sc09", ["--samples", "a", "b", "--samples", "c=d"]).samples == ["a", "b", "c=d"]
    assert parse("sc09", ["--samples", "a"]).models == []
    assert parse("sc09", ["--samples", "a", "--models", "noise"]).models == ["noise"]
    assert parse("sc09", []).models == list(MODELS)
    with pytest.raises(SystemExit):
        parse("sc09", ["--samples", "a", "--models", ","])


@pytest.fixture
def board(tmp_path: Path) -> Any:
    with toy_runs.settings(workdir=tmp_path / "workdir"):
        folder(tmp_path / "a" / "wavs", 4), folder(tmp_path / "b" / "wavs", 6), folder(tmp_path / "c" / "wavs", 6)
        np.save(tmp_path / "d.npy", np.zeros((5, 800), np.int16))

        def made(*words: str, **more: Any) -> CompareGenerators:
            return CompareGenerators(sample_sets=named([str(tmp_path / word) for word in words]), models=(), **more)

        yield made


def test_controls_have_as_many_clips_as_most_of_the_sets(board: Any) -> None:
    assert board("a/wavs", "b/wavs", "c/wavs").controls_count() == 6
    assert board("a/wavs", "b/wavs", "c/wavs", count=40).controls_count() == 40
    assert board("d.npy", samples_rate=16000).controls_count() == 512  # nobody has looked into it yet


def test_only_an_array_is_told_the_sample_rate(board: Any) -> None:
    task = board("a/wavs", "d.npy", samples_rate=8000, features=("classifier",))
    rates = {one.name: one.samples_rate for one in task.inputs().values() if isinstance(one, EvaluateSamples)}
    assert rates == {"a": 0, "d": 8000}


def test_what_is_not_there_is_told_before_anything_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.spoken_digits", "--preset", "smoke"]
    answer = toy_runs.run([*command, "--workdir", str(tmp_path / "workdir"), "--samples", str(tmp_path / "gone")])
    assert answer.returncode == 2, answer.stderr
    assert "gone: this does not exist" in answer.stderr
    assert not list((tmp_path / "workdir").glob("spoken*"))


def test_one_command_from_folders_to_a_leaderboard(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder(tmp_path / "runs" / name / "wavs", 12, 0.5)
    command = [sys.executable, "-m", "pipeline.spoken_digits", "--preset", "smoke", "--set", SMALL, "--workers", "2"]
    command += ["--features", "classifier", "--workdir", str(tmp_path / "workdir"), "--samples", "runs/*/wavs"]
    environment = toy_runs.ENVIRONMENT
    answer = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert f"Samples of a: {tmp_path}/runs/a/wavs" in answer.stderr
    corpus = tmp_path / "workdir" / "spoken-digits+clips_per_digit=16"
    assert not list(corpus.glob("*/*/1-train")), "a generator was trained"
    page = json.loads((corpus / "leaderboard.json").read_text())
    rows = {row["name"]: row["kind"] for row in page["rows"]}
    assert {name for name, kind in rows.items() if kind == "imported"} == {"a", "b"}
    assert {"held-out", "train-split", "test-split", "copied"} <= set(rows)
    assert {row["count"] for row in page["rows"] if row["name"] in ("a", "b", "held-out")} == {12}
    assert os.path.islink(corpus / "leaderboard.md")

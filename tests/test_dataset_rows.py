"""The rows that make the others readable: whole splits, controls and traps, from clips to the names in the table."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.controls import CONTROLS, choose
from evaluation.standings import standings
from evaluation.wording import sections, traps
from tasks import folders, listening, measuring
from tasks.controls import EvaluateControls, EvaluateSplits
from tasks.rows import rows
from tests import toy_runs

T, CLASSES, D = 40, 4, 6
COUNTS = {"train": 600, "validation": 50, "test": 200}
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(T, D))


def hear(codes: np.ndarray, progress: Any) -> dict[str, np.ndarray]:
    """A listener whose features tell clips apart, and its opinion of them."""
    heard.append(len(codes))
    features = codes.astype(np.float64) @ WEIGHTS / 3000
    logits = features[:, :CLASSES]
    return {
        "features": features.astype(np.float32),
        "log_probabilities": logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)),
    }


heard: list[int] = []


def nothing(done: int, total: int, text: str = "") -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, what was heard in them, the reference, and both evaluations, in a corpus's folder."""
    place = tmp_path_factory.mktemp("workdir") / "toy"
    clips, features, reference = (place / name for name in ("2-clips", "4-features/toy", "5-reference/toy"))
    lines, codes = ["index,label,split,valid"], []
    for split, count in COUNTS.items():
        lines += [f"{len(lines) - 1 + i},{i % CLASSES},{split},{T}" for i in range(count)]
        codes.append(RNG.normal(0, 1000, (count, T)).astype(np.int16))
    for folder in (clips, features, reference):
        folder.mkdir(parents=True)
    (clips / "clips.csv").write_text("\n".join(lines))
    np.save(clips / "clips.npy", np.concatenate(codes))
    folders.write_json(clips / "labels.json", [str(i) for i in range(CLASSES)])
    folders.write_json(clips / folders.METRICS, {"sample_rate": 8000, "timesteps": T})
    listening.cache(hear, dict(zip(COUNTS, codes, strict=True)), features, nothing)
    measuring.prepare(clips, features, reference, nothing)
    heard.clear()
    for task, name in ((EvaluateControls, "draw-100"), (EvaluateSplits, "splits")):
        out = place / "controls" / name / "4-evaluation-toy"
        out.mkdir(parents=True)
        if task is EvaluateControls:
            metrics = measuring.evaluate_controls(reference, clips, features, hear, 100, out, nothing)
        else:
            metrics = measuring.evaluate_splits(reference, clips, features, out, nothing)
        folders.write_json(out / folders.METRICS, metrics)
        folders.write_json(out / folders.CONFIG, {"task": task.__name__, "parameters": {}})
        folders.write_json(out / folders.MANIFEST, {"digest": name})
    return place


@pytest.fixture
def table(corpus: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """The rows of the leaderboard, by their names."""
    with toy_runs.settings(workdir=corpus.parent):
        evaluations = sorted(corpus.glob("controls/*/4-evaluation-toy"))
        yield {row["name"]: row for row in rows(corpus, evaluations)}


def value(row: dict[str, Any], key: str = "v1/fid") -> float:
    return float(row["runs"][0]["scores"][key]["value"])


def test_every_control_and_both_splits_have_a_row(table: dict[str, dict[str, Any]]) -> None:
    assert set(table) == {control.name for control in CONTROLS} | {"train-split", "test-split"}
    assert {row["kind"] for row in table.values()} == {"control"}
    assert {name: row["role"] for name, row in table.items() if row["role"]} == {
        "copied": "trap", "repeated": "trap", "half-collapsed": "trap", "train-split": "dataset", "test-split": "dataset",
    }  # fmt: skip
    assert all(row["note"] for row in table.values())


def test_splits_are_whole_and_the_train_split_is_the_reference(table: dict[str, dict[str, Any]]) -> None:
    assert {name: row["count"] for name, row in table.items()} == dict.fromkeys(table, 100) | {
        "train-split": 600,
        "test-split": 200,
    }
    assert value(table["train-split"]) == pytest.approx(0, abs=1e-6)
    assert 0 < value(table["test-split"]) < value(table["held-out"]) < value(table["silence"])


def test_real_clips_are_not_listened_to_again_and_silence_once(corpus: Path, table: dict[str, dict[str, Any]]) -> None:
    assert heard == [1, 100], "silence is one clip, noise a hundred, and the rest is known"
    draw = corpus / "controls" / "draw-100" / "4-evaluation-toy"
    train, copied = (
        listening.read(*place) for place in ((corpus / "4-features/toy", "train"), (draw / "copied", "samples"))
    )
    assert np.array_equal(copied["features"], train["features"][choose(600, 100, 0)])
    with np.load(draw / "silence" / "samples.npz") as silence:
        assert silence["features"].shape == (100, D)
    kept = {path.parent.name for path in draw.glob("*/samples.npy")}
    assert kept == {"held-out", "silence", "white-noise"}


def test_the_traps_are_noticed_and_stand_apart(table: dict[str, dict[str, Any]]) -> None:
    metrics = [{"key": "v1/fid", "name": "FID", "better": "lower", "digits": 3, "headline": True, "version": 1}]
    lines = standings(table.values(), metrics)
    alarmed = {line.name for line in lines if line.alarms}
    assert {"copied", "repeated", "half-collapsed", "train-split"} <= alarmed
    assert not {"held-out", "test-split"} & alarmed
    assert "raise none" not in traps(lines)
    shown = [(section, [line.name for line in members]) for section, _, members in sections(lines, "v1/fid")]
    assert [section for section, _ in shown] == ["controls", "traps"]
    assert {*shown[1][1]} == {"copied", "repeated", "half-collapsed"}


def test_labels_go_with_the_clips(table: dict[str, dict[str, Any]]) -> None:
    for name in ("held-out", "train-split", "copied"):
        assert "v1/accuracy" in table[name]["runs"][0]["scores"], table[name]["reasons"].get("v1/accuracy")
    assert "v1/accuracy" not in table["white-noise"]["runs"][0]["scores"]

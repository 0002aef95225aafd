"""What the stage CompareGenerators collects for the page: clips and their captions, the classifier's name."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evaluation.controls import choose
from evaluation.report.page import render
from tasks import drawing, folders, reporting
from tests import toy_runs
from tests.report_sample import RATE, sample


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    """A corpus of ten test clips, a classifier, and the folders that samples are taken from; all of it tiny."""
    labels = ["no", "yes"]
    clips, classifier = tmp_path / "2-clips", tmp_path / "3-classifier" / "small+width=8-seed2"
    for folder in (clips, classifier):
        folder.mkdir(parents=True)
    lines = [f"{i},{labels[i % 2]},test,8" for i in range(10)]
    (clips / "clips.csv").write_text("\n".join(["index,label,split,valid", *lines]))
    folders.write_json(clips / "labels.json", labels)
    folders.write_json(clips / "metrics.json", {"sample_rate": RATE, "timesteps": 8})
    np.save(clips / "clips.npy", np.arange(80, dtype=np.int16).reshape(10, 8))
    test = {"labels": labels, "accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "reliability_bins": []}
    test |= {"confusion_matrix": [[3, 0], [0, 0]], "per_class_accuracy": {"no": 1.0, "yes": None}}
    metrics = {"test": test | {"expected_calibration_error": 0.1}, "parameters": 9}
    folders.write_json(classifier / folders.METRICS, metrics)
    folders.write_json(classifier / folders.CONFIG, {"parameters": {"classifier": "small", "classifier_seed": "2"}})
    with toy_runs.settings(workdir=tmp_path):
        yield tmp_path


def hear(folder: Path, count: int) -> None:
    """Samples in `folder`, and what a classifier heard in them."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / drawing.SAMPLES, np.zeros((count, 8), np.int16))
    np.savez(folder / "samples.npz", log_probabilities=np.log(np.tile([0.25, 0.75], (count, 1))))


def test_silence_and_noise_have_few_players_and_held_out_clips_say_what_they_are(workdir: Path) -> None:
    evaluation, classifier = workdir / "controls", {"artifact": "3-classifier/small+width=8-seed2"}
    for name in ("silence", "held-out"):
        hear(evaluation / name, 10)
    folders.write_json(evaluation / folders.CONFIG, {"task": "EvaluateControls", "inputs": {"classifier": classifier}})
    silence = reporting._audio("silence/10", evaluation, workdir / "2-clips")
    assert [one["caption"] for one in silence] == ["clip 1", "clip 5", "clip 10"]
    held_out = reporting._audio("held-out/10", evaluation, workdir / "2-clips")
    assert [one["caption"] for one in held_out] == [("no", "yes")[row % 2] for row in choose(10, 10, 0)]
    assert held_out[0]["details"] == {"heard as": "yes (75 %)"}
    assert "nothing was trained" in reporting._about_audio("held-out/10", evaluation)
    assert reporting._about_audio("silence/10", evaluation) == ""


@pytest.mark.parametrize("likely", [True, False])
def test_the_clips_of_a_model_with_a_likelihood_run_from_unlikely_to_likely(workdir: Path, likely: bool) -> None:
    hear(workdir / "2-samples", 20)
    nats = [-65898.4 + i if likely else "" for i in range(20)]
    lines = [f"{i},{19 - i},{nats[i]},1.0,{RATE},x.wav" for i in range(20)]
    (workdir / "2-samples" / drawing.TABLE).write_text(
        "\n".join(["row,draw_index,log_likelihood_nats,seconds,sample_rate,name", *lines])
    )
    order = "ascending log-likelihood" if likely else "as drawn"
    folders.write_json(workdir / "2-samples" / folders.METRICS, {"samples": 20, "order": order})
    classifier = {"classifier": {"artifact": "3-classifier/small+width=8-seed2"}}
    folders.write_json(workdir / "2-samples" / folders.CONFIG, {"inputs": classifier})
    (workdir / "evaluation").mkdir()
    inputs = {name: {"artifact": "2-samples"} for name in ("samples", "features")}
    folders.write_json(workdir / "evaluation" / folders.CONFIG, {"task": "EvaluateSamples", "inputs": inputs})
    shown = reporting._audio("wavenet/small", workdir / "evaluation", workdir / "2-clips")
    assert [one["caption"] for one in shown[:2]] == ["draw 19", "draw 17"]
    about = reporting._about_audio("wavenet/small", workdir / "evaluation")
    assert about.startswith("From unlikely to likely") == likely
    assert shown[0]["details"].get("log-likelihood") == ("−65,898 nats" if likely else None)


def test_the_classifier_is_called_by_its_architecture_and_seed(workdir: Path) -> None:
    about = reporting._classifier(workdir / "3-classifier" / "small+width=8-seed2")
    assert about["name"] == "ResNeXt small+width=8, seed 2"
    assert "ResNeXt small+width=8, seed 2" in render(dataclasses.replace(sample(), classifier=about))

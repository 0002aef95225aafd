"""What the stage CompareGenerators collects for the page: clips and their captions, the classifier's name."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evaluation.controls import choose
from evaluation.report.page import render
from tasks import drawing, folders, playing, reporting
from tasks.thresholds import TuneThresholds
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
    real = playing.Real(workdir / "2-clips")
    silence = playing.Samples("silence/10", evaluation, real).spread()
    assert [one["caption"] for one in silence] == ["clip 1", "clip 5", "clip 10"]
    held_out = playing.Samples("held-out/10", evaluation, real).spread()
    assert [one["caption"] for one in held_out] == [("no", "yes")[row % 2] for row in choose(10, 10, 0)]
    assert held_out[0]["details"] == {"heard as": "yes (75 %)"}
    assert "nothing was trained" in playing.about("held-out/10", evaluation)
    assert playing.about("silence/10", evaluation) == ""
    assert playing.Samples("copied/10", evaluation, real).spread() == []  # a trap, whose clips are not kept


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
    samples = playing.Samples("wavenet/small", workdir / "evaluation", playing.Real(workdir / "2-clips"))
    shown = samples.spread()
    assert [one["caption"] for one in shown[:2]] == ["draw 19", "draw 17"]
    about = playing.about("wavenet/small", workdir / "evaluation")
    assert about.startswith("From unlikely to likely") == likely
    assert shown[0]["details"].get("log-likelihood") == ("−65,898 nats" if likely else None)
    assert samples.clip(0, brief=True)["details"] == {"heard as": "yes (75 %)"}


def test_the_classifier_is_called_by_its_architecture_and_seed(workdir: Path) -> None:
    about = reporting._classifier(workdir / "3-classifier" / "small+width=8-seed2")
    assert about["name"] == "ResNeXt small+width=8, seed 2"
    assert "ResNeXt small+width=8, seed 2" in render(dataclasses.replace(sample(), classifier=about))


@pytest.fixture
def samples(workdir: Path) -> playing.Samples:
    """Twenty samples of a model, of which the first is a training clip, with their influences on FID; and 40 training clips."""
    clips, evaluation = workdir / "2-clips", workdir / "evaluation"
    lines = [f"{i},{('no', 'yes')[i % 2]},{'train' if i < 40 else 'test'},8" for i in range(70)]
    (clips / "clips.csv").write_text("\n".join(["index,label,split,valid", *lines]))
    codes = np.random.default_rng(0).integers(-9000, 9000, (70, 8)).astype(np.int16)
    np.save(clips / "clips.npy", codes)
    hear(workdir / "2-samples", 20)
    np.save(workdir / "2-samples" / drawing.SAMPLES, np.concatenate([codes[3:4], codes[50:69]]))
    table = [
        "row,draw_index,log_likelihood_nats,seconds,sample_rate,name",
        *(f"{i},{i},,1.0,{RATE},x" for i in range(20)),
    ]
    (workdir / "2-samples" / drawing.TABLE).write_text("\n".join(table))
    folders.write_json(workdir / "2-samples" / folders.METRICS, {"samples": 20})
    evaluation.mkdir()
    inputs = {name: {"artifact": "2-samples"} for name in ("samples", "features")}
    folders.write_json(evaluation / folders.CONFIG, {"task": "EvaluateSamples", "inputs": inputs})
    np.savez(evaluation / "per_sample.npz", **{"v1.fid": np.linspace(-40, 60, 20)})
    return playing.Samples("wavenet/small", evaluation, playing.Real(clips))


def test_the_clips_that_measures_point_at_are_those_that_play(samples: playing.Samples) -> None:
    bins = [{"z": z, "holm": True, "typical": 5, "clips": [7, 8, 9, 10]} for z in (6.0, -6.0, 2.0)]
    played = samples.bins({"bins": bins})
    assert list(played) == [0, 1]
    assert [clip["caption"] for clip in played[0]["generated"]] == ["draw 7", "draw 8", "draw 9"]
    assert [clip["caption"] for clip in played[0]["real"]] == ["yes"]
    np.testing.assert_array_equal(played[0]["real"][0]["codes"], samples.real.train.codes[5])

    pairs = samples.pairs({"pairs": [{"generated": 0, "real": 3, "distance": 0.0}] * 9}, 0.6)
    assert len(pairs["pairs"]) == playing.PAIRS
    assert pairs["limit"] == 0.6
    first = pairs["pairs"][0]
    assert (first["identical"], first["correlation"]) == (True, pytest.approx(1.0))
    np.testing.assert_array_equal(first["generated"]["codes"], first["real"]["codes"])
    assert samples.pairs({}, None)["pairs"] == []

    ends = samples.extremes()
    assert [clip["caption"] for clip in ends["worst"]] == ["draw 19", "draw 18", "draw 17", "draw 16"]
    assert ends["best"][0]["caption"] == "draw 0"
    assert ends["worst"][0]["details"] == {"without it": "FID −3.000", "heard as": "yes (75 %)"}
    np.savez(samples.evaluation / "per_sample.npz", other=np.zeros(20))
    assert samples.extremes() == {}


def test_the_limit_of_correlations_is_learned_from_held_out_clips(samples: playing.Samples, tmp_path: Path) -> None:
    np.savez(tmp_path / "reference.npz", other=np.zeros(1))
    assert playing.correlation_limit(samples.real, tmp_path) is None
    known = {
        "comparison.held_out_nearest": np.zeros((30, 5), np.int64),
        "comparison.held_out_distance": np.ones((30, 5)),
    }
    np.savez(tmp_path / "reference.npz", **known)
    limit = playing.correlation_limit(samples.real, tmp_path)
    assert limit is not None
    assert 0 < limit <= 1
    few = {name: array[:5] for name, array in known.items()}
    np.savez(tmp_path / "reference.npz", **few)
    assert playing.correlation_limit(samples.real, tmp_path) is None


def test_searches_of_thresholds_are_found_beside_the_evaluation(workdir: Path) -> None:
    draw = workdir / "wavenet" / "small-seed0" / "draw-512"
    for name in ("5-thresholds-small-seed0", "5-thresholds+criterion=is+paper-small-seed0", "5-thresholds-melproj"):
        (draw / name).mkdir(parents=True)
        folders.write_json(draw / name / folders.METRICS, {"criterion": "fid"})
        folders.write_json(
            draw / name / folders.CONFIG, {"task": "TuneThresholds", "version": TuneThresholds.VERSION, "inputs": {}}
        )
        folders.write_json(draw / name / folders.MANIFEST, {})
    half = draw / "5-thresholds+paper-small-seed0.partial"
    half.mkdir()
    table = [{"name": "wavenet", "runs": [{"source": "wavenet/small-seed0/draw-512/4-evaluation-small-seed0"}]}]
    found = reporting._thresholds(table, workdir)
    assert [search["title"] for search in found["wavenet"]] == ["criterion=is+paper", ""]
    assert reporting._thresholds([{"name": "x", "runs": [{"source": "x/4-evaluation-small-seed0"}]}], workdir) == {}

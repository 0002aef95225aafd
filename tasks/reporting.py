"""Inside the stage CompareGenerators: collect what the leaderboard and the report show. How it looks: evaluation/report/."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import corpora, descriptions, drawing, folders, listening, machine
from tasks.artifact import Progress
from tasks.classifier import CLASSIFIER
from tasks.commands import command
from tasks.rows import chain, rows, training
from tasks.training import clip_format

CLIPS_PER_ROW, CLIPS_OF_NOISE = 10, 3  # of silence and white noise three tell all
HELD_OUT = "held-out"
NOTES = (
    "Numbers of published papers are not shown beside these: their features come from another classifier, trained on "
    "another corpus, and distances between features of different classifiers cannot be compared.",
)


def compare(
    corpus: str,
    place: Path,
    evaluations: Sequence[Path],
    left_out: Mapping[str, str],
    inputs: Mapping[str, Path],
    out: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Write `leaderboard.md`, `.csv`, `.json` and `report/index.html`.

    place: the corpus's folder; evaluations: the finished rows; left_out: those that are not shown, and why;
    inputs: the folders clips and classifier
    """
    from evaluation.leaderboard import format_table, write_leaderboard
    from evaluation.report import ReportData, write_report
    from evaluation.seeds import merge_seeds

    progress(0, 1, "leaderboard and report")
    table, metrics = merge_seeds(rows(place, evaluations)), descriptions.of_metrics()
    write_leaderboard(table, metrics, out)
    missed = [f"Left out: {path}, since {reason}." for path, reason in left_out.items()]
    (out / "leaderboard.txt").write_text("\n".join([format_table(table, metrics), *missed, ""]), encoding="utf-8")
    sources = {row["name"]: place / row["runs"][0]["source"] for row in table}
    data = ReportData(
        corpus=_corpus(corpus, inputs["clips"]),
        rows=table,
        metrics=metrics,
        classifier=_classifier(inputs["classifier"]),
        curves=_curves(place, table),
        audio=_real_audio(inputs["clips"])
        | {name: _audio(name, source, inputs["clips"]) for name, source in sources.items()},
        about_audio={name: text for name, source in sources.items() if (text := _about_audio(name, source))},
        provenance={row["name"]: chain(place, [place / run["source"] for run in row["runs"]]) for row in table},
        commands={row["name"]: text for row in table if (text := command(row, place))},
        histograms=_histograms(table, sources, inputs["clips"]),
        environment=_environment(inputs["classifier"]),
        notes=(*NOTES, *missed),
    )
    write_report(data, out / "report")
    return {"rows": len(table), "left_out": dict(left_out)}


def _corpus(name: str, clips: Path) -> dict[str, Any]:
    about, metrics = corpora.find(name).cls, folders.read_json(clips / folders.METRICS)
    return {
        "name": name,
        "title": about.title,
        "licence": about.licence,
        "citation": about.citation,
        "homepage": about.homepage,
        "sample_rate": metrics["sample_rate"],
        "timesteps": metrics["timesteps"],
        "clips": metrics["clips"],
    }


def _classifier(folder: Path) -> dict[str, Any]:
    from models import classifiers

    metrics = folders.read_json(folder / folders.METRICS)
    test, seed = metrics["test"], folders.read_json(folder / folders.CONFIG)["parameters"]["classifier_seed"]
    return {
        "name": f"{classifiers.find(CLASSIFIER).cls.__name__} {folder.name.removesuffix(f'-seed{seed}')}, seed {seed}",
        "accuracy": {"value": test["accuracy"], "low": test["accuracy_low"], "high": test["accuracy_high"]},
        "labels": test["labels"],
        "confusion": test["confusion_matrix"],
        "per_class_accuracy": [test["per_class_accuracy"][label] for label in test["labels"]],
        "calibration": {
            "ece": test["expected_calibration_error"],
            "bins": [entry for entry in test["reliability_bins"] if entry["count"]],
        },
        "parameters": metrics["parameters"],
    }


def _curves(place: Path, table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The losses of every training behind the measured rows."""
    curves = {}
    trainings = {
        f"{row['title']} seed {run['seed']}": training(place / run["source"])
        for row in table
        if row["kind"] == "measured"
        for run in row["runs"]
    }
    for title, folder in trainings.items():
        with open(folder / "curve.csv", newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        if not lines:  # it was trained elsewhere
            continue
        curves[title] = {
            "step": [int(line["step"]) for line in lines],
            "train_loss": [_number(line["train_loss"]) for line in lines],
            "validation_loss": [_number(line["validation_loss"]) for line in lines],
            "unit": "loss",
        }
    return curves


def _labels(clips: Path) -> list[str]:
    """The names of the classes, in the order of their indices; [] where the corpus has none."""
    names: list[str] = json.loads((clips / "labels.json").read_text(encoding="utf-8"))
    return names


def _rate(clips: Path) -> int:
    """Sample rate in Hz."""
    return clip_format(clips)[0]


def _number(text: str) -> float | None:
    return float(text) if text else None


def _real_audio(clips: Path) -> dict[str, Any]:
    """One test clip of each class, or the first ones where there are no classes."""
    from models.clips import load_split

    test, names, rate = load_split(clips, "test"), _labels(clips), _rate(clips)
    if test.labels is None:
        chosen = [(row, f"clip {row}") for row in range(min(CLIPS_PER_ROW, len(test)))]
    else:
        labels = test.labels.tolist()
        chosen = [(labels.index(i), name) for i, name in enumerate(names) if i in labels][: 2 * CLIPS_PER_ROW]
    return {
        "real": [
            {"caption": name, "codes": test.codes[row], "sample_rate": rate, "details": {}} for row, name in chosen
        ]
    }


def _about_audio(name: str, evaluation: Path) -> str:
    """Which clips of a row the page plays, and in what order."""
    config = folders.read_json(evaluation / folders.CONFIG)
    if config["task"] == "EvaluateControls":
        return "Clips of the test split, on which nothing was trained." if _control(name) == HELD_OUT else ""
    metrics = folders.read_json(machine.workdir() / config["inputs"]["samples"]["artifact"] / folders.METRICS)
    return _what_was_given(metrics) + _order(metrics)


def _what_was_given(metrics: Mapping[str, Any]) -> str:
    if metrics.get("conditional") == "prefix":
        seconds, clips = metrics["prefix_seconds"], f"{metrics['clips']:,} clips of the {metrics['split']} split"
        return f"The first {seconds:g} s of each are real: samples continue {clips}, {metrics['repeats']} of each. "
    return "The model was told which class to make. " if metrics.get("class_conditional") else ""


def _order(metrics: Mapping[str, Any]) -> str:
    if "likelihood" in metrics["order"]:
        return f"From unlikely to likely by the model's own log-likelihood, evenly spread over {metrics['samples']:,} samples."
    return f"Evenly spread over {metrics['samples']:,} samples, {metrics['order']}."


def _control(name: str) -> str:
    """The control that a row is of, whatever the size of its draw."""
    return name.partition("/")[0]


def _held_out_captions(clips: Path, count: int) -> list[str]:
    """What is said in the clips of the held-out row."""
    from evaluation.controls import choose
    from models.clips import load_split

    test = load_split(clips, "test")
    chosen = choose(len(test), count, 0)
    if test.labels is None:
        return [f"test clip {row}" for row in chosen]
    names = _labels(clips)
    return [names[test.labels[row]] for row in chosen]


def _audio(name: str, evaluation: Path, real: Path) -> list[dict[str, Any]]:
    """Clips of one row, spread evenly over its order (for a model with a likelihood, from unlikely to likely)."""
    import numpy as np

    from evaluation.wording import number

    config = folders.read_json(evaluation / folders.CONFIG)
    most = CLIPS_PER_ROW
    if config["task"] == "EvaluateControls":
        samples = features = evaluation / _control(name)
        lines: list[dict[str, str]] = []
        most = CLIPS_PER_ROW if _control(name) == HELD_OUT else CLIPS_OF_NOISE
    else:
        samples, features = (machine.workdir() / config["inputs"][n]["artifact"] for n in ("samples", "features"))
        with open(samples / drawing.TABLE, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    codes = np.load(samples / drawing.SAMPLES, mmap_mode="r")
    rate, labels = _rate(real), _labels(real)
    heard = listening.read(features, "samples")["log_probabilities"]
    captions = [_caption(line) for line in lines]
    if not lines:
        held_out = _control(name) == HELD_OUT
        captions = _held_out_captions(real, len(codes)) if held_out else [f"clip {i + 1}" for i in range(len(codes))]
    clips = []
    for row in np.unique(np.linspace(0, len(codes) - 1, most).round().astype(int)):
        details = {"heard as": f"{labels[heard[row].argmax()]} ({100 * np.exp(heard[row].max()):.0f} %)"}
        if lines and drawing.LABEL in lines[row]:
            details["asked for"] = labels[int(lines[row][drawing.LABEL])]
        if lines and lines[row]["log_likelihood_nats"]:
            details["log-likelihood"] = f"{number(float(lines[row]['log_likelihood_nats']), 0)} nats"
        clips.append({"caption": captions[row], "codes": codes[row], "sample_rate": rate, "details": details})
    return clips


def _caption(line: Mapping[str, str]) -> str:
    """A sample by its draw index, or by the clip that it continues."""
    return f"clip {line['clip']}, repeat {line['repeat']}" if "clip" in line else f"draw {line['draw_index']}"


def _histograms(table: Sequence[Mapping[str, Any]], sources: Mapping[str, Path], clips: Path) -> dict[str, Any]:
    """What the classifier hears in the samples of each model."""
    labels, found = _labels(clips), {}
    for row in table:
        if row["kind"] != "control":
            counts = folders.read_json(sources[row["name"]] / folders.METRICS)["class_counts"]
            found[row["name"]] = dict(zip(labels, counts, strict=True))
    return found


def _environment(folder: Path) -> dict[str, Any]:
    record = folders.read_json(folder / folders.PROVENANCE)
    names = ("git", "python", "libraries", "platform", "processor", "device", "threads")
    return {name: record[name] for name in names}

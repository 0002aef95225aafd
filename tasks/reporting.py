"""Inside the stage CompareGenerators: collect what the leaderboard and the report show. How it looks: evaluation/report/."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import corpora, descriptions, folders, playing, published
from tasks.artifact import Progress
from tasks.chains import chain
from tasks.choosing import CURVE
from tasks.classifier import CLASSIFIER
from tasks.commands import command
from tasks.rows import EVALUATION, THRESHOLDS, all_ears, influences, rows, training, tunings

JUDGED_BY_EARS = (
    "The corpus has no classes to train a classifier on: the features that are compared are those of {}, ears that nobody has "
    "trained on these recordings. Their numbers are not those of other judges."
)


def compare(
    corpus: str,
    place: Path,
    evaluations: Sequence[Path],
    left_out: Mapping[str, str],
    inputs: Mapping[str, Path],
    out: Path,
    progress: Progress,
    curves: Sequence[Path] = (),
) -> dict[str, Any]:
    """Write `leaderboard.md`, `.csv`, `.json`, `.tex` and `report/index.html`.

    place: the corpus's folder; evaluations: the finished rows; left_out: those that are not shown, and why;
    inputs: the folders clips, reference and classifier, or features of the ears that judge a corpus without classes;
    curves: folders of EvaluateCheckpoints
    """
    from evaluation.leaderboard import format_table, write_leaderboard
    from evaluation.pairing import with_pairs
    from evaluation.report import ReportData, write_report
    from evaluation.seeds import merge_seeds

    progress(0, 1, "leaderboard and report")
    listener = inputs.get("classifier", inputs.get("features"))
    assert listener is not None
    judge = "" if "classifier" in inputs else listener.name
    table = with_pairs(merge_seeds(rows(place, evaluations, judge)), lambda run: influences(place, run))
    metrics = descriptions.of_metrics(all_ears(table), judge)
    others = published.beside(place, listener, metrics)
    metrics, shown = [*metrics, *others.columns], [*table, *others.rows]
    notes = (*([JUDGED_BY_EARS.format(judge)] if judge else []), *others.notes)
    write_leaderboard(shown, metrics, out, _judge(place, inputs["clips"], listener), notes)
    missed = [f"Left out: {path}, since {reason}." for path, reason in left_out.items()]
    (out / "leaderboard.txt").write_text("\n".join([format_table(shown, metrics), *missed, ""]), encoding="utf-8")
    sources = {row["name"]: place / row["runs"][0]["source"] for row in table}
    data = ReportData(
        corpus=_corpus(corpus, inputs["clips"]),
        rows=shown,
        metrics=metrics,
        judge=judge,
        classifier=None if judge else _classifier(listener),
        curves=_curves(place, table),
        checkpoints=[folders.read_json(folder / CURVE) for folder in curves],
        **playing.collect(table, sources, inputs["clips"], inputs["reference"]),
        thresholds=_thresholds(table, place),
        provenance={row["name"]: chain(place, _sources(place, row)) for row in table},
        commands={row["name"]: text for row in table if (text := command(row, place))},
        histograms=_histograms(table, sources, inputs["clips"]),
        environment=_environment(listener),
        notes=(*notes, *missed),
    )
    write_report(data, out / "report")
    return {"rows": len(table), "published": len(others.rows), "left_out": dict(left_out)}


def _judge(place: Path, clips: Path, listener: Path) -> dict[str, str]:
    """As `HearingTask.judge` has it: what every number rests on beside the samples."""
    digests = {"clips": folders.digest_of(clips), "classifier_digest": folders.digest_of(listener)}
    return {"corpus": place.name, "classifier": listener.name, **digests}


def _sources(place: Path, row: Mapping[str, Any]) -> list[Path]:
    """The evaluations behind a row: of every seed the classifier's, those by other ears, and what other programs gave."""
    beside = [[*run.get("others", {}).values(), *run.get("external", {}).values()] for run in row["runs"]]
    found = [
        (run["source"], *(other["source"] for other in others)) for run, others in zip(row["runs"], beside, strict=True)
    ]
    return [place / source for sources in found for source in sources]


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


def _number(text: str) -> float | None:
    return float(text) if text else None


def _histograms(table: Sequence[Mapping[str, Any]], sources: Mapping[str, Path], clips: Path) -> dict[str, Any]:
    """What the classifier hears in the samples of each model, beside how often the corpus's train split has each class.

    Nothing where there are no classes.
    """
    labels, said = _labels(clips), folders.read_json(clips / folders.METRICS).get("labels", {}).get("train", {})
    if not labels:
        return {}
    found = {"real": {name: said.get(name, 0) for name in labels}} if said else {}
    for row in table:
        if row["kind"] != "control":
            counts = folders.read_json(sources[row["name"]] / folders.METRICS)["class_counts"]
            found[row["name"]] = dict(zip(labels, counts, strict=True))
    return found


def _thresholds(table: Sequence[Mapping[str, Any]], place: Path) -> dict[str, list[dict[str, Any]]]:
    """What was found by each search of likelihood thresholds in a row's samples."""
    found = {}
    for row in table:
        evaluation = place / row["runs"][0]["source"]
        ears = evaluation.name.removeprefix(EVALUATION)
        searches = []
        for folder in tunings(evaluation):
            title = folder.name.removeprefix(THRESHOLDS).removesuffix(f"-{ears}").removeprefix("+")
            searches.append(folders.read_json(folder / folders.METRICS) | {"title": title})
        if searches:
            found[row["name"]] = searches
    return found


def _environment(folder: Path) -> dict[str, Any]:
    record = folders.read_json(folder / folders.PROVENANCE)
    names = ("git", "python", "libraries", "platform", "processor", "device", "threads")
    return {name: record[name] for name in names}

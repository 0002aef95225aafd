"""From ReportData to what the templates show: every number worded, every plot and player drawn, in the page's order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evaluation.disagreement import disagreements
from evaluation.report import (
    bins,
    classes,
    extrapolation,
    influence,
    memorization,
    parts,
    planes,
    players,
    plots,
    thresholds,
)
from evaluation.report.board import artifact_link, numbers, table
from evaluation.report.looks import looks
from evaluation.report.page import ReportData
from evaluation.report.section import Figure, Players, Section, heard_by
from evaluation.seeds import merge_seeds
from evaluation.standings import ALARM, Standing, complete_metrics, headline, standings
from evaluation.wording import count, heading, inapplicable, verdict

REAL = "real"
BY_ROW = ("audio", "about_audio", "provenance", "commands", "histograms", "bins", "pairs", "influential", "thresholds")
MOST_LABELS = 40
"""A confusion matrix of more labels than this is not readable, and is left out with a word."""


def context(data: ReportData) -> dict[str, Any]:
    """Everything page.html refers to."""
    rows = merge_seeds(data.rows)
    metrics = complete_metrics(rows, data.metrics)
    lines = standings(rows, metrics)
    names = {line.name: line for line in lines}
    for field in BY_ROW:
        if unknown := sorted(set(getattr(data, field)) - set(names) - {REAL}):
            raise ValueError(f"{field} names {unknown[0]!r}, which is no row. Rows: {', '.join(names) or 'none'}.")
    key = headline(metrics)
    first = next(metric for metric in metrics if metric["key"] == key)
    said, _, alarmed = verdict(lines, first).partition(f" {ALARM} ")
    look, sounds = looks(lines), players.Sounds(_clips(data))
    labels = [str(label) for label in (data.classifier or {}).get("labels", ())]
    sections = [
        extrapolation.section(lines, look),
        parts.section(lines, look, data.histograms),
        classes.section(lines, look, labels),
        bins.section(lines, look, data.bins, sounds),
        planes.section(lines, look),
        memorization.section(lines, look, data.pairs, sounds),
        influence.section(lines, look, data.influential, sounds),
        thresholds.section(data.thresholds, look),
    ]
    return {
        "corpus": _corpus(data.corpus),
        "verdict": said,
        "alarmed": f"{ALARM} {alarmed}" if alarmed else "",
        "disagreements": disagreements(lines, metrics),
        "headline": first,
        "table": table(lines, metrics, key, look),
        "judge": data.judge,
        "inapplicable": inapplicable(metrics),
        "measures": [{**metric, "heading": heading(metric)} for metric in metrics],
        "numbers": numbers(lines, metrics),
        "sections": [heard_by(section, data.judge) for section in sections if not section.missing],
        "missing": [section for section in (*sections, *_absent(data)) if section.missing],
        "grids": _grids(data, lines, sounds),
        "sounds": sounds,
        "columns": players.COLUMNS,
        "wave_height": players.HEIGHT,
        "curves": [
            {"title": title, "plot": _curve(title, curve), "unit": curve.get("unit", "")}
            for title, curve in data.curves.items()
        ],
        "checkpoints": [_checkpoints(page) for page in data.checkpoints],
        "classifier": _classifier(data.classifier) if data.classifier else None,
        "provenance": _provenances(lines, data),
        "environment": list(_flat(data.environment)),
        "notes": list(data.notes),
    }


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _clips(data: ReportData) -> Iterator[Mapping[str, Any]]:
    """Every clip of the page."""
    for clips in data.audio.values():
        yield from clips
    for held in data.bins.values():
        for sides in held.values():
            yield from (clip for clips in sides.values() for clip in clips)
    for found in data.pairs.values():
        yield from (pair[side] for pair in found["pairs"] for side in ("generated", "real"))
    for ends in data.influential.values():
        yield from (clip for clips in ends.values() for clip in clips)


def _absent(data: ReportData) -> Iterator[Section]:
    """What else is not there, and why."""
    if not data.audio:
        yield Section("listen", "", "Listening grids", missing="no clips were given")
    if not data.curves:
        yield Section("training", "", "Training curves", missing="no row was trained here")
    if not data.checkpoints:
        yield Section(
            "checkpoints",
            "",
            "A measure over training",
            missing="no checkpoints of a training were evaluated (EvaluateCheckpoints)",
        )


def _grids(data: ReportData, lines: Iterable[Standing], sounds: players.Sounds) -> list[Players]:
    """The clips of the corpus, then of each row in the order of the table."""
    titles = {REAL: "Real clips"} | {line.name: line.marked for line in lines}
    return [
        Players(title, [sounds.player(clip) for clip in data.audio[name]], data.about_audio.get(name, ""))
        for name, title in titles.items()
        if data.audio.get(name)
    ]


def _curve(title: str, curve: Mapping[str, Any]) -> Any:
    lines = {
        label: (curve["step"], curve[key])
        for label, key in (("training loss", "train_loss"), ("validation loss", "validation_loss"))
        if curve.get(key)
    }
    return plots.curves(lines, curve.get("unit", ""), title)


def _checkpoints(page: Mapping[str, Any]) -> Figure:
    """What the choice of a checkpoint rests on."""
    name = page["criterion"]["name"]
    best = next(entry["name"] for entry in page["checkpoints"] if entry["best"])
    tied = [entry["name"] for entry in page["checkpoints"] if entry["tied"]]
    note = f"{page.get('samples', 0):,} samples of each, against the validation split. Best by {name}: {best}"
    note += f"; not told apart from it: {', '.join(tied)}." if tied else "."
    return Figure(f"{page.get('title', 'A training')}: {name}", plots.checkpoints(page), note)


def _classifier(classifier: Mapping[str, Any]) -> dict[str, Any]:
    labels = [str(label) for label in classifier.get("labels", ())]
    confusion = classifier.get("confusion") if len(labels) <= MOST_LABELS else None
    matrix = []
    for label, row in zip(labels, confusion if confusion is not None else (), strict=False):
        total = sum(row) or 1
        cells = [{"count": count(int(value)), "share": round(value / total, 4)} for value in row]
        matrix.append({"label": label, "cells": cells})
    each = classifier.get("per_class_accuracy") or ()
    values = each.values() if isinstance(each, Mapping) else each
    calibration = classifier.get("calibration") or {}
    accuracy = classifier.get("accuracy") or {}
    return {
        "name": " ".join(str(classifier[key]) for key in ("name", "preset") if classifier.get(key)),
        "parameters": count(classifier.get("parameters")),
        "accuracy": f"{100 * accuracy['value']:.2f} %" if accuracy else "",
        "interval": f"{100 * accuracy['low']:.2f} to {100 * accuracy['high']:.2f} %" if "low" in accuracy else "",
        "labels": labels,
        "matrix": matrix,
        "too_many": len(labels) > MOST_LABELS,
        "each": ["–" if value is None else f"{100 * value:.1f} %" for value in values],
        "calibration": plots.calibration(calibration["bins"]) if calibration.get("bins") else "",
        "ece": f"{calibration['ece']:.4f}" if calibration.get("ece") is not None else "",
    }


def _provenances(lines: Sequence[Standing], data: ReportData) -> list[dict[str, Any]]:
    """Of every row; an artifact behind several rows lists its settings where it comes first, later ones link to that place."""
    told: dict[tuple[str, str], str] = {}
    return [_provenance(line, data, told) for line in lines if data.provenance.get(line.name)]


def _provenance(line: Standing, data: ReportData, told: dict[tuple[str, str], str]) -> dict[str, Any]:
    steps = []
    for step in data.provenance[line.name]:
        settings = [f"{key} = {value}" for key, value in _flat(step.get("settings") or {})]
        about = {key: step.get(key) or "" for key in ("stage", "path", "version", "commit", "modified")}
        digest = str(step.get("digest") or "")
        artifact = (str(step.get("path") or ""), digest)
        above = told.get(artifact, "") if settings else ""
        if settings and not above:
            told[artifact] = f"artifact-{len(told) + 1}"
        steps.append(
            {
                **about,
                "digest": digest,
                "short": digest[:12],
                "settings": settings,
                "id": "" if above else told.get(artifact, ""),
                "above": above,
                "seconds": duration(step.get("seconds")),
            }
            | {"href": artifact_link(str(step.get("path") or ""))}
        )
    total = sum(step.get("seconds") or 0 for step in data.provenance[line.name])
    return {"title": line.marked, "steps": steps, "total": duration(total), "command": data.commands.get(line.name, "")}


def _corpus(corpus: Mapping[str, Any]) -> dict[str, Any]:
    homepage = str(corpus.get("homepage") or "")
    splits = []
    for split, clips in (corpus.get("clips") or {}).items():
        total = sum(clips.values()) if isinstance(clips, Mapping) else clips
        splits.append({"name": split, "count": count(total)})
    rate, timesteps = corpus.get("sample_rate"), corpus.get("timesteps")
    return {
        "title": corpus.get("title") or corpus.get("name", ""),
        "licence": corpus.get("licence", ""),
        "citation": str(corpus.get("citation") or "").strip(),
        "homepage": homepage,
        # Only web addresses become links: a corpus file is text from outside.
        "link": homepage if homepage.startswith(("https://", "http://")) else "",
        "rate": f"{rate:,} Hz" if rate else "",
        "seconds": f"{timesteps / rate:.3g} s" if rate and timesteps else "",
        "splits": splits,
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

"""From ReportData to what the templates show: every number worded, every plot and player drawn."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluation.report import players, plots
from evaluation.report.board import artifact_link, forest, numbers, table
from evaluation.report.page import ReportData
from evaluation.seeds import merge_seeds
from evaluation.standings import Standing, complete_metrics, headline, standings
from evaluation.wording import count, heading, verdict

REAL = "real"
MOST_LABELS = 40
"""A confusion matrix of more labels than this is not readable, and is left out with a word."""


def context(data: ReportData) -> dict[str, Any]:
    """Everything page.html refers to."""
    rows = merge_seeds(data.rows)
    metrics = complete_metrics(rows, data.metrics)
    lines = standings(rows, metrics)
    names = {line.name: line for line in lines}
    for field in ("audio", "about_audio", "provenance", "commands", "histograms"):
        if unknown := sorted(set(getattr(data, field)) - set(names) - {REAL}):
            raise ValueError(f"{field} names {unknown[0]!r}, which is no row. Rows: {', '.join(names) or 'none'}.")
    key = headline(metrics)
    first = next(metric for metric in metrics if metric["key"] == key)
    grids, lossless = _players(data, lines)
    return {
        "corpus": _corpus(data.corpus),
        "verdict": verdict(lines, first),
        "headline": first,
        "table": table(lines, metrics, key),
        "forest": forest(lines, first),
        "measures": [{**metric, "heading": heading(metric)} for metric in metrics],
        "numbers": list(numbers(lines, metrics)),
        "grids": grids,
        "lossless": lossless,
        "columns": players.COLUMNS,
        "curves": [
            {"title": title, "plot": _curve(title, curve), "unit": curve.get("unit", "")}
            for title, curve in data.curves.items()
        ],
        "classifier": _classifier(data.classifier) if data.classifier else None,
        "histograms": [
            {"title": _titled(name, names), "plot": plots.bars(counts, f"Classes heard in {_titled(name, names)}")}
            for name, counts in data.histograms.items()
        ],
        "provenance": [_provenance(line, data) for line in lines if data.provenance.get(line.name)],
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


def _players(data: ReportData, lines: Sequence[Standing]) -> tuple[list[dict[str, Any]], bool]:
    order = [name for name in (REAL, *(line.name for line in lines)) if data.audio.get(name)]
    clips = [(clip["codes"], clip["sample_rate"]) for name in order for clip in data.audio[name]]
    scale = players.shared_scale(clips)
    uris, lossless = players.audio_uris(clips)
    sounds = iter(uris)
    titles = {line.name: line for line in lines}
    grids = []
    for name in order:
        shown = []
        for clip in data.audio[name]:
            codes, sample_rate = clip["codes"], clip["sample_rate"]
            shown.append(
                {
                    "caption": clip["caption"],
                    "sound": next(sounds),
                    "wave": players.waveform_path(codes, scale),
                    "spectrogram": players.spectrogram_uri(codes, sample_rate, scale),
                    "seconds": f"{len(codes) / sample_rate:.2g} s",
                    "details": [f"{_spaced(key)} {_short(value)}" for key, value in clip.get("details", {}).items()],
                }
            )
        title = "Real clips" if name == REAL else titles[name].marked
        about = data.about_audio.get(name, "")
        grids.append({"title": title, "about": about, "real": name == REAL, "clips": shown})
    return grids, lossless


def _curve(title: str, curve: Mapping[str, Any]) -> Any:
    lines = {
        label: (curve["step"], curve[key])
        for label, key in (("training loss", "train_loss"), ("validation loss", "validation_loss"))
        if curve.get(key)
    }
    return plots.curves(lines, curve.get("unit", ""), title)


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


def _provenance(line: Standing, data: ReportData) -> dict[str, Any]:
    steps = []
    for step in data.provenance[line.name]:
        settings = [f"{key} = {value}" for key, value in _flat(step.get("settings") or {})]
        about = {key: step.get(key) or "" for key in ("stage", "path", "version", "commit", "modified")}
        digest = str(step.get("digest") or "")
        steps.append(
            {
                **about,
                "digest": digest,
                "short": digest[:12],
                "settings": settings,
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


def _titled(name: str, names: Mapping[str, Standing]) -> str:
    return "Real clips" if name == REAL else names[name].marked


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _spaced(key: str) -> str:
    return key.replace("_", " ")


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")

"""From finished evaluation folders to leaderboard rows, and from a row back along the folders it was made from."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks import folders, machine


def rows(corpus: Path, evaluations: Sequence[Path]) -> list[dict[str, Any]]:
    """The leaderboard's rows, one per evaluation and control, from the folders' own files.

    A row is named by what was trained, `wavenet/small`; where a training has several draws, by the draw as well.
    """
    found: list[dict[str, Any]] = []
    for folder in evaluations:
        config = folders.read_json(folder / folders.CONFIG)
        if config["task"] == "EvaluateControls":
            found += _controls(corpus, folder)
        else:
            found.append(_row(corpus, folder, config))
    _tell_apart(found)
    return found


def _row(corpus: Path, folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    metrics = folders.read_json(folder / folders.METRICS)
    samples = machine.workdir() / config["inputs"]["samples"]["artifact"]
    made_by = folders.read_json(samples / folders.CONFIG)
    if made_by["task"] == "ImportSamples":
        name = made_by["parameters"]["name"]
        about = {"kind": "imported", "model": name, "preset": None, "draw": None, "seed": None, "parameters": None}
    else:
        training, draw = samples.parent.parent, samples.parent.name
        preset, _, seed = training.name.rpartition("-seed")
        name = f"{training.parent.name}/{preset}" + (f"/{draw[draw.index('+') :]}" if "+" in draw else "")
        trained = folders.read_json(training / "1-train" / folders.METRICS)
        about = {
            "kind": "measured",
            "model": training.parent.name,
            "preset": preset,
            "draw": draw,
            "seed": int(seed),
            "parameters": trained["parameters"],
        }
    return _with_run(corpus, folder, name, about, metrics)


def _controls(corpus: Path, folder: Path) -> Iterator[dict[str, Any]]:
    draw = folder.parent.name
    for name, metrics in folders.read_json(folder / folders.METRICS)["rows"].items():
        about = {"kind": "control", "model": None, "preset": None, "draw": draw, "seed": None, "parameters": None}
        yield _with_run(corpus, folder, name, about, metrics) | {"note": metrics["explanation"]}


def _with_run(corpus: Path, folder: Path, name: str, about: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    run = {
        "seed": about.pop("seed"),
        "scores": metrics["scores"],
        "source": folder.relative_to(corpus).as_posix(),
        "digest": folders.digest_of(folder),
    }
    return {
        "name": name,
        "title": name.replace("/", " "),
        **about,
        "count": metrics["samples"],
        "reasons": metrics["not_applicable"],
        "runs": [run],
    }


def _tell_apart(found: list[dict[str, Any]]) -> None:
    """Add the draw's size to the names of rows that would otherwise be called the same."""
    draws: dict[str, set[str]] = {}
    for row in found:
        draws.setdefault(row["name"], set()).add(str(row["draw"]))
    for row in found:
        if len(draws[row["name"]]) > 1:
            size = str(row["draw"]).removeprefix("draw-").partition("+")[0]
            row["name"], row["title"] = f"{row['name']}/{size}", f"{row['title']} ({size})"


def chain(corpus: Path, evaluations: Sequence[Path]) -> list[dict[str, Any]]:
    """The artifacts that these were made from, first to last, themselves included: where a row's numbers come from."""
    ordered: dict[Path, None] = {}

    def visit(artifact: Path) -> None:
        for entry in folders.read_json(artifact / folders.CONFIG)["inputs"].values():
            visit(machine.workdir() / entry["artifact"])
        ordered.setdefault(artifact)

    for folder in evaluations:
        visit(folder)
    links = []
    for artifact in ordered:
        config = folders.read_json(artifact / folders.CONFIG)
        record = folders.read_json(artifact / folders.PROVENANCE)
        links.append(
            {
                "stage": config["task"],
                "path": Path(os.path.relpath(artifact, corpus)).as_posix(),
                "digest": folders.digest_of(artifact),
                "version": config["version"],
                "seconds": record["seconds"],
                "settings": config["settings"],
                "commit": record["git"]["commit"],
            }
        )
    return links

"""Chains of artifacts: whether what a number rests on is still there and unchanged, and all of its links."""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import luigi

from tasks import drawing, folders, machine

OPTIONAL = (
    "tasks.external",
    "tasks.selection",
    "tasks.thresholds",
)  # of tasks that are shown where somebody has run them


def broken(artifact: Path, known: dict[Path, str] | None = None) -> str:
    """Why a finished artifact is no longer the last link of a whole chain: the first break, or "" where there is none.

    A chain is whole where every link is there, has the digest that the next one was made from, and was made by the
    version of its task that today's code has. known: answers so far, for many artifacts with links in common.
    """
    known = {} if known is None else known
    if artifact not in known:
        try:
            known[artifact] = _break(artifact, known)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            known[artifact] = f"{_place(artifact)} cannot be read ({type(error).__name__}); see pipeline.verify"
    return known[artifact]


def _break(artifact: Path, known: dict[Path, str]) -> str:
    config = folders.read_json(artifact / folders.CONFIG)
    for entry in config["inputs"].values():
        link = machine.workdir() / entry["artifact"]
        if not (link / folders.MANIFEST).exists():
            return f"{entry['artifact']} is missing"
        if reason := broken(link, known):
            return reason
        if folders.digest_of(link) != entry["digest"]:
            return f"{entry['artifact']} was made again, with another result, after {_place(artifact)}"
    for module in OPTIONAL:
        importlib.import_module(module)
    try:
        version = luigi.task_register.Register.get_task_cls(config["task"]).VERSION
    except luigi.task_register.TaskClassException:
        return f"{_place(artifact)} was made by {config['task']}, a task that is no more"
    if config["version"] != version:
        return f"{_place(artifact)} was made by version {config['version']} of {config['task']}; today's is {version}"
    return ""


def _place(artifact: Path) -> str:
    return artifact.relative_to(machine.workdir()).as_posix()


def chain(corpus: Path, evaluations: Sequence[Path]) -> list[dict[str, Any]]:
    """The artifacts that these were made from, first to last, themselves included: where a row's numbers come from.

    Raises ValueError where the chain is broken.
    """
    known: dict[Path, str] = {}
    if reason := next(filter(None, (broken(folder, known) for folder in evaluations)), ""):
        raise ValueError(f"{reason}. Run the same command again: rows with a broken chain are left out.")
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
                "seconds": record["seconds"] + _drawing_seconds(artifact),
                "settings": config["settings"],
                "commit": record["git"]["commit"],
                "modified": bool(record["git"]["modified"]),
            }
        )
    return links


def _drawing_seconds(artifact: Path) -> float:
    """What the shards of a draw took, beside merging them; draws made before this was recorded give 0."""
    record = artifact / drawing.RECORD
    return folders.read_json(record)["seconds_in_all"] if record.exists() else 0.0

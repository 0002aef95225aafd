"""From finished evaluation folders to leaderboard rows, and from a row back along the folders it was made from."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import luigi

from tasks import drawing, folders, machine
from tasks.continuing import PREFIX_IN_NAME, condition

NLL_ELSEWHERE = "it is the model's, and stands in the row whose samples continue nothing"


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
        about |= {"nfe": None, "conditional": ""}
    else:
        draw, asked, train = samples.parent.name, made_by["parameters"], training(folder)
        drawn = folders.read_json(samples / folders.METRICS)
        variant = train.parent.name.removesuffix(f"-seed{asked['seed']}")  # small+layers=20
        name = f"{asked['model']}/{variant}" + (f"/{draw[draw.index('+') :]}" if "+" in draw else "")
        about = {
            "kind": "measured",
            "model": asked["model"],
            "preset": asked["preset"],
            "draw": draw,
            "seed": int(asked["seed"]),
            "parameters": folders.read_json(train / folders.METRICS)["parameters"],
            "nfe": drawn.get("evaluations"),  # a draw from before this was recorded does not tell
            "conditional": condition(drawn),
            "trained": train.relative_to(corpus).as_posix(),
        }
    return _with_run(corpus, folder, name, about, metrics)


def training(evaluation: Path) -> Path:
    """The training behind a measured row's evaluation."""
    samples = folders.read_json(evaluation / folders.CONFIG)["inputs"]["samples"]["artifact"]
    config = folders.read_json(machine.workdir() / samples / folders.CONFIG)
    return machine.workdir() / config["inputs"]["train"]["artifact"]


def _controls(corpus: Path, folder: Path) -> Iterator[dict[str, Any]]:
    draw = folder.parent.name
    for name, metrics in folders.read_json(folder / folders.METRICS)["rows"].items():
        about = {"kind": "control", "model": None, "preset": None, "draw": draw, "seed": None, "parameters": None}
        about |= {"nfe": None, "conditional": ""}
        yield _with_run(corpus, folder, name, about, metrics) | {"note": metrics["explanation"]}


def _with_run(corpus: Path, folder: Path, name: str, about: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    run = {
        "seed": about.pop("seed"),
        "trained": about.pop("trained", ""),  # what `models.load` reads
        "scores": metrics["scores"],
        "source": folder.relative_to(corpus).as_posix(),
        "digest": folders.digest_of(folder),
    }
    reasons = dict(metrics["not_applicable"])
    if PREFIX_IN_NAME.search(name):
        reasons |= {key: NLL_ELSEWHERE for key in reasons if key.split("/")[1:2] == ["nll"]}
    return {
        "name": name,
        # What a prefix is, the row's mark says.
        "title": PREFIX_IN_NAME.sub("", name).strip("/").replace("/", " "),
        **about,
        "count": metrics["samples"],
        "reasons": reasons,
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

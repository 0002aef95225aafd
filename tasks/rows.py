"""From finished evaluation folders to leaderboard rows."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import descriptions, folders, machine
from tasks.chains import broken
from tasks.continuing import PREFIX_IN_NAME, condition

EXTERNAL = "4-versa"  # beside an evaluation: what ImportScores makes
EVALUATION, THRESHOLDS = "4-evaluation-", "5-thresholds"
CONTROLS = ("EvaluateControls", "EvaluateSplits")
BY_SAMPLE, BY_REFERENCE = "per_sample.npz", "per_reference.npz"  # influences, beside an evaluation's metrics
if TYPE_CHECKING:
    from evaluation.pairing import Influences

NLL_ELSEWHERE = "it is the model's, and stands in the row whose samples continue nothing"


def rows(corpus: Path, evaluations: Sequence[Path], judge: str = "") -> list[dict[str, Any]]:
    """The leaderboard's rows, one per evaluation and control, from the folders' own files.

    judge: the ears whose rows they are; "" where that is a classifier. A row is named by what was trained, `wavenet/small`;
    where a training has several draws, by the draw as well.
    """
    found: list[dict[str, Any]] = []
    external = [folder for folder in evaluations if folder.name == EXTERNAL]
    heard = [folder for folder in evaluations if folder not in external and ears_of(folder) not in ("", judge)]
    for folder in evaluations:
        config = folders.read_json(folder / folders.CONFIG)
        if folder in heard or folder in external:
            continue
        if config["task"] in CONTROLS:
            found += _controls(corpus, folder)
        else:
            found.append(_row(corpus, folder, config))
    for folder in heard:
        for row in found:
            if (corpus / row["runs"][0]["source"]).parent == folder.parent:
                _add_heard(row, corpus, folder)
    for folder in external:
        for row in found:
            if (corpus / (run := row["runs"][0])["source"]).parent == folder.parent:
                where = {"source": folder.relative_to(corpus).as_posix(), "digest": folders.digest_of(folder)}
                scores = folders.read_json(folder / folders.METRICS)["scores"].items()
                run["scores"] = run["scores"] | {
                    k: score | {"details": score["details"] | where} for k, score in scores
                }
                run["external"] = {EXTERNAL: where}
    found = _of_shown_counts(found)
    _tell_apart(found)
    return found


def _of_shown_counts(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the controls at a number of clips that no model's or import's row has, and with the traps at one only.

    A control has fewer clips than were asked for where the test split has no more; it stands for the draw that asked for it.
    Where there are only controls, all of them are shown.
    """
    counts = {row["count"] for row in found if row["kind"] != "control"}

    def asked(row: Mapping[str, Any]) -> int:
        """As many clips as the row is beside; 0 where its number is no draw's, as of the splits."""
        number = str(row["draw"]).removeprefix("draw-")
        return int(number) if row["kind"] == "control" and number.isdigit() else 0

    if not counts:
        return found
    kept = [row for row in found if not asked(row) or {asked(row), row["count"]} & counts]
    most = max((asked(row) for row in kept if row.get("role") == "trap"), default=0)
    return [row for row in kept if row.get("role") != "trap" or asked(row) == most]


def ears_of(evaluation: Path) -> str:
    """The ears whose features an evaluation compares; "" where they are a classifier's."""
    return str(folders.read_json(evaluation / folders.CONFIG)["parameters"].get("features", ""))


def heard_by_others(evaluation: Path) -> list[Path]:
    """The finished evaluations of the same samples by other ears, that are no classifier's."""
    beside = sorted(evaluation.parent.glob("4-evaluation-*"))
    finished = [folder for folder in beside if folder != evaluation and (folder / folders.MANIFEST).exists()]
    return [folder for folder in finished if ears_of(folder)]


def scored_elsewhere(evaluation: Path) -> list[Path]:
    """The finished import of another program's numbers for the same samples, if there is one."""
    folder = evaluation.parent / EXTERNAL
    return [folder] if (folder / folders.MANIFEST).exists() else []


def all_ears(table: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The ears that any row of a leaderboard was heard by, besides the classifier."""
    return tuple(sorted({name for row in table for run in row["runs"] for name in run.get("others", ())}))


def _add_heard(row: dict[str, Any], corpus: Path, folder: Path) -> None:
    """Put the scores of other ears into a row, as `v1/fid@melproj`; and where they are from, since `source` is not it."""
    ears, run = ears_of(folder), row["runs"][0]
    metrics = folders.read_json(folder / folders.METRICS)
    if row["kind"] == "control":
        metrics = metrics["rows"][row["name"]]
    heard = {metric["key"] for metric in descriptions.of_metrics() if descriptions.hears(metric)}
    scores = {key: score for key, score in metrics["scores"].items() if key in heard}  # the rest is as the judge has it
    run["scores"] = run["scores"] | {f"{key}@{ears}": score for key, score in scores.items()}
    run["others"][ears] = {"source": folder.relative_to(corpus).as_posix(), "digest": folders.digest_of(folder)}
    reasons = {key: reason for key, reason in metrics["not_applicable"].items() if key in heard}
    row["reasons"] |= {f"{key}@{ears}": reason for key, reason in reasons.items()}


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
            **_long(drawn),
            "trained": train.relative_to(corpus).as_posix(),
        }
    return _with_run(corpus, folder, name, about, metrics)


def _long(drawn: Mapping[str, Any]) -> dict[str, str]:
    """What must be known of samples that are longer than clips."""
    if not (window := drawn.get("window")):
        return {}
    whole, end = (timesteps / drawn["sample_rate"] for timesteps in (drawn["timesteps"], window))
    return {
        "note": f"Samples of {whole:g} s: their last {end:g} s are compared, as long as a clip; runaway noise is of the whole."
    }


def training(evaluation: Path) -> Path:
    """The training behind a measured row's evaluation."""
    samples = folders.read_json(evaluation / folders.CONFIG)["inputs"]["samples"]["artifact"]
    config = folders.read_json(machine.workdir() / samples / folders.CONFIG)
    return machine.workdir() / config["inputs"]["train"]["artifact"]


def influences(corpus: Path, run: Mapping[str, Any]) -> "Influences":
    """What is known of single clips behind a run: how far each moved a score. Nothing where nobody has written it down."""
    import numpy as np

    from evaluation.pairing import Influences

    sources = {"": run["source"]} | {f"@{name}": other["source"] for name, other in run.get("others", {}).items()}
    found: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for heard, source in sources.items():
        for arrays, name in zip(found, (BY_SAMPLE, BY_REFERENCE), strict=True):
            if (file := corpus / source / name).exists():
                with np.load(file) as kept:
                    arrays.update({f"{key.replace('.', '/')}{heard}": kept[key] for key in kept.files})
    return Influences(*found)


def _controls(corpus: Path, folder: Path) -> Iterator[dict[str, Any]]:
    draw = folder.parent.name
    for name, metrics in folders.read_json(folder / folders.METRICS)["rows"].items():
        about = {"kind": "control", "model": None, "preset": None, "draw": draw, "seed": None, "parameters": None}
        about |= {"nfe": None, "conditional": ""}
        more = {"note": metrics["explanation"], "role": metrics["role"]}
        yield _with_run(corpus, folder, name, about, metrics) | more


def _with_run(corpus: Path, folder: Path, name: str, about: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    run = {
        "seed": about.pop("seed"),
        "trained": about.pop("trained", ""),  # what `models.load` reads
        "scores": metrics["scores"],
        "source": folder.relative_to(corpus).as_posix(),
        "digest": folders.digest_of(folder),
        "others": {},  # ears that are no classifier's -> source and digest of what they heard
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


def tunings(evaluation: Path) -> list[Path]:
    """The finished folders of TuneThresholds of an evaluation's samples, by the same ears, whose chain is whole."""
    found = sorted(evaluation.parent.glob(f"{THRESHOLDS}*-{glob.escape(evaluation.name.removeprefix(EVALUATION))}"))
    known: dict[Path, str] = {}
    return [folder for folder in found if (folder / folders.MANIFEST).exists() and not broken(folder, known)]


def curves(corpus: Path, classifier: str) -> list[Path]:
    """The finished folders of EvaluateCheckpoints whose chain is whole."""
    found = sorted(corpus.glob(f"*/*/selection-*/5-curve-{classifier}"))
    known: dict[Path, str] = {}
    return [folder for folder in found if (folder / folders.MANIFEST).exists() and not broken(folder, known)]

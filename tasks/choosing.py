"""Inside the stages that choose one of many checkpoints: a draw of its own for each, and the curve over all of them.

The protocol is in docs/metrics.md, "Choosing a checkpoint".
"""

import csv
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks import drawing, folders, listening, measuring
from tasks.artifact import Progress
from tasks.rows import BY_SAMPLE
from tasks.training import clip_format

FIRST = (
    1_000_000  # index of the first sample of such a draw: draws for the leaderboard begin at 0, and none reaches this
)
SHARD = 128
HEARD = 8  # samples that are kept as wavs
FORMAT, CURVE = 1, "curve.json"
CURVE_COLUMNS = (
    *("checkpoint", "step", "metric", "value", "low", "high", "standard_error", "better", "version"),
    *("n_reference", "n_generated", "best", "tied"),
)


class Judged(NamedTuple):
    """One checkpoint. name: for people; step: where it stands on the curve; command: what puts it on the leaderboard."""

    name: str
    step: int
    command: str
    folder: Path


def judge(
    train: Path,
    seed: int,
    count: int,
    settings: dict[str, Any],
    reference: Path,
    clips: Path,
    listen: listening.Listen,
    out: Path,
    progress: Progress,
    waveforms: bool = False,
) -> dict[str, Any]:
    """Draw samples FIRST to FIRST + count from the model in `train`, and measure them against `reference`.

    waveforms: as in `measuring.evaluate_clips`
    """
    import numpy as np
    import soundfile

    shards = out / "shards"
    codes = []
    for start in range(0, count, SHARD):
        shard = shards / f"{start:06d}"
        if not shard.exists():  # a killed attempt has left those before it
            building = shards / f"{start:06d}.part"
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(parents=True)

            def report(done: int, total: int, text: str, before: int = start) -> None:
                progress(before + done, count, text)

            stop = FIRST + min(start + SHARD, count)
            drawing.draw(train, seed, FIRST + start, stop, settings, None, building, report)
            os.rename(building, shard)
        codes.append(np.load(shard / drawing.SAMPLES))
    samples, (rate, timesteps) = np.concatenate(codes), clip_format(clips)
    (out / drawing.WAVS).mkdir(exist_ok=True)
    for row in range(min(HEARD, count)):
        soundfile.write(out / drawing.WAVS / f"sample_{FIRST + row}.wav", samples[row], rate, subtype="PCM_16")
    compared = samples[:, -timesteps:]  # as of every draw of samples that are longer than clips
    metrics = measuring.evaluate_clips(reference, compared, rate, listen, out, progress, waveforms)
    shutil.rmtree(shards)
    return metrics


def curve(judged: Sequence[Judged], criterion: Mapping[str, Any], about: dict[str, Any], out: Path) -> dict[str, Any]:
    """Write curve.json, curve.csv and curve.md: every metric of every checkpoint, and which is the best by the criterion.

    criterion: a metric's description; about: title, samples, and further facts for curve.json
    Raises ValueError where a checkpoint has no value of the criterion.
    """
    key = criterion["key"]
    told = [folders.read_json(one.folder / folders.METRICS) for one in judged]
    for one, metrics in zip(judged, told, strict=True):
        if key not in metrics["scores"]:
            reason = metrics["not_applicable"].get(key, "it was not measured")
            raise ValueError(f"the criterion {key} is not known of {one.name}: {reason}")
    sign = -1 if criterion["better"] == "higher" else 1
    best = min(range(len(judged)), key=lambda i: (sign * told[i]["scores"][key]["value"], judged[i].step))
    entries = []
    for one, metrics in zip(judged, told, strict=True):
        difference = _difference(one, judged[best], metrics["scores"][key], told[best]["scores"][key], key)
        entries.append(
            {
                "name": one.name,
                "step": one.step,
                "command": one.command,
                "digest": folders.digest_of(one.folder),
                "best": one is judged[best],
                "tied": one is not judged[best] and difference["low"] <= 0 <= difference["high"],
                "difference_to_best": difference,
                "scores": metrics["scores"],
            }
        )
    page = {"format": FORMAT, "criterion": {name: criterion[name] for name in ("key", "name", "better", "version")}}
    page |= about | {"best": entries[best]["name"], "checkpoints": entries}
    folders.write_json(out / CURVE, page)
    _write_csv(entries, out / "curve.csv")
    (out / "curve.md").write_text(_markdown(entries, entries[best], criterion, about), encoding="utf-8")
    shown = ("name", "step", "command")
    return {
        "checkpoints": len(entries),
        "criterion": key,
        "best": {name: entries[best][name] for name in shown} | {"value": told[best]["scores"][key]["value"]},
        "tied": [entry["name"] for entry in entries if entry["tied"]],
    }


def _difference(
    one: Judged, best: Judged, score: Mapping[str, Any], best_score: Mapping[str, Any], key: str
) -> dict[str, Any]:
    """one - best with its 95 % interval; paired by sample, since sample i of both began with the same noise."""
    import math

    import numpy as np

    from evaluation.uncertainty import Z, standard_error

    value = score["value"] - best_score["value"]
    if one is best:
        return {"value": 0.0, "low": 0.0, "high": 0.0, "standard_error": 0.0, "method": "itself"}
    error = math.hypot(score["standard_error"], best_score["standard_error"])
    method = "independent samples, same reference"
    influences = []
    for judged in (one, best):
        with np.load(judged.folder / BY_SAMPLE) as kept:
            if (name := key.replace("/", ".")) in kept.files:
                influences.append(kept[name])
    if len(influences) == 2 and len(influences[0]) == len(influences[1]):
        error, method = standard_error(influences[0] - influences[1]), "paired by sample, same reference"
    return {
        "value": value,
        "low": value - Z * error,
        "high": value + Z * error,
        "standard_error": error,
        "method": method,
    }


def _write_csv(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CURVE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for entry in entries:
            for key, score in entry["scores"].items():
                about = {name: score[name] for name in CURVE_COLUMNS if name in score}
                known = {
                    "checkpoint": entry["name"],
                    "step": entry["step"],
                    "best": entry["best"],
                    "tied": entry["tied"],
                }
                writer.writerow(known | about | {"metric": key})


def _markdown(
    entries: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
    criterion: Mapping[str, Any],
    about: Mapping[str, Any],
) -> str:
    """A table to read: the criterion of every checkpoint, and how sure it is that the best one is better."""
    digits, key = int(criterion["digits"]), criterion["key"]
    lines = [
        f"# {about['title']}",
        "",
        f"Each checkpoint drew {about['samples']:,} samples for this alone; they were measured against the validation split.",
        f"{best['name']} has the best {criterion['name']} ({criterion['better']} is better). It was chosen for that value,",
        "which makes it a little too good. Its row in the leaderboard, by other samples and against the train split:",
        "",
        f"    {best['command']}",
        "",
        f"| checkpoint | step | {criterion['name']} | ± | behind the best by | |",
        "|---|---|---|---|---|---|",
    ]
    for entry in entries:
        score, difference = entry["scores"][key], entry["difference_to_best"]
        half = (score["high"] - score["low"]) / 2
        behind = f"{abs(difference['value']):.{digits}f} ± {(difference['high'] - difference['low']) / 2:.{digits}f}"
        mark = "best" if entry["best"] else "cannot be told apart from it" if entry["tied"] else ""
        shown = "" if entry["best"] else behind
        lines.append(
            f"| {entry['name']} | {entry['step']:,} | {score['value']:.{digits}f} | {half:.{digits}f} | {shown} | {mark} |"
        )
    return "\n".join(lines) + "\n"

"""Inside the stage that tunes likelihood thresholds: arrays in, tables out. The search is evaluation/rejection.py."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import drawing, folders, likelihoods, measuring
from tasks.artifact import Progress
from tasks.measuring import names

if TYPE_CHECKING:
    import numpy as np

SURFACE, HALVES = "surface.csv", "halves.csv"


def nats(samples: Path, from_order: bool, table: Path | None) -> "np.ndarray":
    """(n,) log-likelihoods of the samples: their places in the order, from a table, or as the model that drew them said."""
    import numpy as np

    called = names(samples)
    if from_order:
        return np.arange(len(called), dtype=np.float64)
    if table is not None:
        return np.array(likelihoods.match(called, likelihoods.read(table), table))
    with open(samples / drawing.TABLE, newline="", encoding="utf-8") as file:
        told = [line["log_likelihood_nats"] for line in csv.DictReader(file)]
    if not all(told):
        raise ValueError(f"{told.count('')} of {len(told)} samples in {samples} have no likelihood")
    return np.array([float(text) for text in told])


def tune(
    reference: Path,
    samples: Path,
    features: Path,
    log_likelihood: "np.ndarray",
    criterion: str,
    grid: Mapping[str, Any],
    out: Path,
    progress: Progress,
    waveforms: bool = False,
) -> dict[str, Any]:
    """Search, then measure what is kept of the reporting half, the whole of it, and what the published script would keep.

    grid: `lower`, `upper` and `by` of `rejection.tune`; waveforms: as in `measuring.evaluate`
    """
    import numpy as np

    import evaluation
    from evaluation import rejection

    with np.load(reference / measuring.REFERENCE) as arrays:
        prepared = dict(arrays)
    heard = measuring.heard_samples(samples, features, waveforms)
    generated = evaluation.SampleSet(**heard, log_likelihood=log_likelihood)
    progress(0, 4, "the surface")
    tuned = rejection.tune(prepared, generated, criterion, **grid)
    parts: dict[str, Any] = {}
    for number, (part, rows) in enumerate((("inside", tuned.kept), ("whole", tuned.reporting)), 1):
        progress(number, 4, "metrics of the reporting half")
        if len(rows) < rejection.FEWEST:
            raise ValueError(
                f"{len(rows)} of {len(tuned.reporting)} samples of the reporting half are within the thresholds"
            )
        parts[part] = _measured(prepared, generated.take(rows))
    progress(3, 4, "the published script")
    script = _script(prepared, generated, folders.read_json(reference / folders.METRICS)["held_out_clips"])
    cells = tuned.to_json()["surface"]
    _write(out / SURFACE, cells[0], [cell.values() for cell in cells])
    half = np.full(len(generated), "tuning", dtype="U9")
    half[tuned.reporting] = "reporting"
    kept = np.isin(np.arange(len(generated)), tuned.kept)
    lines = zip(
        range(len(generated)), names(samples), half, map(repr, log_likelihood.tolist()), kept.astype(int), strict=True
    )
    _write(out / HALVES, ("row", "name", "half", "log_likelihood_nats", "kept"), lines)
    return {
        **tuned.to_json(),
        "scores": {part: scores["scores"] for part, scores in parts.items()},
        "not_applicable": {part: scores["not_applicable"] for part, scores in parts.items()},
        "script": script,
    }


def _measured(prepared: Mapping[str, Any], samples: Any) -> dict[str, Any]:
    """The scores of these samples, and why others are absent: without those of held-out clips, which are the model's."""
    import evaluation

    scores = evaluation.compute(prepared, samples)
    asked = {
        key for key, metric in evaluation.METRICS.items() if not any(n.startswith("held_out") for n in metric.needs)
    }
    reasons = {key: reason for key, reason in scores.not_applicable.items() if key in asked}
    return {"scores": scores.to_json(), "not_applicable": reasons}


def _script(prepared: Mapping[str, Any], generated: Any, test_clips: int) -> dict[str, Any]:
    """What the published script makes of the samples in the order of their likelihood, with its own halves and thresholds."""
    import numpy as np

    import evaluation
    from evaluation import sashimi_protocol

    if generated.log_probabilities is None:
        return {"reason": "no class probabilities"}
    ascending = np.argsort(generated.log_likelihood, kind="stable")
    try:
        found = sashimi_protocol.thresholded(sashimi_protocol.float32(generated.probabilities[ascending]), test_clips)
    except ValueError as error:
        return {"reason": str(error)}
    keys = [key for key in evaluation.METRICS if key.startswith("sashimi/")]
    scores = evaluation.compute(prepared, generated.take(ascending[found.kept]))
    cells = [(*map(float, cell[:2]), None if np.isnan(cell[2]) else float(cell[2])) for cell in found.surface]
    return {
        "lower": float(found.lower),
        "upper": float(found.upper),
        "samples": {"tuning": len(found.tuning), "reporting": len(found.reporting), "kept": len(found.kept)},
        "surface": [dict(zip(("lower", "upper", "value"), cell, strict=True)) for cell in cells],
        "scores": {key: score for key, score in scores.to_json().items() if key in keys},
        "not_applicable": {key: reason for key, reason in scores.not_applicable.items() if key in keys},
    }


def _write(path: Path, heading: Any, lines: Any) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(lines)

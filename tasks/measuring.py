"""Inside the stages that compute metrics: arrays in, scores out. The formulas are in evaluation/metrics/."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks import folders, listening
from tasks.artifact import Progress

REFERENCE, INFLUENCES = "reference.npz", "per_sample.npz"


def prepare(clips: Path, features: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """The real side of every metric, against which all models are measured: the train split, as in the field's tables."""
    import numpy as np

    import evaluation
    from models.clips import load_split

    progress(0, 1, "metrics of the real clips")
    train, test = load_split(clips, "train"), load_split(clips, "test")
    held_out = evaluation.SampleSet(**listening.read(features, "test"), labels=test.labels, timesteps=test.valid)
    reference = evaluation.SampleSet(
        **listening.read(features, "train"), labels=train.labels, timesteps=train.valid, held_out=held_out
    )
    arrays: dict[str, Any] = evaluation.prepare(reference)
    np.savez(out / REFERENCE, **arrays)
    return {"reference_clips": len(train), "held_out_clips": len(test)}


def evaluate(reference: Path, features: Path, likelihood: Path | None, out: Path, progress: Progress) -> dict[str, Any]:
    """Every metric that applies to one set of samples.

    likelihood: a folder of MeasureLikelihood, where the model has a likelihood
    """
    import evaluation

    progress(0, 1, "metrics")
    generated = listening.read(features, "samples")
    more: dict[str, Any] = {}
    if likelihood is not None:
        more = _held_out_likelihood(likelihood)
    return _scores(reference, evaluation.SampleSet(**generated, **more), out) | _classes(generated)


def evaluate_controls(
    reference: Path, clips: Path, features: Path, classifier: Path, count: int, out: Path, progress: Progress
) -> dict[str, Any]:
    """The control rows, each with as many clips as a model's draw (or as there are)."""
    import numpy as np

    import evaluation
    from evaluation.controls import CONTROLS
    from models.clips import load_split

    train, test = load_split(clips, "train").codes, load_split(clips, "test").codes
    rows: dict[str, Any] = {}
    chosen = [control for control in CONTROLS if not control.trap]
    for number, control in enumerate(chosen):
        progress(number, len(chosen), control.name)
        size = min(count, len(test))
        codes = np.asarray(control.draw(train, test, size, 0))
        folder = out / control.name
        folder.mkdir(exist_ok=True)
        listening.cache(classifier, {"samples": codes}, folder, lambda done, total, text: None)
        np.save(folder / "samples.npy", codes)
        generated = listening.read(folder, "samples")
        scores = _scores(reference, evaluation.SampleSet(**generated), folder)
        rows[control.name] = scores | {"explanation": control.explanation, "samples": size}
    return {"rows": rows}


def _scores(reference: Path, generated: Any, out: Path) -> dict[str, Any]:
    """Scores and the reasons for those that are absent; influences of single samples go to `per_sample.npz`."""
    import numpy as np

    import evaluation

    with np.load(reference / REFERENCE) as arrays:
        scores = evaluation.compute(dict(arrays), generated)
    influences: dict[str, Any] = {
        key.replace("/", "."): score.per_sample for key, score in scores.items() if score.per_sample is not None
    }
    np.savez(out / INFLUENCES, **influences)
    return {"scores": scores.to_json(), "not_applicable": scores.not_applicable, "samples": len(generated)}


def _held_out_likelihood(folder: Path) -> dict[str, Any]:
    import numpy as np

    import evaluation

    with open(folder / "likelihood.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    metrics = folders.read_json(folder / folders.METRICS)
    held_out = evaluation.SampleSet(
        log_likelihood=np.array([float(row["log_likelihood_nats"]) for row in rows]),
        timesteps=np.array([int(row["timesteps"]) for row in rows]),
        likelihood_space=metrics["likelihood_space"],
        unigram_entropy=metrics["unigram_entropy"],
    )
    return {"held_out": held_out}


def _classes(generated: Mapping[str, Any]) -> dict[str, Any]:
    """What the classifier takes the samples for: how many of each class, and each one's class and confidence."""
    import numpy as np

    log_probabilities = generated["log_probabilities"]
    predicted = log_probabilities.argmax(axis=1)
    return {
        "class_counts": np.bincount(predicted, minlength=log_probabilities.shape[1]).tolist(),
        "mean_confidence": float(np.exp(log_probabilities.max(axis=1)).mean()),
    }

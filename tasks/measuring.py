"""Inside the stages that compute metrics: arrays in, scores out. The formulas are in evaluation/metrics/."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import drawing, folders, listening
from tasks.artifact import Progress
from tasks.training import clip_format

REFERENCE, INFLUENCES, BY_REFERENCE = "reference.npz", "per_sample.npz", "per_reference.npz"
NOISE = "runaway.csv"  # which samples degenerate into noise
THRESHOLDS = "validation"  # the split on which thresholds are set
SPLIT_ROWS = {
    "train": "every clip of the train split, the reference itself: FID is 0 by construction, IS and AM are the corpus's own",
    "test": "every clip of the test split; the held-out row is of as many of them as a model's row has samples",
}


def prepare(
    clips: Path,
    features: Path,
    out: Path,
    progress: Progress,
    splits: Sequence[str] = ("train", "test"),
    waveforms: bool = False,
) -> dict[str, Any]:
    """The real side of every metric, against which all models are measured: the train split, as in the field's tables.

    splits: which split is the reference and, where there is another, which one holds clips that nothing was trained on
    waveforms: whether ears that are no classifier's measure these too, as here and below: where they are the judge
    """
    import numpy as np

    import evaluation
    from models.clips import load_split

    progress(0, 1, "metrics of the real clips")
    rate, sets = clip_format(clips)[0], []
    for name in splits:
        split = load_split(clips, name)
        heard = _heard(features, name, split.codes, rate, waveforms)
        sets.append(heard | {"labels": split.labels, "timesteps": split.valid})
    beside: dict[str, Any] = {"held_out": evaluation.SampleSet(**sets[1])} if len(sets) > 1 else {}
    if "waveforms" in sets[0] and THRESHOLDS not in splits:
        codes = load_split(clips, THRESHOLDS).codes
        beside["calibration"] = evaluation.SampleSet(waveforms=codes, sample_rate=rate)
    arrays: dict[str, Any] = evaluation.prepare(evaluation.SampleSet(**sets[0], **beside))
    np.savez(out / REFERENCE, **arrays)
    counts = [len(one["features"]) for one in sets]
    return dict(zip(("reference_clips", "held_out_clips"), counts, strict=False))


def evaluate(
    reference: Path,
    samples: Path,
    features: Path,
    likelihood: Path | None,
    out: Path,
    progress: Progress,
    waveforms: bool = False,
) -> dict[str, Any]:
    """Every metric that applies to one set of samples.

    likelihood: a folder of MeasureLikelihood, where the model has a likelihood
    """
    import evaluation

    progress(0, 1, "metrics")
    generated = heard_samples(samples, features, waveforms)
    if likelihood is not None:
        generated |= _held_out_likelihood(likelihood)
    told = _scores(reference, evaluation.SampleSet(**generated), out, competes=True) | _classes(generated)
    return told | _write_noise(reference, generated, names(samples), out)


def _write_noise(reference: Path, generated: Mapping[str, Any], called: Sequence[str], out: Path) -> dict[str, Any]:
    """`runaway.csv`: of every sample, whether and from when on it is noise (evaluation/runaway.py); how many are."""
    import numpy as np

    import evaluation
    from evaluation.metrics import runaway

    with np.load(reference / REFERENCE) as arrays:
        prepared = {key.removeprefix("runaway."): arrays[key] for key in arrays.files if key.startswith("runaway.")}
    if not prepared or "waveforms" not in generated or runaway.limits_of(prepared).obstacle:
        return {}
    clips = evaluation.SampleSet(
        waveforms=generated["waveforms"], whole=generated.get("whole"), sample_rate=generated["sample_rate"]
    )
    found = runaway.find(prepared, clips)
    with open(out / NOISE, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "name", "noisy", "onset_seconds", "share", "flatness_db", "level_db"])
        for row, name in enumerate(called):
            onset = "" if not found.noisy[row] else f"{found.onset[row]:.3f}"
            numbers = (found.share[row], found.flatness[row], found.level[row])
            writer.writerow([row, name, int(found.noisy[row]), onset, *(f"{number:.3f}" for number in numbers)])
    return {"noisy": int(found.noisy.sum())}


def names(samples: Path) -> list[str]:
    """What the samples are called, in the order of the rows of `samples.npy`."""
    with open(samples / drawing.TABLE, newline="", encoding="utf-8") as file:
        return [line["name"] for line in csv.DictReader(file)]


def evaluate_clips(
    reference: Path,
    codes: Any,
    sample_rate: int,
    listen: listening.Listen,
    out: Path,
    progress: Progress,
    waveforms: bool = False,
) -> dict[str, Any]:
    """Every metric that applies to clips, int16 (n, timesteps), which nobody has listened to yet."""
    import numpy as np

    import evaluation

    arrays: dict[str, Any] = listen(codes, progress)
    np.savez(out / "samples.npz", **arrays)
    progress(0, 1, "metrics")
    generated = _heard(out, "samples", codes, sample_rate, waveforms)
    return _scores(reference, evaluation.SampleSet(**generated), out) | _classes(generated)


def heard_samples(samples: Path, features: Path, waveforms: bool = False) -> dict[str, Any]:
    """The arrays of a SampleSet: what was heard of samples, and what they were asked for."""
    codes, whole = drawing.measured(samples)
    rate = folders.read_json(samples / folders.METRICS)["sample_rate"]
    heard = _heard(features, "samples", codes, rate, waveforms)
    return heard | {"labels": _labels(samples)} | ({"whole": whole} if "waveforms" in heard else {})


def evaluate_controls(
    reference: Path,
    clips: Path,
    features: Path,
    listen: listening.Listen,
    count: int,
    out: Path,
    progress: Progress,
    waveforms: bool = False,
) -> dict[str, Any]:
    """The control rows, each with as many clips as a model's draw (or as there are).

    What was heard in real clips is taken from `features`; silence and noise are listened to. The clips that are worth hearing
    are kept beside what the judge heard in them; other ears hear the same ones.
    """
    import numpy as np

    import evaluation
    from evaluation.controls import CONTROLS, root_mean_square
    from models.clips import load_split

    rate, rows = clip_format(clips)[0], {}
    test = load_split(clips, "test")
    size, rms = min(count, len(test)), root_mean_square(test.codes)
    for number, control in enumerate(CONTROLS):
        progress(number, len(CONTROLS), control.name)
        folder, labels = out / control.name, None
        folder.mkdir(exist_ok=True)
        if control.split:
            split = load_split(clips, control.split)
            chosen = control.rows(len(split), size, 0)
            codes, labels = split.codes[chosen], None if split.labels is None else split.labels[chosen]
            heard = {name: array[chosen] for name, array in listening.read(features, control.split).items()}
        else:
            codes = control.make(size, test.codes.shape[1], rms, 0)
            alike = bool((codes == codes[:1]).all())
            heard = dict(listen(codes[:1] if alike else codes, lambda done, total, text: None))
            heard = {name: np.repeat(array, size, axis=0) if alike else array for name, array in heard.items()}
        arrays: dict[str, Any] = heard
        np.savez(folder / "samples.npz", **arrays)
        generated = _heard(folder, "samples", codes, rate, waveforms)
        if "waveforms" in generated and not control.trap:
            np.save(folder / drawing.SAMPLES, codes)
        scores = _scores(reference, evaluation.SampleSet(**generated, labels=labels), folder)
        about = {"explanation": control.explanation, "samples": size, "role": "trap" if control.trap else ""}
        rows[control.name] = scores | about
    return {"rows": rows}


def evaluate_splits(
    reference: Path, clips: Path, features: Path, out: Path, progress: Progress, waveforms: bool = False
) -> dict[str, Any]:
    """All clips of the train split, and of the test split, against the train split: the release's dataset metrics."""
    import evaluation
    from models.clips import load_split

    rows: dict[str, Any] = {}
    for number, (name, explanation) in enumerate(SPLIT_ROWS.items()):
        progress(number, len(SPLIT_ROWS), name)
        split = load_split(clips, name)
        generated = _heard(features, name, split.codes, clip_format(clips)[0], waveforms)
        folder = out / f"{name}-split"
        folder.mkdir(exist_ok=True)
        scores = _scores(reference, evaluation.SampleSet(**generated, labels=split.labels), folder)
        rows[folder.name] = scores | {"explanation": explanation, "samples": len(split), "role": "dataset"}
    return {"rows": rows}


def _heard(features: Path, name: str, codes: Any, sample_rate: int, waveforms: bool) -> dict[str, Any]:
    """The arrays of a SampleSet: what was heard and, beside the classifier's features, the clips themselves.

    Waveforms are measured once: they are the same whoever listens.
    """
    heard, measured = listening.read(features, name), {"waveforms": codes, "sample_rate": sample_rate}
    return heard | (measured if waveforms or "log_probabilities" in heard else {})


def _labels(samples: Path) -> Any:
    """(n,) the classes that samples were asked for; None where the model was not told any, or they are imported."""
    import numpy as np

    with open(samples / drawing.TABLE, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return np.array([int(line[drawing.LABEL]) for line in lines]) if drawing.LABEL in lines[0] else None


def _scores(reference: Path, generated: Any, out: Path, competes: bool = False) -> dict[str, Any]:
    """Scores and the reasons for those that are absent; influences of single samples go to `per_sample.npz`.

    competes: it will be compared with others; influences of the reference's clips go to `per_reference.npz`
    """
    import numpy as np

    import evaluation
    from evaluation.pairing import reference_influences

    with np.load(reference / REFERENCE) as arrays:
        prepared = dict(arrays)
    scores = evaluation.compute(prepared, generated)
    if competes:
        found = reference_influences(prepared, generated)
        by_reference: dict[str, Any] = {key: array for key, array in found.items() if key in scores}
        np.savez(out / BY_REFERENCE, **{key.replace("/", "."): array for key, array in by_reference.items()})
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
    """What the classifier takes the samples for: how many of each class, and its mean confidence. Of other ears nothing."""
    import numpy as np

    if "log_probabilities" not in generated:
        return {}
    log_probabilities = generated["log_probabilities"]
    predicted = log_probabilities.argmax(axis=1)
    return {
        "class_counts": np.bincount(predicted, minlength=log_probabilities.shape[1]).tolist(),
        "mean_confidence": float(np.exp(log_probabilities.max(axis=1)).mean()),
    }

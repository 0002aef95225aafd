"""Made-up numbers and sounds in the shapes of a real run, for the tests of the leaderboard and the report. Not results.

Run `python -m tests.report_sample FOLDER` to write the page and look at it.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.leaderboard import format_table, write_leaderboard
from evaluation.report import ReportData, write_report

RATE, T = 16000, 16000
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPACE = "8-bit mu-law, unscaled"


def metrics() -> list[dict[str, Any]]:
    table = [
        ("v1/fid", "FID", "lower", 2, "", "Distance of two Gaussians fitted to the classifier's features."),
        ("v1/is", "IS", "higher", 2, "", "How sure and how varied the classifier's answers are."),
        ("v1/mis", "mIS", "higher", 1, "", "Mean divergence between the answers to two samples."),
        ("v1/am", "AM", "lower", 3, "nats", "Class balance against the corpus, plus mean entropy."),
        ("v1/is/10-splits", "IS, 10 splits", "higher", 2, "", "As Salimans et al. (2016): mean over ten splits."),
        ("v1/nll", "NLL", "lower", 3, "bits per timestep", "Negative log-likelihood of held-out clips."),
    ]
    return [
        {"key": key, "name": name, "unit": unit, "better": better, "digits": digits, "doc": doc, "version": 1}
        | {"headline": key.count("/") == 1}
        for key, name, better, digits, unit, doc in table
    ]


def score(key: str, value: float, error: float, generated: int = 512, **more: Any) -> dict[str, Any]:
    """A Score's JSON with a normal 95 % interval."""
    better = next((metric["better"] for metric in metrics() if metric["key"] == key), "lower")
    made = {"key": key, "value": value, "low": value - 1.96 * error, "high": value + 1.96 * error}
    made |= {"standard_error": error, "method": "infinitesimal jackknife", "n_reference": 3000}
    made |= {"n_generated": generated, "better": better, "unit": "", "version": 1, "variant": "", "details": {}}
    return made | more


def run(
    values: list[float], seed: int | None = 0, source: str = "x", errors: float = 0.02, **more: Any
) -> dict[str, Any]:
    """values: FID, IS, mIS, AM and, where there is one, NLL."""
    keys = [metric["key"] for metric in metrics() if metric["headline"]]
    scores = {key: score(key, value, errors * abs(value), **more) for key, value in zip(keys, values, strict=False)}
    if "v1/nll" in scores:
        scores["v1/nll"]["details"] = {"likelihood_space": SPACE, "unigram_entropy": 5.1234}
    return {"seed": seed, "scores": scores, "source": source, "digest": hashlib.sha256(source.encode()).hexdigest()}


def row(name: str, runs: list[dict[str, Any]], kind: str = "measured", title: str = "", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "title": title or name,
        "kind": kind,
        "model": name,
        "preset": "small",
        "draw": "draw-512",
    }
    made |= {"seeds": [one["seed"] for one in runs], "count": 512, "parameters": None, "runs": runs}
    return made | more


def rows() -> list[dict[str, Any]]:
    where = "{}/small-seed{}/draw-512/4-evaluation-small-seed0".format
    wavenet = [
        run([18.31, 4.62, 21.4, 0.902, 3.412], 0, where("wavenet", 0)),
        run([18.92, 4.55, 20.8, 0.915, 3.405], 1, where("wavenet", 1)),
        run([17.88, 4.70, 22.3, 0.889, 3.420], 2, where("wavenet", 2)),
    ]
    for one in wavenet:
        one["scores"]["v1/is/10-splits"] = score("v1/is/10-splits", 4.41 + 0.05 * one["seed"], 0.06)
    noise = run([141.2, 1.12, 1.3, 2.31], 0, where("noise", 0))
    silence = run([388.1, 1.0, 1.0, 3.4], None, "controls/silence", 0.0)
    diffwave = run([17.20, 5.02, 29.0, 0.811], 0, where("diffwave", 0), 0.03)
    sashimi = run([24.6, 4.1, 17.7, 1.07, 3.301], 0, where("sashimi", 0))
    sashimi["scores"]["v1/nll"]["details"] = {"likelihood_space": "8-bit mu-law, min-max scaled per clip"}
    return [
        row("wavenet", wavenet, title="WaveNet small", parameters=412_304),
        row("diffwave", [diffwave], title="DiffWave small", parameters=690_113, nfe=50),
        row("sashimi", [sashimi], title="SaShiMi small", parameters=380_002),
        row(
            "my-model",
            [run([33.0, 3.3, 9.1, 1.4], None, "imported/my-model", generated=500)],
            "imported",
            preset="",
            count=500,
        ),
        row("noise", [noise], title="Spectrum-matched noise", parameters=513),
        row("held-out", [run([1.62, 8.41, 140.2, 0.171], None, "controls/held-out")], "control", "Held-out real clips"),
        row("white-noise", [run([402.0, 1.05, 1.1, 2.9], None, "controls/white-noise")], "control", "White noise"),
        row("silence", [silence], "control", "Silence", note="every timestep zero"),
    ]


def clip(seed: int, kind: str) -> np.ndarray:
    """A voice-like glide of harmonics, or noise: int16 (timesteps,)."""
    random = np.random.default_rng(seed)
    time = np.arange(T) / RATE
    if kind == "noise":
        return (3000 * random.standard_normal(T)).clip(-32768, 32767).astype(np.int16)
    pitch = random.uniform(90, 220) * (1 + 0.15 * np.sin(2 * np.pi * (time * random.uniform(0.5, 2) + random.random())))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formant = random.uniform(400, 900) + random.uniform(-200, 900) * time
    voice = sum(np.sin(k * phase) * np.exp(-(((k * pitch - formant) / 500) ** 2)) for k in range(1, 24))
    envelope = np.exp(-(((time - random.uniform(0.35, 0.6)) / random.uniform(0.1, 0.2)) ** 2))
    sound = voice * envelope + (0.002 if kind == "real" else 0.02) * random.standard_normal(T)
    return (random.uniform(1500, 4000) * sound).clip(-32768, 32767).astype(np.int16)


def clips(kind: str, first: int, count: int = 12) -> list[dict[str, Any]]:
    made = []
    for index in range(count):
        details: dict[str, Any] = {"heard": DIGITS[(index * 7) % 10], "confidence": 0.41 + 0.04 * index}
        if kind == "voice":
            details["log_likelihood"] = -37_800.5 + 100 * index
        caption = DIGITS[index % 10] if kind == "real" else f"sample {index}"
        made.append({"caption": caption, "codes": clip(first + index, kind), "sample_rate": RATE, "details": details})
    return made


def classifier() -> dict[str, Any]:
    random = np.random.default_rng(5)
    confusion = np.diag(random.integers(285, 300, 10)) + random.poisson(0.5, (10, 10))
    bins = [{"confidence": 0.05 + i / 10, "accuracy": min(1.0, 0.02 + i / 9.5), "count": 4 + i**3} for i in range(10)]
    accuracy = float(confusion.trace() / confusion.sum())
    return {
        "name": "resnext",
        "preset": "small",
        "accuracy": {"value": accuracy, "low": accuracy - 0.005, "high": accuracy + 0.004},
        "labels": list(DIGITS),
        "confusion": confusion.tolist(),
        "per_class_accuracy": (confusion.diagonal() / confusion.sum(1)).tolist(),
        "calibration": {"bins": bins, "ece": 0.0123},
        "parameters": 1_204_330,
    }


def curve(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    step = np.arange(0, 3000, 10)
    train = 3.3 + 4.5 * np.exp(-step / 260) + 0.06 * random.standard_normal(len(step))
    validation = [float(v) + 0.05 if i % 10 == 0 else None for i, v in enumerate(3.33 + 4.4 * np.exp(-step / 280))]
    return {
        "step": step.tolist(),
        "train_loss": train.tolist(),
        "validation_loss": validation,
        "unit": "bits per timestep",
    }


def provenance(model: str) -> list[dict[str, Any]]:
    settings = {"layers": 20, "channels": 32, "learning_rate": 0.001, "batch_size": 16, "steps": 3000, "ema": 0.999}
    chain = [
        ("DownloadCorpus", "1-download", 12.2, {"engine": "espeak-ng"}),
        ("PrepareClips", "2-clips", 4.1, {"sample_rate": RATE, "clip_seconds": 1.0, "resampler": "soxr"}),
        ("TrainClassifier", "3-classifier/small-seed0", 101.9, {"width": 32}),
        ("TrainGenerator", f"{model}/small-seed0/1-train", 5025.0, settings),
        ("DrawSamples", f"{model}/small-seed0/draw-512/2-samples", 61.0, {"temperature": 1.0, "top_p": 1.0}),
        ("CacheFeatures", f"{model}/small-seed0/draw-512/3-features-small-seed0", 8.0, {}),
        ("EvaluateSamples", f"{model}/small-seed0/draw-512/4-evaluation-small-seed0", 0.7, {"protocols": ["v1"]}),
    ]
    return [
        {"stage": stage, "path": path, "digest": f"{index + 11:02x}" * 32, "version": 1, "seconds": seconds}
        | {"settings": chosen, "commit": "0123456789abcdef0123", "modified": stage == "EvaluateSamples"}
        for index, (stage, path, seconds, chosen) in enumerate(chain)
    ]


def sample() -> ReportData:
    models = ("wavenet", "diffwave", "sashimi", "noise")
    even = dict.fromkeys(DIGITS, 51.0)
    return ReportData(
        corpus={
            "name": "test-data",
            "title": "Test data (not a corpus)",
            "licence": "made up for the tests",
            "citation": "Nobody, A. (2020). Nothing at all.",
            "homepage": "https://example.org/corpus",
            "sample_rate": RATE,
            "timesteps": T,
            "clips": {"train": 3000, "validation": 400, "test": dict.fromkeys(DIGITS, 60)},
        },
        rows=rows(),
        metrics=metrics(),
        classifier=classifier(),
        curves={"WaveNet small, seed 0": curve(1), "DiffWave small": curve(2), "SaShiMi small": curve(3)},
        audio={"real": clips("real", 0), "noise": clips("noise", 300)}
        | {name: clips("voice", 100 * place) for place, name in enumerate(models[:3], 1)},
        about_audio={"wavenet": "From unlikely to likely, evenly spread over 512 samples."},
        provenance={name: provenance(name) for name in models},
        commands={name: f"python -m pipeline.test_data --models {name} --preset small" for name in models},
        histograms={"real": even, "wavenet": even | {"one": 12.0, "two": 103.0}, "diffwave": even | {"six": 88.0}},
        environment={"torch": "0.0", "threads": 2, "host": {"system": "Linux", "cores": 2}},
        notes=["Published rows absent: this classifier is not the one that they were measured with."],
    )


if __name__ == "__main__":
    place = Path(sys.argv[1])
    data = sample()
    write_leaderboard(data.rows, data.metrics, place)
    print(format_table(data.rows, data.metrics))
    print(write_report(data, place / "report"))

"""A report with everything on it: what `report_sample` has, and made-up scores and clips for every part behind the leaderboard.

Run `python -m tests.report_parts FOLDER` to write the page and look at it.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.report import ReportData, write_report
from tests.report_sample import RATE, clip, clips, metrics, row, rows, run, sample, score

# What the parts of the page behind the leaderboard are made of: name, better, digits, unit.
SECOND = {
    "v1/fid/infinity": ("FID-infinity", "lower", 2, ""),
    "v1/am/balance": ("AM balance", "lower", 3, "nats"),
    "v1/am/confidence": ("AM confidence", "lower", 3, "nats"),
    "v1/fid/per-class": ("FID per class", "lower", 2, ""),
    "v1/vendi/per-class": ("Vendi per class", "target", 2, ""),
    "v1/ndb": ("NDB/K", "lower", 2, ""),
    "v1/ndb/js": ("NDB JS", "lower", 4, "nats"),
    "v1/precision": ("precision", "higher", 3, ""),
    "v1/recall": ("recall", "higher", 3, ""),
    "v1/density": ("density", "target", 3, ""),
    "v1/coverage": ("coverage", "higher", 3, ""),
    "v1/ct": ("C_T", "target", 2, ""),
    "v1/ct/auc": ("C_T AUC", "target", 3, ""),
    "v1/authpct": ("AuthPct", "target", 1, "%"),
    "v1/nearest": ("nearest training clip", "target", 3, ""),
}
BINS = 12


def more_metrics() -> list[dict[str, Any]]:
    """The descriptions of those, behind the leaderboard's."""
    about = {"doc": "", "version": 1, "headline": False}
    names = ("name", "better", "digits", "unit")
    return [*metrics(), *({"key": key, **dict(zip(names, told, strict=True)), **about} for key, told in SECOND.items())]


def second(quality: float, generated: int = 512, seed: int = 0) -> dict[str, Any]:
    """Scores of what stands behind the leaderboard, of a generator that is good (1) or hopeless (0)."""
    random, bad = np.random.default_rng(seed), 1.0 - quality
    sizes = [round(generated / (1 + 3 * i / 14)) for i in range(14, -1, -1)]
    far = {"levels": np.linspace(0, 1, 11).tolist(), "held_out": np.linspace(0.5, 3.0, 11).tolist()}
    far |= {"training": np.linspace(0.2, 2.6, 11).tolist(), "generated": (np.linspace(0.4, 3.0, 11) + 4 * bad).tolist()}
    real = np.sort(random.dirichlet(np.full(BINS, 9.0)))[::-1]
    share = random.multinomial(generated, (1 - bad) * real + bad * real[::-1]) / generated
    z = (share - real) / np.sqrt(real * (1 - real) / generated)
    bins = [
        {"real": float(a), "generated": float(b), "z": float(c), "p": 0.01, "holm": bool(abs(c) > 3), "typical": i}
        | {"clips": [i, i + 1, i + 2]}
        for i, (a, b, c) in enumerate(zip(real, share, z, strict=True))
    ]
    each = [
        {"class": i, "value": 3 + 60 * bad + i, "low": 2 + 60 * bad + i, "high": 4 + 60 * bad + i, "n_generated": 51}
        for i in range(9)
    ]
    each.append({"class": 9, "value": None, "reason": "1 generated and 300 reference clips", "n_generated": 0})
    varied = [{**entry, "value": 1.5, "low": 1.4, "high": 1.6, "target": 2.0} for entry in each[:9]]
    values: dict[str, tuple[float, float, dict[str, Any]]] = {
        "v1/fid/infinity": (1 + 90 * bad, 0.8, {"sizes": sizes, "fid": [1 + 90 * bad + 400 / m for m in sizes]}),
        "v1/am/balance": (0.1 + bad, 0.02, {}),
        "v1/am/confidence": (0.2 + bad, 0.02, {}),
        "v1/fid/per-class": (8 + 60 * bad, 1.0, {"classes": each}),
        "v1/vendi/per-class": (1.5, 0.1, {"classes": varied, "target": 2.0, "ratio": 0.75}),
        "v1/ndb": (0.05 + 0.9 * bad, 0.03, {"bins": bins, "expected": 0.05, "homogeneity_p": 0.02, "holm": 3}),
        "v1/ndb/js": (0.4 * bad, 0.01, {}),
        "v1/precision": (0.95 * quality, 0.02, {"null": 0.96}),
        "v1/recall": (0.9 * quality, 0.02, {"null": 0.95}),
        "v1/density": (quality, 0.03, {"null": 1.0, "target": 1.0}),
        "v1/coverage": (0.5 * quality, 0.02, {"null": 0.53}),
        "v1/ct": (12 * bad, 0.5, {"target": 0.0}),
        "v1/ct/auc": (0.5, 0.02, {"target": 0.5}),
        "v1/authpct": (70 + 29 * bad, 1.5, {"target": 70.0, "copies": {"clips": 3, "exact": 1}}),
        "v1/nearest": (1 + bad, 0.1, {"target": 1.0, "curves": far, "medians": {"generated": 1.7, "held_out": 1.7}}),
    }
    values["v1/fid/infinity"][2].update(slope=400.0, r_squared=0.99)
    return {key: score(key, value, error, generated, details=about) for key, (value, error, about) in values.items()}


def tuned(criterion: str = "fid") -> dict[str, Any]:
    """What TuneThresholds found."""
    surface = [
        {"lower": low, "upper": high, "count": round(256 * (high - low)), "reason": ""}
        | {"value": 18 + 20 * (low - 0.1) ** 2 + 9 * (high - 0.8) ** 2}
        for low in (0.0, 0.1, 0.2)
        for high in (0.7, 0.8, 0.9)
    ]
    surface[0] |= {"value": None, "reason": "1 clips, at least 2 are needed"}
    scores = {part: {"v1/fid": score("v1/fid", value, 0.5, 180)} for part, value in (("inside", 17.4), ("whole", 18.6))}
    return {
        "criterion": criterion,
        "metric": "v1/fid",
        "better": "lower",
        "by": "values",
        "surface": surface,
        "title": "",
    } | {
        "chosen": surface[4],
        "samples": {"tuning": 256, "reporting": 256, "kept": 180},
        "scores": scores,
        "script": {"lower": 0.4, "upper": 0.95},
    }


def checkpoints() -> dict[str, Any]:
    """A curve.json of EvaluateCheckpoints."""
    entries = [
        {"name": f"step {step}", "step": step, "best": step == 2000, "tied": step == 2500}
        | {"scores": {"v1/fid": score("v1/fid", value, 0.8, 256)}}
        for step, value in ((500, 90.0), (1000, 41.0), (1500, 24.0), (2000, 18.0), (2500, 18.4))
    ]
    criterion = {"key": "v1/fid", "name": "FID", "better": "lower", "version": 1}
    return {"title": "wavenet over training", "criterion": criterion, "samples": 256, "checkpoints": entries}


def memorizer() -> dict[str, Any]:
    """A row that some measure has caught copying."""
    copying = run([0.9, 8.6, 150.0, 0.15], None, "imported/photographic")
    copying["scores"] |= second(1.0, seed=3)
    copying["scores"]["v1/authpct"]["details"]["alarm"] = "copies the training set: 510 of 512 clips are copies"
    return row("photographic", [copying], "imported", "Photographic memory", preset="")


def pair(seed: int) -> dict[str, Any]:
    """A generated clip and the training clip that it is nearest to."""
    codes = clip(seed, "voice")
    ours = {"caption": "draw 7", "codes": codes, "sample_rate": RATE, "details": {"heard as": "six (99 %)"}}
    theirs = {"caption": "six", "codes": codes if seed % 2 else clip(seed + 1, "real"), "sample_rate": RATE}
    about = {"distance": 0.12, "correlation": 1.0 if seed % 2 else -0.31, "identical": bool(seed % 2)}
    return about | {"generated": ours, "real": theirs}


def full() -> ReportData:
    """The page's data, with a generator that copies."""
    quality = {"wavenet": 0.75, "diffwave": 0.8, "noise": 0.0, "held-out": 0.98}
    table = rows()
    for seed, entry in enumerate(table):
        for one in entry["runs"]:
            one["scores"] |= second(quality[entry["name"]], seed=seed) if entry["name"] in quality else {}
    return dataclasses.replace(
        sample(),
        rows=[*table, memorizer()],
        metrics=more_metrics(),
        bins={"wavenet": {0: {"generated": clips("voice", 700, 2), "real": clips("real", 20, 1)}}},
        pairs={"wavenet": {"limit": 0.64, "pairs": [pair(801), pair(802)]}},
        influential={"wavenet": {"worst": clips("noise", 900, 2), "best": clips("voice", 910, 2)}},
        thresholds={"wavenet": [tuned()]},
        checkpoints=[checkpoints()],
    )


if __name__ == "__main__":
    print(write_report(full(), Path(sys.argv[1])))

"""What bf16 features do to every metric: `python -m benchmarks.bf16_features --workdir _workdir [--corpus spoken-digits]`.

Trains and draws nothing. A finished workdir's classifier listens to the real clips and to every draw twice, in float32 and in
bf16, and all metrics are computed of both, each against the real clips as heard in the same precision: what `--set
features.precision=bf16` would change in a leaderboard. Differences are in halves of the metric's own 95 % interval: at 1, bf16
moves a value to the edge of what another draw of as many samples would give. Metrics that need no features stay out.

Beside it float32 features that are nudged, by a random millionth of each: what moves there as well is not bf16's doing.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.clips import load_split
from tasks import drawing, folders, listening, machine, measuring
from tasks.artifact import Progress

WAYS = ("float32", "bf16", "nudged")
SPLITS = ("train", "test")
UNHEARD = ("v1/nll", "v1/acoustics")  # of likelihoods and of waveforms
NUDGE = 1e-6
Rows = dict[str, dict[str, Any]]


def draws(corpus: Path, classifier: str) -> Iterator[tuple[str, Path]]:
    """(name, folder of the samples) of every row that this classifier has judged."""
    for evaluation in sorted(corpus.glob(f"*/*/draw-*/4-evaluation-{classifier}")):
        yield "/".join(evaluation.parts[-4:-1]), evaluation.with_name("2-samples")


def listener(judge: Path, way: str) -> listening.Listen:
    """What the classifier in the folder hears, in one of WAYS."""
    if way != "nudged":
        return listening.by_classifier(judge, way)
    listen, rng = listening.by_classifier(judge), np.random.default_rng(0)

    def nudged(codes: np.ndarray, progress: Progress) -> dict[str, np.ndarray]:
        heard = listen(codes, progress)
        features = heard["features"] * (1 + NUDGE * rng.standard_normal(heard["features"].shape))
        return heard | {"features": features.astype(np.float32)}

    return nudged


def scores(corpus: Path, classifier: str, way: str, out: Path) -> Rows:
    """Row -> metric -> score, of the draws and of as many held-out clips; features stay in `out`."""
    clips, sampled = corpus / "2-clips", dict(draws(corpus, classifier))
    listen, heard = listener(corpus / "3-classifier" / classifier, way), 0
    sets = {"": {name: load_split(clips, name).codes for name in SPLITS}}
    sets |= {name: {"samples": np.load(samples / drawing.SAMPLES)} for name, samples in sampled.items()}
    started = time.process_time()
    for name, codes in sets.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        heard += sum(listening.cache(listen, codes, out / name, _quiet).values())
    print(f"{way}: {1000 * (time.process_time() - started) / heard:.2f} ms of processor time per clip", flush=True)
    measuring.prepare(clips, out, out, _quiet)
    rows: Rows = {
        name: measuring.evaluate(out, samples, out / name, None, out / name, _quiet)["scores"]
        for name, samples in sampled.items()
    }
    count = max((len(sets[name]["samples"]) for name in sampled), default=len(sets[""]["test"]))
    controls = measuring.evaluate_controls(out, clips, out, listen, count, out, _quiet)["rows"]
    return rows | {"held-out": controls["held-out"]["scores"]}


def _quiet(done: int, total: int, text: str = "") -> None:
    """Progress that nobody reads."""


def change(before: dict[str, Any], after: dict[str, Any] | None) -> tuple[float, float]:
    """(difference of the values, the same in halves of the first one's interval); nan where a value has become undefined."""
    if after is None:
        return np.nan, np.nan
    difference, half = after["value"] - before["value"], (before["high"] - before["low"]) / 2
    return difference, np.divide(difference, half) if difference else 0.0


def show(found: dict[str, Rows]) -> None:
    """A table for each row; then, of every metric, the largest differences in half intervals, and in which row."""
    largest: dict[str, dict[str, tuple[float, str]]] = {}
    for row, before in found["float32"].items():
        print(
            f"\n{row}\n{'metric':<28}{'float32':>12}{'bf16':>12}{'difference':>12}{'half intervals':>16}{'nudged':>10}"
        )
        for key, score in before.items():
            if not key.startswith("v1/") or key.startswith(UNHEARD):
                continue
            (difference, low), (_, nudged) = (change(score, found[way][row].get(key)) for way in WAYS[1:])
            print(f"{key:<28}{score['value']:>12.6g}{score['value'] + difference:>12.6g}{difference:>12.2g}", end="")
            print(f"{low:>16.3f}{nudged:>10.3f}")
            for way, halves in zip(WAYS[1:], (low, nudged), strict=True):
                worst = largest.setdefault(key, {}).get(way, (0.0, row))
                largest[key][way] = max(worst, (abs(halves), row), key=lambda entry: entry[0])
    print(f"\nlargest, in half intervals\n{'metric':<28}{'bf16':>10}   {'row':<32}{'nudged':>10}   row")
    for key, ways in largest.items():
        (low, where), (nudged, other) = (ways[way] for way in WAYS[1:])
        print(f"{key:<28}{low:>10.3f}   {where:<32}{nudged:>10.3f}   {other}")


def features_apart(float32: Path, bf16: Path) -> None:
    """How far features and probabilities of the train split are apart."""
    a, b = (listening.read(folder, "train") for folder in (float32, bf16))
    error = np.sqrt(np.square(b["features"] - a["features"]).mean() / np.square(a["features"]).mean())
    moved = np.abs(np.exp(b["log_probabilities"]) - np.exp(a["log_probabilities"])).max(axis=1)
    agree = (a["log_probabilities"].argmax(axis=1) == b["log_probabilities"].argmax(axis=1)).mean()
    print(
        f"train split: features in bf16 differ by {error:.2g} of their size (root mean square), a class probability by "
        f"{np.median(moved):.1g} at the median and {moved.max():.2g} at most; {100 * agree:.2f} % are heard as the same class"
    )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=machine.workdir())
    parser.add_argument("--corpus", default="spoken-digits", help="a folder in the workdir")
    parser.add_argument("--classifier", default="small-seed0", help="a folder in its 3-classifier")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    machine.override("threads", options.threads)
    corpus = options.workdir / options.corpus
    if not (corpus / "3-classifier" / options.classifier / folders.MANIFEST).exists():
        parser.error(
            f"{corpus} has no finished 3-classifier/{options.classifier}: run `python -m pipeline.spoken_digits`"
        )
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        found = {way: scores(corpus, options.classifier, way, out / way) for way in WAYS}
        features_apart(out / "float32", out / "bf16")
        show(found)


if __name__ == "__main__":
    main()

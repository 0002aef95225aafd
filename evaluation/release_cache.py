"""What the SaShiMi release keeps of its classifier, and its numbers recomputed from that, without any audio.

The release's `cache/` holds float32 arrays: `train_probs.npy` (n, 10), `train_activations.npy` (n, 1024), the same for `test`,
and for sets of samples `<name>-resnext-probs.npy`, softmax outputs in the order of the files. Activations of samples, which
FID needs, are not in it; where there are any, they are `<name>-resnext-activations.npy`.

The reference is the training set, as in the published tables: its own row there, and the test set's, are the release's
"dataset metrics". Probabilities come from a float32 softmax, so that some are exactly zero: their logarithm is -inf, and what
is infinite by that (mIS) is said to be, not repaired.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluation import metrics as plugins
from evaluation import published, sashimi_protocol
from evaluation.measure import Prepared, Scores, applicable, compute, prepare
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.wording import number

PROBABILITIES, ACTIVATIONS = "-resnext-probs.npy", "-resnext-activations.npy"
SPLITS = ("train", "test")
# What the release's script prints, as protocol v1 has it; of protocol sashimi it is everything.
USUAL = ("v1/fid", "v1/is", "v1/mis", "v1/am", "v1/am/balance", "v1/am/confidence")
LAYOUT = "{:<44} {:>7}  {:<4} {:>20} {:>10} {:>10}"
MEASURES = {"FID": "fid", "IS": "is", "mIS": "mis", "AM": "am", "NDB": "ndb"}  # the lines of a set in a table
ROUNDING = 1e-4  # how far the sum of a row of float32 probabilities may be from one


class Cache(NamedTuple):
    """train: the reference; sets: name -> what is measured against it, "train" and "test" first where they are there."""

    train: SampleSet
    sets: Mapping[str, SampleSet]


class Row(NamedTuple):
    """A set of clips: its name, how many there are, and what was recomputed."""

    name: str
    clips: int
    scores: Scores


def read(folder: Path, more: Mapping[str, tuple[Path | None, Path | None]] | None = None) -> Cache:
    """The arrays in a cache folder, and `more` sets of samples: name -> (probabilities, activations), either may be None.

    Raises ValueError that names the file which is missing, or is no such array.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the release's cache/, with train_probs.npy and the others")
    splits = {name: _set(folder / f"{name}_probs.npy", folder / f"{name}_activations.npy") for name in SPLITS}
    train = splits["train"]
    if train is None:
        held = ", ".join(path.name for path in sorted(folder.glob("*.npy"))[:5]) or "no .npy at all"
        raise ValueError(
            f"{folder} has neither train_probs.npy nor train_activations.npy, the reference; it holds {held}"
        )
    sets = {name: found for name, found in splits.items() if found is not None}
    for name in _names(folder):
        found = _set(folder / f"{name}{PROBABILITIES}", folder / f"{name}{ACTIVATIONS}")
        assert found is not None, name
        sets[name] = found
    for name, (probabilities, activations) in (more or {}).items():
        for path in filter(None, (probabilities, activations)):
            if not path.is_file():
                raise ValueError(f"{path} does not exist")
        if (found := _set(probabilities, activations)) is None:
            raise ValueError(f"{name}: neither probabilities nor activations are given")
        sets[name] = found
    for name, found in sets.items():
        for what in ("features", "log_probabilities"):
            mine, theirs = getattr(found, what), getattr(train, what)
            if mine is not None and theirs is not None and mine.shape[1] != theirs.shape[1]:
                raise ValueError(
                    f"{name} has {mine.shape[1]} columns of {what}, and the training set {theirs.shape[1]}"
                )
    return Cache(train, sets)


def recompute(cache: Cache, thresholded: Iterable[str] = ()) -> Iterator[Row]:
    """Every set, as it is ready, by both protocols; what is undefined, or lacks an array, has its reason.

    thresholded: the sets that are in ascending order of likelihood, of which a row with what the script's `--threshold` keeps
    follows. Raises ValueError where there is no such set, or no test set, which the script's random numbers depend on.
    """
    thresholded = list(thresholded)
    for name in thresholded:
        if name not in cache.sets or cache.sets[name].log_probabilities is None:
            sets = ", ".join(name for name, found in cache.sets.items() if found.log_probabilities is not None)
            raise ValueError(f"there are no probabilities of a set {name!r}; there are those of {sets}")
        if "test" not in cache.sets:
            raise ValueError(
                "a threshold needs test_probs.npy: how many clips it has decides the script's random halves"
            )
    keys = [key for key in plugins.metrics() if key in USUAL or key.startswith("sashimi/")]
    possible = [key for key in keys if not plugins.metrics()[key].obstacle(cache.train, "reference")]
    prepared = prepare(cache.train, possible)
    for name, found in cache.sets.items():
        yield Row(name, len(found), _measure(prepared, found, keys))
        if name in thresholded:
            outcome = sashimi_protocol.thresholded(
                sashimi_protocol.float32(found.probabilities), len(cache.sets["test"])
            )
            kept = found.take(outcome.kept)
            title = f"{name}, cut at {outcome.lower:.2f} and {outcome.upper:.2f}"
            yield Row(title, len(kept), _measure(prepared, kept, keys))


def head() -> str:
    """The first line of the table."""
    return LAYOUT.format("set", "clips", "", "v1", "script", "published")


def lines(row: Row) -> Iterator[str]:
    """A row of the table, a line for each measure: v1 with half of its interval, the script's, the published; then reasons."""
    about = (row.name, f"{row.clips:,}")
    known = published.of_release(row.name)
    for name, key in MEASURES.items():
        ours, theirs = (row.scores.get(f"{protocol}/{key}") for protocol in ("v1", "sashimi"))
        if ours is None and theirs is None and key not in known:
            continue
        half = "" if ours is None else f" ±{(ours.high - ours.low) / 2:.3f}"
        yield LAYOUT.format(
            *about, name, _shown(ours) + half, _shown(theirs), f"{known[key]:g}" if key in known else "–"
        )
        about = ("", "")
    yield from dict.fromkeys(f"    {reason}" for reason in row.scores.not_applicable.values())


def to_json(cache: Cache, rows: Iterable[Row]) -> dict[str, Any]:
    """Every number with its evidence, in the form of an evaluation's metrics.json: `pipeline.compare` reads it."""
    judge = {"corpus": "a cache of classifier outputs", "clips": _digest(cache.train.features)}
    judge |= {"classifier": "whose outputs these are", "classifier_digest": _digest(cache.train.log_probabilities)}
    found = {
        row.name: {"scores": row.scores.to_json(), "not_applicable": row.scores.not_applicable, "samples": row.clips}
        for row in rows
    }
    return {"judge": judge, "rows": found}


def _digest(array: np.ndarray | None) -> str:
    return "" if array is None else hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _shown(score: Score | None) -> str:
    return "–" if score is None else number(score.value, 3)


def _measure(prepared: Prepared, generated: SampleSet, keys: Sequence[str]) -> Scores:
    """One file of metrics after the other, so that one which is undefined here takes no other with it."""
    scores: list[Score] = []
    reasons: dict[str, str] = {}

    def attempt(chosen: list[str]) -> None:
        try:
            scores.extend(compute(prepared, generated, chosen).values())
        except ValueError as error:
            if len(chosen) == 1:
                reasons[chosen[0]] = str(error)
            else:
                for key in chosen:
                    attempt([key])

    for module in plugins.modules().values():
        asked = [metric.key for metric in module.METRICS if metric.key in keys]
        verdicts = {key: applicable(key, prepared, generated) for key in asked}
        reasons |= {key: f"{key}: {verdict.reason}" for key, verdict in verdicts.items() if not verdict}
        if wanted := [key for key, verdict in verdicts.items() if verdict]:
            attempt(wanted)
    return Scores(scores, reasons)


def _names(folder: Path) -> list[str]:
    """The sets of samples in a folder."""
    found = {
        path.name.removesuffix(ending) for ending in (PROBABILITIES, ACTIVATIONS) for path in folder.glob(f"*{ending}")
    }
    return sorted(found)


def _set(probabilities: Path | None, activations: Path | None) -> SampleSet | None:
    """A set from the files that are there; None where there is neither."""
    arrays: dict[str, Any] = {}
    if probabilities is not None and probabilities.is_file():
        arrays["log_probabilities"] = _logarithm(_array(probabilities), probabilities)
    if activations is not None and activations.is_file():
        arrays["features"] = _array(activations)
    if len({len(array) for array in arrays.values()}) > 1:
        counts = " and ".join(f"{len(array)} {name}" for name, array in arrays.items())
        raise ValueError(f"{probabilities} and {activations} are not of the same clips: {counts}")
    try:
        return SampleSet(**arrays) if arrays else None
    except ValueError as error:
        raise ValueError(f"{activations if 'features' in arrays else probabilities}: {error}") from None


def _logarithm(probabilities: np.ndarray, path: Path) -> np.ndarray:
    """Of softmax outputs; an exact zero becomes -inf. ValueError where they are none."""
    p = probabilities.astype(np.float64)
    off = np.flatnonzero(~(np.abs(p.sum(axis=1) - 1) < ROUNDING) | (p < 0).any(axis=1))
    if len(off):
        raise ValueError(f"{path}: {len(off)} of {len(p)} rows are no probabilities, the first is row {off[0]}")
    with np.errstate(divide="ignore"):
        return np.log(p)


def _array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if "pickle" in str(error) or "Python objects" in str(error):  # what numpy takes all else for
            raise ValueError(f"{path} is no .npy array") from None
        raise ValueError(f"{path} cannot be read as a .npy array: {error}") from None
    if not isinstance(array, np.ndarray):  # an .npz by that name
        raise ValueError(f"{path} is no .npy array")
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating) or 0 in array.shape:
        raise ValueError(f"{path} holds {array.dtype} of shape {array.shape}; it should be floats, (clips, columns)")
    return array

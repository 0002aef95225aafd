"""What is known of the difference of two rows beyond their two errors: clips that both were measured on.

Two models whose scores rest on the same real clips share the chance in them. A score over real clips alone (NLL) is paired by
clip: what is hard in a clip is hard for both. FID holds the reference fixed in its own error; of a difference it can be said
how much it would move with another reference, since the influence of every reference clip on either FID is known
(`frechet_by_reference`), and most of that is common to both. Other measures keep the reference fixed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from evaluation.metrics.frechet import FID
from evaluation.sample_set import SampleSet
from evaluation.seeds import over_seeds
from evaluation.standings import RANKED
from evaluation.uncertainty import own_error, standard_error

MOST = 4096  # reference clips whose influence is looked at: enough to know a standard error to about 1 %
BY_CLIP = "paired by clip"
BY_REFERENCE = "independent samples, paired by reference clip"
BY_HELD_OUT = "independent samples, the same held-out clips"


class Influences(NamedTuple):
    """Of one run, by score key: the influence of each of its clips, (n,), and that of `spread` reference clips, (K,)."""

    per_sample: Mapping[str, np.ndarray]
    per_reference: Mapping[str, np.ndarray]


def with_pairs(
    rows: Sequence[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], Influences]
) -> list[dict[str, Any]]:
    """The rows, each with `paired`: {score key: {name of a later row: {standard_error, method} of the difference}}.

    rows: merged over seeds; read: the influences of a run, which may be empty
    """
    models = [row for row in rows if row["kind"] in RANKED]
    known = {row["name"]: [read(run) for run in row["runs"]] for row in models}
    found: dict[str, dict[str, dict[str, Any]]] = {row["name"]: {} for row in rows}
    for number, a in enumerate(models):
        for b in models[number + 1 :]:
            for key in a["runs"][0]["scores"]:
                if pair := _pair(key, a, b, known[a["name"]], known[b["name"]]):
                    found[a["name"]].setdefault(key, {})[b["name"]] = pair
    return [{**row, "paired": found[row["name"]]} for row in rows]


def _pair(
    key: str, a: Mapping[str, Any], b: Mapping[str, Any], known_a: list[Influences], known_b: list[Influences]
) -> dict[str, Any] | None:
    scores = [[run["scores"].get(key) or {} for run in row["runs"]] for row in (a, b)]
    if any(score.get("standard_error") is None for side in scores for score in side):
        return None
    real_only = not any(score.get("n_generated") for side in scores for score in side)
    if real_only and len(known_a) == len(known_b) == 1:  # over several trainings, chance in training counts as well
        one, other = (known[0].per_sample.get(key) for known in (known_a, known_b))
        if one is not None and other is not None and len(one) == len(other):
            return {"standard_error": standard_error(one - other), "method": BY_CLIP}
    of_a, of_b = (_mean([influences.per_reference.get(key) for influences in known]) for known in (known_a, known_b))
    if of_a is not None and of_b is not None and len(of_a) == len(of_b):
        own = [over_seeds(side)["standard_error"] for side in scores]
        share = len(of_a) / scores[0][0]["n_reference"]
        shared = standard_error(of_a - of_b) * math.sqrt(share)
        return {"standard_error": math.hypot(*own, shared), "method": BY_REFERENCE}
    if all(len(side) == 1 and "shared_standard_error" in side[0]["details"] for side in scores):
        own = [own_error(side[0]["standard_error"], side[0]["details"]) for side in scores]
        return {"standard_error": math.hypot(*own), "method": BY_HELD_OUT}
    return None


def _mean(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Over training seeds; None where one of them lacks it."""
    there = [array for array in arrays if array is not None]
    if not there or len(there) < len(arrays) or len({len(array) for array in there}) > 1:
        return None
    return np.mean(there, axis=0)


def spread(count: int) -> np.ndarray:
    """The rows of at most MOST reference clips out of `count`, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(np.int64))


def reference_influences(prepared: Mapping[str, np.ndarray], generated: SampleSet) -> dict[str, np.ndarray]:
    """Score key -> (K,) influence of the reference clips `spread(N)`, for the measures of which it is known.

    prepared: as `evaluation.prepare` leaves it; {} where it holds no features, or there are too few clips for FID
    """
    mean, root, features = (prepared.get(name) for name in ("gaussian.mean", "gaussian.root", "comparison.features"))
    if mean is None or root is None or features is None or generated.features is None:
        return {}
    if len(generated) < FID.minimum:
        return {}
    rows = spread(len(features))
    return {FID.key: frechet_by_reference(mean, root, features[rows], generated.features)}


def frechet_by_reference(
    mean: np.ndarray, root: np.ndarray, reference: np.ndarray, generated: np.ndarray
) -> np.ndarray:
    """(K,) influence of these reference clips on FID; they average to zero.

    mean (D,), root (k, D) with root' root = S_r: as `evaluation/gaussian.py` prepares them; reference (K, D): all clips, or
    some; generated (M, D)

    Of a clip x: 2 (mu_r - mu_g)'x_c + x_c'(I - T) x_c minus its mean, where T = S_r^(-1/2) (S_r^(1/2) S_g S_r^(1/2))^(1/2)
    S_r^(-1/2): the mirror image of the influence of a generated clip. With S_r = R'R and R S_g R' = V S^2 V', x'Tx is
    |S^(1/2) V' R'^(-1) x|^2, where a reference that does not span the space has the pseudoinverse of R. S comes from squares
    and is exact to about 1e-8 of the largest: enough for an error, as it would not be for FID itself.
    """
    shift = mean - generated.mean(axis=0, dtype=np.float64)
    centred = generated - generated.mean(axis=0, dtype=np.float64)
    projected = centred @ root.T / math.sqrt(len(generated) - 1)
    squares, v = np.linalg.eigh(projected.T @ projected)  # none is negative but by rounding
    half = _inverse(root) @ (v * np.sqrt(np.sqrt(np.maximum(squares, 0.0))))
    x = reference - mean
    pulled = x @ half
    influence = 2 * (x @ shift) + np.einsum("ij,ij->i", x, x) - np.einsum("ij,ij->i", pulled, pulled)
    return influence - influence.mean()


def _inverse(root: np.ndarray) -> np.ndarray:
    """R^(-1), (D, k); the pseudoinverse where R is not square or not of full rank."""
    k, d = root.shape
    diagonal = np.abs(np.diag(root))
    if k == d and diagonal.min() > d * np.finfo(np.float64).eps * diagonal.max():
        return scipy.linalg.solve_triangular(root, np.eye(d))
    return np.linalg.pinv(root)

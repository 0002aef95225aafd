"""Near-duplicates to listen to: the generated clips that lie nearest to training clips, and whether their waveforms agree.

Features say which pairs to look at, waveforms whether one is the other: a copy that is shifted, louder or inverted still has
a normalized cross-correlation near 1 in size at some lag. How large it gets without copying is learned from held-out clips.
A copy whose phases differ (another vocoder, a pitch shift) is not seen by its waveform: listen to the pairs.

    pairs = nearest_pairs(samples, training, index, distance, n=20)
    limit = correlation_limit([p["correlation"] for p in nearest_pairs(held_out, training, *theirs, n=200)])
    duplicates = [pair for pair in pairs if pair["correlation"] is not None and abs(pair["correlation"]) > limit]
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.fft

LEVELS = np.linspace(0, 1, 101)
FAR = 6.0  # robust standard deviations above the median, on Fisher's z scale


def closest(distance: np.ndarray, index: np.ndarray, n: int) -> list[dict[str, Any]]:
    """The n clips nearest to a training clip, nearest first: `generated` and `real` are rows, `distance` is in features."""
    order = np.argsort(distance, kind="stable")[:n]
    return [{"generated": int(i), "real": int(index[i]), "distance": float(distance[i])} for i in order]


def nearest_pairs(
    generated_codes: np.ndarray, real_codes: np.ndarray, index: np.ndarray, distance: np.ndarray, n: int
) -> list[dict[str, Any]]:
    """`closest`, each with what the waveforms say.

    generated_codes (M, T), real_codes (N, T'): int16, may be memory-mapped; index (M,), distance (M,): of the nearest real clip

    correlation: the normalized cross-correlation, -1 ... 1, at the lag where it is largest in size; None where a clip is silent
    lag:         timesteps by which the generated clip is late; None likewise
    identical:   whether both are the same, code for code
    """
    pairs = closest(distance, index, n)
    for pair in pairs:
        ours, theirs = generated_codes[pair["generated"]], real_codes[pair["real"]]
        correlation, lag = cross_correlation(ours, theirs)
        pair |= {"correlation": correlation, "lag": lag, "identical": np.array_equal(ours, theirs)}
    return pairs


def cross_correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, int] | tuple[None, None]:
    """(r, lag) of the largest |r|, r = sum_t a[t + lag] b[t] / (|a| |b|), over all lags, with silence around the clips."""
    x, y = (np.asarray(codes, dtype=np.float64) for codes in (a, b))
    norm = np.sqrt((x @ x) * (y @ y))
    if not norm:
        return None, None
    size = scipy.fft.next_fast_len(len(x) + len(y) - 1, real=True)
    products = scipy.fft.irfft(scipy.fft.rfft(x, size) * np.conj(scipy.fft.rfft(y, size)), size)
    lags = np.arange(1 - len(y), len(x))
    values = products[lags] / norm  # negative lags stand at the end
    best = int(np.argmax(np.abs(values)))
    return float(values[best]), int(lags[best])


def correlation_limit(correlations: Iterable[float | None]) -> float:
    """What pairs of a held-out and its nearest training clip stay below: six robust standard deviations above their median.

    On Fisher's z scale, artanh |r|, by median and median absolute deviation: copies among them, of a corpus that leaks, do not
    raise it. Raises ValueError for fewer than 20 correlations; silent pairs, None, are left out.
    """
    sizes = np.array([abs(r) for r in correlations if r is not None])
    if len(sizes) < 20:
        raise ValueError(
            f"a limit needs the correlations of at least 20 held-out clips that sound, not of {len(sizes)}"
        )
    with np.errstate(divide="ignore"):  # artanh of a copy is infinite, and the median does not mind
        z = np.arctanh(np.minimum(sizes, 1.0))
    middle = np.median(z)
    spread = 1.4826 * np.median(np.abs(z - middle))
    return float(np.tanh(middle + FAR * spread))


def distance_curves(
    generated: np.ndarray, held_out: np.ndarray, training: np.ndarray, levels: np.ndarray = LEVELS
) -> dict[str, list[float]]:
    """Quantiles, at `levels`, of the distance to the nearest other training clip: of generated, held-out and training clips."""
    curves = {"generated": generated, "held_out": held_out, "training": training}
    return {"levels": levels.tolist()} | {name: np.quantile(values, levels).tolist() for name, values in curves.items()}

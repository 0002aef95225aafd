"""A set of clips as the metrics see it: arrays, and the views of them that several metrics share.

Everything is optional, because a notebook may hold features alone and a corpus of music has no classes; what a metric
lacks is said by name (`metrics/base.py`). Views are computed when first asked for, in float64, and then kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Optional, Self

import numpy as np

# Rows of float32 log-softmax outputs sum to one within 1e-6; logits or plain probabilities are off by far more.
NORMALIZATION_TOLERANCE = 1e-4

LARGEST = 1e38  # of a feature: about what float32 holds; their cubes, which KID sums, are float64 still

PER_SAMPLE = ("features", "log_probabilities", "labels", "log_likelihood", "timesteps", "waveforms", "whole")


@dataclass(frozen=True, eq=False)
class SampleSet:
    """n clips, real or generated; every array that is given has n rows, and row i of each belongs to clip i.

    features:          (n, D) floats, what the classifier's last layer sees
    log_probabilities: (n, C) nats, log-softmax of the classifier's logits; -inf stands for an exact zero
    labels:            (n,) class indices, where they are known
    log_likelihood:    (n,) nats, of each clip under the generator that drew it
    timesteps:         (n,) valid timesteps of each clip
    likelihood_space:  what the likelihood is over, as "8-bit mu-law, unscaled"
    waveforms:         (n, T) int16, may be memory-mapped
    whole:             (n, more) int16, where samples are longer than what is compared of them: waveforms are their end
    sample_rate:       Hz
    held_out:          real clips that no generator was trained on. Of a reference: with their features. Of a generated
                       set: with their log-likelihood under the generator, which is what NLL is computed from; the
                       likelihood that a generator gives to its own samples says nothing about how good it is
    calibration:       of a reference: real clips on which thresholds are set, and nothing is measured (the validation split)
    unigram_entropy:   bits per timestep of the histogram of quantized values, in the same likelihood space

    Raises ValueError where shapes disagree, features hold NaN or infinity, or log-probabilities are none.
    """

    features: np.ndarray | None = None
    log_probabilities: np.ndarray | None = None
    labels: np.ndarray | None = None
    log_likelihood: np.ndarray | None = None
    timesteps: np.ndarray | None = None
    likelihood_space: str = ""
    waveforms: np.ndarray | None = None
    whole: np.ndarray | None = None
    sample_rate: int = 0
    held_out: Optional["SampleSet"] = None
    unigram_entropy: float | None = None
    calibration: Optional["SampleSet"] = None

    def __post_init__(self) -> None:
        for name in PER_SAMPLE:
            if getattr(self, name) is not None:
                array = np.asanyarray(getattr(self, name))
                object.__setattr__(self, name, array)
                _check_shape(name, array)
        counts = {name: len(getattr(self, name)) for name in PER_SAMPLE if getattr(self, name) is not None}
        if not counts and self.held_out is None:
            raise ValueError("a SampleSet without arrays says nothing; give at least features or log_probabilities")
        if len(set(counts.values())) > 1:
            raise ValueError(f"every array must have one row per clip, but the numbers of rows are {counts}")
        if counts and not max(counts.values()):
            raise ValueError(f"no samples: {', '.join(counts)} have 0 rows")
        for name in ("features", "log_likelihood"):
            if getattr(self, name) is not None:
                _check_finite(name, getattr(self, name))
        if self.log_probabilities is not None:
            _check_log_probabilities(self.log_probabilities)
        if self.timesteps is not None and self.timesteps.min() < 1:
            raise ValueError("timesteps are valid lengths, at least 1; drop clips that hold no audio")

    @classmethod
    def of(cls, samples: Any) -> Self:
        """From a SampleSet (itself), an (n, D) array of features, or a pair (features, log_probabilities)."""
        if isinstance(samples, cls):
            return samples
        if isinstance(samples, tuple):
            if len(samples) != 2:
                raise ValueError(f"a tuple must be (features, log_probabilities), this one has {len(samples)} entries")
            return cls(features=samples[0], log_probabilities=samples[1])
        return cls(features=samples)

    def __len__(self) -> int:
        """The number of clips; 0 where only `held_out` is given."""
        return next((len(getattr(self, name)) for name in PER_SAMPLE if getattr(self, name) is not None), 0)

    def take(self, rows: np.ndarray | Sequence[int] | slice) -> "SampleSet":
        """The clips at `rows`, in that order; a boolean mask or a slice will do as well."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return SampleSet(**{k: v[rows] if k in PER_SAMPLE and v is not None else v for k, v in values.items()})

    def array(self, name: str) -> np.ndarray:
        """The array of that name; a ValueError where this set has none."""
        array = getattr(self, name)
        if array is None:
            raise ValueError(f"this SampleSet has no {name}; pass SampleSet({name}=...)")
        return array

    @property
    def classes(self) -> int:
        """How many classes there are; 0 where there are none, as in music."""
        if self.log_probabilities is not None:
            return self.log_probabilities.shape[1]
        return 0 if self.labels is None else int(self.labels.max()) + 1

    @cached_property
    def features64(self) -> np.ndarray:
        """(n, D) float64."""
        return self.array("features").astype(np.float64)

    @cached_property
    def mean(self) -> np.ndarray:
        """(D,) float64, the mean feature vector."""
        return self.array("features").mean(axis=0, dtype=np.float64)

    @cached_property
    def centred(self) -> np.ndarray:
        """(n, D) float64, features minus their mean."""
        return self.features64 - self.mean

    @cached_property
    def log_probabilities64(self) -> np.ndarray:
        """(n, C) float64 nats."""
        return self.array("log_probabilities").astype(np.float64)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(n, C) float64."""
        return np.exp(self.log_probabilities64)

    @cached_property
    def log_marginal(self) -> np.ndarray:
        """(C,) nats, the log of the mean probability of each class; summed in the log domain, so nothing underflows."""
        return np.logaddexp.reduce(self.log_probabilities64, axis=0) - np.log(len(self))

    @cached_property
    def entropies(self) -> np.ndarray:
        """(n,) nats, the entropy of each row of probabilities."""
        return -expected_logs(self.probabilities, self.log_probabilities64)


def expected_logs(p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """sum_c p_c log q_c over the last axis, where p_c = 0 contributes 0 even if q_c = 0 (the limit, not a repair)."""
    p, log_q = np.broadcast_arrays(p, log_q)
    return np.multiply(p, log_q, where=p > 0, out=np.zeros(p.shape)).sum(axis=-1)


def _check_shape(name: str, array: np.ndarray) -> None:
    dimensions = 2 if name in ("features", "log_probabilities", "waveforms", "whole") else 1
    if array.ndim != dimensions:
        raise ValueError(f"{name} must have {dimensions} axes, the first one over clips; its shape is {array.shape}")
    if array.dtype.kind not in ("fiu" if name in ("features", "log_probabilities", "log_likelihood") else "iu"):
        raise ValueError(f"{name} cannot be of type {array.dtype}")
    if name in ("waveforms", "whole") and array.dtype != np.int16:
        raise ValueError(f"{name} are 16-bit codes (int16), not {array.dtype}; models.clips.to_int16 rounds them")


def _check_finite(name: str, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
        raise ValueError(
            f"{name}: {len(bad)} of {len(array)} rows hold NaN or infinity, the first is row {bad[0]}; "
            "find out what made them (a broken clip, an overflow in half precision) before measuring"
        )
    if name == "features" and (large := np.flatnonzero((np.abs(array) > LARGEST).any(axis=1))).size:
        raise ValueError(
            f"features: {len(large)} of {len(array)} rows hold values beyond {LARGEST:g}, the first is row {large[0]}"
        )


def _check_log_probabilities(array: np.ndarray) -> None:
    if array.shape[1] < 2:
        raise ValueError(f"log_probabilities need at least 2 classes, their shape is {array.shape}")
    with np.errstate(invalid="ignore"):  # NaN is reported below, with its row
        totals = np.logaddexp.reduce(array.astype(np.float64), axis=1)
    off = np.flatnonzero(~(np.abs(totals) < NORMALIZATION_TOLERANCE))
    if len(off):
        raise ValueError(
            f"log_probabilities: {len(off)} of {len(array)} rows are not logs of probabilities that sum to one, "
            f"the first is row {off[0]}; pass log_softmax of the logits, not logits and not probabilities"
        )

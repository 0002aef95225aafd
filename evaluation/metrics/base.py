"""What a metric declares about itself, and how it says that it cannot be computed.

A metric file holds a docstring (definition, source, "Differs from the paper:"), `VERSION`, `METRICS`, for one that looks at
neighbours or kernels `USES = ("comparison",)`, and

    prepare(reference: SampleSet) -> dict[str, np.ndarray]   what is computed once per corpus and classifier
    compute(prepared, generated: SampleSet) -> list[Score]   one score for each entry of METRICS, in that order; or, for
                                                             one that has no value here, an `Undefined`

With USES, `prepared["comparison"]` is a `Comparison` (`evaluation/comparison.py`), whose passes all metrics share.

It is found by being in this folder. All entries of one file share what they need, so that a file either applies or not.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import Interval

BY_CLASS = ("log_probabilities", "labels", "classes")  # whoever needs one of these needs a corpus with classes
LACKING = {
    "classes": "no classes",
    "features": "no features",
    "log_probabilities": "no classes: there are no class probabilities",
    "held_out.features": "no held-out clips with features",
    "labels": "no labels: it is not known which class a clip is meant to be",
    "waveforms": "no waveforms",
    "sample_rate": "no sample rate",
    "log_likelihood": "no log-likelihood of the samples",
    "calibration.waveforms": "no further real clips on which a threshold could be set",
    "held_out": "no held-out clips",
    "held_out.log_likelihood": "the generator gives no log-likelihood of held-out clips",
    "held_out.timesteps": "the valid lengths of the held-out clips are not given",
    "held_out.likelihood_space": "it is not said what the likelihood is over (likelihood_space)",
}


@dataclass(frozen=True)
class Undefined:
    """In place of a Score, where the clips can be measured but the definition gives no number; `reason` says why."""

    key: str
    reason: str


@dataclass(frozen=True)
class Metric:
    """What a metric is called, which way it goes and what it needs.

    key:             protocol/metric[/variant]
    version:         raised when its numbers change
    better:          "lower", "higher", or "target" (of two values, the one closer to what real clips give)
    needs:           attributes of the generated SampleSet, dotted for those of its held_out or calibration set; "classes" for
                     a metric that means something of a corpus with classes alone, whatever arrays it reads
    needs_reference: the same of the reference; () for a metric that looks at no reference
    minimum:         how many clips each side that it looks at must have
    doc:             one sentence for a reader of the table
    digits:          decimals in a table
    headline:        shown in the leaderboard's main table
    """

    key: str
    name: str
    version: int
    better: str
    needs: tuple[str, ...]
    doc: str
    needs_reference: tuple[str, ...] = ()
    minimum: int = 2
    unit: str = ""
    digits: int = 2
    headline: bool = True

    @property
    def variant(self) -> str:
        """What follows the metric's name in the key, or ""."""
        return "/".join(self.key.split("/")[2:])

    @property
    def needs_classes(self) -> bool:
        """Whether it is not applicable to a corpus without classes, as music: `needs` or `needs_reference` say so."""
        return any(need.rpartition(".")[2] in BY_CLASS for need in (*self.needs, *self.needs_reference))

    def to_json(self) -> dict[str, Any]:
        """Every field as a JSON value: what a leaderboard needs to know of its columns."""
        needs = {"needs": list(self.needs), "needs_reference": list(self.needs_reference)}
        return asdict(self) | needs | {"needs_classes": self.needs_classes}

    def obstacle(self, samples: SampleSet, side: str = "generated") -> str:
        """Why this side ("generated" or "reference") cannot be measured; "" where it can."""
        needs = self.needs if side == "generated" else self.needs_reference
        for need in needs:
            if _lacks(samples, need):
                return f"{LACKING.get(need, f'no {need}')} ({side} side)"
        within = {need.rpartition(".")[0] for need in needs}  # "held_out", "calibration", or "" for the set itself
        looked_at = [getattr(samples, name) if name else samples for name in within]
        count = min((len(clips) for clips in looked_at if clips is not None), default=self.minimum)
        if count < self.minimum:
            return f"{count} clip{'s' * (count != 1)} on the {side} side, at least {self.minimum} are needed"
        return ""

    def require(self, samples: SampleSet, side: str = "generated") -> None:
        """Raises ValueError that says what is missing, where something is."""
        if reason := self.obstacle(samples, side):
            raise ValueError(f"{self.key} ({self.name}) is not applicable: {reason}")

    def score(
        self,
        value: float,
        interval: Interval,
        method: str,
        *,
        n_reference: int = 0,
        n_generated: int = 0,
        per_sample: np.ndarray | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Score:
        """The Score of this metric with that value."""
        return Score(
            key=self.key,
            value=float(value),
            low=float(interval.low),
            high=float(interval.high),
            standard_error=float(interval.standard_error),
            method=method,
            n_reference=n_reference,
            n_generated=n_generated,
            better=self.better,
            unit=self.unit,
            version=self.version,
            variant=self.variant,
            per_sample=per_sample,
            details=dict(details or {}),
        )


def _lacks(samples: SampleSet, need: str) -> bool:
    """Whether the attribute that `need` names is absent; dots lead into the held-out set."""
    value: Any = samples
    for name in need.split("."):
        value = getattr(value, name, None)
        if value is None or (isinstance(value, str | int) and not value):
            return True
    return False

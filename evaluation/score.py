"""A number with its evidence: interval, how that was computed, how many clips, which way is better, which version."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

ARROWS = {"lower": "↓", "higher": "↑", "target": "→"}


class UndefinedError(ValueError):
    """The clips can be measured, but of these the definition gives no number."""


@dataclass(frozen=True)
class Score:
    """One value of one metric.

    key:            protocol/metric[/variant], as "v1/fid" or "v1/is/10-splits"
    low, high:      95 % interval around `value`
    standard_error: in the unit of `value`
    method:         how interval and standard error were computed, in words
    n_reference, n_generated: clips that the value rests on; 0 where the metric looks at none of that kind
    better:         "lower", "higher", or "target": the closer to `details["target"]` (what real clips give) the better
    per_sample:     (n,) influence of each clip on the value, in its unit, or None. They average to zero; the value
                    would move by about -influence/n if that clip were left out
    details:        what else is worth knowing, as JSON values; `warnings` lists what a reader must be told

    Raises UndefinedError where a number is not finite, and ValueError where the interval does not hold the value.
    """

    key: str
    value: float
    low: float
    high: float
    standard_error: float
    method: str
    n_reference: int
    n_generated: int
    better: str
    unit: str
    version: int
    variant: str = ""
    per_sample: np.ndarray | None = field(default=None, compare=False, repr=False)
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (self.value, self.low, self.high, self.standard_error)
        if not all(map(math.isfinite, numbers)):
            raise UndefinedError(
                f"{self.key} is undefined here: value, low, high and standard error would be {numbers}"
            )
        if not self.low <= self.value <= self.high or self.standard_error < 0:
            raise ValueError(f"{self.key}: {self.value} is not inside its own interval [{self.low}, {self.high}]")
        if self.better not in ARROWS:
            raise ValueError(f"{self.key}: better must be one of {', '.join(ARROWS)}, not {self.better!r}")
        if (self.better == "target") != ("target" in self.details):
            raise ValueError(
                f"{self.key}: details['target'] goes with better='target', and this has better={self.better!r}"
            )
        parts = self.key.split("/")
        if len(parts) not in (2, 3) or not all(parts) or self.variant != "".join(parts[2:]):
            raise ValueError(
                f"a score's key is protocol/metric[/variant]; {self.key!r} (variant {self.variant!r}) is not"
            )

    @property
    def arrow(self) -> str:
        """Where better values lie: ↓, ↑ or → (towards the target)."""
        return ARROWS[self.better]

    @property
    def warnings(self) -> list[str]:
        """What a reader must be told beside the number, as "biased: ..."."""
        return list(self.details.get("warnings", []))

    def to_json(self, *, per_sample: bool = False) -> dict[str, Any]:
        """Plain JSON values. The influences are left out unless asked for: they are as long as the sample set."""
        values = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "per_sample"}
        if per_sample and self.per_sample is not None:
            values["per_sample"] = self.per_sample.tolist()
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The score that `to_json` wrote. Raises ValueError where fields are missing or unknown."""
        known = {f.name for f in fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(f"a score has no field {', '.join(sorted(unknown))}; its fields are {', '.join(known)}")
        try:
            score = cls(**values)
        except TypeError as error:
            raise ValueError(f"this is not a score, {error}: {values}") from None
        if score.per_sample is not None:
            object.__setattr__(score, "per_sample", np.asarray(score.per_sample, dtype=np.float64))
        return score

    def __str__(self) -> str:
        decimals = 3 if not self.standard_error else min(9, max(0, 1 - math.floor(math.log10(self.standard_error))))
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.key} {self.arrow} {self.value:.{decimals}f} ± {self.standard_error:.{decimals}f}{unit}"


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays as Python's, which is what `json` writes."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value

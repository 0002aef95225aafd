"""Every pair of models, side by side: the difference of their scores with its interval, and whether it leaves out zero.

What the ranks say in short stands here in full. Standard library only, as `standings`.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evaluation.seeds import Z
from evaluation.standings import Standing, paired, separable

INDEPENDENT = "independent samples, reference held fixed"


def differences(lines: Sequence[Standing], metrics: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """a - b for every two ranked models that can be compared, in the order of the leaderboard, for each of the metrics.

    metric, a, b (names), value, low, high (95 %), standard_error, method; clear: whether one of the two is ahead; better:
    which one, where it is clear. Of a measure with a target, the difference is of the values, and the better one is closer.
    """
    for metric in metrics:
        key = metric["key"]
        known = [line for line in lines if line.cells[key].rank is not None]
        for a, b in itertools.combinations(known, 2):
            one, other = a.cells[key], b.cells[key]
            errors = (one.standard_error, other.standard_error)
            if one.comparable != other.comparable or None in errors or one.value is None or other.value is None:
                continue
            error, method = paired(a, b, key) or (math.hypot(*filter(None, errors)), INDEPENDENT)
            value, clear = one.value - other.value, separable(one, other, error)
            yield {
                "metric": key,
                "a": a.name,
                "b": b.name,
                "value": value,
                "low": value - Z * error,
                "high": value + Z * error,
                "standard_error": error,
                "method": method,
                "clear": clear,
                "better": (a.name if one.loss < other.loss else b.name) if clear else None,
            }

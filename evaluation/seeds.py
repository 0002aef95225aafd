"""Several training seeds of one model as one row: merged, and with an interval that covers both kinds of chance.

A row with several training seeds shows their mean; its interval is the wider of the t-interval over the seeds
and the interval from sampling alone, since an interval over samples of one training overclaims.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

KINDS = ("measured", "imported", "published", "control")
Z = 1.959964
# Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom.
T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


def merge_seeds(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the same name, kind, model, preset and draw become one, with a run per training seed."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        _check(row)
        identity = tuple(str(row.get(key)) for key in ("name", "kind", "model", "preset", "draw"))
        into = merged.setdefault(identity, {**row, "runs": []})
        if into.get("nfe") is None and "nfe" in row:  # draws from before it was recorded do not tell
            into["nfe"] = row["nfe"]
        for run in row["runs"]:
            twin = next((other for other in into["runs"] if other.get("seed") == run.get("seed")), None)
            if twin is None:
                into["runs"].append(run)
            elif twin != run:
                raise ValueError(
                    f"row {row['name']!r} has two different results for seed {run.get('seed')}: "
                    f"{twin.get('source')} and {run.get('source')}. Give the rows different names, or leave one out."
                )
    names = Counter(row["name"] for row in merged.values())
    for name, count in names.items():
        if count > 1:
            raise ValueError(
                f"{count} rows are called {name!r} but differ in kind, model, preset or draw. "
                f"Names must tell rows apart: for instance '{name}/small' and '{name}/small+temperature=0.9'."
            )
    for row in merged.values():
        row["runs"].sort(key=lambda run: (run.get("seed") is None, run.get("seed") or 0))
        row["seeds"] = [run.get("seed") for run in row["runs"]]
    return list(merged.values())


def over_seeds(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Value, interval, standard error and method of one score, or of the mean over several training seeds."""
    if len(scores) == 1:
        return {key: scores[0].get(key) for key in ("value", "low", "high", "standard_error")} | {
            "method": scores[0].get("method", "")
        }
    values = [float(score["value"]) for score in scores]
    count = len(values)
    value = fmean(values)
    if not math.isfinite(value):
        return {"value": value, "method": f"mean of {count} training seeds"}
    spread = stdev(values)
    errors = [score.get("standard_error") for score in scores]
    sampling = math.sqrt(sum(error**2 for error in errors if error is not None) / count**2)
    half = max(t_quantile(count - 1) * spread / math.sqrt(count), Z * sampling)
    return {
        "value": value,
        "low": value - half,
        "high": value + half,
        "standard_error": half / Z,
        "spread": spread,
        "method": f"mean of {count} training seeds; the wider of the intervals over seeds (t) and over samples",
    }


def t_quantile(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t; beyond the table by the Cornish-Fisher expansion, good to 1e-3."""
    if freedom <= len(T):
        return T[freedom - 1]
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def _check(row: Mapping[str, Any]) -> None:
    name = row.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"a leaderboard row needs a name (text): got {name!r}.")
    if row.get("kind") not in KINDS:
        raise ValueError(f"row {name!r} is of kind {row.get('kind')!r}. Kinds: {', '.join(KINDS)}.")
    if not row.get("runs") or any("scores" not in run for run in row["runs"]):
        raise ValueError(f"row {name!r} needs `runs`, one per training seed, each with its `scores`.")

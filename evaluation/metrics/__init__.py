"""The metrics, one family per file. A file in this folder is an entry of the benchmark; nothing registers it."""

import difflib
import importlib
import pkgutil
from functools import cache
from types import ModuleType

from evaluation.metrics.base import Metric

NOT_METRICS = ("base",)
# How tables order them; a file that is not named here comes after these.
ORDER = (
    "frechet",
    "inception",
    "modified_inception",
    "activation_maximization",
    "likelihood",
    "frechet_infinity",
    "inception_splits",
    "frechet_per_class",
    "modified_inception_per_class",
    "kernel",
    "prdc",
    "vendi",
    "vendi_per_class",
    "ndb",
    "memorization",
    "authenticity",
    "sashimi",
    "sashimi_inception",
    "accuracy",
    "acoustics",
    "runaway",
)


def names() -> tuple[str, ...]:
    """The names of the metric files, in the order of the tables."""
    found = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name not in NOT_METRICS)
    return tuple(sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)))


@cache
def modules() -> dict[str, ModuleType]:
    """File name -> module with METRICS, prepare and compute. Raises ValueError where two files claim one key."""
    found = {name: importlib.import_module(f"{__name__}.{name}") for name in names()}
    owners: dict[str, str] = {}
    for name, module in found.items():
        for metric in module.METRICS:
            if metric.key in owners:
                raise ValueError(f"{owners[metric.key]}.py and {name}.py both define {metric.key}; rename one")
            owners[metric.key] = name
    return found


@cache
def metrics() -> dict[str, Metric]:
    """Key -> Metric, in the order of the files and of their METRICS."""
    return {metric.key: metric for module in modules().values() for metric in module.METRICS}


def owner(key: str) -> str:
    """The name of the file that a metric's key belongs to."""
    return next(name for name, module in modules().items() if any(metric.key == key for metric in module.METRICS))


def find(name: str) -> Metric:
    """The metric of that key ("v1/fid"), key without protocol ("fid", meaning v1's) or display name ("FID").

    Raises ValueError with the choices where there is none.
    """
    known = metrics()
    if name in known or f"v1/{name}" in known:
        return known[name] if name in known else known[f"v1/{name}"]
    for metric in known.values():
        if name.lower() == metric.name.lower():
            return metric
    spellings = [*known, *(key.removeprefix("v1/") for key in known), *(metric.name for metric in known.values())]
    close = difflib.get_close_matches(name, spellings, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise ValueError(
        f"unknown metric {name!r}.{hint} Available: {', '.join(known)}. Add one as a file in evaluation/metrics/"
    )

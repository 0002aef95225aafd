"""What models say of themselves, as JSON, for a process that must not import torch.

    python -m models.describe generators/wavenet classifiers/resnext generators/path/to/mine.py:Mine

prints one object: {spec: {version, doc, class, presets, sampling, likelihood}}.
"""

import json
import sys
from dataclasses import asdict
from typing import Any

from models import plugins


def describe(spec: str) -> dict[str, Any]:
    """One model, `kind/name`. Raises ValueError on an unknown one, or a file that breaks its contract."""
    from models.generators.base import Generator

    kind, slash, name = spec.partition("/")
    if not slash or kind not in ("generators", "classifiers"):
        raise ValueError(f"{spec!r} is neither generators/NAME nor classifiers/NAME")
    plugin = plugins.find(kind, name)
    cls, presets = plugin.cls, plugin.presets
    sampling = getattr(cls, "Sampling", None)
    return {
        "version": plugin.version,
        "doc": next(iter((plugin.module.__doc__ or cls.__doc__ or "").strip().splitlines()), ""),
        "class": cls.__name__,
        "presets": {preset: asdict(config) for preset, config in presets.items()},
        "sampling": {} if sampling is None else asdict(sampling()),
        "likelihood": kind == "generators" and cls.log_likelihood is not Generator.log_likelihood,
    }


def main(specs: list[str]) -> int:
    """Print the descriptions; on a fault, one line on stderr and exit code 1."""
    if not specs:
        print("usage: python -m models.describe generators/NAME [classifiers/NAME ...]", file=sys.stderr)
        return 2
    try:
        print(json.dumps({spec: describe(spec) for spec in specs}, indent=1))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

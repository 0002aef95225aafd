"""What models say of themselves, as JSON, for a process that must not import torch.

    python -m models.describe generators/wavenet classifiers/resnext generators/path/to/mine.py:Mine

prints one object: {spec: {version, doc, class, presets, sampling, likelihood, continues, any_length}}.

    python -m models.describe --check generators/wavenet '{"layers": 20}'

prints {} where the model's Config takes these settings, and fails with its complaint where it does not. The same for the
settings of its draws:

    python -m models.describe --check-sampling generators/wavenet '{"temperature": 0.9}'
"""

import json
import sys
from dataclasses import asdict
from typing import Any

from models import plugins


def describe(spec: str) -> dict[str, Any]:
    """One model, `kind/name`. Raises ValueError on an unknown one, or a file that breaks its contract."""
    from models.generators.base import Generator

    plugin = find(spec)
    cls, presets = plugin.cls, plugin.presets
    sampling = getattr(cls, "Sampling", None)
    return {
        "version": plugin.version,
        "doc": next(iter((plugin.module.__doc__ or cls.__doc__ or "").strip().splitlines()), ""),
        "class": cls.__name__,
        "presets": {preset: asdict(config) for preset, config in presets.items()},
        "sampling": {} if sampling is None else asdict(sampling()),
        "likelihood": plugin.kind == "generators" and cls.log_likelihood is not Generator.log_likelihood,
        "continues": bool(getattr(cls, "continues", False)),
        "any_length": bool(getattr(cls, "any_length", False)),
    }


def find(spec: str) -> plugins.Plugin:
    """The model `kind/name`. Raises ValueError on an unknown one."""
    kind, slash, name = spec.partition("/")
    if not slash or kind not in ("generators", "classifiers"):
        raise ValueError(f"{spec!r} is neither generators/NAME nor classifiers/NAME")
    return plugins.find(kind, name)


def main(specs: list[str]) -> int:
    """Print the descriptions; on a fault, one line on stderr and exit code 1."""
    if not specs:
        print("usage: python -m models.describe generators/NAME [classifiers/NAME ...]", file=sys.stderr)
        return 2
    try:
        if specs[0] in ("--check", "--check-sampling"):
            word, spec, settings = specs
            take = find(spec).config if word == "--check" else find(spec).cls.settings
            take(json.loads(settings))
            print("{}")
            return 0
        print(json.dumps({spec: describe(spec) for spec in specs}, indent=1))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

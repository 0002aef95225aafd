"""Generators of raw audio, one per file; `base.py` says what a file must hold, and `noise.py` is the shortest example."""

from models import plugins
from models.plugins import Plugin


def names() -> list[str]:
    """All generators, sorted."""
    return plugins.names("generators")


def find(spec: str) -> Plugin:
    """A generator by its name, or by `path/to/mine.py:Mine`. Raises ValueError that lists the choices."""
    return plugins.find("generators", spec)

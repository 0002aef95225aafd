"""Classifiers of clips, one per file: the listeners of the metrics. `base.py` says what a file must hold."""

from models import plugins
from models.plugins import Plugin


def names() -> list[str]:
    """All classifiers, sorted."""
    return plugins.names("classifiers")


def find(spec: str) -> Plugin:
    """A classifier by its name, or by `path/to/mine.py:Mine`. Raises ValueError that lists the choices."""
    return plugins.find("classifiers", spec)

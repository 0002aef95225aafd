"""The corpora, found by their file names: every module here without a special role is one.

`find("sc09").cls().download(...)`. Importing this package, and every corpus in it, loads nothing heavy.
"""

import functools
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.corpora.base import STATED, Corpus
from tasks.errors import unknown


@dataclass(frozen=True)
class Plugin:
    """A corpus by name. cls: its Corpus; module: holds its `VERSION` and `Config`; source_path: the file itself."""

    name: str
    module: ModuleType
    cls: type[Corpus]
    source_path: Path

    @property
    def version(self) -> int:
        """The corpus' `VERSION`: raised when its recordings change."""
        return int(self.module.VERSION)

    @property
    def config(self) -> type[Any]:
        """The corpus' settings: a frozen dataclass."""
        cls: type[Any] = self.module.Config
        return cls


def names() -> list[str]:
    """All corpora, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if name != "base" and not name.startswith("_"))


@functools.cache  # every task of a benchmark asks, and an answer takes a look at the disk
def find(name: str) -> Plugin:
    """The corpus of that name, written with `-` or `_`.

    Raises ValueError that lists the choices where there is none.
    """
    wanted, available = name.replace("-", "_"), names()
    if wanted not in available:
        hint = f"Add one as tasks/corpora/{wanted}.py, or use `folder` with --source for audio files of your own"
        raise ValueError(unknown("corpus", name, available, hint))
    module = importlib.import_module(f"{__name__}.{wanted}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Corpus) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise ValueError(f"{module.__file__} must define exactly one subclass of Corpus; it defines {len(classes)}")
    unsaid = [what for what in STATED if not getattr(classes[0], what)]
    if unsaid:
        raise ValueError(
            f"{module.__file__} does not state its {' and '.join(unsaid)}: add lines like `Licence: CC BY 4.0` to its "
            "docstring (the title is the first line)"
        )
    assert module.__file__ is not None
    return Plugin(wanted, module, classes[0], Path(module.__file__))

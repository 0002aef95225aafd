"""torchaudio, imported so that it works beside a CPU-only torch. Everyone imports torchaudio from here.

torchaudio's Linux wheel on PyPI is a CUDA build: where torch has no CUDA, loading its compiled extension raises
OSError (a missing CUDA library) and takes the whole import down. All that Earshot uses of it (mel filters,
spectrograms, mu-law, resampling, the wav2vec2 models) is plain Python, which torchaudio runs without its extension
when it believes that the extension was never built. So that is what it is told, and only after the real import failed.

The stub stays in `sys.modules`, which also repairs other libraries that import torchaudio later in the same process.
What needs the extension (forced alignment) raises RuntimeError when it is called.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

EXTENSION = "torchaudio._extension"


def fail_if_no_align(function: Callable[..., Any]) -> Callable[..., NoReturn]:
    """What torchaudio decorates its forced aligner with: here, a function that says why there is none."""

    def unavailable(*_: object, **__: object) -> NoReturn:
        raise RuntimeError(
            f"torchaudio.functional.{function.__name__} needs torchaudio's compiled extension, which does not load "
            "beside this build of torch; install a torch and a torchaudio that were built for the same CUDA version"
        )

    return unavailable


def _extension_stub() -> ModuleType:
    stub = ModuleType(EXTENSION, "Stands in for the compiled extension that did not load.")
    vars(stub).update(_IS_TORCHAUDIO_EXT_AVAILABLE=False, _IS_ALIGN_AVAILABLE=False, fail_if_no_align=fail_if_no_align)
    return stub


def import_torchaudio() -> ModuleType:
    """The torchaudio package, with its compiled extension where that loads and without it where it does not."""
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
            del sys.modules[name]
        sys.modules[EXTENSION] = _extension_stub()
        return importlib.import_module("torchaudio")


torchaudio = import_torchaudio()
functional = importlib.import_module("torchaudio.functional")
transforms = importlib.import_module("torchaudio.transforms")

__all__ = ["functional", "import_torchaudio", "torchaudio", "transforms"]

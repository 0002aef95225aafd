"""Where an artifact comes from: recorded beside it, never part of what it is."""

import functools
import importlib.metadata
import os
import platform
import resource
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from tasks import host, machine

LIBRARIES = ("luigi", "torch", "torchaudio", "lightning-fabric", "numpy", "scipy", "scikit-learn", "soundfile", "soxr")

LONGEST_COMMAND = 500


def record(started: float, command: str = "") -> dict[str, Any]:
    """Who made the artifact that is being finished, where, with what and in what time.

    started: when this attempt began, in seconds since the epoch; command: what the person typed
    Of a training that is spread, processor_seconds and peak_memory_bytes are those of the first process.
    """
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ended = time.time()
    return {
        "git": host.git_state(),
        "python": platform.python_version(),
        "libraries": library_versions(),
        "host": platform.node(),
        "platform": platform.platform(),
        "processor": f"{host.processor()}, {os.cpu_count()} cores",
        "device": _device(),
        "threads": machine.threads(),
        "processes": machine.processes(),
        "command": command,
        "started": _spell(started),
        "ended": _spell(ended),
        "seconds": round(ended - started, 3),
        "processor_seconds": round(sum(u.ru_utime + u.ru_stime for u in usage), 3),
        "peak_memory_bytes": max(u.ru_maxrss for u in usage) * 1024,
    }


def command() -> str:
    """The command that this process was started by, without where the interpreter lies; a very long one is cut."""
    program, *words = sys.orig_argv
    text = shlex.join([Path(program).name, *words])
    return text if len(text) <= LONGEST_COMMAND else f"{text[: LONGEST_COMMAND - 1]}…"


@functools.cache
def library_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _device() -> str:
    torch = sys.modules.get("torch")  # asked only if the stage used it
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else "cpu"


def _spell(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

"""What a person sees while the stages run: one line when a stage starts, ends or fails, and now and then how far it is."""

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks import folders, machine
from tasks.errors import EarshotError

if TYPE_CHECKING:
    from tasks.artifact import ArtifactTask

PROGRESS_SECONDS = 10.0
FAILURES = "EARSHOT_FAILURES"  # in the environment: a file in which the front door is told what failed
_last_progress: dict[str, float] = {}


def say(name: str, text: str) -> None:
    """One line about one artifact; whole lines only, since several workers share the terminal."""
    line = f"{time.strftime('%H:%M:%S')}  {name}  {text}\n"
    with contextlib.suppress(OSError):  # nobody reads any more (a closed pipe): no reason to stop a training
        sys.stderr.write(line)
        sys.stderr.flush()


def progress(name: str, done: int, total: int, text: str) -> None:
    """How far a stage is, every ten seconds at most."""
    now = time.monotonic()
    if now - _last_progress.setdefault(name, now) < PROGRESS_SECONDS:
        return
    _last_progress[name] = now
    share = f"{done}/{total} ({100 * done // total} %)" if total else str(done)
    say(name, "  ".join(filter(None, [share, text])))


def finished(name: str, seconds: float, headline: str, account: Sequence[str] = ()) -> None:
    """Say so, in one piece with the lines of `account`, which stand below it."""
    _last_progress.pop(name, None)
    below = "".join(f"\n    {line}" for line in account)
    say(name, f"done in {spell_seconds(seconds)}" + (f": {headline}" if headline else "") + below)


def failed(name: str, error: EarshotError) -> None:
    """Say it, and note it."""
    say(name, f"FAILED: {error}")
    note(error)


def note(error: EarshotError) -> None:
    """Note an error's kind for the front door's exit status: Luigi's workers are other processes."""
    if path := os.environ.get(FAILURES):
        with contextlib.suppress(OSError), open(path, "a") as file:  # at worst, the exit status tells less
            file.write(f"{type(error).__name__}\n")


def spell_seconds(seconds: float) -> str:
    """`8 s`, `2 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def spell_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def remember_seconds(task: "ArtifactTask", seconds: float) -> None:
    """Keep how long a stage took, for the next plan's estimate."""
    path = machine.workdir() / ".cache" / "seconds" / f"{_effort_key(task)}.json"
    with contextlib.suppress(OSError):  # the disk is full to the last byte: the artifact is finished all the same
        path.parent.mkdir(parents=True, exist_ok=True)
        folders.write_json(
            path, {"task": task.task_family, "artifact": str(task.place()), "seconds": round(seconds, 1)}
        )


def known_seconds(task: "ArtifactTask") -> float | None:
    """How long the stage took when it last ran with these settings (any seed), or None."""
    path = machine.workdir() / ".cache" / "seconds" / f"{_effort_key(task)}.json"
    return folders.read_json(path)["seconds"] if path.exists() else None


def _effort_key(task: "ArtifactTask") -> str:
    import hashlib

    parameters = {
        k: v for k, v in task.to_str_params(only_significant=True).items() if k not in ("seed", "start", "stop")
    }
    return hashlib.sha256(folders.canonical([task.task_family, parameters]).encode()).hexdigest()[:16]


def plain_words(record: logging.LogRecord) -> tuple[str, str]:
    """(kind, message) of the EarshotError that a record of Luigi's log is about; ("", "") where it is about none."""
    error: Any = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if isinstance(error, EarshotError):
        return type(error).__name__, str(error)
    # What complete() raises while Luigi plans reaches its log as text, traceback and all.
    found = re.search(r"Traceback .*?\ntasks\.errors\.(\w+): (.*)", record.getMessage(), re.DOTALL)
    return (found[1], found[2].strip()) if found else ("", "")


class WithoutOurTracebacks(logging.Filter):
    """Luigi logs a traceback with every failed task. Of an error that is a message, only the message is of use."""

    def filter(self, record: logging.LogRecord) -> bool:
        _, message = plain_words(record)
        if message:
            record.msg, record.args, record.exc_info = f"{record.getMessage().splitlines()[0]}\n{message}", (), None
        return True

"""How long things take, and how much memory: rounds in which what is compared takes turns, after a warm-up.

Rows that time whole commands run them from here."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.machine import REPOSITORY

GIB = 2**30


def interleaved(
    runs: Mapping[str, Callable[[], object]], rounds: int, wait: Callable[[], None] = lambda: None, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each of `runs` in every round, by name.

    They take turns, so that a slow moment of the machine meets all of them. wait: for a device that works by itself
    """
    for _ in range(warm_up):
        for run in runs.values():
            run()
    wait()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            wait()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def command(words: list[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a command in the repository to its end, with more environment; what it wrote to stderr.

    Raises RuntimeError with the last of that where it fails.
    """
    all_of_it = {**os.environ, **(environment or {})}
    done = subprocess.run(words, cwd=REPOSITORY, env=all_of_it, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)  # all of it goes to the row's log
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(f"{' '.join(words[1:])} ended with status {done.returncode} and said: {said}")
    return done.stderr


def pin(cores: tuple[int, ...]) -> None:
    """Keep this process, and those that it starts, on these cores; no cores: wherever it was."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def peak_bytes() -> int:
    """The largest resident size of this process so far. Not from getrusage, whose peak is inherited from the parent (Linux)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on a Mac
    return int(status.split("VmHWM:")[1].split()[0]) * 1024

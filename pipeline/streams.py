"""Leaving a front door in order, whatever its output leads to: a pipe that nobody reads, a closed one, another encoding."""

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

NOBODY_READS = 128 + signal.SIGPIPE  # what a shell reports of a tool whose `| head` had enough


def leave(door: Callable[[], int]) -> NoReturn:
    """Run `door` and exit with the status that it returns, or with 141 where its output has no reader any more."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that the encoding lacks is no reason to fail
    try:
        status = door()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more
        status = NOBODY_READS
    sys.exit(status)


def _open_what_is_closed() -> None:
    """Lead closed standard streams nowhere: else the next file that is opened gets their number, and what is printed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  (open to the end)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115

"""`python -m tasks.stage ORDER`: the process in which one artifact is built. Started by tasks/supervisor.py, not by people.

Of a training that is spread, it is one of several processes, which tasks/ranks.py starts: the first reports and writes.

Everything printed goes to the artifact's `log.txt`, which the supervisor made our standard error; the original standard
output carries progress and the error message to the supervisor, a JSON object a line.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import luigi

from tasks import folders, machine, provenance
from tasks.artifact import ArtifactTask, request
from tasks.errors import in_words
from tasks.supervisor import PREEMPTED, die_with_parent

STOPPED = "stopped in order; the same command continues from here"  # the log's last line after a SIGTERM


class Reporter:
    """Progress for the supervisor's console (at most twice a second) and for `python -m pipeline.status` (every 2 s)."""

    def __init__(self, pipe: int, building: Path):
        self.pipe, self.file = pipe, building / folders.PROGRESS
        self.said = self.wrote = 0.0

    def __call__(self, done: int, total: int, text: str = "") -> None:
        now = time.monotonic()
        message = {"done": done, "total": total, "text": text}
        if now - self.said >= 0.5 or done == total:
            self.said = now
            self.send(message)
        if now - self.wrote >= 2.0:
            self.wrote = now
            folders.write_json(self.file, message)

    def note(self, text: str) -> None:
        """Something to be said at once, whatever was said last."""
        print(text)
        self.send({"note": text})

    def send(self, message: dict[str, Any]) -> None:
        os.write(self.pipe, (json.dumps(message) + "\n").encode())


class Stop:
    """A SIGTERM means what Ctrl-C means, once; a training replaces this while it runs, to save its state first.

    Of a Ctrl-C we hear twice, from the terminal and from the supervisor, which kills a stage that does not end.
    """

    heard = False

    def __call__(self, signum: int, frame: object) -> None:
        if not self.heard:
            self.heard = True
            raise KeyboardInterrupt


def main() -> int:
    die_with_parent(signal.SIGKILL, int(os.environ["EARSHOT_SUPERVISOR"]))
    order = json.loads(sys.argv[1])
    for name, value in order["machine"].items():
        machine.override(name, value)
    for name, value in order["attempt"].items():
        machine.override(name, value)
    # float32 has 24 bits on a card too, or CPU and card would differ
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(machine.workdir() / folders.COMPILED))
    importlib.import_module(order["module"])
    task = luigi.task_register.Register.get_task_cls(order["family"]).from_str_params(order["parameters"])
    building = folders.partial(task.folder)
    pipe = os.dup(1)
    os.dup2(2, 1)
    reporter, stop = Reporter(pipe, building), Stop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        # One of several, until it trains, may wait for another one where Python does not hear; it has nothing to save.
        signal.signal(signum, signal.SIG_DFL if machine.processes() > 1 else stop)
    try:
        make(task, building, reporter, order["command"])
    except KeyboardInterrupt:
        stop.heard = True
        if machine.processes() == 1:
            say_stopped()
        return PREEMPTED
    except Exception as error:
        reporter.send({"error": in_words(error)})
        with contextlib.suppress(OSError):  # the log's disk may be full, which may be the very error
            traceback.print_exc()
        if machine.processes() > 1:  # at once: parting from the others in good order would wait for them
            os._exit(1)
        return 1
    return 0


def make(task: ArtifactTask, building: Path, reporter: Reporter, command: str) -> None:
    """Build, write down what came out and how, and publish. command: what the person typed"""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {task.task_family} -> {task.place()} (process {os.getpid()})")
    started = time.time()
    metrics = task.build(building, reporter)
    if machine.rank():
        return
    folders.write_json(building / folders.METRICS, metrics)
    record = provenance.record(started, command) | {"request": request(task)}
    folders.write_json(building / folders.PROVENANCE, record)
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} finished after {record['seconds']:.1f} s")
    close_log()
    replace = None if task.derived else machine.workdir()
    folders.publish(building, task.folder, task.unhashed, replace)


def say_stopped() -> None:
    """The log's last line after a SIGTERM."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {STOPPED}")


def close_log() -> None:
    """Write nothing any more: the log is part of the manifest, and must not grow once that is written."""
    sys.stdout.flush()
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)


if __name__ == "__main__":
    sys.exit(main())

"""Running the toy tasks: at once in this process, in a stage process, by the luigi command, and through a front door."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks import folders, machine, provenance, supervisor
from tasks.artifact import ArtifactTask, request

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}

# A front door is made for corpora; all that it needs of one is a task and a closing summary.
DOOR = """
import functools, json, sys
from pipeline import command
from tasks import folders
from tests import toy_tasks
order = json.loads(sys.argv[1])
folders.lock = functools.partial(folders.lock, patience=order["patience"])
command.benchmark = lambda options: getattr(toy_tasks, order["task"])(**order["parameters"])
command.summary = lambda task: "the end"
command.main("spoken_digits", sys.argv[2:])
"""


@contextmanager
def settings(**values: object) -> Iterator[None]:
    """Machine settings for a while."""
    before = {name: machine.setting(name) for name in values}
    for name, value in values.items():
        machine.override(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            machine.override(name, value)


def publish(task: ArtifactTask, files: Mapping[str, str], metrics: Mapping[str, Any] | None = None) -> Path:
    """The finished artifact of `task` with these files as its payload, without the work."""
    building = folders.partial(task.folder)
    building.mkdir(parents=True)
    folders.write_json(building / folders.CONFIG, task.identity())
    for name, text in files.items():
        (building / name).parent.mkdir(parents=True, exist_ok=True)
        (building / name).write_text(text)
    folders.write_json(building / folders.METRICS, dict(metrics or {}))
    folders.write_json(building / folders.PROVENANCE, {"seconds": 1.0, "request": request(task)})
    (building / folders.LOG).write_text("done\n")
    folders.publish(building, task.folder, task.unhashed, None if task.derived else machine.workdir())
    return task.folder


def build(task: ArtifactTask) -> Path:
    """The artifact of `task` and of what it needs, each built in its own process as a run does."""
    for upstream in task.inputs().values():
        if not upstream.complete():
            build(upstream)
    if not task.complete():
        supervisor.build(task)
    return task.folder


def door_command(workdir: Path, task: str, *flags: str, patience: float = 20.0, **parameters: object) -> list[str]:
    """The command of a front door to a toy task."""
    order = json.dumps({"task": task, "parameters": parameters, "patience": patience})
    return [sys.executable, "-c", DOOR, order, "--workdir", str(workdir), *flags]


def luigi_command(workdir: Path, task: str, *flags: str) -> list[str]:
    """Luigi's own command for a toy task."""
    words = [sys.executable, "-m", "luigi", "--module", "tests.toy_tasks", task, "--machine-workdir", str(workdir)]
    return [*words, "--local-scheduler", *flags]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """The command's exit status and output, once it has ended."""
    return subprocess.run(command, cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


def start(command: list[str]) -> subprocess.Popen[str]:
    """The command in a process group of its own, which hears Ctrl-C even where the tests run in a background that does not."""
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
    """Come back when the condition holds; fails if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.02)


def stages(workdir: Path, *modules: str) -> list[int]:
    """The processes that build something in `workdir` now (stages, not their supervisors), or that run these modules."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        named = any(module.encode() in words for module in modules or ["tasks.stage"])
        if named and str(workdir).encode() in words:
            found.append(int(path.parent.name))
    return found


def kill_group(process: subprocess.Popen[str], signum: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal to the command and all its children."""
    with suppress(ProcessLookupError):  # it was quicker
        os.killpg(process.pid, signum)
    process.wait(30)


def build_here(task: ArtifactTask) -> Path:
    """The artifact of `task`, and of what it needs, made in this process as a stage makes it."""
    for upstream in task.inputs().values():
        if not upstream.complete():
            build_here(upstream)
    building = folders.partial(task.folder)
    building.mkdir(parents=True)
    folders.write_json(building / folders.CONFIG, task.identity())
    folders.write_json(building / folders.METRICS, task.build(building, lambda done, total, text="": None))
    folders.write_json(building / folders.PROVENANCE, provenance.record(time.time()) | {"request": request(task)})
    (building / folders.LOG).write_text("done\n")
    folders.publish(building, task.folder, task.unhashed)
    return task.folder

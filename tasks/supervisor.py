"""Building one artifact from Luigi's side: lock it, start a clean process for it, watch, publish or report.

The work itself happens in `python -m tasks.stage`: a process that has never forked from one that used torch or CUDA,
with its own thread count and GPU, whose whole output is the artifact's log. It dies with us; we forward a SIGTERM to it,
so that a training can save its state before it goes. A training that is spread over several processes runs under
`python -m tasks.ranks`, which does for them what we do for one.
"""

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks import console, folders, machine, provenance
from tasks.artifact import ArtifactTask, differences
from tasks.errors import AlreadyRunning, EarshotError, StageFailed, StaleArtifact, in_words

PREEMPTED = 75  # the stage's exit status after a SIGTERM: it stopped in order and can go on (EX_TEMPFAIL)
PR_SET_PDEATHSIG = 1
FOR_A_STAGE = ("workdir", "device", "keep_every", "sampling_shard", "source", "stale")
GRACE_SECONDS = 60.0  # how long a stage may take to save its state


def build(task: ArtifactTask) -> None:
    """Make the artifact, unless somebody else just did.

    Raises AlreadyRunning, StageFailed, or KeyboardInterrupt after a SIGTERM.
    """
    if (luigi := multiprocessing.parent_process()) is not None:  # this is one of its workers: it must not outlive Luigi
        assert luigi.pid is not None
        die_with_parent(signal.SIGTERM, luigi.pid)
    name, building = str(task.place()), folders.partial(task.folder)
    try:
        building.parent.mkdir(parents=True, exist_ok=True)
        with folders.lock(building, name) as lock, _terminable():
            fresh = not (building / folders.CONFIG).exists()
            try:
                if task.complete():
                    folders.remove(building)
                    return
                _check_inputs(task)
                _prepare(task, building)
            except (EarshotError, OSError, ValueError):
                if fresh and building.exists():
                    folders.remove(building)
                raise
            _run(task, building, lock)
    except (AlreadyRunning, StageFailed) as error:
        console.failed(name, error)
        raise
    except StaleArtifact as error:  # since its input was made again; Luigi's log tells it
        console.note(error)
        raise
    except (OSError, ValueError) as error:  # before the stage could begin: a disk that is full, a --source that is none
        failure = StageFailed(in_words(error))
        console.failed(name, failure)
        raise failure from None


def _check_inputs(task: ArtifactTask) -> None:
    """Raise StageFailed where an input has lost something since it was finished, as far as a glance tells."""
    for upstream in task.inputs().values():
        if problem := folders.shortfall(upstream.folder):
            raise StageFailed(
                f"its input {upstream.place()} is damaged: {problem}. `python -m pipeline.verify --repair` moves aside "
                "what is damaged, and the next run makes it again"
            )


def _prepare(task: ArtifactTask, building: Path) -> None:
    """Leave in `building` only what belongs to this very artifact: its identity, and what an attempt that died saved."""
    config = building / folders.CONFIG
    if config.exists() and differences(folders.read_json(config), task.identity()):
        console.say(str(task.place()), "an unfinished attempt had other settings; it moves to .superseded/")
        aside = folders.place_aside(building, machine.workdir())
        aside.mkdir()
        for path in sorted(building.iterdir(), key=lambda path: path.name == folders.CONFIG):
            if path.name != folders.LOCK:  # the folder and its lock stay: somebody may be waiting for them
                os.rename(path, aside / path.name)  # the identity last: killed before, the next attempt goes on
    if not config.exists():
        folders.write_json(config, task.identity())
    attempt = building / folders.ATTEMPT
    if not attempt.exists():  # these settings of the first attempt decide the bits of a resumed one
        folders.write_json(attempt, {name: machine.setting(name) for name in machine.OF_AN_ATTEMPT})
    elif _died_of(building) == -signal.SIGKILL:  # of too many samples at once, most likely
        folders.remember(building, sampling_batch=machine.setting("sampling_batch"))
    (building / folders.DIED).unlink(missing_ok=True)


def _died_of(building: Path) -> int:
    """The exit status of the last attempt, where it failed; else 0."""
    died = building / folders.DIED
    return int(folders.read_json(died)["status"]) if died.exists() else 0


def _run(task: ArtifactTask, building: Path, lock: int) -> None:
    name, started = str(task.place()), time.monotonic()
    resumes = (building / folders.LOG).exists()
    attempt = folders.read_json(building / folders.ATTEMPT)
    processes = int(attempt.get("processes", 1)) if task.spreads else 1
    with machine.lease_gpus(processes) if task.uses_gpu else contextlib.nullcontext("") as gpus:
        console.say(name, "continues where it stopped" if resumes else "starts")
        process = _start(task, building, lock, gpus, attempt | {"processes": processes})
        try:
            error = _watch(name, process)
            status = process.wait()
        except BaseException:
            _stop(process)
            raise
    if status == PREEMPTED:
        raise KeyboardInterrupt
    if status == 0:
        task.clean_up()
    if status != 0 or not task.complete():
        reason = error or explain_status(status)
        with contextlib.suppress(OSError):  # the disk may be full, which may be the very reason
            folders.write_json(building / folders.DIED, {"error": reason, "status": status, "time": time.time()})
        raise StageFailed(f"{reason}\n  The whole story: {building / folders.LOG}")
    seconds = time.monotonic() - started
    console.remember_seconds(task, seconds)
    try:
        metrics = folders.read_json(task.folder / folders.METRICS)
    except FileNotFoundError:  # a shard that another run's draw has absorbed already
        console.finished(name, seconds, "")
        return
    console.finished(name, seconds, task.headline(metrics), task.account(metrics))


def _start(task: ArtifactTask, building: Path, lock: int, gpus: str, attempt: dict[str, Any]) -> subprocess.Popen[str]:
    spread = ["tasks.ranks", str(attempt["processes"])]
    order = {
        "module": type(task).__module__,
        "family": task.task_family,
        "parameters": task.to_str_params(),
        "machine": {name: machine.setting(name) for name in FOR_A_STAGE},
        "attempt": attempt,
        "command": provenance.command(),
    }
    threads = str(attempt["threads"])
    variables = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
        "CUDA_VISIBLE_DEVICES": gpus,
        "EARSHOT_GPUS": str(machine.gpus_of_run()),
        "MPLBACKEND": "Agg",
        "PYTHONUNBUFFERED": "1",
        "EARSHOT_SUPERVISOR": str(os.getpid()),
    }
    with open(building / folders.LOG, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *(spread if attempt["processes"] > 1 else ["tasks.stage"]), json.dumps(order)],
            # Of our descriptors, torchrun hands on the standard ones alone: so its processes keep the lock, too.
            stdin=lock if attempt["processes"] > 1 else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=machine.REPOSITORY,
            env={**os.environ, **variables},
            pass_fds=(lock,),
            text=True,
        )


def _watch(name: str, process: subprocess.Popen[str]) -> str:
    """Show the stage's progress until it closes its pipe; returns its error message, if it had one.

    Of several processes the first error counts, since the others fail for want of the one that failed; unless it says of
    itself that it is the cause.
    """
    error = ""
    assert process.stdout is not None
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            error = message["error"] if not error or message.get("cause") else error
        elif "note" in message:
            console.say(name, message["note"])
        else:
            console.progress(name, message["done"], message["total"], message["text"])
    return error


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask the stage to stop, wait for it, and make sure that it is gone; Ctrl-C twice does not leave it behind."""
    process.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    finally:
        process.kill()  # no effect on one that has ended
        process.wait()


def explain_status(status: int) -> str:
    """What an exit status tells of a stage that could not say anything itself."""
    if status >= 0:
        return f"the stage ended with exit status {status}"
    reason = "; this is what running out of memory looks like" if status == -signal.SIGKILL else ""
    return f"the stage was killed by {signal.Signals(-status).name}{reason}"


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """While building, SIGTERM means what Ctrl-C means: stop in order; and then what it meant before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    worker = multiprocessing.parent_process() is not None
    heard: list[int] = []

    def stop(signum: int, frame: object) -> None:
        heard.append(signum)
        # A worker hears twice of a Ctrl-C, or of a SIGTERM to everybody, since Luigi passes it on: the stage needs its time.
        if len(heard) == 1 or signum == signal.SIGINT:
            raise KeyboardInterrupt

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except KeyboardInterrupt:
        if worker:  # Luigi's worker process would print a traceback; there is nothing left for it to do
            os._exit(128 + signal.SIGTERM)
        if heard[:1] == [signal.SIGTERM]:
            signal.signal(signal.SIGTERM, before[signal.SIGTERM])
            os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def die_with_parent(signum: int, parent: int) -> None:
    """Ask the kernel for `signum` when the parent dies; exits at once if it is gone already. No effect but on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + signum)

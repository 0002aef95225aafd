"""Where and how fast, never what: settings of the machine, from luigi.cfg's section [machine] or the front doors' flags.

Nothing here is part of an artifact's identity. Two settings can be seen in a training's numbers all the same: on another number
of threads it adds its sums in another order, and over another number of processes its noise is another draw. So both are fixed,
kept by an attempt that is resumed, and recorded in `provenance.json`.
"""

import functools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import luigi

from tasks.errors import EarshotError

DEVICES = Path("/dev")
# An attempt keeps them when it is resumed: they decide its last bits.
OF_AN_ATTEMPT = ("threads", "processes", "sampling_batch", "compiled")
REPOSITORY = Path(__file__).resolve().parent.parent


class machine(luigi.Config):  # noqa: N801  (the name is the section in luigi.cfg and the prefix of Luigi's flags)
    """The section [machine]."""

    workdir = luigi.Parameter(default="_workdir", description="where artifacts go; relative to the repository")
    device = luigi.ChoiceParameter(
        default="auto", choices=["auto", "cpu", "cuda"], description="auto: a GPU where there is one"
    )
    threads = luigi.IntParameter(default=1, description="CPU threads of one process of a stage")
    processes = luigi.IntParameter(
        default=1, description="over how many processes a training is spread, each on a GPU of its own, or on CPU cores"
    )
    sampling_batch = luigi.IntParameter(default=0, description="samples drawn at once; 0: as many as memory holds")
    sampling_shard = luigi.IntParameter(
        default=0, description="samples of which a draw's shards are made; 0: 128, more where there are GPUs"
    )
    compiled = luigi.ChoiceParameter(
        default="auto", choices=["auto", "always", "never"], description="draw with compiled steps; auto: where it pays"
    )
    keep_every = luigi.IntParameter(
        default=0, description="keep the weights of every so many steps of a training, for EvaluateCheckpoints; 0: none"
    )
    source = luigi.Parameter(default="", description="a local archive or folder in place of a corpus's download")
    stale = luigi.Parameter(default="refuse", description="refuse, or rebuild=STAGE,...")


@functools.cache
def _settings() -> machine:
    return machine()


def setting(name: str) -> str:
    """One machine setting, as text."""
    return str(getattr(_settings(), name))


def override(name: str, value: object) -> None:
    """Let a flag win over luigi.cfg, in this process and in those that it forks."""
    luigi.configuration.get_config().set("machine", name, str(value))
    _settings.cache_clear()
    workdir.cache_clear()


@functools.cache
def workdir() -> Path:
    """Where artifacts go, as an absolute path."""
    return (REPOSITORY / setting("workdir")).resolve()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """CPU threads of one stage, the same for any number of workers: float sums round differently for each count."""
    return max(1, int(setting("threads")))


def processes() -> int:
    """Over how many processes a training is spread. Raises EarshotError for less than one."""
    count = int(setting("processes"))
    if count < 1:
        raise EarshotError(f"processes={count} in luigi.cfg must be at least 1, which does not spread a training")
    return count


def check_processes() -> None:
    """Raise EarshotError where a training cannot be spread over as many, before it would wait for GPUs that are not there."""
    count, most = processes(), min(len(gpus()), gpu_limit())
    if most and count > most:
        raise EarshotError(
            f"processes={count} in luigi.cfg: each process of a training takes a GPU of its own, and stages may use {most} "
            f"here; set 1 to {most}, or spread it over CPU cores with --device cpu"
        )


def rank() -> int:
    """Which of its stage's processes this one is; the first, or the only one, is 0."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def at_once() -> int:
    """How many stages this machine's cores are enough for."""
    return max(1, cores() // threads())


def gpus() -> list[str]:
    """The GPUs that stages may use, by the names that CUDA_VISIBLE_DEVICES takes; found without touching CUDA."""
    return [] if setting("device") == "cpu" else visible_gpus()


def visible_gpus() -> list[str]:
    """Those of which one could be used."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    # In a container the only node may be nvidia3, and CUDA calls it 0. WSL has a node for all of them.
    count = len(list(DEVICES.glob("nvidia[0-9]*"))) or int((DEVICES / "dxg").exists())
    return [str(number) for number in range(count)]


def gpus_of_run() -> int:
    """How many GPUs the stages of this run share: 0 under `luigid`, since each machine of a cluster would say another number.

    A stage itself sees those alone that it was given, or none.
    """
    return int(os.environ.get("EARSHOT_GPUS", len(gpus()) if schedules_alone() else 0))


def limit_gpus() -> None:
    """Tell Luigi's local scheduler how many GPUs there are, unless luigi.cfg does: of what it was not told, there is one.

    Called when tasks are imported: before the scheduler is made, by whatever command, and before its flags are read.
    """
    config, count = luigi.configuration.get_config(), len(visible_gpus())
    if count and not config.has_option("resources", "gpu"):
        config.set("resources", "gpu", str(count))


def gpu_limit() -> int:
    """How many GPUs all stages together may use, as the local scheduler sees it."""
    return luigi.configuration.get_config().getint("resources", "gpu", len(gpus()))


def schedules_alone() -> bool:
    """Whether this run has a scheduler of its own, rather than `luigid`, which it shares with other machines."""
    return bool(luigi.interface.core().local_scheduler)


@contextmanager
def lease_gpus(count: int) -> Iterator[str]:
    """GPUs that no other stage on this machine uses, as a value for CUDA_VISIBLE_DEVICES ("" where there are none).

    Luigi's resources count GPUs and do not say which ones; a locked file per GPU does. Waits until as many are free.
    Raises ValueError where there are not as many.
    """
    names = gpus()
    if 0 < len(names) < count:
        raise ValueError(
            f"it began with {count} processes, each on a GPU of its own, and {len(names)} are visible here: run the command "
            f"where there are {count}, or remove the unfinished folder to begin again"
        )
    while names:
        with ExitStack() as held:
            if taken := _take(names, count, held):
                yield ",".join(taken)
                return
        time.sleep(1.0)
    yield ""


def _take(names: Sequence[str], count: int, held: ExitStack) -> list[str]:
    """Lock so many of the GPUs, or none: two trainings would wait for each other for ever if each held half of them."""
    import fcntl

    taken: list[str] = []
    with _to_lock("gpus") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for name in names:
            file = _to_lock(f"gpu-{name}")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            held.enter_context(file)
            taken.append(name)
            if len(taken) == count:
                return taken
        held.close()
    return []


def _to_lock(name: str) -> IO[str]:
    """A file that everybody on this machine may lock, whoever made it: to lock it, reading is enough."""
    path = Path(tempfile.gettempdir()) / f"earshot-{name}.lock"
    with suppress(FileExistsError):
        path.touch(exist_ok=False)
    return open(path)

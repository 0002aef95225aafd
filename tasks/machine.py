"""Where and how fast, never what: settings of the machine, from luigi.cfg's section [machine] or the front doors' flags.

Nothing here is part of an artifact's identity. One setting can be seen in the last digits all the same: a training on
another number of threads adds its sums in another order. So the number is fixed, and recorded in `provenance.json`.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import luigi

DEVICES = Path("/dev")
# An attempt keeps them when it is resumed: they decide its last bits.
OF_AN_ATTEMPT = ("threads", "sampling_batch", "compiled")
REPOSITORY = Path(__file__).resolve().parent.parent


class machine(luigi.Config):  # noqa: N801  (the name is the section in luigi.cfg and the prefix of Luigi's flags)
    """The section [machine]."""

    workdir = luigi.Parameter(default="_workdir", description="where artifacts go; relative to the repository")
    device = luigi.ChoiceParameter(
        default="auto", choices=["auto", "cpu", "cuda"], description="auto: a GPU where there is one"
    )
    threads = luigi.IntParameter(default=1, description="CPU threads of one stage")
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


def at_once() -> int:
    """How many stages this machine's cores are enough for."""
    return max(1, cores() // threads())


def gpus() -> list[str]:
    """The GPUs that stages may use, by the names that CUDA_VISIBLE_DEVICES takes; found without touching CUDA."""
    if setting("device") == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    # In a container the only node may be nvidia3, and CUDA calls it 0. WSL has a node for all of them.
    count = len(list(DEVICES.glob("nvidia[0-9]*"))) or int((DEVICES / "dxg").exists())
    return [str(number) for number in range(count)]


def gpus_of_run() -> int:
    """How many GPUs the stages of this run share. A stage itself sees those alone that it was given, or none."""
    return int(os.environ.get("EARSHOT_GPUS", len(gpus())))


@contextmanager
def lease_gpu() -> Iterator[str]:
    """A GPU that no other stage on this machine uses, as a value for CUDA_VISIBLE_DEVICES ("" where there is none).

    Luigi's resources count GPUs and do not say which one; a locked file per GPU does. Waits until one is free.
    """
    import fcntl
    import tempfile
    import time

    names = gpus()
    while names:
        for name in names:
            path = Path(tempfile.gettempdir()) / f"earshot-gpu-{name}.lock"
            with open(path, "a") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield name
                return
        time.sleep(1.0)
    yield ""

"""ArtifactTask: one Luigi task, one finished folder that explains itself.

Luigi decides what runs; this class decides what "done" means. A folder counts as done when its `config.json` says that it
was made by this task, with these parameters, settings and inputs (each by its digest), by this version of the code. A
folder made from anything else is stale: it is never used and never overwritten unless the person says so.

A new kind of artifact is a subclass with a `stage`, a `place()`, its `inputs()` and a `build()`.
"""

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import luigi

from tasks import console, folders, machine
from tasks.errors import EarshotError, StaleArtifact, unknown

Progress = Callable[[int, int, str], None]  # (done, total, what can be said about it)

AFTER_CLIPS = ("classifier", "features", "reference", "train", "import", "likelihood", "samples", "evaluation")
# The stages, and those that can become stale when one is made again.
FOLLOWING = {
    "release": ("import", "classifier", "features", "reference", "likelihood", "samples", "evaluation"),
    "download": ("clips", *AFTER_CLIPS, "export"),
    "clips": (*AFTER_CLIPS, "export"),
    "classifier": ("features", "reference", "evaluation"),
    "features": ("reference", "evaluation"),
    "reference": ("evaluation",),
    "train": ("import", "likelihood", "samples", "features", "evaluation"),
    "import": ("likelihood", "samples", "features", "evaluation"),
    "likelihood": ("evaluation",),
    "samples": ("features", "evaluation"),
    "evaluation": (),
    "export": (),
    "report": (),
}
STAGES = tuple(FOLLOWING)

logging.getLogger("luigi-interface").addFilter(console.WithoutOurTracebacks())
machine.limit_gpus()

_seen: dict[str, bool] | None = None


class Difference(NamedTuple):
    """One field of an identity that is not what it was."""

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field}: was {_short(self.old)}, is now {_short(self.new)}"


class FolderTarget(luigi.Target):
    """What Luigi is told of an artifact's folder."""

    def __init__(self, path: Path):
        self.path = path

    def exists(self) -> bool:
        return (self.path / folders.MANIFEST).exists()

    def __str__(self) -> str:
        return str(self.path)


class ArtifactTask(luigi.Task):
    """One artifact. Subclasses define what follows; parameters that are significant to Luigi are part of the identity.

    VERSION:  raised whenever the code makes other bytes from the same inputs
    stage:    the word for it in `--stale rebuild=STAGE`
    derived:  cheap to make and made from whatever is there: rebuilt without asking when it no longer matches
    unhashed: files, or `directory/` prefixes, that may differ between equal builds (event files with the time of day)
    uses_gpu: whether the stage is given a GPU, where there is one
    spreads:  whether the stage may run as several processes, each with a GPU of its own (luigi.cfg's `processes`)
    """

    VERSION: ClassVar[int]
    stage: ClassVar[str]
    derived: ClassVar[bool] = False
    unhashed: ClassVar[tuple[str, ...]] = ()
    uses_gpu: ClassVar[bool] = False
    spreads: ClassVar[bool] = False

    def place(self) -> Path:
        """The artifact's folder, relative to the workdir."""
        raise NotImplementedError

    def inputs(self) -> Mapping[str, "ArtifactTask"]:
        """The artifacts that this one is made from, by the name that `build` knows them by."""
        return {}

    def resolved(self) -> Mapping[str, Any]:
        """Everything else that changes the bytes: settings resolved against their presets, versions of plug-ins."""
        return {}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        """Fill the folder `out`, which may hold what an attempt that died left there; returns what becomes metrics.json.

        Runs in a process of its own, where heavy libraries may be imported. ValueErrors raised here are taken as messages.
        """
        raise NotImplementedError

    def clean_up(self) -> None:
        """Called once the artifact is published: the place to remove what it has absorbed."""

    def expected_bytes(self) -> int:
        """How much disk the folder will need, where that is known beforehand; else 0."""
        return 0

    def headline(self, metrics: Mapping[str, Any]) -> str:
        """The one number of `metrics.json` that a list of artifacts shows."""
        return ""

    def account(self, metrics: Mapping[str, Any]) -> list[str]:
        """Lines that a person should read when it is finished, beside the headline."""
        return []

    # -- what Luigi asks -------------------------------------------------------------------------------------------

    @property
    def resources(self) -> dict[str, int]:  # type: ignore[override]
        """The GPUs that it needs, where they are counted on this machine alone.

        `luigid` would count those of all machines together; there the lease on each one's GPUs keeps stages apart.
        """
        if not (self.uses_gpu and machine.gpus() and machine.schedules_alone()):
            return {}
        return {"gpu": machine.processes() if self.spreads else 1}

    def requires(self) -> Mapping[str, luigi.Task]:
        return self.inputs()

    def output(self) -> FolderTarget:
        return FolderTarget(self.folder)

    def complete(self) -> bool:
        """Whether the folder is there, from what is asked for now, and so is everything that it was made from.

        Raises StaleArtifact for a folder made from something else, unless it may be rebuilt.
        """
        if _seen is not None:
            if self.task_id not in _seen:
                _seen[self.task_id] = self._complete()
            return _seen[self.task_id]
        return self._complete()

    def _complete(self) -> bool:
        self.place()  # raises for a preset or a setting that does not exist, before any input is scheduled
        missing = not (self.folder / folders.MANIFEST).exists()
        if missing and self.spreads:
            machine.check_processes()  # before any input is made
        if not all(task.complete() for task in self.inputs().values()) or missing:
            return False
        if not (differences := self.differences()):
            return True
        if self.derived or self.stage in stages_to_rebuild():
            return False
        raise StaleArtifact(self.explain_stale(differences), str(self.place()))

    def run(self) -> None:
        from tasks import supervisor

        supervisor.build(self)

    # -- identity ----------------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        return machine.workdir() / self.place()

    def identity(self) -> dict[str, Any]:
        """What decides the bytes. All inputs must be complete, since their digests are part of it."""
        return {
            "task": self.task_family,
            "version": self.VERSION,
            "parameters": self.identity_parameters(),
            "settings": dict(self.resolved()),
            "inputs": {
                name: {"artifact": task.place().as_posix(), "digest": folders.digest_of(task.folder)}
                for name, task in self.identity_inputs().items()
            },
        }

    def identity_inputs(self) -> Mapping[str, "ArtifactTask"]:
        """The inputs whose digests are part of the identity: all of them, but where a subclass says otherwise."""
        return self.inputs()

    def identity_parameters(self) -> dict[str, str]:
        """The parameters as they count: not as typed, where two spellings mean the same."""
        parameters = self.to_str_params(only_significant=True)
        parameters.pop("settings", None)  # what they come to is in `resolved()`
        return parameters

    def differences(self) -> list[Difference]:
        """In what the finished folder's identity differs from the one asked for now; empty if it is up to date."""
        return differences(folders.read_json(self.folder / folders.CONFIG), self.identity())

    def explain_stale(self, found: list[Difference]) -> str:
        """What differs, and the ways on."""
        lines = "\n".join(f"    {difference}" for difference in found[:8])
        asked_for = any(difference.field.startswith(("parameters.", "settings.")) for difference in found)
        path = ", or give the change a path of its own (another preset or --set)" if asked_for else ""
        following = ",".join([self.stage, *FOLLOWING[self.stage]])
        return (
            f"{self.place()} is finished, but was made from something else than what is there now:\n{lines}\n"
            f"  It is kept as it is. To go on: --stale rebuild={self.stage}, or with all that may follow from it, "
            f"--stale rebuild={following} (with the luigi command: --machine-stale). Old folders move to "
            f"{folders.SUPERSEDED}/. Or go back to what it was made from{path}."
        )


@contextmanager
def one_look() -> Iterator[None]:
    """Within, every artifact is looked at once: for planning, when nothing changes and paths through the DAG are many."""
    global _seen
    _seen = {}
    try:
        yield
    finally:
        _seen = None


def request(task: ArtifactTask) -> dict[str, Any]:
    """What makes the same task again: recorded in `provenance.json`, since two requests may come to one identity."""
    parameters = task.to_str_params(only_significant=True)
    return {"module": type(task).__module__, "task": task.task_family, "parameters": parameters}


def read_task(folder: Path) -> ArtifactTask:
    """The task that would build the finished `folder` today.

    Raises ValueError or EarshotError where its parameters mean nothing to today's code.
    """
    asked = folders.read_json(folder / folders.PROVENANCE)["request"]
    importlib.import_module(asked["module"])
    return luigi.task_register.Register.get_task_cls(asked["task"]).from_str_params(asked["parameters"])


def stages_to_rebuild() -> frozenset[str]:
    """The stages that `--stale rebuild=a,b` names; none for `--stale refuse`.

    Raises EarshotError for anything else.
    """
    text = machine.setting("stale")
    if text == "refuse":
        return frozenset()
    word, _, names = text.partition("=")
    stages = [name for name in names.split(",") if name]
    if word != "rebuild" or not stages:
        raise EarshotError(f"--stale is refuse or rebuild=STAGE,..., not {text!r}. Stages: {', '.join(STAGES)}")
    for stage in stages:
        if stage not in STAGES:
            raise EarshotError(unknown("stage", stage, STAGES))
    return frozenset(stages)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[Difference]:
    """The leaves in which two nested mappings differ; an absent leaf counts as None."""
    found = []
    for key in sorted({*old, *new}):
        before, after, field = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{field}.")
        elif folders.canonical(before) != folders.canonical(after):
            found.append(Difference(field, before, after))
    return found


def _short(value: Any) -> str:
    text = folders.canonical(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

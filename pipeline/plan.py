"""What a run would do: every artifact of a task, in the order of the DAG, with its state. Runs and writes nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import luigi

from tasks import console, folders, machine
from tasks.artifact import ArtifactTask, one_look
from tasks.errors import StaleArtifact

DONE, RESUMES, TO_DO, REBUILD, STALE = "done", "continues", "to do", "rebuilds", "STALE"
WAITS = "waits"  # for a stale input


class Step(NamedTuple):
    """One artifact: its task, its state, and what there is to say about a stale one."""

    task: ArtifactTask
    state: str
    explanation: str = ""


def steps(root: luigi.Task) -> list[Step]:
    """Every artifact that `root` needs, inputs first; shards only where their draw is not finished."""
    with one_look():
        return [_step(task) for task in _walk(root, {})]


def _walk(task: luigi.Task, seen: dict[str, None]) -> Iterator[ArtifactTask]:
    if task.task_id in seen:
        return
    seen[task.task_id] = None
    if isinstance(task, ArtifactTask):
        finished = (task.folder / folders.MANIFEST).exists()
        needed = task.inputs() if finished else task.requires()
        for upstream in needed.values():
            yield from _walk(upstream, seen)
        yield task
    else:
        for upstream in luigi.task.flatten(task.requires()):
            yield from _walk(upstream, seen)


def _step(task: ArtifactTask) -> Step:
    try:
        if task.complete():
            return Step(task, DONE)
    except StaleArtifact as error:
        if error.place == str(task.place()):
            return Step(task, STALE, str(error))
        return Step(task, WAITS)
    if (task.folder / folders.MANIFEST).exists():
        inputs_there = all((upstream.folder / folders.MANIFEST).exists() for upstream in task.inputs().values())
        return Step(task, REBUILD if inputs_there else TO_DO)
    return Step(task, RESUMES if (folders.partial(task.folder) / folders.CONFIG).exists() else TO_DO)


def show(found: list[Step], about: str) -> str:
    """The plan as a person reads it: state, folder, how long it took before, what it needs on disk."""
    lines = [about, ""]
    seconds, unknown, size = 0.0, 0, 0
    for task, state, _ in found:
        known = console.known_seconds(task)
        estimate = ""
        if state not in (DONE, STALE, WAITS):
            estimate = f"about {console.spell_seconds(known)}" if known is not None else "time not known yet"
            seconds, unknown = seconds + (known or 0.0), unknown + (known is None)
            size += task.expected_bytes()
        lines.append(f"  {state:<10} {task.place()!s:<64} {estimate}".rstrip())
    waiting = sum(step.state not in (DONE, STALE, WAITS) for step in found)
    lines += ["", f"{sum(step.state == DONE for step in found)} done, {waiting} to run."]
    if waiting:
        known_part = (
            f"About {console.spell_seconds(seconds)} of work is known" if seconds else "No stage's time is known"
        )
        lines.append(
            f"{known_part}; {unknown} stages have not run on this machine yet." if unknown else f"{known_part}."
        )
        free = shutil.disk_usage(_existing(machine.workdir())).free
        lines.append(f"Disk: at least {console.spell_bytes(size)} needed, {console.spell_bytes(free)} free.")
    lines += [f"\n{step.explanation}" for step in found if step.state == STALE]
    return "\n".join(lines)


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)

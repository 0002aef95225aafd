"""What a run would do: every artifact of a task, in the order of the DAG, with its state. Runs and writes nothing."""

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import luigi

from tasks import console, folders, machine
from tasks.artifact import ArtifactTask, one_look
from tasks.errors import StaleArtifact
from tasks.generator import DrawShard

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
    waiting = [step for step in found if step.state in (RESUMES, TO_DO, REBUILD)]
    lines = [about, "", *_lines(found), "", _count(found)]
    if waiting:
        known = [seconds for step in waiting if (seconds := console.known_seconds(step.task)) is not None]
        spelled = f"About {console.spell_seconds(sum(known))} of work is known" if known else "No stage's time is known"
        unknown = len(waiting) - len(known)
        lines.append(f"{spelled}; {unknown} stages have not run in this workdir yet." if unknown else f"{spelled}.")
        size = sum(step.task.expected_bytes() for step in waiting)
        free = shutil.disk_usage(_existing(machine.workdir())).free
        lines.append(f"Disk: at least {console.spell_bytes(size)} needed, {console.spell_bytes(free)} free.")
    lines += [f"\n{step.explanation}" for step in found if step.state == STALE]
    return "\n".join(lines)


def _lines(found: list[Step]) -> Iterator[str]:
    """A line per artifact, but one for all shards of a draw that are in the same state."""
    for (place, state), group in itertools.groupby(found, lambda step: (_shown_place(step.task), step.state)):
        tasks = [step.task for step in group]
        known = [console.known_seconds(task) for task in tasks]
        estimate = ""
        if state in (RESUMES, TO_DO, REBUILD):
            complete = [seconds for seconds in known if seconds is not None]
            whole = len(complete) == len(known)
            estimate = f"about {console.spell_seconds(sum(complete))}" if whole else "time not known yet"
        number = f" ({len(tasks)})" if len(tasks) > 1 else ""
        yield f"  {state:<10} {place + number:<64} {estimate}".rstrip()


def _shown_place(task: ArtifactTask) -> str:
    return f"{task.place().parent}/" if isinstance(task, DrawShard) else str(task.place())


def _count(found: list[Step]) -> str:
    """`9 done, 1 stale, 2 waiting for it, 3 to run.`"""
    number = Counter(step.state for step in found)
    stale = f", {number[STALE]} stale, {number[WAITS]} waiting for it" if number[STALE] else ""
    return f"{number[DONE]} done{stale}, {number[RESUMES] + number[TO_DO] + number[REBUILD]} to run."


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)

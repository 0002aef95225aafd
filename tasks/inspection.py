"""What lies in a workdir: every artifact, finished or not, with its state. Looks, and changes nothing.

A finished folder is compared with what today's code would make of the same request, without torch: settings come from the
cached descriptions of tasks/descriptions.py.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import luigi

from tasks import console, folders, machine, stage
from tasks.artifact import ArtifactTask, read_task
from tasks.corpora.base import natural_key
from tasks.errors import EarshotError

DONE, RUNNING, STOPPED, DIED, STALE, OUTDATED, UNCLEAR, DAMAGED = (
    "done", "running", "stopped", "died", "stale", "outdated", "unclear", "damaged",
)  # fmt: skip
OWN_FILES = (folders.CONFIG, folders.METRICS, folders.MANIFEST, folders.PROVENANCE)
FIRST_COMMAND = "python -m pipeline.spoken_digits --workers 2"


class Entry(NamedTuple):
    """One artifact. size: bytes; changed: seconds since the epoch; remark: headline, progress, or what is wrong."""

    place: Path
    state: str
    size: int
    changed: float
    remark: str


def use_workdir(path: str | None) -> Path:
    """The workdir that a front door was asked for, or luigi.cfg's; from here on it is the one that all tasks use."""
    luigi.configuration.add_config_path(str(machine.REPOSITORY / "luigi.cfg"))
    if path is not None:
        machine.override("workdir", os.path.abspath(os.path.expanduser(path)))
    return machine.workdir()


def corpus_folders(workdir: Path) -> list[Path]:
    """The workdir's visible folders; one may be a link to another disk."""
    if not workdir.is_dir():
        return []
    visible = [path for path in workdir.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(visible, key=lambda path: natural_key(path.name))


def find_artifacts(top: Path) -> Iterator[Path]:
    """Every artifact at or below `top`, `.partial` or finished, in natural order. Links are not followed."""
    if is_artifact(top):
        yield top
        return
    for path in sorted(top.iterdir(), key=lambda path: natural_key(path.name)):
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield from find_artifacts(path)


def is_artifact(folder: Path) -> bool:
    """Whether a folder is, or was, an artifact: a damaged one may have lost some of its files."""
    return is_partial(folder) or any((folder / name).exists() for name in OWN_FILES)


def is_partial(folder: Path) -> bool:
    """Whether it is the place where an artifact is built."""
    return folder.name.endswith(".partial")


def disk_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; a link counts as itself."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    sizes = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                sizes += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:  # a stage at work removes files while we look
                continue
    return sizes


def inspect(folder: Path, workdir: Path) -> Entry:
    """The state of one artifact. Raises FileNotFoundError if it is published or removed while we look."""
    look = _unfinished if is_partial(folder) else _finished
    state, size, changed, remark = look(folder)
    return Entry(folder.relative_to(workdir), state, size, changed, remark)


def _unfinished(folder: Path) -> tuple[str, int, float, str]:
    state, remark = unfinished_state(folder)
    changed = max((path.lstat().st_mtime for path in folder.iterdir()), default=folder.stat().st_mtime)
    return state, disk_bytes(folder), changed, remark


def unfinished_state(folder: Path) -> tuple[str, str]:
    """(running, stopped or died; how far it is, or why it died) of a `.partial` folder."""
    if holder := folders.locked_by(folder):
        report = _read(folder / folders.PROGRESS)
        share = f"{report['done']}/{report['total']} {report['text']}".strip() + "; " if report else ""
        return RUNNING, f"{share}{holder}"
    if report := _read(folder / folders.DIED):
        return DIED, str(report["error"]).splitlines()[0]
    if _last_line(folder / folders.LOG).endswith(stage.STOPPED):
        return STOPPED, "in order, when asked to; the same command continues it"
    return DIED, "killed: nobody builds it any more; the same command continues it"


def _last_line(log: Path) -> str:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 500))
            return (file.read().decode(errors="replace").strip().splitlines() or [""])[-1]
    except FileNotFoundError:
        return ""


def _read(path: Path) -> Any:
    """The JSON in a file that may not be there (None)."""
    try:
        return folders.read_json(path)
    except FileNotFoundError:
        return None


def _finished(folder: Path) -> tuple[str, int, float, str]:
    manifest = folder / folders.MANIFEST
    try:
        entries = folders.read_json(manifest)["files"].values()
        size, changed = sum(entry["size"] for entry in entries), manifest.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return DAMAGED, disk_bytes(folder), folder.stat().st_mtime, "its manifest cannot be read; see pipeline.verify"
    state, remark = finished_state(folder)
    return state, size, changed, remark


def finished_state(folder: Path) -> tuple[str, str]:
    """(done, stale, outdated or unclear; its headline, or in what it differs from what would be made today)."""
    try:
        task = recreate(folder)
        missing = [str(upstream.place()) for upstream in task.identity_inputs().values() if not _is_finished(upstream)]
        if missing:
            return UNCLEAR, f"its input {missing[0]} is missing"
        found = task.differences()
    except (EarshotError, ValueError, OSError) as error:
        return UNCLEAR, str(error).splitlines()[0]
    if not found:
        return DONE, _headline(task)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    if task.derived:
        return OUTDATED, f"rebuilds by itself: {found[0]}{more}"
    return STALE, f"{found[0]}{more}; --stale rebuild={task.stage}"


def recreate(folder: Path) -> ArtifactTask:
    """The task that made `folder`. Raises EarshotError where today's code knows no such task or parameters."""
    try:
        return read_task(folder)
    except (ImportError, KeyError, TypeError, luigi.parameter.ParameterException) as error:
        reason = f"{type(error).__name__}: {error}"
    except luigi.task_register.TaskClassException as error:
        reason = str(error)
    raise EarshotError(f"today's code cannot make it again: {reason.splitlines()[0]}")


def _is_finished(task: ArtifactTask) -> bool:
    return (task.folder / folders.MANIFEST).exists()


def _headline(task: ArtifactTask) -> str:
    try:
        return task.headline(folders.read_json(task.folder / folders.METRICS))
    except (OSError, ValueError, KeyError, TypeError):
        return "metrics.json cannot be read: run python -m pipeline.verify"


def survey(workdir: Path) -> dict[str, list[Entry]]:
    """Every artifact, by the name of its corpus."""
    found: dict[str, list[Entry]] = {}
    for corpus in corpus_folders(workdir):
        for folder in find_artifacts(corpus):
            try:
                found.setdefault(corpus.name, []).append(inspect(folder, workdir))
            except FileNotFoundError:
                if folder.exists():
                    raise
                finished = folder.with_name(folder.name.removesuffix(".partial"))
                if finished != folder and finished.exists():  # published since the folder was listed
                    found.setdefault(corpus.name, []).append(inspect(finished, workdir))
    return found


def show(workdir: Path) -> str:
    """The table that `python -m pipeline.status` prints."""
    found = survey(workdir)
    superseded = workdir / folders.SUPERSEDED
    aside = disk_bytes(superseded) if superseded.is_dir() else 0
    if not found and not aside:
        return f"Nothing in {workdir} yet. To start: {FIRST_COMMAND}"
    entries = [entry for group in found.values() for entry in group]
    free = console.spell_bytes(shutil.disk_usage(workdir).free)
    lines = [f"{workdir}: {console.spell_bytes(sum(e.size for e in entries) + aside)}, {free} free"]
    width = max((len(_below_corpus(entry)) for entry in entries), default=0)
    for corpus, group in found.items():
        lines += ["", corpus, *(_line(entry, width) for entry in group)]
    states = Counter(entry.state for entry in entries)
    lines += ["", ", ".join(f"{count} {state}" for state, count in states.most_common()) or "no artifacts"]
    if aside:
        lines.append(f"Superseded: {console.spell_bytes(aside)}; python -m pipeline.prune lists what can go.")
    return "\n".join(lines)


def _below_corpus(entry: Entry) -> str:
    return Path(*entry.place.parts[1:]).as_posix()


def _line(entry: Entry, width: int) -> str:
    age = spell_age(time.time() - entry.changed)
    size = console.spell_bytes(entry.size)
    return f"  {entry.state:<8}  {_below_corpus(entry):<{width}}  {size:>8}  {age:>8}  {entry.remark}".rstrip()


def spell_age(seconds: float) -> str:
    """`40 s`, `5 min`, `3 h`, `12 d`."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"

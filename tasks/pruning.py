"""What a workdir could do without, and removing it: nothing that a finished result, or a run that goes on, would miss."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks import console, folders, inspection
from tasks.errors import AlreadyRunning
from tasks.generator import DrawSamples, DrawShard

SUPERSEDED, DIED, SHARDS, CHECKPOINTS, CACHE = "superseded", "died", "shards", "checkpoints", "cache"
COMPILED = "compiled"
GROUPS = {
    SUPERSEDED: "moved aside by --stale rebuild, verify --repair, or changed settings",
    DIED: "attempts that died; without them the same command starts these stages over",
    SHARDS: "samples that a finished draw holds too, or of a training that is gone",
    CHECKPOINTS: "states of finished trainings other than the last and the best",
    CACHE: "notes that newer ones have replaced",
    COMPILED: "code of samplers that nobody has used for a month",
}
KEPT_CHECKPOINTS = ("last.pt", "best.pt")
ASIDE = re.compile(r"\.\d{8}-\d{6}(-\d+)?$")  # what folders.place_aside adds to a name
FORGOTTEN_SECONDS = 3600.0  # a temporary file that is older than this belongs to nobody
UNUSED_SECONDS = 30 * 86400.0


class Leftover(NamedTuple):
    """One thing that could go. path: a folder or file below the workdir."""

    group: str
    path: Path
    size: int
    remark: str = ""


def find(workdir: Path) -> list[Leftover]:
    """Everything that could go, by group. Links are neither followed nor listed."""
    artifacts = [
        folder
        for corpus in inspection.corpus_folders(workdir)
        if not corpus.is_symlink()
        for folder in inspection.find_artifacts(corpus)
    ]
    found = [
        *_superseded(workdir),
        *_half_removed(workdir),
        *_died(artifacts),
        *_shards(artifacts),
        *_checkpoints(artifacts),
        *_cache(workdir),
        *_compiled(workdir),
    ]
    return sorted(found, key=lambda leftover: list(GROUPS).index(leftover.group))


def _superseded(workdir: Path) -> Iterator[Leftover]:
    if (workdir / folders.SUPERSEDED).is_symlink():
        return
    for folder, names, files in os.walk(workdir / folders.SUPERSEDED):
        for name in [name for name in names if ASIDE.search(name)]:
            names.remove(name)
            path = Path(folder, name)
            if not path.is_symlink() and not folders.locked_by(path):
                yield Leftover(SUPERSEDED, path, inspection.disk_bytes(path))
        for name in files:
            yield Leftover(SUPERSEDED, Path(folder, name), os.lstat(Path(folder, name)).st_size)


def _half_removed(workdir: Path) -> Iterator[Leftover]:
    """What was being removed when somebody was killed; folders hidden by now, so that nobody takes them for artifacts."""
    for folder, names, _ in os.walk(workdir):
        for name in [name for name in names if name.startswith(".")]:
            names.remove(name)
            path = Path(folder, name)
            if name.endswith(folders.REMOVED) and not path.is_symlink():
                yield Leftover(SUPERSEDED, path, inspection.disk_bytes(path), "half removed")


def _died(artifacts: Sequence[Path]) -> Iterator[Leftover]:
    """Unfinished folders that nobody builds; one that stopped in order waits to be continued and stays."""
    for folder in filter(inspection.is_partial, artifacts):
        state, remark = inspection.unfinished_state(folder)
        if state == inspection.DIED:
            yield Leftover(DIED, folder, inspection.disk_bytes(folder), remark)


def _shards(artifacts: Sequence[Path]) -> Iterator[Leftover]:
    """Shards that no draw will ask for again; those of an unfinished draw stay, since it goes on from them."""
    finished = [f for f in artifacts if not inspection.is_partial(f) and (f / folders.MANIFEST).exists()]
    draws = [folder for folder in finished if _task(folder) == DrawSamples.__name__]
    drawing = {f.parent.parent for f in artifacts if f.name == "2-samples.partial" and folders.locked_by(f)}
    for folder in finished:
        model = folder.parent.parent
        if _task(folder) != DrawShard.__name__ or model in drawing:
            continue
        config = folders.read_json(folder / folders.CONFIG)
        stop, trained = int(config["parameters"]["stop"]), config["inputs"]["train"]
        for draw in (draw for draw in draws if draw.parent.parent == model):
            other = folders.read_json(draw / folders.CONFIG)
            same = other["settings"] == config["settings"] and other["inputs"]["train"]["digest"] == trained["digest"]
            if same and stop <= int(other["parameters"]["count"]):
                yield Leftover(SHARDS, folder, inspection.disk_bytes(folder), f"{draw.parent.name} holds these samples")
                break
        else:
            train = model / "1-train"
            if (train / folders.MANIFEST).exists() and folders.digest_of(train) != trained["digest"]:
                yield Leftover(SHARDS, folder, inspection.disk_bytes(folder), "drawn from a training that is gone")


def _task(folder: Path) -> str:
    try:
        return str(folders.read_json(folder / folders.CONFIG)["task"])
    except (OSError, ValueError, KeyError):  # damaged: pipeline.verify's business
        return ""


def _checkpoints(artifacts: Sequence[Path]) -> Iterator[Leftover]:
    for folder in artifacts:
        if inspection.is_partial(folder) or (folder / "checkpoints").is_symlink():
            continue
        for path in sorted((folder / "checkpoints").glob("*")):
            if path.name not in KEPT_CHECKPOINTS and path.is_file() and not path.is_symlink() and _may_go(folder, path):
                yield Leftover(CHECKPOINTS, path, path.stat().st_size)


def _may_go(folder: Path, path: Path) -> bool:
    """Whether the artifact's digest leaves the file out, so that it stays the same artifact without it."""
    try:
        manifest = folders.read_json(folder / folders.MANIFEST)
    except (OSError, ValueError):
        return False
    name = path.relative_to(folder).as_posix()
    entry = {**manifest["files"], **manifest.get(folders.PRUNED, {})}.get(name)
    return entry is not None and not entry.get("in_digest", True)


def _cache(workdir: Path) -> Iterator[Leftover]:
    """All but the newest description of each plug-in (`<name>-<key>.json`), and files left half-written."""
    newest: dict[str, tuple[float, Path]] = {}
    cache = workdir / ".cache"
    if cache.is_symlink():
        return
    for folder, _, names in os.walk(cache):
        for path in (Path(folder, name) for name in names):
            changed = path.lstat().st_mtime
            if path.name.endswith(".tmp"):
                if time.time() - changed > FORGOTTEN_SECONDS:
                    yield Leftover(CACHE, path, path.lstat().st_size, "half-written")
            elif path.parent == cache / "descriptions":
                name, _, _ = path.name.rpartition("-")
                older = min(newest.get(name, (changed, path)), (changed, path))
                newest[name] = max(newest.get(name, (changed, path)), (changed, path))
                if older != newest[name]:
                    yield Leftover(CACHE, older[1], older[1].lstat().st_size, "its source has changed")


def _compiled(workdir: Path) -> Iterator[Leftover]:
    if (workdir / folders.COMPILED).is_symlink():
        return
    for folder, _, names in os.walk(workdir / folders.COMPILED):
        for path in (Path(folder, name) for name in names):
            about = path.lstat()
            if time.time() - about.st_mtime > UNUSED_SECONDS:
                yield Leftover(COMPILED, path, about.st_size)


def prune(workdir: Path, remove_them: bool) -> str:
    """List what could go, and remove it if asked to; returns what to print."""
    found = find(workdir)
    if not found:
        return f"{workdir}: nothing to prune."
    lines = []
    for group, meaning in GROUPS.items():
        members = [leftover for leftover in found if leftover.group == group]
        if members:
            lines += [f"{group}: {console.spell_bytes(sum(m.size for m in members))}, {meaning}"]
            lines += [
                f"  {console.spell_bytes(m.size):>9}  {m.path.relative_to(workdir)}  {m.remark}".rstrip()
                for m in members
            ]
    if not remove_them:
        total = console.spell_bytes(sum(leftover.size for leftover in found))
        return "\n".join([*lines, "", f"{total} in all. Nothing was removed; --yes removes it."])
    removed, lines = 0, [*lines, ""]
    for leftover in found:
        try:
            remove(leftover, workdir)
            removed += leftover.size
        except (AlreadyRunning, OSError) as error:
            lines.append(f"{leftover.path.relative_to(workdir)} stays: {error}")
    return "\n".join([*lines, f"{console.spell_bytes(removed)} removed."])


def remove(leftover: Leftover, workdir: Path) -> None:
    """Remove one thing, and the folders that it leaves empty.

    Raises AlreadyRunning where somebody has begun to work on it, OSError where it cannot be removed.
    """
    path = leftover.path
    if leftover.group == DIED:
        with folders.lock(path, str(path.relative_to(workdir)), patience=0.0):
            path = folders.move_aside(path, workdir)  # in one step: whoever comes now begins with an empty folder
            shutil.rmtree(path)
    elif leftover.group == CHECKPOINTS:
        _remove_checkpoint(path.parent.parent, path)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if leftover.group in (SUPERSEDED, DIED, SHARDS):
        with contextlib.suppress(OSError):  # not empty
            for parent in path.parents:
                if parent == workdir:
                    break
                parent.rmdir()


def _remove_checkpoint(folder: Path, path: Path) -> None:
    """Take a file out of the manifest's list, keep its entry apart as removed on purpose, and then remove it.

    The digest stays the same, since it never covered the file; a crash in between leaves a manifest that is right.
    """
    manifest = dict(folders.read_json(folder / folders.MANIFEST))
    name, files = path.relative_to(folder).as_posix(), dict(manifest["files"])
    if name in files:
        manifest[folders.PRUNED] = {**manifest.get(folders.PRUNED, {}), name: files.pop(name)}
        manifest["files"] = files
        assert folders.manifest_digest(files) == manifest["digest"]
        folders.write_json(folder / folders.MANIFEST, manifest)
    path.unlink()

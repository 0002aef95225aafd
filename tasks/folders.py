"""The folder that explains itself: how an artifact lies on disk, and how it gets there in one step.

A folder is built as `<name>.partial`, made durable, and renamed: that it exists means that it is complete. Inside, under
the same names everywhere: `config.json` (identity), `metrics.json`, `manifest.json` (every file, its size and sha256, and
the artifact's digest), `provenance.json` (when, where and by which code), `log.txt`.
"""

import fcntl
import functools
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.errors import AlreadyRunning

CONFIG, METRICS, MANIFEST, PROVENANCE, LOG = (
    "config.json",
    "metrics.json",
    "manifest.json",
    "provenance.json",
    "log.txt",
)
LOCK = ".lock"
ATTEMPT, PROGRESS, DIED = "attempt.json", "progress.json", "died.json"
RECORDS = (PROVENANCE, LOG)  # kept and checked, but two equal builds may differ in them
WORKING = (ATTEMPT, PROGRESS, DIED)  # only of interest while building
SUPERSEDED = ".superseded"
COMPILED = ".compiled"
REMOVED = ".removed"  # the end of the name of a hidden folder that is on its way out
PRUNED = "pruned"  # in a manifest: what was in its list of files until it was removed on purpose


def partial(folder: Path) -> Path:
    """Where `folder` is built."""
    return folder.with_name(folder.name + ".partial")


def canonical(value: Any) -> str:
    """JSON with one spelling per value: what gets hashed and compared."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write `value` in one step: a reader, or a crash, never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # half a file on a full disk is in the way
        raise


def remember(building: Path, **settings: Any) -> None:
    """Let an attempt that is resumed keep what this one has chosen. Nothing, where no attempt is made in the folder."""
    if (building / ATTEMPT).exists():
        write_json(building / ATTEMPT, read_json(building / ATTEMPT) | settings)


def read_json(path: Path) -> Any:
    """The JSON in `path`, parsed once per version of the file. Raises ValueError that names it where it is damaged."""
    status = path.stat()
    return _read_json(str(path), status.st_mtime_ns, status.st_ino, status.st_size)


@functools.lru_cache(maxsize=4096)
def _read_json(path: str, *version: int) -> Any:
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); see python -m pipeline.verify") from error


def digest_of(folder: Path) -> str:
    """The digest of a finished artifact: a hash of its identity and its payload, and of nothing else."""
    return read_json(folder / MANIFEST)["digest"]


def shortfall(folder: Path) -> str:
    """Of the files that count in a finished artifact's digest, the first that is gone or has another size; "" for none."""
    for name, entry in read_json(folder / MANIFEST)["files"].items():
        if not entry.get("in_digest", True):
            continue
        try:
            size = (folder / name).stat().st_size
        except FileNotFoundError:
            return f"{name} is missing"
        if size != entry["size"]:
            return f"{name} has {size} bytes instead of {entry['size']}"
    return ""


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """The sha256 of a file, which is read once per version of it."""
    status = path.stat()
    return _known_sha256(str(path), status.st_mtime_ns, status.st_ino, status.st_size)


@functools.lru_cache(maxsize=4096)
def _known_sha256(path: str, *version: int) -> str:
    return sha256(Path(path))


def files_in(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, in the order of their names, but for directories, the manifest and the lock."""
    for path in sorted(folder.rglob("*")):
        if (path.is_file() or path.is_symlink()) and path not in (folder / MANIFEST, folder / LOCK):
            yield path


def make_manifest(folder: Path, unhashed: tuple[str, ...]) -> dict[str, Any]:
    """The manifest of a folder about to be published.

    unhashed: names, or `directory/` prefixes, of files that may differ between two equal builds: they are listed with
    their hash, so that damage shows, and stay out of the digest.
    """
    entries: dict[str, dict[str, Any]] = {}
    for path in files_in(folder):
        name = path.relative_to(folder).as_posix()
        entries[name] = {"size": path.stat().st_size, "sha256": sha256(path)}
        if name in RECORDS or name in unhashed or any(name.startswith(u) for u in unhashed if u.endswith("/")):
            entries[name]["in_digest"] = False
    return {"digest": manifest_digest(entries), "files": entries}


def manifest_digest(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest that belongs to a manifest's list of files (`config.json`, the identity, is one of them)."""
    payload = {name: entry["sha256"] for name, entry in entries.items() if entry.get("in_digest", True)}
    return hashlib.sha256(canonical(payload).encode()).hexdigest()


def publish(building: Path, folder: Path, unhashed: tuple[str, ...] = (), replace: Path | None = None) -> None:
    """Turn `building` into the finished `folder`: manifest, everything on disk, then one rename.

    replace: the workdir in which an old `folder`, if there is one, moves aside; without it the old one is removed.
    """
    for name in WORKING:
        (building / name).unlink(missing_ok=True)
    for leftover in building.rglob(".*.tmp"):
        leftover.unlink()
    write_json(building / MANIFEST, make_manifest(building, unhashed))
    for path in building.rglob("*"):
        if not path.is_symlink():
            sync(path)
    sync(building)
    if folder.exists():
        if replace is None:
            remove(folder)
        else:
            move_aside(folder, replace)
    os.rename(building, folder)
    (folder / LOCK).unlink(missing_ok=True)  # after the rename: who waits for it finds its name gone, and looks again
    sync(folder.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the list of names in a directory, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(folder: Path) -> None:
    """Remove an artifact's folder; killed in between, it leaves nothing that looks like one, or is waited for."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}{REMOVED}")
    os.rename(folder, gone)
    shutil.rmtree(gone)


def move_aside(folder: Path, workdir: Path) -> Path:
    """Move `folder` to `_workdir/.superseded/<same path>.<when>`; nothing that was computed is thrown away here."""
    target = place_aside(folder, workdir)
    os.rename(folder, target)
    return target


def place_aside(folder: Path, workdir: Path) -> Path:
    """A free name in `.superseded/` for something of `folder`."""
    when = time.strftime("%Y%m%d-%H%M%S")
    place = workdir / SUPERSEDED / folder.relative_to(workdir)
    place.parent.mkdir(parents=True, exist_ok=True)
    for number in range(1000):
        target = place.with_name(f"{place.name}.{when}" + (f"-{number}" if number else ""))
        if not target.exists():
            return target
    raise RuntimeError(f"cannot find a free name for {place}")


@contextmanager
def lock(building: Path, what: str, patience: float = 15.0) -> Iterator[int]:
    """Be the only builder of `building`, on this machine and on those that share the disk; yields the lock's descriptor.

    A process that inherits the descriptor keeps the lock: it is free when builder and supervisor are both gone.
    patience: seconds to wait for it, since a builder that was just killed may still be on its way out.
    Raises AlreadyRunning with the holder's name.
    """
    deadline = time.monotonic() + patience
    while True:
        building.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(building / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # published between these two lines
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _still_there(building / LOCK, descriptor):  # else: published or moved aside while we waited
                break
            os.close(descriptor)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            if time.monotonic() > deadline:
                raise AlreadyRunning(
                    f"{what} is being built right now by {holder}. Wait for it, or look at `python -m pipeline.status`."
                ) from None
            time.sleep(0.2)
    try:
        os.ftruncate(descriptor, 0)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {started}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def locked_by(building: Path) -> str:
    """Who builds `building` at this moment ("" for nobody)."""
    try:
        descriptor = os.open(building / LOCK, os.O_RDWR)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ""
    except BlockingIOError:
        return os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
    finally:
        os.close(descriptor)


def _still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False

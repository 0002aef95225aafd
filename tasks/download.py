"""Fetching an archive and unpacking it, on the assumption that both can go wrong, and that an archive may be hostile.

A download continues from its last byte after an interruption and is checked by its sha256. Unpacking takes only the
members that are wanted, and refuses an archive in which any member could write outside its folder.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tasks import folders
from tasks.corpora.base import Progress

BLOCK = 1 << 16  # what a broken connection loses at most
MEGABYTE = 1e6


class DownloadError(ValueError):
    """A file could not be fetched, or is not the one that was published."""


class ArchiveError(ValueError):
    """An archive is damaged, or holds something that no data set needs."""


def fetch(
    url: str, target: Path, sha256: str | None, progress: Progress, *, attempts: int = 5, wait: float = 1.0
) -> None:
    """Download `url` to `target`, continuing `target.part` where an earlier attempt left one.

    sha256: of the whole file; None where none is published. attempts: how many in a row may fail without a new byte,
    `wait` seconds apart at first, doubling. Raises DownloadError that names the URL.
    """
    import requests

    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and (sha256 is None or folders.sha256(target) == sha256):
        return
    failures = 0
    while True:
        had = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part, progress)
            break
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            _CutError,
        ) as error:
            got = part.stat().st_size if part.exists() else 0
            failures = 1 if got > had else failures + 1
            if failures >= attempts:
                raise DownloadError(
                    f"cannot download {url}: {_reason(error)}. "
                    f"What has arrived ({got / MEGABYTE:.1f} MB) is kept, and the next run continues from there"
                ) from error
            progress(got, got, f"{target.name}: connection lost ({_reason(error)}), trying again")
            time.sleep(wait * 2 ** (failures - 1))
        except requests.HTTPError as error:
            raise DownloadError(f"cannot download {url}: the server answers {_reason(error)}") from error
        except requests.RequestException as error:
            raise DownloadError(f"cannot download {url}: {_reason(error)}") from error
    if sha256 is not None:
        found = folders.sha256(part)
        if found != sha256:
            part.unlink()  # a damaged beginning would never heal by continuing
            raise DownloadError(
                f"what {url} delivers is not what was published: its sha256 is {found}, expected {sha256}. "
                "It has been deleted; run again to fetch it anew"
            )
    os.replace(part, target)


class _CutError(Exception):
    """The connection ended before the file did, or the server is overloaded."""


def _continue(url: str, part: Path, progress: Progress) -> None:
    """One connection: append to `part` from its last byte on, up to the end of the file."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    # identity: a compressed transfer has other byte positions than the file
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
        if response.status_code in (429, 500, 502, 503, 504):
            raise _CutError(f"status {response.status_code}")
        if response.status_code == 416:
            if response.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return
            part.unlink()
            raise _CutError("the file has changed on the server")
        response.raise_for_status()
        if response.status_code != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0  # the server sends the file from its beginning
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else 0
        _check_space(part.parent, total - have)
        started, first = time.monotonic(), have
        with open(part, "r+b" if have else "wb") as file:
            file.seek(have)
            for block in response.iter_content(BLOCK):
                file.write(block)
                have += len(block)
                progress(
                    have, max(have, total), _rate(part.stem, have, total, have - first, time.monotonic() - started)
                )
        if total and have < total:
            raise _CutError(f"the connection ended after {have} of {total} bytes")


def _rate(name: str, have: int, total: int, fresh: int, seconds: float) -> str:
    speed = fresh / max(seconds, 1e-3)
    size = f"{have / MEGABYTE:.1f}" + (f" of {total / MEGABYTE:.1f} MB" if total else " MB")
    left = f", {(total - have) / speed:.0f} s left" if total and speed else ""
    return f"{name}: {size}, {speed / MEGABYTE:.1f} MB/s{left}"


def _reason(error: Exception) -> str:
    """The innermost cause: requests wraps the one line that a person can use."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    cause: object = error
    while isinstance(cause, Exception):
        inner = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)
        if not isinstance(inner, Exception):
            break
        cause = inner
    return str(cause) or type(cause).__name__


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{needed / MEGABYTE:.0f} MB are to be written to {folder}, where {free / MEGABYTE:.0f} MB are free: "
            "make room, or put --workdir on another disk"
        )


@dataclass(frozen=True)
class _Member:
    """One entry of an archive. kind: "file", "directory", or what else it is."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


def extract(
    archive: Path,
    folder: Path,
    wanted: Callable[[str], bool],
    progress: Progress,
    *,
    most_bytes: int = 20_000_000_000,
    most_members: int = 1_000_000,
) -> int:
    """Unpack the members of a .tar, .tar.gz or .zip whose name (normalized: "a/b.wav") is wanted; returns how many.

    `folder` appears only when all of it is there; a `folder` from before is replaced. Raises ArchiveError where the
    archive is damaged, is larger than `most_bytes` or `most_members`, or holds, wanted or not, an absolute name, a name
    that leaves the folder, a link or a device.
    """
    scratch = folder.with_name(folder.name + ".extracting")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    count = total = taken = 0
    size = archive.stat().st_size
    try:
        with open(archive, "rb") as raw, _members(archive, raw) as members:
            for member in members:
                name = _safe_name(member, archive)
                count, total = count + 1, total + member.size
                if count > most_members or total > most_bytes:
                    raise ArchiveError(
                        f"{archive} holds more than {most_members} members or {most_bytes / MEGABYTE:.0f} MB unpacked: "
                        "this is not the archive that was published"
                    )
                if member.kind == "file" and wanted(name):
                    _write(member, scratch / name, archive)
                    taken += 1
                progress(min(raw.tell(), size), size, f"unpacking {archive.name}: {taken} files")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile) as error:
        shutil.rmtree(scratch)
        raise ArchiveError(f"{archive} is damaged or cut short ({error}); delete it and fetch it again") from error
    except ArchiveError:
        shutil.rmtree(scratch)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)
    return taken


def _safe_name(member: _Member, archive: Path) -> str:
    """The member's name without "./"; ArchiveError where unpacking it could touch anything outside its folder."""
    path = PurePosixPath(member.name)
    if "\\" in member.name or path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise ArchiveError(f"{archive} is refused: its member {member.name!r} would be written outside its folder")
    if member.kind not in ("file", "directory"):
        raise ArchiveError(f"{archive} is refused: its member {member.name!r} is a {member.kind}; only files are taken")
    if "\0" in member.name or (member.kind == "file" and not path.parts):
        raise ArchiveError(f"{archive} is refused: it has a member without a usable name ({member.name!r})")
    return str(path)


def _write(member: _Member, target: Path, archive: Path) -> None:
    """Write one member; never more than it announced, never over something that is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    try:
        with member.open() as source, open(target, "xb") as file:
            while block := source.read(min(BLOCK, left)):
                file.write(block)
                left -= len(block)
    except FileExistsError as error:
        raise ArchiveError(f"{archive} is refused: it holds {member.name!r} twice") from error
    if left:
        raise ArchiveError(f"{archive} is damaged: {member.name!r} ends {left} bytes early")


@contextmanager
def _members(archive: Path, raw: IO[bytes]) -> Iterator[Iterator[_Member]]:
    """The members of an archive, in its order, each to be read before the next one."""
    magic = raw.read(4)
    raw.seek(0)
    if magic.startswith(b"PK"):
        with zipfile.ZipFile(raw) as zipped:
            yield (_zip_member(zipped, info) for info in zipped.infolist())
    elif magic.startswith(b"\x1f\x8b"):
        with gzip.open(raw) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            yield _tar_members(tar, cast(IO[bytes], plain), compressed=True)
    else:
        with tarfile.open(fileobj=raw, mode="r|") as tar:
            yield _tar_members(tar, raw, compressed=False)


def _tar_members(tar: tarfile.TarFile, raw: IO[bytes], compressed: bool) -> Iterator[_Member]:
    for info in tar:
        kind = "file" if info.isreg() else "directory" if info.isdir() else "link" if _is_link(info) else "device"
        yield _Member(info.name, kind, info.size if info.isreg() else 0, partial(_opened, tar, info))
    # A broken header looks like the end of the archive to tarfile: so look for the real end, or for the checksum.
    if compressed:
        while raw.read(BLOCK):
            pass
    else:
        raw.seek(tar.offset)
        if raw.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no further member and no end mark at byte {tar.offset}")


def _is_link(info: tarfile.TarInfo) -> bool:
    return info.issym() or info.islnk()


def _opened(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(info)
    assert file is not None, info.name
    return file


def _zip_member(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 28  # the file type of a Unix mode; 0 where the archive was made elsewhere
    kind = "directory" if info.is_dir() else {0: "file", 8: "file", 10: "link"}.get(mode, "device")
    if info.flag_bits & 1:
        kind = "file behind a password"
    return _Member(info.filename, kind, info.file_size, lambda: zipped.open(info))

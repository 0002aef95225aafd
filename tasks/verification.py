"""Is everything in a workdir what it was when it was finished? Every file hashed again and compared with the manifests."""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks import console, folders, inspection, machine
from tasks.errors import EarshotError

EXPECTED = (folders.CONFIG, folders.METRICS, folders.PROVENANCE, folders.LOG)
EXTRA = "is not in the manifest"


@dataclass
class Checked:
    """What was found in one artifact. problems: (file, what is wrong with it)"""

    folder: Path
    files: int = 0
    size: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def damaged(self) -> bool:
        """Whether something that belongs to it is wrong; files that are merely too many do not hurt it."""
        return any(problem != EXTRA for _, problem in self.problems)


def check(folder: Path) -> Checked:
    """Compare a finished artifact with its manifest; one that was replaced meanwhile is looked at again."""
    while True:
        before = _version(folder / folders.MANIFEST)
        found = _check(folder)
        if not found.problems or _version(folder / folders.MANIFEST) == before:
            return found


def _version(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _check(folder: Path) -> Checked:
    found = Checked(folder)
    manifest, problem = read_manifest(folder)
    if problem:
        found.problems.append((folders.MANIFEST, problem))
        return found
    entries = manifest["files"]
    found.files, found.size = len(entries) + 1, (folder / folders.MANIFEST).stat().st_size
    if folders.manifest_digest(entries) != manifest["digest"]:
        found.problems.append((folders.MANIFEST, "its digest is not that of its list of files"))
    found.problems += [(name, "is not listed in the manifest") for name in EXPECTED if name not in entries]
    with ThreadPoolExecutor(machine.cores()) as pool:
        problems = pool.map(lambda name: _check_file(folder, name, entries[name]), entries)
        for name, problem in zip(entries, problems, strict=True):
            found.size += entries[name]["size"]
            if problem:
                found.problems.append((name, problem))
    known = {*entries, *manifest.get(folders.PRUNED, {}), *EXPECTED}
    present = (path.relative_to(folder).as_posix() for path in folders.files_in(folder))
    found.problems += [(name, EXTRA) for name in present if name not in known]
    return found


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """(the manifest, what is wrong with it as a file)."""
    try:
        manifest = folders.read_json(folder / folders.MANIFEST)
    except FileNotFoundError:
        return {}, "is missing"
    except (OSError, ValueError) as error:
        return {}, f"cannot be read: {error.__cause__ or error}"
    try:
        well_formed = isinstance(manifest["digest"], str) and all(
            isinstance(entry["size"], int) and isinstance(entry["sha256"], str) and _is_inside(name)
            for name, entry in manifest["files"].items()
        )
    except (KeyError, TypeError, AttributeError):
        well_formed = False
    return (manifest, "") if well_formed else ({}, "is not a manifest")


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _check_file(folder: Path, name: str, entry: dict[str, Any]) -> str:
    """What is wrong with a file, or ""."""
    path = folder / name
    try:
        size = path.stat().st_size
        if size != entry["size"]:
            return f"has {size} bytes instead of {entry['size']}"
        return "" if folders.sha256(path) == entry["sha256"] else "has another content (sha256)"
    except FileNotFoundError:
        return "is a broken link" if path.is_symlink() else "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def broken_links(top: Path) -> Iterator[Path]:
    """Links outside of artifacts, such as `leaderboard.md`, that lead nowhere."""
    if inspection.is_artifact(top):
        return
    for path in sorted(top.iterdir()):
        if path.is_symlink():
            if not path.exists():
                yield path
        elif path.is_dir() and not path.name.startswith("."):
            yield from broken_links(path)


def tops(paths: Sequence[str], workdir: Path) -> list[Path]:
    """The folders to look through: all corpora, or those of `paths` (for a path inside an artifact, that artifact).

    Raises EarshotError for a path that is not there.
    """
    if not paths:
        if not workdir.is_dir():
            raise EarshotError(f"there is no folder {workdir}: nothing was checked")
        return inspection.corpus_folders(workdir)
    found = []
    for text in paths:
        path = Path(os.path.abspath(os.path.expanduser(text)))
        if not path.exists():
            raise EarshotError(f"no such path: {text}. Name artifacts, folders of artifacts, or nothing for all")
        if path.resolve().is_relative_to(workdir):
            path = path.resolve()
        above = [folder for folder in path.parents if workdir in folder.parents and inspection.is_artifact(folder)]
        found.append(above[-1] if above else path)
        if not found[-1].is_dir():
            raise EarshotError(f"{text} is not part of an artifact")
    return list(dict.fromkeys(found))


def verify(paths: Sequence[str], workdir: Path, repair: bool) -> int:
    """Check, print what is wrong and a summary; returns the exit status, 1 if anything was wrong.

    repair: move damaged artifacts to `.superseded/`, so that the next run makes them again; of an artifact that merely has
    files too many, move those.
    Raises EarshotError for paths that are not there.
    """
    from tqdm import tqdm

    searched = tops(paths, workdir)
    found = [folder for top in searched for folder in inspection.find_artifacts(top)]
    artifacts = files = size = wrong = 0
    for folder in tqdm(found, unit="artifact", leave=False, disable=None):
        if inspection.is_partial(folder):
            state, remark = inspection.unfinished_state(folder)
            print(f"{_shown(folder, workdir)}: not finished, not checked ({state}: {remark})")
            continue
        checked = check(folder)
        artifacts, files, size = artifacts + 1, files + checked.files, size + checked.size
        if not checked.problems:
            continue
        holder = folders.locked_by(folders.partial(folder))
        if holder:
            print(f"{_shown(folder, workdir)}: skipped, it is being built again by {holder}")
            continue
        wrong += 1
        print("\n".join(f"{_shown(folder, workdir)}/{name} {problem}" for name, problem in checked.problems))
        if repair:
            print(f"  {_repair(checked, workdir)}")
    if wrong and not repair:
        print("--repair moves what is damaged to .superseded/, so that the next run makes it again.")
    links = [link for top in searched for link in broken_links(top)]
    for link in links:
        print(f"{_shown(link, workdir)} leads nowhere: {os.readlink(link)} is not there; the next run makes it again")
    verdict = "all is as it was when it was finished"
    if wrong or links:
        verdict = f"{wrong} damaged, {len(links)} broken links"
    print(f"{artifacts} artifacts, {files} files, {console.spell_bytes(size)} checked: {verdict}.")
    return 1 if wrong or links else 0


def _shown(path: Path, workdir: Path) -> str:
    return str(path.relative_to(workdir)) if path.is_relative_to(workdir) else str(path)


def _repair(checked: Checked, workdir: Path) -> str:
    folder = checked.folder
    if not folder.is_relative_to(workdir):
        return f"not moved: it is not in {workdir}; say --workdir"
    try:
        if checked.damaged:
            return f"moved to {folders.move_aside(folder, workdir).relative_to(workdir)}; the next run makes it again"
        aside = folders.place_aside(folder, workdir)
        for name, _ in checked.problems:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / name, aside / name)
        return f"the files that do not belong to it moved to {aside.relative_to(workdir)}"
    except OSError as error:
        raise EarshotError(f"cannot repair {folder}: {error}") from None

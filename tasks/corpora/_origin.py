"""What corpora share that are downloaded or taken from `--source`: where recordings came from, and copying them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.corpora.base import SOURCE, Progress


def note(folder: Path, origin: dict[str, Any]) -> None:
    """Write down where the recordings come from, before they appear, so that a later attempt knows whose they are."""
    (folder / SOURCE).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")


def noted(folder: Path) -> Any:
    """What an earlier attempt noted; None where it was cut off before, or while it did."""
    try:
        return json.loads((folder / SOURCE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def copy(source: Path, names: Sequence[str], target: Path, progress: Progress) -> None:
    """Copy the files of these names, relative to `source`; `target` appears only when all of them are there."""
    scratch = target.with_name(target.name + ".extracting")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for done, name in enumerate(names, 1):
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, scratch / name)
        progress(done, len(names), f"copying {source.name}: {done} of {len(names)} files")
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)

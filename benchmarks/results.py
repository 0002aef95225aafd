"""The results of a run as one JSON file: written whole after every row, so that a run that is stopped has lost nothing but the
row at work, and merged by row with what the file held, where that was measured in the same circumstances."""

import json
import os
from pathlib import Path
from typing import Any

OF_A_MOMENT = ("date", "load_average")  # all else that `machine.describe` says must be equal


def write(path: Path, results: dict[str, Any]) -> None:
    """Replace the file by one that is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read(path: Path | None, like: dict[str, Any]) -> dict[str, Any] | None:
    """What the file holds, if `like` may be merged with it: the same commit without changes, machine, device and sizes."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8")) if path else None
        alike = earlier is not None and _circumstances(earlier) == _circumstances(like)
    except (OSError, ValueError, LookupError, TypeError):
        return None  # it is not there, or nothing that this benchmark wrote
    git = like["environment"]["git"]
    return earlier if alike and git["commit"] and not git["modified"] else None


def _circumstances(results: dict[str, Any]) -> tuple[Any, ...]:
    environment = {name: value for name, value in results["environment"].items() if name not in OF_A_MOMENT}
    return results["device"], results["quick"], environment


def merged(earlier: dict[str, Any] | None, new: dict[str, Any], order: list[str]) -> dict[str, Any]:
    """All rows of both, those of `new` in place of earlier ones by the same name; the head stays that of the earlier run."""
    if earlier is None:
        return new
    again = {row["name"] for part in ("rows", "failed") for row in new[part]}
    whole = earlier | {"roofline": new["roofline"] | earlier["roofline"]}
    for part in ("rows", "failed"):
        whole[part] = [row for row in earlier[part] if row["name"] not in again] + new[part]
    whole["rows"].sort(key=lambda row: order.index(row["name"]))
    return whole


def of_later_runs(results: dict[str, Any]) -> dict[str, list[str]]:
    """The names of rows that are from another run than the head, by the time at which that run began."""
    found: dict[str, list[str]] = {}
    for row in results["rows"]:
        run = row.get("run", results["environment"]["date"])
        if run != results["environment"]["date"]:
            found.setdefault(run, []).append(row["name"])
    return found

"""What plug-ins say of themselves, without importing them here.

A generator's file imports torch and a metric's scipy; the process that plans and schedules must not. So each is asked
once, in a process of its own (`python -m models.describe`, `python -m evaluation.describe`), and the answer is kept in
`_workdir/.cache/` under the sha256 of the files that decide it.
"""

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks import folders, machine
from tasks.errors import EarshotError

MODELS, METRICS = machine.REPOSITORY / "models", machine.REPOSITORY / "evaluation" / "metrics"


@functools.cache
def of_model(kind: str, spec: str) -> dict[str, Any]:
    """What a generator (kind `generators`) or classifier (`classifiers`) says of itself.

    Its version, presets (name -> settings), sampling settings, whether it has a likelihood, the first line of its docs.
    Raises EarshotError with the last line of the complaint when its file cannot be imported.
    """
    name, colon, _ = spec.rpartition(":")
    own = Path(name) if colon else MODELS / kind / f"{spec}.py"
    shared = [MODELS / kind / "base.py", *MODELS.glob("*.py")]
    return _ask("models.describe", f"{kind}/{spec}", (own, *sorted(shared)))[f"{kind}/{spec}"]


@functools.cache
def of_metrics() -> list[dict[str, Any]]:
    """Every metric in the order of the tables: key, name, version, unit, better, digits, doc, headline."""
    return _ask("evaluation.describe", "metrics", (*sorted(METRICS.glob("*.py")), METRICS.parent / "describe.py"))


@functools.cache
def _ask(module: str, spec: str, sources: tuple[Path, ...]) -> Any:
    """The JSON that `python -m module spec` prints, asked for again only when a source file has changed."""
    key = hashlib.sha256("\n".join([spec, *map(folders.sha256, sources)]).encode()).hexdigest()
    readable = quote(spec, safe="").replace("%2F", "-")[-60:]
    path = machine.workdir() / ".cache" / "descriptions" / f"{readable}-{key[:16]}.json"
    if not path.exists():
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        answer = subprocess.run(
            [sys.executable, "-m", module, spec],
            capture_output=True,
            text=True,
            cwd=machine.REPOSITORY,
            env=environment,
            check=False,
        )
        if answer.returncode != 0:
            reason = answer.stderr.strip().splitlines() or ["no reason given"]
            raise EarshotError(f"cannot read what {spec} says of itself: {reason[-1]}")
        told = json.loads(answer.stdout)
        with contextlib.suppress(OSError):  # a workdir that cannot be written to can still be planned for
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.write_json(path, told)
        return told
    return folders.read_json(path)

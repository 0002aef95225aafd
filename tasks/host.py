"""What code and what machine this is. Needs neither Luigi nor PyTorch: benchmarks run where there is no Luigi."""

import platform
import subprocess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent


def git_state() -> dict[str, Any]:
    """The commit of the code and whether files differ from it; both None where this is not a git checkout."""

    def git(*words: str) -> str | None:
        answer = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else None

    try:
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except FileNotFoundError:
        commit = changes = None
    return {"commit": commit, "modified": None if changes is None else bool(changes)}


def processor() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

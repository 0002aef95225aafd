"""What a person waits for when there is nothing to do: the rerun of a finished benchmark, its plan, `--help`, the status.

The benchmark is finished first, at the preset `smoke` with few clips: as many folders as at any other. Whole commands, in
turn with each other. The limit of a rerun is the start of Python with Luigi, without which nothing can be asked.
"""

import sys
from functools import partial

from benchmarks.rows.base import Figure, Row, Setting
from benchmarks.timing import command, interleaved

GOAL = 1.0
RERUN, START = "rerun", "Python with Luigi"


def nothing_to_do(words: list[str], environment: dict[str, str]) -> None:
    """Run a command of the finished benchmark. Raises RuntimeError if it finds something to do."""
    if "  starts" in command(words, environment):
        raise RuntimeError(f"{' '.join(words[1:])} found something to do: the benchmark was not finished")


def run(setting: Setting) -> list[Figure]:
    """Seconds of whole commands."""
    workdir = str(setting.scratch / "workdir")
    door = [sys.executable, "-m", "pipeline.spoken_digits"]
    asked = [
        *door, "--workdir", workdir, "--preset", "smoke", "--workers", "2", "--set", "corpus.clips_per_digit=16",
        *setting.pick([], ["--models", "noise", "--features", "classifier"]),
    ]  # fmt: skip
    # compiled modules are kept, as they are for people, whatever this process was told
    environment = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(setting.scratch / "bytecode")}
    command(asked, environment)
    commands = {
        RERUN: asked,
        "--plan": [*asked, "--plan"],
        "--help": [*door, "--help"],
        "pipeline.status": [sys.executable, "-m", "pipeline.status", "--workdir", workdir],
        START: [sys.executable, "-c", "import luigi"],
    }
    runs = {name: partial(nothing_to_do, words, environment) for name, words in commands.items()}
    seconds = interleaved(runs, setting.pick(11, 1))
    goal = setting.pick(GOAL, None)
    return [
        Figure(name, "s", values, goal if name == RERUN else None, limit=min(seconds[START]) if name == RERUN else None)
        for name, values in seconds.items()
    ]


ROWS = [Row("rerun", "a finished benchmark", 12, run, 2)]

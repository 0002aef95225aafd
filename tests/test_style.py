"""The rules of the house that a machine can check: sizes, docstrings, and nothing of one machine in what is committed."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ROOMS = ("pipeline", "tasks", "models", "evaluation")
MOST_LINES, MOST_LINES_OF_A_DOOR = 300, 60
# One idea, read from top to bottom in one sitting. A corpus carries its texts and checks of what a person hands in.
MOST_LINES_OF_A_PLUGIN = {"models/generators": 160, "evaluation/metrics": 150, "tasks/corpora": 250}
NO_DOORS = ("__init__", "command", "options", "plan")
TEXT = (".py", ".md", ".txt", ".cfg", ".toml", ".json", ".html", ".css", ".js", ".csv", ".yml", ".sh", "")
# Where something lies on the machine of whoever wrote it. `/tmp` etc. would be missing on the next one.
MACHINE_PATH = re.compile(r"(?<![\w.\-/}>])/(?:work|root|home|tmp|Users)/")


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def too_long(paths: list[Path], most: int) -> dict[str, int]:
    return {path.relative_to(REPOSITORY).as_posix(): lines_of(path) for path in paths if lines_of(path) > most}


@pytest.mark.parametrize("folder", [*ROOMS, "tests", "benchmarks", "examples"])
def test_every_module_says_what_it_is(folder: str) -> None:
    silent = []
    for path in python_files(folder):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and not ast.get_docstring(tree):  # an empty __init__.py has nothing to explain
            silent.append(path.relative_to(REPOSITORY).as_posix())
    assert not silent, f"without a docstring at the top: {', '.join(silent)}"


def test_files_are_short() -> None:
    assert not too_long(python_files(*ROOMS), MOST_LINES)


@pytest.mark.parametrize("folder", MOST_LINES_OF_A_PLUGIN)
def test_plugins_are_short(folder: str) -> None:
    plugins = [path for path in python_files(folder) if path.stem != "base" and not path.stem.startswith("_")]
    assert plugins
    assert not too_long(plugins, MOST_LINES_OF_A_PLUGIN[folder])


def test_front_doors_hold_no_logic() -> None:
    assert not too_long([path for path in python_files("pipeline") if path.stem not in NO_DOORS], MOST_LINES_OF_A_DOOR)


def committed_texts() -> list[Path]:
    """What git holds or would take: tracked files, and new ones that it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    if answer.returncode != 0:
        pytest.skip("this is no git checkout: what is committed is not known")
    paths = (REPOSITORY / line for line in answer.stdout.splitlines())
    return [path for path in paths if path.is_file() and path.suffix in TEXT]


def test_no_path_of_one_machine() -> None:
    found = []
    for path in committed_texts():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("cp /root/x .", True),
        ("'/tmp/a'", True),
        ("https://host/home/page", False),
        ("a/tmp/b", False),
        ("/tmpfs/x", False),
    ],
)
def test_machine_paths_are_recognized(line: str, wrong: bool) -> None:
    assert bool(MACHINE_PATH.search(line)) == wrong

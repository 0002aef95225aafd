"""Who may import whom (pipeline -> tasks -> {models, evaluation}), and that planning and `--help` load nothing heavy."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.test_style import REPOSITORY, ROOMS, python_files

ALLOWED = {
    "pipeline": {"pipeline", "tasks"},
    "tasks": {"tasks", "models", "evaluation"},
    "models": {"models"},
    "evaluation": {"evaluation"},
}
# Too slow to load for a process that plans, or that must fork without threads and CUDA.
HEAVY = {
    "torch", "torchaudio", "torchvision", "lightning", "lightning_fabric", "tensorboard", "pandas", "scipy", "sklearn",
    "matplotlib", "numpy", "numba", "soundfile", "soxr", "resampy", "safetensors", "jinja2", "pooch", "transformers",
}  # fmt: skip
FILES = [path.relative_to(REPOSITORY).as_posix() for path in python_files(*ROOMS)]


class Import(NamedTuple):
    """One import statement. at_start: it runs when its module is imported; package: `torch` of `torch.nn`."""

    line: int
    module: str
    at_start: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


def imports(file: str) -> list[Import]:
    """The imports of a file that ever run: all but those for type checkers."""
    return list(_walk(ast.parse((REPOSITORY / file).read_text(encoding="utf-8")), True))


def _walk(node: ast.AST, at_start: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(child.lineno, alias.name, at_start) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield Import(child.lineno, "." * child.level + (child.module or ""), at_start)
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, at_start and not function)


def may_use_luigi(file: str) -> bool:
    return file.startswith(("pipeline/", "tasks/")) and not file.startswith("tasks/corpora/")


@pytest.mark.parametrize("file", FILES)
def test_imports_keep_to_the_layers(file: str) -> None:
    room, faults = file.partition("/")[0], []
    for found in imports(file):
        if found.module.startswith("."):
            faults.append(f"line {found.line}: write {found.module} as an absolute import")
        if found.package in ROOMS and found.package not in ALLOWED[room]:
            faults.append(f"line {found.line}: {room} must not import {found.module}")
        if found.package == "luigi" and not may_use_luigi(file):
            faults.append(f"line {found.line}: only pipeline/ and tasks/ (not tasks/corpora/) know luigi")
        if found.package == "torchaudio" and file != "models/torchaudio_compat.py":
            faults.append(f"line {found.line}: import it from models.torchaudio_compat")
        if found.package in ("torch", "lightning_fabric") and room == "evaluation":
            faults.append(f"line {found.line}: evaluation does without {found.module}")
        if room in ("pipeline", "tasks") and found.at_start and found.package in HEAVY:
            faults.append(f"line {found.line}: import {found.module} inside the function that needs it")
    assert not faults, f"{file}:\n" + "\n".join(faults)


def test_the_walk_sees_what_it_must_see() -> None:
    source = "import a.b\nif TYPE_CHECKING:\n    import c\nif True:\n    from d import e\ndef f():\n    import g\n"
    found = list(_walk(ast.parse(source), True))
    assert found == [Import(1, "a.b", True), Import(5, "d", True), Import(7, "g", False)]
    assert "torch" in {found.package for found in imports("models/training.py")}


def loaded_by(code: str, *, cwd: Path = REPOSITORY) -> set[str]:
    """The packages that a fresh Python holds after running `code`."""
    tail = "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    answer = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, cwd=cwd, check=True)
    return set(json.loads(answer.stdout.splitlines()[-1]))


def module_names(*rooms: str) -> list[str]:
    paths = (path.relative_to(REPOSITORY).with_suffix("") for path in python_files(*rooms))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def test_pipeline_and_tasks_load_nothing_heavy() -> None:
    code = "\n".join(f"import {name}" for name in module_names("pipeline", "tasks"))
    assert not loaded_by(code) & HEAVY


def test_evaluation_loads_no_torch() -> None:
    code = "\n".join(f"import {name}" for name in module_names("evaluation"))
    assert not loaded_by(code) & {"torch", "luigi", "models", "tasks"}


def test_models_load_no_task() -> None:
    code = "\n".join(f"import {name}" for name in module_names("models"))
    assert not loaded_by(code) & {"luigi", "evaluation", "tasks", "pipeline"}


def test_names_of_models_load_no_torch() -> None:
    code = "from models import classifiers, generators\ngenerators.names(), classifiers.names()"
    assert not loaded_by(code) & HEAVY


@pytest.mark.parametrize("words", [["--help"], ["--max-steps", "none"]])
def test_help_and_wrong_flags_need_neither_luigi_nor_torch(words: list[str]) -> None:
    code = f"""
import runpy, sys
sys.argv = ["pipeline.spoken_digits", *{words!r}]
try:
    runpy.run_module("pipeline.spoken_digits", run_name="__main__")
except SystemExit:
    pass
"""
    assert not loaded_by(code) & (HEAVY | {"luigi"})

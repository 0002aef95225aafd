"""The examples are run: my_model.py through the contract of every generator, the notebook from its first cell to its last."""

import ast
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import models
from models import generators
from models.clips import ClipArray
from models.randomness import SampleRandom
from models.training import fit

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples"
# In place of a minute of training, and of judges that judge well. Long enough to be stopped in the middle.
QUICK = {"MAX_STEPS": 150, "CLIPS_PER_DIGIT": 16, "PRESET": "smoke", "COUNT": 16, "FEATURES": "classifier"}


def own_lines(path: Path) -> int:
    """Lines of code of the one class in a file: not its docstring, nor blank lines and comments."""
    text = path.read_text(encoding="utf-8")
    (cls,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    assert isinstance(cls.body[0], ast.Expr)
    written = text.splitlines()[cls.body[0].end_lineno : cls.end_lineno]
    return 1 + sum(bool(line.partition("#")[0].strip()) for line in written)


def test_my_model_has_fifteen_lines() -> None:
    assert own_lines(EXAMPLES / "my_model.py") <= 15


def test_my_model_learns_and_draws(tmp_path: Path) -> None:
    plugin = generators.find(f"{EXAMPLES / 'my_model.py'}:MyModel")
    rng, time = np.random.default_rng(0), np.arange(1000) / 8000
    tones = 0.3 * np.sin(2 * np.pi * (rng.uniform(200, 900, (32, 1)) * time + rng.random((32, 1))))
    clips = ClipArray((32768 * tones).astype(np.int16), np.full(32, 1000))
    torch.manual_seed(0)
    model = plugin.cls(plugin.presets["smoke"], 8000, 1000)
    models.save_description(tmp_path, model, plugin)
    result = fit(model, clips, clips, tmp_path, config=model.config, seed=0)
    assert result["best_validation_loss"] < 0.9 * float(
        (tmp_path / "curve.csv").read_text().splitlines()[1].split(",")[2]
    )
    trained = models.load(tmp_path)
    four = trained.sample(4, SampleRandom(1)).waveforms
    assert four.shape == (4, 1000)
    assert torch.allclose(trained.sample(2, SampleRandom(1, 2)).waveforms, four[2:], atol=1e-4)
    with pytest.raises(TypeError, match="temperature"):
        trained.sample(1, temperature=2)


def cells(path: Path) -> list[dict[str, Any]]:
    """A notebook's cells with code. It is kept without outputs, which would be of one machine."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    found: list[dict[str, Any]] = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in found)
    return found


def execute(source: str, names: dict[str, Any]) -> Any:
    """As Jupyter runs a cell: `%%writefile` writes it, and the value of a last expression is what is shown."""
    if source.startswith("%%writefile "):
        first, _, text = source.partition("\n")
        Path(first.split()[1]).write_text(text + "\n", encoding="utf-8")
        return None
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


def test_the_notebook_runs_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a copy of the repository's folder, as the model's file is written there."""
    for path in REPOSITORY.iterdir():
        if path.name not in ("my_diffusion.py", ".git", "_workdir"):
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in cells(EXAMPLES / "classroom.ipynb"):
        shown.append(execute("".join(cell["source"]), names))
        if "parameters" in cell["metadata"].get("tags", ()):
            assert set(QUICK) < set(names)
            names |= {**QUICK, "WORKDIR": str(tmp_path / "workdir")}
    pages = [value.html for value in shown if hasattr(value, "_repr_html_")]
    assert [page.count("<audio") for page in pages] == [10, 8]
    told = capsys.readouterr().out
    assert "stopped, with exit status 143" in told
    assert "MyDiffusion/smoke" in told
    (board,) = (tmp_path / "workdir").glob("spoken-digits@8000*/leaderboard.json")
    rows = {row["name"].partition("+")[0]: row for row in json.loads(board.read_text())["rows"]}
    assert rows["MyDiffusion/smoke"]["scores"]["v1/fid"]["n_generated"] == QUICK["COUNT"]
    assert not (REPOSITORY / "my_diffusion.py").exists()
    assert os.getcwd() == str(tmp_path)

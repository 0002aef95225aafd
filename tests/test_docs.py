"""The code in the pages is run, docs/adding.md's as a generator, a metric and a corpus from files of their own."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import command, export, options
from tasks import corpora
from tests import recipes

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def code(tmp_path: Path) -> dict[str, Path]:
    """The page's three files, by the heading that they stand under."""
    page = (DOCS / "adding.md").read_text(encoding="utf-8")
    found = re.findall(r"^## An? (\w+)\n.*?^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    paths = {}
    for kind, text in found:
        paths[kind] = tmp_path / f"example_{kind}.py"
        paths[kind].write_text(text, encoding="utf-8")
    assert set(paths) == {"generator", "metric", "corpus"}
    return paths


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_the_generator_trains_and_draws(code: dict[str, Path], tmp_path: Path) -> None:
    import models
    from models import generators
    from models.clips import ClipArray
    from models.training import fit

    plugin = generators.find(f"{code['generator']}:Mine")
    model = plugin.cls(plugin.presets["smoke"], 16000, 800)
    rng = np.random.default_rng(0)
    clips = ClipArray(rng.normal(0, 3000, (64, 800)).astype(np.int16), np.full(64, 800))
    models.save_description(tmp_path / "trained", model, plugin)
    result = fit(model, clips, clips, tmp_path / "trained", config=model.config, seed=0)
    samples = models.load(tmp_path / "trained").sample(5)
    assert result["best_validation_loss"] < 0.05
    assert samples.waveforms.shape == (5, 800)


def test_the_metric_measures(code: dict[str, Path]) -> None:
    from evaluation.sample_set import SampleSet

    module = load(code["metric"])
    rng = np.random.default_rng(0)
    prepared = module.prepare(SampleSet(features=rng.normal(size=(400, 3))))
    (narrow,) = module.compute(prepared, SampleSet(features=0.5 * rng.normal(size=(300, 3))))
    assert 0.2 < narrow.low < narrow.high < 0.35


def test_the_corpus_becomes_clips(code: dict[str, Path], tmp_path: Path) -> None:
    from models.clips import load_split
    from tasks.clips import prepare_clips

    module = load(code["corpus"])
    corpus, config = module.Beeps(), module.Config(beeps=8)
    source, out = tmp_path / "source", tmp_path / "clips"
    source.mkdir()
    out.mkdir()
    corpus.download(config, source, None, lambda *_: None, 1)
    prepare_clips(corpus, config, source, out, 1, lambda *_: None)
    assert len(load_split(out, "train")) == 18
    assert len(load_split(out, "test")) == 3
    assert set(load_split(out, "test").valid) == {8000}


def test_the_table_of_recipes_is_the_presets() -> None:
    """`python tests/recipes.py` prints what belongs there."""
    assert recipes.table() in (DOCS / "models.md").read_text(encoding="utf-8")


def test_the_readmes_backbone_runs() -> None:
    page = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if "S4" in block)
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(code.splitlines()) <= 12
    assert names["x"].shape == names["y"].shape
    torch.testing.assert_close(names["y_0"], names["y"][:, 0], rtol=1e-4, atol=1e-4)


def commands() -> list[str]:
    """Every front door's command in the pages, without its comment."""
    pages = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    doors = "|".join(["export", *corpora.names()])
    found = (re.match(rf" {{4}}(python -m pipeline\.(?:{doors})\b[^#]*)", line) for line in lines)
    return sorted({match[1].strip() for match in found if match})


@pytest.mark.parametrize("line", commands())
def test_commands_in_the_pages_are_understood(line: str) -> None:
    _, _, door, *words = shlex.split(line)
    name = door.rpartition(".")[2]
    asked = export.parse(words)[1] if name == "export" else options.parse(name, words)
    command.check_luigis_flags(asked.luigi)


def test_the_classrooms_code_runs(tmp_path: Path) -> None:
    import models
    from models import generators
    from models.checkpoints import save_weights

    plugin = generators.find("noise")
    model = plugin.cls(plugin.presets["smoke"], 8000, 800)
    models.save_description(tmp_path, model, plugin)
    save_weights(tmp_path / models.WEIGHTS, model.state_dict())
    page = (DOCS / "classroom.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    code, count = re.subn(r'"_workdir/[^"]*"', repr(str(tmp_path)), code)
    assert count == 1
    *lines, last = code.strip().splitlines()
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    assert eval(last, names).html.count("<audio") == 8

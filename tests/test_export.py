"""The leaderboard for a paper and for machines: LaTeX that compiles whatever a row is called, JSON as its schema has it."""

import copy
import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import evaluation
from evaluation import external, latex, published
from evaluation.leaderboard import write_leaderboard
from tests.report_sample import metrics, row, rows, run

SCHEMA = Path(evaluation.__file__).parent / "schema" / "leaderboard.schema.json"
HOSTILE = 'a|b_{x}\\end{tabular} & 100% $5 #1 ~^ <script>\n"q" é ± − × ⚠'
JUDGE = {"corpus": "test-data", "clips": "c" * 64, "classifier": "paper-seed0", "classifier_digest": "d" * 64}


def described() -> list[dict[str, Any]]:
    return [metric.to_json() for metric in evaluation.METRICS.values()]


def everything() -> list[dict[str, Any]]:
    """Rows of every kind, with every oddity that a number can have."""
    odd = run([float("inf"), float("nan"), 3, 4])
    versa = external.scores(external.Imported({"utmos": [1.0, 2.0]}, []), "0" * 64)
    scored = run([30, 4, 20, 1])
    scored["scores"] |= versa
    alarm = run([1, 9, 99, 0.1])
    alarm["scores"]["v1/fid"]["details"] = {"alarm": "copies the training set", "warnings": ["biased"]}
    return [
        *rows(),
        *published.rows(described()),
        row("odd", [odd]),
        row("scored", [scored], "imported"),
        row("copy", [alarm], conditional="class", nfe=50),
        row(HOSTILE, [run([50, 3, 9, 1])]),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    columns = [*metrics(), *(metric for metric in described() if metric["key"].startswith("sashimi/"))]
    write_leaderboard(everything(), [*columns, *published.columns()], folder, JUDGE, ["A note with 5 % of | in it."])
    return folder


def page(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "leaderboard.json").read_text())
    return found


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_json_is_as_its_schema_says(folder: Path, validator: jsonschema.Draft202012Validator) -> None:
    errors = [
        f"{'/'.join(map(str, error.path))}: {error.message[:200]}" for error in validator.iter_errors(page(folder))
    ]
    assert not errors, errors[:5]
    assert page(folder)["judge"] == JUDGE


def test_every_field_of_the_schema_is_described() -> None:
    silent = []

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for name, value in node.get("properties", {}).items():
                if not value.get("description"):
                    silent.append(f"{path}/{name}")
            for name, value in node.items():
                walk(value, f"{path}/{name}")

    walk(json.loads(SCHEMA.read_text()), "")
    assert not silent


@pytest.mark.parametrize(
    "spoil",
    [
        lambda page: page.update(format=0),
        lambda page: page["rows"][0].update(colour="red"),
        lambda page: page["rows"][0]["scores"]["v1/fid"].update(value="much"),
        lambda page: page["rows"][0]["scores"]["v1/fid"].pop("version"),
        lambda page: page["rows"][0]["scores"]["v1/fid"]["runs"][0].update(better="bigger"),
        lambda page: page["metrics"][0].pop("doc"),
    ],
)
def test_the_schema_refuses_what_is_none(folder: Path, validator: jsonschema.Draft202012Validator, spoil: Any) -> None:
    wrong = copy.deepcopy(page(folder))
    spoil(wrong)
    assert not validator.is_valid(wrong)


def test_a_score_of_an_evaluation_is_described_too() -> None:
    rng = np.random.default_rng(0)
    scores = evaluation.measure(rng.normal(size=(60, 4)), rng.normal(size=(50, 4)), ["FID"]).to_json()
    definitions = json.loads(SCHEMA.read_text())["$defs"]
    part = jsonschema.Draft202012Validator({"$defs": definitions, "$ref": "#/$defs/score"})
    part.validate(json.loads(json.dumps(scores["v1/fid"])))
    assert not part.is_valid({"key": "v1/fid", "value": 1})


def test_the_csv_can_be_read_back(folder: Path) -> None:
    lines = list(csv.DictReader(io.StringIO((folder / "leaderboard.csv").read_text(encoding="utf-8"))))
    assert {line["row"] for line in lines} == {entry["name"] for entry in page(folder)["rows"]}
    for line in lines:
        assert None not in line, "a cell too many"
        float(line["value"])
    utmos = next(line for line in lines if line["metric"] == "versa/utmos")
    assert (utmos["value"], utmos["rank_low"], utmos["better"]) == ("1.5", "", "")


def unescaped(text: str, letter: str) -> int:
    return len(re.findall(rf"(?<!\\)(?:\\\\)*{re.escape(letter)}", text))


@pytest.mark.parametrize("name", ["leaderboard.tex", "leaderboard-all.tex"])
def test_the_latex_is_a_table(folder: Path, name: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    spec = re.search(r"\\begin\{(?:tabular|longtable)\}\{@\{\}(\w+)@\{\}\}", text)
    assert spec is not None
    body = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(body) > 20
    for line in body:
        assert unescaped(line, "&") == len(spec[1]) - 1, line
        assert unescaped(line, "{") == unescaped(line, "}"), line
        assert not re.search(r"(?<!\\)[#%]", line), line
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1


def test_the_main_table_has_ties_intervals_and_groups(folder: Path) -> None:
    text = (folder / "leaderboard.tex").read_text(encoding="utf-8")
    assert r"1--2 & DiffWave small & 17.2 $\pm$1.0" in text
    assert r"\emph{Models, 500 samples}" in text
    assert r"\emph{Published}: As published, not measured here." in text
    assert r"3.412 $\pm$0.077\textsuperscript{" in text
    assert "DiffWave small, 500k steps" not in text, "a published row without any number of the main table"
    assert "DiffWave small, 500k steps" in (folder / "leaderboard-all.tex").read_text(encoding="utf-8")
    assert r"\textbf{!} copy (conditional: class)" in text


def test_names_are_escaped() -> None:
    assert latex.escape("a_b & 5 %") == r"a\_b \& 5 \%"
    assert latex.escape("\\x{y}~^") == r"\textbackslash{}x\{y\}\textasciitilde{}\textasciicircum{}"
    assert latex.escape("−1 ± ∞\x07") == r"$-$1 $\pm$ $\infty$ "
    assert latex.escape("Größe") == "Größe"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex on this machine")
def test_the_latex_compiles(folder: Path, tmp_path: Path) -> None:
    for name in ("leaderboard.tex", "leaderboard-all.tex"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{booktabs,longtable}\\begin{document}\n"
        "\\input{leaderboard}\n\\clearpage\n\\input{leaderboard-all}\n\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert answer.returncode == 0, answer.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000

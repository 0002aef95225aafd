"""Published numbers: each with its source, beside measured rows and never among them, and only under a classifier they fit."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evaluation
from evaluation import published
from evaluation.leaderboard import format_table, write_leaderboard
from evaluation.report import ReportData
from evaluation.report.page import render
from evaluation.standings import standings
from tasks import folders
from tasks.published import absence, beside, is_released
from tests import toy_runs
from tests.report_sample import row, rows, run, sample

FIELDS = {"name", "title", "parameters", "count", "sources", "scores"}
METRICS = [metric.to_json() for metric in evaluation.METRICS.values()]


def by_name() -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in published.rows(METRICS)}


def test_the_table_is_in_order() -> None:
    page = published.table()
    assert page["corpus"] == "sc09"
    for entry in page["rows"]:
        assert set(entry) - {"marks", "conditional", "note", "release"} == FIELDS
        assert entry["sources"]
        assert set(entry["sources"]) <= set(page["sources"])
        assert set(entry.get("marks", [])) <= set(page["marks"])
        assert entry["scores"]
        assert set(entry["scores"]) <= set(published.KEYS)
    names = [entry["name"] for entry in page["rows"]]
    assert len(set(names)) == len(names)
    used = {mark for entry in page["rows"] for mark in entry.get("marks", [])}
    assert used == set(page["marks"])


def test_rows_have_the_releases_numbers_with_their_source() -> None:
    sashimi = by_name()["published/sashimi"]
    (found,) = sashimi["runs"]
    values = {key: score["value"] for key, score in found["scores"].items()}
    assert values["v1/nll"] == 1.891
    assert values["v1/fid"] == values["sashimi/fid"] == 1.99
    assert values["sashimi/is"] == 4.12
    assert "v1/is" not in values, "the script's IS is another quantity"
    assert (values["v1/mis"], values["v1/am"]) == (24.57, 0.9)
    assert found["scores"]["v1/fid"]["n_generated"] == sashimi["count"] == 2816
    assert all(score["standard_error"] is None for score in found["scores"].values())
    assert "arXiv:2202.09729" in found["source"]
    assert "rejection: " in sashimi["note"]
    best = by_name()["published/diffwave-sashimi"]["runs"][0]["scores"]
    assert best["published/mos/quality"]["value"] == 4.2


def test_what_was_given_or_guided_is_marked() -> None:
    guided = by_name()["published/score-subnet-guided"]
    assert guided["conditional"] == "class"
    assert "guided by a classifier" in guided["title"]
    assert "raises IS above that of real test clips" in guided["note"]
    assert by_name()["published/logmel-unet"]["marks"] == ["external data"]
    assert by_name()["published/edmsound"]["count"] is None


def test_the_release_knows_its_sets() -> None:
    assert published.of_release("test") == {"fid": 0.02, "is": 8.33, "mis": 257.6, "am": 0.19}
    assert published.of_release("2048-wavegan")["fid"] == 2.03
    assert published.of_release("2048-mine") == {}


def test_they_stand_apart_from_measured_rows(tmp_path: Path) -> None:
    ours = row("ours", [run([1.0, 9.0, 300.0, 0.1])])
    known = [*METRICS, *published.columns()]
    table = [*rows(), ours, *published.rows(METRICS)]
    lines = standings(table, known)
    kinds = [line.kind for line in lines]
    first, last = kinds.index("published"), len(kinds) - 1 - kinds[::-1].index("published")
    assert set(kinds[first : last + 1]) == {"published"}
    assert all(cell.rank is None for line in lines if line.kind == "published" for cell in line.cells.values())
    alone = {line.name: line.cells["v1/fid"].rank for line in standings([*rows(), ours], known)}
    assert {line.name: line.cells["v1/fid"].rank for line in lines if line.kind != "published"} == alone
    write_leaderboard(table, known, tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    section = text[text.index("## Published") : text.index("## Controls")]
    assert "As published, not measured here." in section
    assert "| SaShiMi \\[rejection]" in section
    assert "- WaveGAN: Gu & Dao 2023, arXiv:2312.00752" in section
    assert "5.80" in section, "as many decimals as were published"
    assert "MOS quality" in section
    assert "MOS quality" not in text[: text.index("## Published")]
    assert "Mamba" not in format_table(table, known), "the closing words of a run are about the run"


def test_the_report_shows_them_apart() -> None:
    table = [*sample().rows, *published.rows(METRICS)]
    page = render(ReportData(corpus=sample().corpus, rows=table, metrics=[*METRICS, *published.columns()]))
    assert "As published, not measured here." in page
    assert "Mamba U-Net, 24.3M" in page
    assert 'href="../published' not in page


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    with toy_runs.settings(workdir=tmp_path):
        yield tmp_path


def classifier(workdir: Path, corpus: str, name: str, asked: str = "", content: str = "") -> tuple[Path, Path]:
    """A corpus's folder and a classifier's in it: trained, or imported as `asked` from a file of that sha256."""
    place = workdir / corpus
    folder = place / "3-classifier" / name
    folder.mkdir(parents=True)
    config = {"task": "ImportClassifier" if asked else "TrainClassifier", "settings": {"checkpoint": content}}
    folders.write_json(folder / folders.CONFIG, config)
    folders.write_json(folder / folders.PROVENANCE, {"request": {"parameters": {"classifier": asked or name}}})
    return place, folder


@pytest.mark.parametrize(
    ("corpus", "name", "asked", "shown"),
    [
        ("sc09", "checkpoint-resnext", "release:resnext", True),
        ("sc09", "checkpoint-resnext", "PATH/resnext.pth", False),
        ("sc09", "paper-seed0", "", True),
        ("sc09", "paper-seed3", "", True),
        ("sc09", "paper+width=32-seed0", "", False),
        ("sc09", "small-seed0", "", False),
        ("sc09@8000", "paper-seed0", "", False),
        ("spoken-digits", "paper-seed0", "", False),
    ],
)
def test_they_are_shown_under_the_releases_classifier_or_its_recipe_only(
    workdir: Path, corpus: str, name: str, asked: str, shown: bool
) -> None:
    found = beside(*classifier(workdir, corpus, name, asked), METRICS)
    assert bool(found.rows) == bool(found.columns) == shown
    if shown:
        assert found.notes == (() if asked else (published.ANOTHER_TRAINING,))
    else:
        (note,) = found.notes
        assert note.startswith(f"The {len(published.table()['rows'])} published SC09 results")
        assert "\n" not in note


def test_a_file_with_the_downloads_content_is_the_releases(workdir: Path) -> None:
    content = hashlib.sha256(b"weights").hexdigest()
    place, folder = classifier(workdir, "sc09", "checkpoint-mine", "PATH/mine.pth", content)
    assert not is_released(folder)
    assert "is not known to be the release's; --classifier release:resnext is" in absence(place, folder)
    (workdir / "releases").mkdir()
    (workdir / "releases" / "resnext.sha256").write_text(f"{content}  resnext.pth\n")
    assert is_released(folder)
    assert absence(place, folder) == ""


def test_why_they_are_absent_is_said_in_one_line(workdir: Path, tmp_path: Path) -> None:
    found = beside(*classifier(workdir, "sc09", "small-seed0"), METRICS)
    write_leaderboard(rows(), METRICS, tmp_path / "board", notes=found.notes)
    text = (tmp_path / "board" / "leaderboard.md").read_text()
    assert "are not shown: this classifier is another one, small-seed0, and distances between features" in text
    assert "## Published" not in text

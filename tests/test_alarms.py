"""Alarms: a model that copies or has collapsed comes last and has no rank, in every table that somebody looks at."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evaluation
from evaluation.leaderboard import format_table, write_leaderboard
from evaluation.report import ReportData
from evaluation.report.page import render
from evaluation.standings import ALARMED, NOT_MEASURED, groups, standings
from evaluation.wording import alarms, sections, traps, verdict
from tests.report_sample import metrics, row, rows, run, score

FID = metrics()[0]
COPIES, COLLAPSED = "copies the training set: 98 % of its clips", "has collapsed: 3 different clips"


def alarmed(name: str, text: str, value: float = 0.5, key: str = "v1/mis", **more: Any) -> dict[str, Any]:
    """A row with the best FID of all, and an alarm in another measure."""
    one = run([value, 9.5, 300, 0.01])
    one["scores"][key]["details"] = {"alarm": text}
    return row(name, [one], title=name, **more)


def board(*more: dict[str, Any]) -> list[dict[str, Any]]:
    return [*rows(), *more]


def test_it_has_no_rank_in_any_measure_and_nobody_is_ranked_against_it() -> None:
    without = {line.name: line for line in standings(rows(), metrics())}
    lines = {line.name: line for line in standings(board(alarmed("parrot", COPIES)), metrics())}
    assert {cell.rank for cell in lines["parrot"].cells.values()} == {None}
    assert lines["parrot"].cells["v1/fid"].value == 0.5
    for name, line in without.items():
        assert {key: (cell.rank, cell.tied) for key, cell in lines[name].cells.items()} == {
            key: (cell.rank, cell.tied) for key, cell in line.cells.items()
        }


def test_it_comes_after_every_other_model_also_those_of_other_counts() -> None:
    lines = standings(board(alarmed("parrot", COPIES), alarmed("monotone", COLLAPSED, 0.7)), metrics())
    models = [line.name for line in lines if line.kind != "control"]
    assert models == ["diffwave", "wavenet", "sashimi", "noise", "my-model", "parrot", "monotone"]
    assert [(label, [line.name for line in members]) for label, members in groups(lines, "v1/fid")][-1] == (
        ALARMED,
        ["parrot", "monotone"],
    )
    assert [name for name, label, _ in sections(lines, "v1/fid") if label == ALARMED] == ["models"]


def test_the_first_sentence_names_them_and_no_winner_among_them() -> None:
    lines = standings(board(alarmed("parrot", COPIES)), metrics())
    told = verdict(lines, FID)
    assert told.endswith("⚠ Last, and not ranked: parrot.")
    assert "parrot has" not in told
    assert alarms(lines) == [f"⚠ parrot: {COPIES}"]
    alone = standings([alarmed("parrot", COPIES)], metrics())
    assert verdict(alone, FID) == "No generator is ranked. ⚠ Last, and not ranked: parrot."


def test_what_has_no_value_comes_after_them_and_says_why(tmp_path: Path) -> None:
    mute = row("mute", [run([1, 2, 3, 4])], reasons={"v1/fid": "1 clip on the generated side, at least 2 are needed"})
    del mute["runs"][0]["scores"]["v1/fid"]
    table = board(mute, alarmed("parrot", COPIES))
    lines = standings(table, metrics())
    assert [line.name for line in lines if line.kind != "control"][-2:] == ["parrot", "mute"]
    assert [label for label, _ in groups(lines, "v1/fid")][-2:] == [ALARMED, NOT_MEASURED]
    pair = standings([mute, alarmed("parrot", COPIES), rows()[0]], metrics())
    assert [line.name for line in pair] == ["wavenet", "parrot", "mute"]
    assert [label for label, _ in groups(pair, "v1/fid")] == ["", ALARMED, NOT_MEASURED]
    told = "mute: no FID: 1 clip on the generated side, at least 2 are needed"
    assert told in format_table(table, metrics()).splitlines()
    write_leaderboard(table, metrics(), tmp_path)
    markdown = (tmp_path / "leaderboard.md").read_text()
    assert told in markdown.split("## ")[0]
    assert markdown.index(f"## Models, {ALARMED}") < markdown.index(f"## Models, {NOT_MEASURED}")


def test_one_seed_that_collapsed_is_enough() -> None:
    runs = [run([18 + seed, 4, 20, 1], seed) for seed in range(3)]
    runs[1]["scores"]["v1/is"]["details"] = {"alarm": COLLAPSED}
    [line] = standings([row("wavegan", runs)], metrics())
    assert line.alarms == [COLLAPSED]
    assert line.marked == "⚠ wavegan"


def test_every_table_shows_it(tmp_path: Path) -> None:
    table = board(alarmed("parrot", COPIES))
    text = format_table(table, metrics())
    assert "⚠ parrot" in text
    assert f"── {ALARMED} ─" in text
    assert "copies the training set" in text
    assert text.index("WaveNet small") < text.index("my-model") < text.index("⚠ parrot") < text.index("Held-out")
    write_leaderboard(table, metrics(), tmp_path)
    markdown = (tmp_path / "leaderboard.md").read_text()
    assert f"⚠ parrot: {COPIES}" in markdown.split("## ")[0]
    assert markdown.index(f"## Models, {ALARMED}") > markdown.index("## Models, 500 samples")
    assert "| –    | ⚠ parrot" in markdown
    lines = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    assert {line["alarm"] for line in lines if line["row"] == "parrot"} == {COPIES}
    assert {line["alarm"] for line in lines if line["row"] != "parrot"} == {""}
    page = json.loads((tmp_path / "leaderboard.json").read_text())
    assert {entry["name"]: entry["alarms"] for entry in page["rows"]}["parrot"] == [COPIES]
    assert not any("parrot" in (pair["a"], pair["b"]) for pair in page["differences"])


def test_the_page_shows_it() -> None:
    data = ReportData(corpus={"name": "x", "title": "X"}, rows=board(alarmed("parrot", COPIES)), metrics=metrics())
    page = render(data)
    assert "⚠ Last, and not ranked: parrot." in page
    body = page.split("<table", 1)[1].split("</table>", 1)[0]
    assert body.index("my-model") < body.index(COPIES) < body.index(">Held-out real clips")


def control(name: str, alarm: str = "", role: str = "trap") -> dict[str, Any]:
    made = alarmed(name, alarm) if alarm else row(name, [run([0.5, 9, 30, 0.1])])
    return made | {"kind": "control", "role": role}


def test_traps_stand_apart_and_the_terminal_says_which_were_noticed() -> None:
    table = board(control("copied", COPIES), control("repeated"), control("train-split", role="dataset"))
    lines = standings(table, metrics())
    shown = {name: [line.name for line in members] for name, _, members in sections(lines, "v1/fid")}
    assert shown["traps"] == ["copied", "repeated"]
    assert shown["controls"] == ["train-split", "held-out", "silence", "white-noise"]
    assert alarms(lines) == []
    assert traps(lines) == "Traps, in leaderboard.md: raise an alarm: copied; raise none: repeated"
    text = format_table(table, metrics())
    assert "raise none: repeated" in text
    assert sum("copied" in line for line in text.splitlines()) == 1
    assert traps(standings(rows(), metrics())) == ""


RNG = np.random.default_rng(0)
TRAIN, TEST, FRESH = (RNG.normal(size=(count, 6)) for count in (1500, 500, 500))


@pytest.mark.parametrize(
    ("generated", "expected"),
    [
        (TRAIN[:500], True),
        (np.repeat(TRAIN[:1], 500, axis=0) + 1e-6 * RNG.normal(size=(500, 6)), True),
        (np.where(np.arange(500)[:, None] % 2, FRESH[:1], FRESH), True),
        (FRESH, False),
    ],
    ids=["copied", "repeated", "half-collapsed", "real"],
)
def test_what_the_traps_are_made_of_raises_an_alarm_and_real_clips_do_not(generated: Any, expected: bool) -> None:
    held_out = evaluation.SampleSet(features=TEST)
    scores = evaluation.measure(evaluation.SampleSet(features=TRAIN, held_out=held_out), generated)
    assert any(one.details.get("alarm") for one in scores.values()) == expected


def test_scores_of_other_kinds_of_alarm_are_none() -> None:
    one = run([1, 2, 3, 4])
    one["scores"]["v1/fid"] = score("v1/fid", 1, 0.1, details={"warnings": ["biased"], "alarm": ""})
    [line] = standings([row("a", [one])], metrics())
    assert (line.alarms, line.cells["v1/fid"].warnings) == ([], ("biased",))

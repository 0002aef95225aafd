"""Whether a result got worse: what counts as worse, what cannot be compared, and the exit status of the door."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from evaluation import results
from evaluation.leaderboard import write_leaderboard
from evaluation.regressions import Comparison, Tolerance, compare, show
from evaluation.results import IncomparableError, read
from pipeline import compare as door
from tests.report_sample import metrics, row, rows, run, score
from tests.toy_runs import REPOSITORY

JUDGE = {"corpus": "test-data", "clips": "c" * 64, "classifier": "small-seed0", "classifier_digest": "d" * 64}


def board(folder: Path, table: list[dict[str, Any]] | None = None, judge: dict[str, str] = JUDGE) -> Path:
    write_leaderboard(rows() if table is None else table, metrics(), folder, judge)
    return folder / "leaderboard.json"


def single(folder: Path, scores: list[dict[str, Any]], **more: Any) -> Path:
    """The metrics.json of an evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    page = {"scores": {one["key"]: one for one in scores}, "not_applicable": {}, "samples": 512, "judge": JUDGE} | more
    (folder / "metrics.json").write_text(json.dumps(page))
    return folder


def fid(value: float, error: float | None = 0.5, **more: Any) -> dict[str, Any]:
    made = score("v1/fid", value, error or 0.0, **more)
    return made if error is not None else made | {"standard_error": None, "low": None, "high": None}


def verdicts(comparison: Comparison) -> list[str]:
    return [change.verdict for change in comparison.changes]


def compared(tmp_path: Path, a: dict[str, Any], b: dict[str, Any], *tolerances: str) -> Comparison:
    one, other = single(tmp_path / "a", [a]), single(tmp_path / "b", [b])
    return compare(read(one), read(other), tolerances=[Tolerance.parse(text) for text in tolerances])


def test_the_same_result_is_equal(tmp_path: Path) -> None:
    a, b = read(board(tmp_path / "a")), read(board(tmp_path / "b"))
    comparison = compare(a, b)
    assert set(verdicts(comparison)) == {"equal"}
    assert comparison.status == 0
    assert len({change.row for change in comparison.changes}) == len(rows())
    assert len(compare(a, b, ["all"]).changes) > len(comparison.changes)


@pytest.mark.parametrize(
    ("after", "verdict", "status"),
    [(20.0, "worse", 1), (11.0, "not told apart", 0), (5.0, "better", 0), (10.0, "equal", 0)],
)
def test_worse_is_beyond_the_interval_of_the_difference(
    tmp_path: Path, after: float, verdict: str, status: int
) -> None:
    comparison = compared(tmp_path, fid(10.0), fid(after))
    assert verdicts(comparison) == [verdict]
    assert comparison.status == status
    assert comparison.changes[0].half == pytest.approx(1.96 * 0.5 * 2**0.5, rel=1e-4)


def test_the_direction_is_the_measures(tmp_path: Path) -> None:
    higher = [score("v1/is", value, 0.1) for value in (8.0, 5.0)]
    assert verdicts(compared(tmp_path, *higher)) == ["worse"]
    target = [score("v1/x", v, 0.1, better="target", details={"target": 3.0}) for v in (2.0, 3.1)]
    assert verdicts(compared(tmp_path, *target)) == ["better"]
    assert verdicts(compared(tmp_path, *target[::-1])) == ["worse"]


@pytest.mark.parametrize(
    ("tolerances", "verdict"),
    [
        ((), "worse"),
        (("1",), "worse"),
        (("3",), "within tolerance"),
        (("20%",), "worse"),
        (("FID=3",), "within tolerance"),
        (("v1/fid=40%",), "within tolerance"),
        (("FID=0.5", "2"), "worse"),
    ],
)
def test_a_tolerance_lets_it_be_worse_by_so_much(tmp_path: Path, tolerances: tuple[str, ...], verdict: str) -> None:
    assert verdicts(compared(tmp_path, fid(10.0), fid(14.0), *tolerances)) == [verdict]


def test_the_last_line_names_the_tolerance(tmp_path: Path) -> None:
    within = show(compared(tmp_path, fid(10.0), fid(14.0), "FID=3", "20%"), "a", "b")
    assert within.endswith(
        "None of 1 numbers got worse beyond the interval of its difference by more than the tolerance (FID=3, 20%). "
        "Worse within the tolerance: v1/fid of the evaluation."
    ), within
    beyond = show(compared(tmp_path, fid(10.0), fid(14.0), "1"), "a", "b")
    assert "by more than the tolerance (1): v1/fid of the evaluation." in beyond
    assert verdicts(compared(tmp_path, fid(10.0), fid(10.5), "1")) == ["not told apart"]


def test_a_new_alarm_is_worse_whatever_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def marked(name: str, text: str, **more: Any) -> Path:
        one = run([10, 4, 20, 1])
        one["scores"]["v1/mis"]["details"] = {"alarm": text} if text else {}
        return board(tmp_path / name, [row("a", [one], **more), row("b", [run([10, 4, 20, 1])])])

    copies = "copies the training set: 98 % of its clips"
    a, b, again = marked("a", ""), marked("b", copies), marked("c", "copies the training set: 97 %")
    assert door.main([str(a), str(b), "--metric", "FID"]) == 1
    out = capsys.readouterr().out
    assert f"a has an alarm that it had not: {copies}" in out
    assert out.endswith("1 new alarm: that is worse.\n")
    assert door.main([str(a), str(b), "--row", "b"]) == 0
    assert door.main([str(b), str(a)]) == door.main([str(b), str(again)]) == 0
    other = marked("d", "has collapsed: 3 different clips")
    assert door.main([str(b), str(other)]) == 1
    trap = {"kind": "control", "role": "trap"}
    assert door.main([str(marked("e", "", **trap)), str(marked("f", copies, **trap))]) == 0
    alarmed = fid(10.0) | {"details": {"alarm": copies}}
    [told] = compared(tmp_path / "single", fid(10.0), alarmed).alarms
    assert told == f"⚠ the evaluation has an alarm that it had not: {copies}"


def test_without_an_interval_only_a_tolerance_decides(tmp_path: Path) -> None:
    assert verdicts(compared(tmp_path, fid(10.0, None), fid(14.0, None))) == ["no interval"]
    assert verdicts(compared(tmp_path, fid(10.0, None), fid(14.0, None), "1")) == ["worse"]
    assert verdicts(compared(tmp_path, fid(10.0, None), fid(14.0, None), "FID=5")) == ["within tolerance"]
    assert verdicts(compared(tmp_path, fid(10.0, None), fid(10.0, None))) == ["equal"]


def test_a_value_that_became_infinite_is_worse(tmp_path: Path) -> None:
    after = board(tmp_path / "b", [row("a", [run([float("inf"), 4, 20, 1])])])
    before = board(tmp_path / "a", [row("a", [run([10.0, 4, 20, 1])])])
    comparison = compare(read(before), read(after), ["FID"])
    assert verdicts(comparison) == ["worse"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": 2}, "another version of the measure: 1 in a, 2 in b"),
        ({"n_generated": 64}, "another number of generated clips: 512 in a, 64 in b"),
        ({"n_reference": 64}, "another number of reference clips: 3000 in a, 64 in b"),
        ({"better": "higher"}, "another direction"),
        ({"details": {"likelihood_space": "9 bit"}}, "another what the likelihood is over"),
        ({"value": None, "reason": "silence"}, "there is no number in b"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    comparison = compared(tmp_path, fid(10.0), fid(10.0) | changed)
    assert comparison.changes == []
    assert told in comparison.obstacles[0]
    assert comparison.status == 2


def test_a_row_or_number_that_is_gone_is_an_obstacle_and_a_new_one_is_not(tmp_path: Path) -> None:
    fewer, all_of_them = board(tmp_path / "a", rows()[:-1]), board(tmp_path / "b")
    assert compare(read(fewer), read(all_of_them)).status == 0
    assert "silence" in compare(read(fewer), read(all_of_them)).remarks[0]
    gone = compare(read(all_of_them), read(fewer))
    assert gone.status == 2
    assert gone.obstacles == [f"silence is in {all_of_them} only"]
    assert compare(read(all_of_them), read(fewer), rows=["wavenet"]).status == 0
    without = rows()
    del without[2]["runs"][0]["scores"]["v1/nll"]
    lost = compare(read(all_of_them), read(board(tmp_path / "c", without)))
    assert lost.obstacles == ["sashimi, NLL: there is no number in b: the model gives no exact likelihood"]


@pytest.mark.parametrize(("field", "word"), [("corpus", "corpus"), ("clips", "real clips"), ("classifier", "classifier"),
                                             ("classifier_digest", "weights of the classifier")])  # fmt: skip
def test_another_judge_is_refused(tmp_path: Path, field: str, word: str) -> None:
    other = board(tmp_path / "b", judge=JUDGE | {field: "x" * 64})
    with pytest.raises(IncomparableError, match=f"not comparable: the {word} of the one is"):
        compare(read(board(tmp_path / "a")), read(other))
    with pytest.raises(IncomparableError, match="does not say which clips and classifier"):
        compare(read(board(tmp_path / "a")), read(board(tmp_path / "c", judge={})))


def test_files_that_are_no_results_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("no")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "broken.json").write_text('{"rows": [{"name": "a"}], "metrics": []}')
    (tmp_path / "metrics.json").write_text('{"parameters": 7}')
    for name, told in (
        ("text.json", "is no JSON"),
        ("list.json", "holds no scores"),
        ("broken.json", "is damaged: KeyError 'scores'"),
        ("", "holds no scores"),
        ("gone.json", "cannot be read: No such file"),
    ):
        with pytest.raises(IncomparableError, match=told):
            read(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(IncomparableError, match=r"neither leaderboard\.json nor metrics\.json"):
        read(tmp_path / "empty")


def test_unknown_names_are_told_with_the_choices(tmp_path: Path) -> None:
    a = read(board(tmp_path / "a"))
    with pytest.raises(IncomparableError, match=r"no measure 'FIDD' here\. Did you mean FID\?.*v1/mis"):
        compare(a, a, ["FIDD"])
    with pytest.raises(IncomparableError, match=r"no row 'wavnet'.*There are: .*wavenet"):
        compare(a, a, rows=["wavnet"])
    with pytest.raises(IncomparableError, match=r"FID=0\.5"):
        Tolerance.parse("FID=-1")
    with pytest.raises(IncomparableError, match="two of a kind"):
        compare(a, read(single(tmp_path / "b", [fid(10.0)])))


def test_controls_are_compared_row_by_row(tmp_path: Path) -> None:
    controls = {name: {"scores": {"v1/fid": fid(value)}} for name, value in (("silence", 300.0), ("held-out", 1.0))}
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps({"rows": controls, "judge": JUDGE}))
    comparison = compare(read(tmp_path / "a"), read(tmp_path / "b"))
    assert {change.row for change in comparison.changes} == {"silence", "held-out"}
    assert results.ONE not in show(comparison, "a", "b")


def test_the_table_shows_differences_with_intervals(tmp_path: Path) -> None:
    worse = rows()
    worse[1]["runs"][0]["scores"]["v1/fid"] = score("v1/fid", 30.0, 0.5)
    a, b = read(board(tmp_path / "a")), read(board(tmp_path / "b", worse))
    text = show(compare(a, b, ["FID"]), a.path, b.path)
    (line,) = (line for line in text.splitlines() if line.startswith("diffwave"))
    assert line.split() == ["diffwave", "FID", "17.20", "30.00", "+12.80", "[11.39,", "14.21]", "worse"]
    assert text.endswith("1 of 8 numbers got worse, beyond the interval of the difference: FID of diffwave.")
    assert len({line.index("]") for line in text.splitlines() if "]" in line}) == 1


def test_many_comparisons_say_what_chance_does(tmp_path: Path) -> None:
    table = [row(f"m{i}", [run([10, 4, 20, 1])]) for i in range(25)]
    a, b = read(board(tmp_path / "a", table)), read(board(tmp_path / "b", table))
    assert "None of 100 numbers got worse" in show(compare(a, b), a.path, b.path)
    assert "By chance alone, about 2 would." in show(compare(a, b), a.path, b.path)


def test_the_door_prints_and_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worse = [row("a", [run([30, 4, 20, 1])]), row("b", [run([10, 4, 20, 1])])]
    a = board(tmp_path / "a", [row("a", [run([10, 4, 20, 1])]), row("b", [run([10, 4, 20, 1])])])
    b = board(tmp_path / "b", worse)
    assert door.main([str(a), str(a.parent)]) == 0
    assert "None of 8 numbers got worse" in capsys.readouterr().out
    assert door.main([str(a), str(b)]) == 1
    assert "FID of a" in capsys.readouterr().out
    assert door.main([str(a), str(b), "--row", "b"]) == 0
    assert door.main([str(a), str(b), "--metric", "IS"]) == 0
    assert door.main([str(a), str(b), "--tolerance", "FID=25"]) == 0
    assert door.main([str(a), str(tmp_path / "gone")]) == 2
    assert "gone cannot be read" in capsys.readouterr().err
    fewer = board(tmp_path / "c", worse[1:])
    assert door.main([str(a), str(fewer)]) == 2
    told = capsys.readouterr()
    assert "Not compared: a is in" in told.err
    assert "None of 4 numbers" in told.out


def test_single_evaluations_go_by_the_names_of_the_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.descriptions.of_metrics", metrics)
    a, b = single(tmp_path / "a", [fid(10.0)]), single(tmp_path / "b", [fid(20.0)])
    assert door.main([str(a), str(b / "metrics.json"), "--metric", "fid"]) == 1
    assert "FID of the evaluation" in capsys.readouterr().out


def test_help_is_instant_and_explains_the_exit_status() -> None:
    started = time.monotonic()
    command = [sys.executable, "-X", "importtime", "-m", "pipeline.compare", "--help"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 5
    assert "Exit status: 0 nothing got worse; 1 something did; 2" in answer.stdout
    assert not [
        name for name in ("numpy", "scipy", "luigi", "torch") if f"| {name}\n" in answer.stderr.replace("   ", "")
    ]

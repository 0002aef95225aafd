"""What `make bench` keeps, merges, and says of goals, with invented measurements."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench, child, machine, results
from benchmarks.roofline import Rates
from benchmarks.rows.base import Figure

RATES = Rates({"float32": 100.0}, 10.0, {1: 8.0}, {1: 2.0})


def invented(monkeypatch: pytest.MonkeyPatch, modified: bool = False) -> dict[str, list[Any]]:
    """Rows are not run: what each of them says is what the answer holds at the time, (value, goal), or an exception."""
    answers: dict[str, list[Any]] = {}

    def measure(name: str, *others: Any) -> dict[str, Any]:
        if name == child.ROOFLINE:
            return {"rates": {**vars(RATES)}, "environment": {}}
        value, goal = answers[name]
        if isinstance(value, BaseException):
            raise value
        return {"figures": [{"name": "all", "unit": "s", "values": [value], "goal": goal}], "steal": 0.0, "others": 0.0}

    clock = iter(f"2026-01-01T00:00:{second:02d}Z" for second in range(60))
    monkeypatch.setattr(child, "measure", measure)
    monkeypatch.setattr(machine, "now", lambda: next(clock))
    monkeypatch.setattr("tasks.host.git_state", lambda: {"commit": "c" * 40, "modified": modified})
    return answers


def names_in(path: Path) -> list[str]:
    return [row["name"] for row in json.loads(path.read_text())["rows"]]


def test_what_was_measured_is_kept_when_a_run_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    answers = invented(monkeypatch)
    answers |= {"features": [1.0, None], "clips": [KeyboardInterrupt(), None]}
    assert bench.main(["--rows", "features", "clips", "--json", str(out)]) == 130
    assert names_in(out) == ["features"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_single_rows_go_into_the_whole_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out.json"
    answers = invented(monkeypatch)
    answers |= {"features": [1.0, None], "clips": [2.0, None], "rerun": [3.0, None]}
    bench.main(["--rows", "features", "clips", "rerun", "--json", str(out)])
    before = json.loads(out.read_text())
    answers["clips"] = [7.0, None]
    capsys.readouterr()
    bench.main(["--rows", "clips", "--json", str(out), "--markdown"])
    found = json.loads(out.read_text())
    assert names_in(out) == ["features", "clips", "rerun"]
    assert [row["figures"][0]["values"] for row in found["rows"]] == [[1.0], [7.0], [3.0]]
    assert found["environment"] == before["environment"]
    later = results.of_later_runs(found)
    assert list(later.values()) == [["clips"]]
    assert f"- measured again later, at the rates of that time: clips ({next(iter(later))})" in capsys.readouterr().out
    assert found["rows"][1]["date"] > before["rows"][2]["date"]
    assert all(len(row["load_average"]) == 3 and row["rates"] for row in found["rows"])

    answers["clips"] = [child.FailedError("too loud", ""), None]
    assert bench.main(["--rows", "clips", "--json", str(out)]) == 1
    assert names_in(out) == ["features", "rerun"], "it is not as it was"
    answers["clips"] = [8.0, None]
    assert bench.main(["--rows", "clips", "--json", str(out)]) == 0
    assert not json.loads(out.read_text())["failed"]


@pytest.mark.parametrize("what", ["commit", "changes", "quick", "processor", "no JSON", "other JSON"])
def test_a_table_of_other_circumstances_is_replaced(what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    answers = invented(monkeypatch, what == "changes")
    answers |= {"features": [1.0, None], "clips": [2.0, None]}
    bench.main(["--rows", "features", "--json", str(out)])
    words = ["--rows", "clips", "--json", str(out)]
    if what == "commit":
        monkeypatch.setattr("tasks.host.git_state", lambda: {"commit": "d" * 40, "modified": False})
    elif what == "quick":
        words.append("--quick")
    elif what == "processor":
        monkeypatch.setattr("tasks.host.processor", lambda: "another")
    elif what.endswith("JSON"):
        out.write_text("{" if what == "no JSON" else '["mine"]')
    bench.main(words)
    assert names_in(out) == ["clips"]


def test_missed_goals_are_named_and_wrong_results_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    answers = invented(monkeypatch)
    answers |= {"features": [1.0, 2.0], "clips": [60.123, 60.0], "wavenet-agreement": [0.5, 1.0]}
    asked = ["--rows", *answers]
    assert bench.main([*asked, "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert said.endswith("\n2 of 3 goals reached\nmissed: clips, all: 60.12 s (goal 60)\n")
    answers["wavenet-agreement"] = [float("nan"), 1.0]
    assert bench.main([*asked, "--markdown"]) == 1
    said = capsys.readouterr().out
    assert said.endswith(
        "\n1 of 3 goals reached\n\nmissed: clips, all: 60.12 s (goal 60)\n\nmissed: wavenet-agreement, all: nan s (goal 1)\n"
    )
    nothing = Figure("", "share", [0.0], goal=0.95, limit=1.0, higher=True)
    assert nothing.reached is False
    assert nothing.distance == math.inf

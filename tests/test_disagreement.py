"""Where v1 and the published script rank two models differently, the leaderboard says so, and only where v1 is sure."""

import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.disagreement import Disagreement, compared, disagreements
from evaluation.leaderboard import format_markdown
from evaluation.standings import complete_metrics, standings
from tests.report_sample import metrics, row, score


def model(name: str, fid: float, script_fid: float, inception: float, script_is: float, error: float = 0.1) -> dict:
    values = {"v1/fid": fid, "sashimi/fid": script_fid, "v1/is": inception, "sashimi/is": script_is}
    scores = {key: score(key, value, error) for key, value in values.items()}
    for key in ("v1/is", "sashimi/is"):
        scores[key]["better"] = "higher"
    return row(name, [{"seed": 0, "scores": scores, "source": name, "digest": name}])


def told(*models: dict) -> list[str]:
    known = complete_metrics(models, metrics())
    return disagreements(standings(models, known), known)


def test_what_v1_tells_apart_and_the_script_turns_round() -> None:
    rows = [model("a", 2, 2, 6, 6), model("b", 4, 4, 3, 9)]
    assert told(*rows) == [
        "IS ranks a over b in v1, and b over a in the published script.",
        "FID ranks alike in both, wherever v1 tells two models apart.",
    ]
    known = complete_metrics(rows, metrics())
    lines = standings(rows, known)
    assert compared(lines, known)["v1/is"] == [Disagreement("v1/is", "a", "b")]
    text = format_markdown(lines, known)
    assert "## v1 and the published script\n\nIS ranks a over b in v1, and b over a in the published script." in text


def test_several_pairs_of_one_measure_are_one_sentence() -> None:
    sentences = told(model("a", 2, 2, 6, 3), model("b", 4, 4, 3, 6), model("c", 6, 6, 2, 7))
    assert sentences[0] == (
        "IS ranks a over b, a over c and b over c in v1, and each the other way round in the published script."
    )


@pytest.mark.parametrize("error", [2.0, 0.1])
def test_pairs_that_v1_cannot_tell_apart_say_nothing(error: float) -> None:
    sentences = told(model("a", 2, 4, 6, 3, error), model("b", 3, 3, 5, 4, error))
    assert bool(sentences) == (error < 1)


def test_ties_missing_values_and_other_counts_say_nothing() -> None:
    assert not told(model("a", 2, 2, 6, 6))
    assert told(model("a", 2, 3, 6, 6), model("b", 4, 3, 3, 5)) == [
        "FID and IS rank alike in both, wherever v1 tells two models apart."
    ]
    lacking = model("b", 4, 4, 3, 9)
    del lacking["runs"][0]["scores"]["sashimi/is"]
    assert told(model("a", 2, 2, 6, 6), lacking) == ["FID ranks alike in both, wherever v1 tells two models apart."]
    fewer = model("b", 4, 4, 3, 9)
    for one in fewer["runs"][0]["scores"].values():
        one["n_generated"] = 100
    assert not told(model("a", 2, 2, 6, 6), fewer)
    only_ours = [{**one, "runs": [{**one["runs"][0], "scores": {"v1/fid": score("v1/fid", 3.0 * k, 0.1)}}]}
                 for k, one in enumerate((model("a", 2, 2, 6, 6), model("b", 4, 4, 3, 9)), 1)]  # fmt: skip
    assert not told(*only_ours)


def test_it_needs_the_standard_library_only() -> None:
    code = "import sys, evaluation.disagreement; sys.exit(bool({'numpy', 'scipy', 'torch'} & {*sys.modules}))"
    stub = "import sys, types; m = types.ModuleType('evaluation'); m.__path__ = ['evaluation']; sys.modules['evaluation'] = m; "
    done = subprocess.run([sys.executable, "-c", stub + code], cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == 0

"""Standings and the leaderboard's three texts: seeds, ties, what is compared with what, and what is written."""

import csv
import io
import json
import re
import subprocess
import sys

import pytest
from scipy import stats

from evaluation.leaderboard import format_table, write_leaderboard
from evaluation.seeds import merge_seeds, t_quantile
from evaluation.standings import Cell, groups, separable, standings
from evaluation.wording import half_width, number, shown_digits, verdict
from tests.report_sample import metrics, row, rows, run, score

FID = metrics()[0]


def models(*values: tuple[str, float, float]) -> list[dict]:
    """One row per (name, FID, standard error)."""
    made = []
    for name, value, error in values:
        one = {"seed": 0, "scores": {"v1/fid": score("v1/fid", value, error)}, "source": name, "digest": name}
        made.append(row(name, [one]))
    return made


def ranks(rows: list[dict], key: str = "v1/fid") -> dict[str, tuple[int, int] | None]:
    return {line.name: line.cells[key].rank for line in standings(rows, metrics())}


def test_t_quantiles_are_students():
    for freedom in (1, 2, 5, 10, 11, 30, 200):
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-3)


def test_rows_that_cannot_be_told_apart_share_their_rank():
    # The difference of a and b is 1.0 with standard error 0.71: no winner; c is far behind both.
    assert ranks(models(("c", 20, 0.5), ("a", 10, 0.5), ("b", 11, 0.5))) == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}


def test_separable_is_a_test_of_the_difference_not_of_overlap():
    # The intervals overlap ([8.04, 11.96], [10.54, 14.46]), and 2.5 < 1.96 sqrt(2): not separable; at 3 it is.
    cells = [line.cells["v1/fid"] for line in standings(models(("a", 10, 1), ("b", 12.5, 1), ("c", 13, 1)), metrics())]
    assert not separable(cells[0], cells[1])
    assert separable(cells[0], cells[2])


def test_a_chain_of_ties_gives_overlapping_rank_intervals():
    assert ranks(models(("a", 10, 1), ("b", 12, 1), ("c", 14, 1))) == {"a": (1, 2), "b": (1, 3), "c": (2, 3)}


def test_no_winner_is_claimed_for_a_tie():
    tie = standings(models(("a", 10, 0.5), ("b", 11, 0.5)), metrics())
    assert "names no winner" in verdict(tie, FID)
    clear = standings(models(("a", 10, 0.5), ("b", 15, 0.5)), metrics())
    assert verdict(clear, FID).startswith("a has the lowest FID")
    assert "nothing to rank it against" in verdict(clear[:1], FID)
    assert verdict([], FID) == "No generator has been measured yet."


def test_higher_is_better_where_the_score_says_so():
    good, bad = run([10, 8.0, 50, 0.2]), run([10, 2.0, 50, 0.2])
    assert ranks([row("bad", [bad]), row("good", [good])], "v1/is") == {"bad": (2, 2), "good": (1, 1)}


def test_a_score_without_standard_error_beats_nothing():
    pair = models(("a", 10, 0.5), ("b", 100, 0.5))
    pair[0]["runs"][0]["scores"]["v1/fid"] |= {"standard_error": None, "low": None, "high": None}
    assert ranks(pair) == {"a": (1, 2), "b": (1, 2)}


def test_other_counts_and_likelihood_spaces_are_ranked_apart(tmp_path):
    lines = {line.name: line for line in standings(rows(), metrics())}
    assert lines["my-model"].cells["v1/fid"].rank == (1, 1)  # 500 samples, the others have 512
    for name in ("wavenet", "sashimi"):  # two models, two spaces: neither is ranked against the other
        assert (lines[name].cells["v1/nll"].rank, lines[name].cells["v1/nll"].tied) == ((1, 1), ())
    write_leaderboard(rows(), metrics(), tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    assert text.index("## Models, 512 samples") < text.index("## Models, 500 samples") < text.index("## Controls")
    assert "min-max scaled per clip; only equal ones are compared" in text
    assert "8-bit mu-law, unscaled; only equal ones are compared. Histogram alone (unigram entropy): 5.123." in text


def counted(*values: tuple[str, float, int]) -> list[dict]:
    """One row per (name, FID, number of samples)."""
    return [row(name, [run([value, 4, 20, 1], generated=n)], count=n) for name, value, n in values]


def test_each_count_has_ranks_of_its_own():
    table = counted(("a", 10, 10240), ("b", 30, 10240), ("c", 5, 2048), ("d", 20, 2048))
    assert ranks(table) == {"a": (1, 1), "b": (2, 2), "c": (1, 1), "d": (2, 2)}
    lines = standings(table, metrics())
    assert [line.name for line in lines] == ["a", "b", "c", "d"]  # by group, and in each by FID
    assert [(label, len(members)) for label, members in groups(lines, "v1/fid")] == [
        ("10,240 samples", 2),
        ("2,048 samples", 2),
    ]
    assert "Over 10,240 samples: a has the lowest FID" in verdict(lines, FID)
    assert "Over 2,048 samples: c has the lowest FID" in verdict(lines, FID)
    text = format_table(table, metrics())
    assert "── 10,240 samples ─" in text
    assert "ranked apart" in text


def test_one_count_makes_one_group_and_needs_no_label():
    table = [*counted(("a", 10, 512), ("b", 30, 512)), row("held-out", [run([1, 9, 99, 0], generated=60)], "control")]
    assert [label for label, _ in groups(standings(table, metrics()), "v1/fid")] == [""]
    text = format_table(table, metrics())
    assert "apart" not in text
    assert "over 60" not in text  # controls are never ranked, so there is nothing to say of their count


def given(name: str, condition: str, value: float = 1) -> dict:
    """A row whose samples were given something; 512 of them."""
    return row(name, [run([value, 9, 50, 0.1])], title=name.partition("/")[0], conditional=condition, nfe=16000)


def test_rows_that_were_given_something_are_ranked_apart_and_marked(tmp_path):
    table = [*counted(("a", 10, 512), ("b", 30, 512)), given("a/given", "0.25 s prefix"), given("told", "class")]
    assert ranks(table) == {"a": (1, 1), "b": (2, 2), "a/given": (1, 1), "told": (1, 1)}
    lines = standings(table, metrics())
    assert [line.name for line in lines[:2]] == ["a", "b"]
    mark = "512 samples (conditional: 0.25 s prefix)"
    assert {label for label, _ in groups(lines, "v1/fid")} == {"512 samples", mark, "512 samples (conditional: class)"}
    assert f"Over {mark}: a only." in verdict(lines, FID)
    assert "different numbers of samples" not in verdict(lines, FID)
    text = format_table(table, metrics())
    assert "a (conditional)" in text
    assert f"── {mark} ─" in text
    assert text.count("Conditional rows are ranked apart") == 1
    assert text.splitlines()[0].endswith("NFE")
    write_leaderboard(table, metrics(), tmp_path)
    shown = (tmp_path / "leaderboard.md").read_text()
    assert f"## Models, {mark}" in shown
    assert "| a (conditional: 0.25 s prefix) " in shown
    assert " 16,000 |" in re.sub(" +", " ", shown)
    lines_of_csv = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    assert {(line["row"], line["conditional"], line["nfe"]) for line in lines_of_csv} >= {
        ("a", "", ""), ("a/given", "0.25 s prefix", "16000"), ("told", "class", "16000"),
    }  # fmt: skip


def test_rows_that_were_given_something_are_marked_without_others_too():
    lines = standings([given("a/given", "0.25 s prefix")], metrics())
    assert [label for label, _ in groups(lines, "v1/fid")] == ["512 samples (conditional: 0.25 s prefix)"]
    assert verdict(lines, FID).startswith("Conditional rows are ranked apart")


def test_seeds_that_do_not_tell_their_evaluations_take_them_from_the_others():
    old, new = row("a", [run([1], 0)], nfe=None), row("a", [run([1], 1)], nfe=50)
    assert [merge_seeds(rows)[0]["nfe"] for rows in ([old, new], [new, old])] == [50, 50]
    assert "nfe" not in merge_seeds([row("b", [run([1])])])[0]


def test_digits_follow_the_interval():
    cells = {
        (value, half): Cell(value, low=value - half, high=value + half)
        for value, half in ((54.16, 2.932), (388.1, 15.2), (1.2345, 0.0996), (5000.0, 321.0), (7.0, 0.0), (0.5, 1e-9))
    }
    shown = [
        number(cell.value, shown_digits(cell, 3)) + half_width(cell, shown_digits(cell, 3)) for cell in cells.values()
    ]
    assert shown == ["54.2±2.9", "388±15", "1.23±0.10", "5,000±321", "7.000±0.000", "0.500±<0.001"]
    assert number(54.16, shown_digits(Cell(54.16), 2)) == "54.16"


def test_numbers_have_a_real_minus_and_separators():
    assert [number(value, 0) for value in (-65898.4, -0.2, 1234.0, float("-inf"))] == ["−65,898", "0", "1,234", "−∞"]


def test_controls_come_last_and_are_never_ranked():
    lines = standings(rows(), metrics())
    assert [line.kind for line in lines[-3:]] == ["control"] * 3
    assert all(cell.rank is None for line in lines[-3:] for cell in line.cells.values())
    assert lines[0].name == "diffwave"  # although held-out clips have a lower FID


def test_seeds_share_a_row_with_their_mean_and_the_wider_interval():
    values = [18.31, 18.92, 17.88]
    [line] = standings([row("wavenet", [run([v, 4, 20, 1], seed) for seed, v in enumerate(values)])], metrics())
    cell = line.cells["v1/fid"]
    assert cell.value == pytest.approx(18.37)
    assert cell.spread == pytest.approx(stats.tstd(values))
    assert cell.half == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(values), rel=1e-4)
    assert [one["seed"] for one in cell.runs] == [0, 1, 2]
    # Seeds that happen to agree must not shrink the interval below what sampling alone gives.
    [line] = standings([row("wavenet", [run([18.0, 4, 20, 1], seed) for seed in range(3)])], metrics())
    assert line.cells["v1/fid"].half == pytest.approx(1.96 * 0.02 * 18 / 3**0.5, rel=1e-3)


def test_rows_of_single_seeds_are_merged_like_one_row_with_many():
    runs = [run([v, 4, 20, 1], seed, f"s{seed}") for seed, v in ((2, 18.0), (0, 19.0))]
    apart = merge_seeds([row("wavenet", [one]) for one in runs])
    assert len(apart) == 1
    assert apart[0]["seeds"] == [0, 2]
    assert merge_seeds(apart) == apart
    assert merge_seeds([*apart, *apart]) == apart


def test_a_measure_that_one_seed_lacks_has_no_mean_but_keeps_its_number(tmp_path):
    runs = [run([18, 4, 20, 1, 3.3], 0), run([18, 4, 20, 1], 1)]
    [line] = standings([row("wavenet", runs)], metrics())
    assert line.cells["v1/nll"].value is None
    assert line.cells["v1/nll"].reason == "measured for 1 of 2 seeds"
    write_leaderboard([row("wavenet", runs)], metrics(), tmp_path)
    assert "v1/nll,3.3," in (tmp_path / "leaderboard.csv").read_text()


def test_a_missing_number_says_why():
    lines = {line.name: line for line in standings(rows(), metrics())}
    assert lines["diffwave"].cells["v1/nll"].reason == "the model gives no exact likelihood"
    told = row("x", [run([1, 2, 3, 4])], reasons={"v1/nll": "computed for autoregressive models only"})
    assert standings([told], metrics())[0].cells["v1/nll"].reason == "computed for autoregressive models only"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([row("a", [run([1])], kind="winner")], "Kinds: measured, imported, published, control"),
        ([row("", [run([1])])], "needs a name"),
        ([row("a", [])], "needs `runs`"),
        ([row("a", [run([1])]), row("a", [run([2])])], "two different results for seed 0"),
        ([row("a", [run([1])]), row("a", [run([1])], draw="draw-64")], "Names must tell rows apart"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(bad, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_leaderboard(bad, metrics(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_terminal_table_fits_and_is_aligned():
    table = format_table(rows(), metrics()).splitlines()
    assert max(map(len, table)) <= 100
    start = table[0].index("FID ↓")
    lines = [line for line in table[1:12] if not line.startswith("─")]
    assert len(lines) == len(rows())
    assert all(line[start - 1] == " " and line[start].isdigit() for line in lines)
    assert "±" in table[2]
    assert "WaveNet small (3 seeds)" in "\n".join(table)


def test_the_terminal_table_gives_up_columns_rather_than_width():
    narrow = format_table(rows(), metrics(), width=60)
    assert max(map(len, narrow.splitlines())) <= 60
    assert "also measured, in leaderboard.md: " in narrow


def test_markdown_is_aligned_and_survives_hostile_names(tmp_path):
    hostile = "a|b\n<script>alert(1)</script> *x*"
    write_leaderboard([*rows(), row(hostile, [run([50, 3, 9, 1])])], metrics(), tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    assert r"a\|b \<script>alert(1)\</script> \*x\*" in text
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4  # models, their variants, models of another count, controls
    for lines in tables:
        assert len({len(line) for line in lines}) == 1
    assert tables[0][2].startswith("| 1–2  | DiffWave small")


def test_csv_has_every_number_with_its_evidence(tmp_path):
    write_leaderboard(rows(), metrics(), tmp_path)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text())))
    made = sum(len(one["scores"]) for entry in rows() for one in entry["runs"])
    assert len([line for line in lines if line["seed"] != "mean"]) == made
    means = [line for line in lines if line["seed"] == "mean"]
    assert {line["row"] for line in means} == {"wavenet"}
    for line in lines:
        assert float(line["low"]) <= float(line["value"]) <= float(line["high"])
        assert line["better"] in ("lower", "higher")
        assert line["version"] == "1"
        assert line["method"]
        assert line["n_generated"] in ("500", "512")
        assert line["seed"] == "mean" or (line["source"] and len(line["digest"]) == 64)


def test_json_is_strict_complete_and_the_same_every_time(tmp_path):
    odd = row("odd", [run([float("inf"), 2, 3, 4])])
    for place in ("a", "b"):
        write_leaderboard([*rows(), odd], metrics(), tmp_path / place)
    text = (tmp_path / "a" / "leaderboard.json").read_text()
    assert text == (tmp_path / "b" / "leaderboard.json").read_text()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    page = json.loads(text, parse_constant=refuse)
    by_name = {entry["name"]: entry for entry in page["rows"]}
    assert by_name["odd"]["scores"]["v1/fid"]["value"] == "inf"
    wavenet = by_name["wavenet"]["scores"]["v1/fid"]
    assert wavenet["rank"] == [1, 2]
    assert wavenet["tied"] == ["diffwave"]
    assert [one["seed"] for one in wavenet["runs"]] == [0, 1, 2]
    assert wavenet["runs"][0]["source"] == "wavenet/small-seed0/draw-512/4-evaluation-small-seed0"
    assert page["sorted_by"] == "v1/fid"
    assert not list((tmp_path / "a").glob("*.part"))


def test_a_score_that_no_metric_describes_is_still_written(tmp_path):
    extra = run([10, 4, 20, 1])
    extra["scores"]["v2/new"] = score("v2/new", 0.5, 0.1)
    write_leaderboard([row("a", [extra])], metrics(), tmp_path)
    assert "v2/new,0.5," in (tmp_path / "leaderboard.csv").read_text()
    assert "v2/new" not in format_table([row("a", [extra])], metrics())


def test_the_text_part_needs_no_heavy_library():
    code = (
        "import sys, evaluation.leaderboard; print([m for m in ('torch', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

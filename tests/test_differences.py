"""Differences of two rows: what is paired, what the reference's own noise adds, and that no winner is claimed without them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evaluation
from evaluation import gaussian
from evaluation.differences import differences
from evaluation.leaderboard import write_leaderboard
from evaluation.pairing import (
    BY_CLIP,
    BY_REFERENCE,
    Influences,
    frechet_by_reference,
    reference_influences,
    spread,
    with_pairs,
)
from evaluation.sample_set import SampleSet
from evaluation.standings import standings
from evaluation.uncertainty import standard_error
from evaluation.wording import verdict
from tests.report_sample import metrics, row, run, score

FID, NLL = metrics()[0], metrics()[-1]
NOTHING = Influences({}, {})


def clips(rng: np.random.Generator, count: int, mean: float = 0.0) -> np.ndarray:
    """(count, 5) features with a covariance of their own."""
    return rng.normal(mean, 1, size=(count, 5)) @ rng.normal(size=(5, 5))


def fid(x: np.ndarray, y: np.ndarray) -> Any:
    return evaluation.measure(x, y, ["FID"])["v1/fid"]


def by_reference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    prepared = gaussian.prepare(SampleSet(features=x))
    return frechet_by_reference(prepared["mean"], prepared["root"], x, y)


def test_the_influence_of_a_reference_clip_is_what_leaving_it_out_does() -> None:
    rng = np.random.default_rng(0)
    x, y = clips(rng, 800), clips(rng, 900, 0.3)
    influence, value = by_reference(x, y), fid(x, y).value
    assert influence.mean() == pytest.approx(0, abs=1e-9)
    moved = np.array([-(len(x) - 1) * (fid(np.delete(x, i, 0), y).value - value) for i in range(40)])
    assert np.abs(moved - influence[:40]).max() < 0.05 * np.abs(moved).max()
    assert np.array_equal(by_reference(x, y), influence)


def test_it_is_the_mirror_image_of_the_influence_of_a_generated_clip() -> None:
    rng = np.random.default_rng(1)
    x, y = clips(rng, 400), clips(rng, 300, 0.5)
    np.testing.assert_allclose(by_reference(x, y), fid(y, x).per_sample, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(12, 20), (60, 6)], ids=["fewer clips than features", "a constant feature"])
def test_a_reference_that_does_not_span_the_space_has_influences_all_the_same(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=shape), rng.normal(size=(50, shape[1]))
    x[:, 0] = y[:, 0] = 1.0
    influence = by_reference(x, y)
    assert np.isfinite(influence).all()
    assert influence.mean() == pytest.approx(0, abs=1e-9)


def test_intervals_of_differences_cover_the_truth_over_generated_and_reference_clips() -> None:
    rng = np.random.default_rng(3)
    mix = [rng.normal(size=(4, 4)) for _ in range(2)]
    mix.append(mix[1] + 0.4 * rng.normal(size=(4, 4)))
    found = []
    for _ in range(200):
        x, a, b = (rng.normal(size=(200, 4)) @ matrix for matrix in mix)
        errors = [fid(x, side).standard_error for side in (a, b)]
        shared = standard_error(by_reference(x, a) - by_reference(x, b))
        found.append((fid(x, a).value - fid(x, b).value, math.hypot(*errors, shared), shared))
    value, error, shared = np.array(found).T
    assert np.mean(np.abs(value - value.mean()) < 1.96 * error) == pytest.approx(0.95, abs=0.04)
    assert error.mean() == pytest.approx(value.std(), rel=0.15)
    assert shared.mean() > 0.1 * error.mean()


def test_a_subset_of_the_reference_tells_the_same_error() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(6000, 3)), rng.normal(0.4, 1.2, size=(500, 3))
    prepared = {f"gaussian.{name}": array for name, array in gaussian.prepare(SampleSet(features=x)).items()}
    some = reference_influences(prepared | {"comparison.features": x}, SampleSet(features=y))["v1/fid"]
    assert len(some) == len(spread(6000)) == 4096
    scaled = standard_error(some) * math.sqrt(len(some) / 6000)
    assert scaled == pytest.approx(standard_error(by_reference(x, y)), rel=0.05)
    assert spread(3).tolist() == [0, 1, 2]
    assert reference_influences(prepared, SampleSet(features=y)) == {}
    few = [len(reference_influences(prepared | {"comparison.features": x}, SampleSet(features=y[:n]))) for n in (1, 2)]
    assert few == [0, 1], "one clip has no covariance, and no FID"


def pair(a: float, b: float, error: float, key: str = "v1/nll", **more: Any) -> list[dict[str, Any]]:
    """Two rows with one score each, over the same real clips alone unless `more` says otherwise."""
    more = {"n_generated": 0} | more
    return [
        row(name, [{"seed": 0, "scores": {key: score(key, value, error, **more)}, "source": name, "digest": name}])
        for name, value in (("a", a), ("b", b))
    ]


def test_the_likelihood_of_the_same_clips_is_paired() -> None:
    rng = np.random.default_rng(5)
    hard = rng.normal(size=300)
    kept = {"a": hard + 0.1 * rng.normal(size=300), "b": hard + 0.1 * rng.normal(size=300)}
    error = standard_error(hard)
    table = pair(3.0, 3.05, error)
    assert [line.cells["v1/nll"].rank for line in standings(table, metrics())] == [(1, 2), (1, 2)]
    paired = with_pairs(table, lambda one: Influences({"v1/nll": kept[one["source"]]}, {}))
    assert paired[0]["paired"]["v1/nll"]["b"]["standard_error"] == standard_error(kept["a"] - kept["b"])
    lines = standings(paired, metrics())
    assert [line.cells["v1/nll"].rank for line in lines] == [(1, 1), (2, 2)]
    [difference] = differences(lines, [NLL])
    assert (difference["method"], difference["clear"], difference["better"]) == (BY_CLIP, True, "a")


def test_the_held_out_clips_that_both_were_held_against_take_no_win_away() -> None:
    """Errors of 5, of which 4 are the held-out clips', leave 3 to each."""
    rows = pair(10.0, 16.0, 5.0, key="v1/ct")
    for entry in rows:
        entry["runs"][0]["scores"]["v1/ct"]["details"] = {"target": 0.0, "shared_standard_error": 4.0}
    found = with_pairs(rows, lambda run: Influences({}, {}))[0]["paired"]["v1/ct"]
    assert found["b"]["standard_error"] == pytest.approx(3 * 2**0.5)


def test_the_noise_of_the_reference_takes_a_win_back() -> None:
    rng = np.random.default_rng(6)
    kept = {name: 60 * rng.normal(size=3000) for name in "ab"}
    table = pair(10.0, 13.0, 1.0, "v1/fid", n_generated=512)
    assert verdict(standings(table, metrics()), FID).startswith("a has the lowest FID")
    paired = with_pairs(table, lambda one: Influences({}, {"v1/fid": kept[one["source"]]}))
    lines = standings(paired, metrics())
    assert "names no winner" in verdict(lines, FID)
    [difference] = differences(lines, [FID])
    shared = standard_error(kept["a"] - kept["b"])
    assert difference["standard_error"] == pytest.approx(math.hypot(1, 1, shared))
    assert (difference["method"], difference["clear"], difference["better"]) == (BY_REFERENCE, False, None)
    assert difference["low"] < 0 < difference["high"]


def test_what_cannot_be_paired_is_compared_as_independent() -> None:
    table = pair(10.0, 13.0, 1.0, "v1/fid", n_generated=512)
    for read in (
        lambda one: NOTHING,
        lambda one: Influences({}, {"v1/fid": np.ones(3 if one["source"] == "a" else 4)}),
    ):
        assert not any(entry["paired"] for entry in with_pairs(table, read))
    [difference] = differences(standings(table, metrics()), [FID])
    assert difference["standard_error"] == pytest.approx(math.sqrt(2))
    assert difference["method"].startswith("independent")


def test_seeds_share_the_reference_too() -> None:
    rng = np.random.default_rng(7)
    table = [
        row(name, [run([value + seed, 4, 20, 1], seed, f"{name}{seed}") for seed in range(2)])
        for name, value in (("a", 9), ("b", 40))
    ]
    kept = {f"{name}{seed}": rng.normal(size=3000) for name in "ab" for seed in range(2)}
    paired = with_pairs(table, lambda one: Influences({}, {"v1/fid": kept[one["source"]]}))
    shared = standard_error((kept["a0"] + kept["a1"] - kept["b0"] - kept["b1"]) / 2)
    cells = [line.cells["v1/fid"] for line in standings(paired, metrics())]
    own = math.hypot(*(cell.standard_error for cell in cells if cell.standard_error))
    assert paired[0]["paired"]["v1/fid"]["b"]["standard_error"] == pytest.approx(math.hypot(own, shared))


def test_a_leader_that_does_not_beat_everybody_is_no_winner() -> None:
    # With errors of pairs it can happen that a beats b and b beats c, while a and c cannot be told apart.
    table = [row(name, [run([value, 4, 20, 1], errors=0.001)]) for name, value in (("a", 10), ("b", 11), ("c", 12))]
    table[0]["paired"] = {"v1/fid": {"c": {"standard_error": 5.0, "method": BY_REFERENCE}}}
    lines = standings(table, metrics())
    assert [line.cells["v1/fid"].rank for line in lines] == [(1, 2), (2, 2), (2, 3)]
    assert verdict(lines, FID) == "a and c cannot be told apart in FID: this leaderboard names no winner."


def test_the_machine_twin_lists_every_pair_of_the_main_measures(tmp_path: Path) -> None:
    table = [row(name, [run([value, 4, 20, 1])]) for name, value in (("a", 10), ("b", 10.1), ("c", 30))]
    write_leaderboard(table, metrics(), tmp_path)
    page = json.loads((tmp_path / "leaderboard.json").read_text())
    assert len(page["differences"]) == 3 * 4  # no NLL
    first = page["differences"][0]
    told = {name: first[name] for name in ("metric", "a", "b", "clear", "better")}
    assert told == {"metric": "v1/fid", "a": "a", "b": "b", "clear": False, "better": None}
    assert first["low"] < first["value"] < first["high"]
    clear = {(one["a"], one["b"]) for one in page["differences"] if one["metric"] == "v1/fid" and one["clear"]}
    assert clear == {("a", "c"), ("b", "c")}
    assert "paired" not in page["rows"][0]

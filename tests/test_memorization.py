"""C_T, AuthPct and the nearest training clips: against published code, at their nominal rates, and whom the alarm accuses."""

import math
from typing import Any

import numpy as np
import pytest

import evaluation
from evaluation import SampleSet, Score, controls, copying
from evaluation.comparison import Comparison
from evaluation.comparison import prepare as prepare_comparison
from evaluation.data_copying import data_copying, exceeding
from evaluation.distances import Neighbours
from evaluation.metrics import authenticity, memorization
from evaluation.uncertainty import standard_error
from tests import reference

KEYS = ("v1/ct", "v1/ct/auc", "v1/authpct", "v1/nearest")
GENERATED = ("gen_good", "gen_memorised", "gen_duplicated", "gen_collapsed")


def scores(real: np.ndarray, held_out: np.ndarray, generated: np.ndarray) -> dict[str, Score]:
    reference_set = SampleSet(real, held_out=SampleSet(held_out))
    return dict(evaluation.measure(reference_set, SampleSet(generated), KEYS))


def told(real: np.ndarray, held_out: np.ndarray, generated: np.ndarray) -> str:
    """The alarm, or ""."""
    alarm: str = scores(real, held_out, generated)["v1/authpct"].details.get("alarm", "")
    return alarm


class World:
    """Ten words, spoken by speakers who each have a voice, in D dimensions."""

    def __init__(self, seed: int, dimensions: int, training: int = 1000, held_out: int = 300) -> None:
        self.rng = np.random.default_rng(seed)
        self.words = 2 * self.rng.normal(size=(10, dimensions))
        self.speakers = self.voices(training // 20)
        self.training = self.clips(training, self.speakers)
        self.held_out = self.clips(held_out, self.voices(40))

    def voices(self, count: int) -> np.ndarray:
        return 0.7 * self.rng.normal(size=(count, self.words.shape[1]))

    def clips(self, count: int, speakers: np.ndarray, spread: float = 0.7) -> np.ndarray:
        said = self.words[self.rng.integers(10, size=count)] + speakers[self.rng.integers(len(speakers), size=count)]
        return said + spread * self.rng.normal(size=said.shape)

    def copies(self, count: int, noise: float = 0.0) -> np.ndarray:
        clips = self.training[self.rng.permutation(len(self.training))[:count]]
        return clips + noise * self.rng.normal(size=clips.shape)


# --- published implementations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATED)
def test_c_t_equals_dgm_eval_in_its_cells(name: str) -> None:
    """There the nearest training clip is looked for in the clip's own cell."""
    arrays = reference.load("metrics_oracles").arrays
    real, real_cells = arrays["in_train"].astype(np.float64), arrays["out_ct_cells_train"]

    def distances(clips: np.ndarray, cells: np.ndarray) -> np.ndarray:
        gaps = np.linalg.norm(clips.astype(np.float64)[:, None] - real, axis=2)
        return np.where(cells[:, None] == real_cells, gaps, np.inf).min(axis=1)

    theirs, their_cells = arrays["in_test"], arrays["out_ct_cells_test"]
    ours, our_cells = arrays[f"in_{name}"], arrays[f"out_{name}__ct_cells_gen"]
    found = data_copying(distances(ours, our_cells), our_cells, distances(theirs, their_cells), their_cells, 20)
    assert found.value == pytest.approx(float(arrays[f"out_{name}__dgm_ct_given_cells"]), rel=1e-10)
    whole = data_copying(
        nearest_distances(ours, real),
        np.zeros(len(ours), int),
        nearest_distances(theirs, real),
        np.zeros(len(theirs), int),
        20,
    )
    assert whole.value == pytest.approx(float(arrays[f"out_{name}__dgm_ct_zu_global"]), rel=1e-10)


def nearest_distances(clips: np.ndarray, real: np.ndarray) -> np.ndarray:
    return np.linalg.norm(clips.astype(np.float64)[:, None] - real, axis=2).min(axis=1)


@pytest.mark.parametrize("name", GENERATED)
def test_authpct_equals_dgm_eval(name: str) -> None:
    arrays = reference.load("metrics_oracles").arrays
    found = scores(arrays["in_train"], arrays["in_test"], arrays[f"in_{name}"])["v1/authpct"]
    assert found.value == pytest.approx(float(arrays[f"out_{name}__dgm_authpct"]), abs=1e-6)


@pytest.mark.parametrize("name", GENERATED)
def test_only_the_memorizing_fixture_is_accused(name: str) -> None:
    arrays = reference.load("metrics_oracles").arrays
    alarm = told(arrays["in_train"], arrays["in_test"], arrays[f"in_{name}"])
    assert alarm.startswith("copies the training set") == (name == "gen_memorised")


# --- the null, and intervals -----------------------------------------------------------------------------------------


def test_z_is_standard_normal_where_distances_are_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    zs, values = [], []
    for _ in range(1000):
        cells = rng.integers(3, size=150), rng.integers(3, size=90)
        found = data_copying(rng.gamma(9, size=150), cells[0], rng.gamma(9, size=90), cells[1], 20)
        zs += [cell.z for cell in found.cells]
        values.append(found.value)
    assert np.mean(zs) == pytest.approx(0, abs=0.05)
    assert np.std(zs) == pytest.approx(1, abs=0.05)
    assert np.mean(np.abs(zs) > 1.96) == pytest.approx(0.05, abs=0.012)
    assert np.std(values) == pytest.approx(1 / math.sqrt(3), abs=0.03)


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_the_intervals_cover_when_both_samples_are_drawn_again(scale: float) -> None:
    """scale < 1: generated clips are closer to the training clips."""
    rng = np.random.default_rng(1)
    found, errors = [], []
    for _ in range(600):
        cells = rng.choice(3, 200, p=(0.5, 0.3, 0.2)), rng.choice(3, 120, p=(0.4, 0.3, 0.3))
        ct = data_copying(scale * rng.gamma(9, size=200), cells[0], rng.gamma(9, size=120), cells[1], 20)
        assert abs(ct.influence.mean()) + abs(ct.held_out_influence.mean()) < 1e-10
        found.append(ct.value)
        errors.append(math.hypot(standard_error(ct.influence), standard_error(ct.held_out_influence)))
    assert 0.92 <= np.mean(np.abs(np.array(found) - np.mean(found)) < 1.96 * np.array(errors)) <= 0.975
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.08)


def test_influences_on_c_t_agree_with_leaving_one_out() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = 0.8 * rng.gamma(9, size=300), rng.gamma(9, size=200)
    cells = rng.integers(3, size=300), rng.integers(3, size=200)
    found = data_copying(ours, cells[0], theirs, cells[1], 20)
    for influence, size, side in ((found.influence, 300, 0), (found.held_out_influence, 200, 1)):
        moved = []
        for i in range(80):
            sides = [(ours, cells[0]), (theirs, cells[1])]
            sides[side] = tuple(np.delete(array, i) for array in sides[side])  # type: ignore[assignment]
            moved.append((size - 1) * (found.value - data_copying(*sides[0], *sides[1], 20).value))
        slope, _ = np.polyfit(influence[:80], moved, 1)
        assert slope == pytest.approx(1, abs=0.05)
        assert np.corrcoef(influence[:80], moved)[0, 1] > 0.99


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Score]]:
    """Scores against one training set; held-out and generated clips are drawn anew each time, the latter a little too wide."""
    rng = np.random.default_rng(3)
    real = rng.normal(size=(300, 4))
    found: dict[str, list[Score]] = {key: [] for key in KEYS}
    for _ in range(200):
        for key, score in scores(real, rng.normal(size=(150, 4)), 1.15 * rng.normal(size=(200, 4))).items():
            found[key].append(score)
    return found


@pytest.mark.parametrize("key", KEYS)
def test_scores_cover_their_mean_at_the_nominal_rate(key: str, drawn: dict[str, list[Score]]) -> None:
    expected = np.mean([score.value for score in drawn[key]])
    covered = np.mean([score.low <= expected <= score.high for score in drawn[key]])
    assert 0.915 <= covered <= 0.99
    errors = [score.standard_error for score in drawn[key]]
    assert np.mean(errors) == pytest.approx(np.std([score.value for score in drawn[key]]), rel=0.15)


def test_real_clips_are_on_target() -> None:
    rng = np.random.default_rng(4)
    real = rng.normal(size=(300, 4))
    found = [scores(real, rng.normal(size=(150, 4)), rng.normal(size=(200, 4))) for _ in range(60)]
    for key in KEYS:
        misses = np.array([s[key].value - s[key].details["target"] for s in found])
        assert abs(misses.mean()) < 3 * misses.std() / math.sqrt(60) + 0.01
    assert np.mean([s["v1/ct/auc"].low <= 0.5 <= s["v1/ct/auc"].high for s in found]) >= 0.88
    assert not any("alarm" in s["v1/authpct"].details for s in found)


def test_the_interval_of_a_median_holds_it_in_95_of_100() -> None:
    rng = np.random.default_rng(5)
    for n in (6, 25, 200):
        intervals = [authenticity.median_interval(rng.exponential(size=n)) for _ in range(1000)]
        assert np.mean([low <= math.log(2) <= high for low, high, _ in intervals]) >= 0.94
        assert all(error > 0 for *_, error in intervals)


# --- the alarm -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[6, 64], ids=["6 dimensions", "64 dimensions"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param, request.param)


def test_the_alarm_accuses_copies(world: World) -> None:
    for noise in (0.0, 0.1, 0.3, 0.5):
        assert "copies the training set" in told(world.training, world.held_out, world.copies(300, noise))


def test_the_alarm_accuses_a_generator_that_copies_one_in_ten(world: World) -> None:
    for noise in (0.0, 0.1):
        generated = np.concatenate([world.clips(270, world.speakers), world.copies(30, noise)])
        assert "of 300 clips are copies of" in told(world.training, world.held_out, generated)
    some = scores(world.training, world.held_out, np.concatenate([world.clips(270, world.speakers), world.copies(30)]))
    assert some["v1/authpct"].details["copies"]["exact"] == 30
    assert some["v1/authpct"].details["copies"]["originals"] >= 30


def test_the_alarm_accuses_one_training_clip_over_and_over() -> None:
    world = World(0, 64)
    assert "300 of 300 clips are copies of 1 training clip (" in told(
        world.training, world.held_out, np.repeat(world.training[:1], 300, axis=0)
    )


def test_the_alarm_is_silent_about_everybody_else(world: World) -> None:
    """Other speakers, new clips of the training speakers, typical sounds, one sound, a few copies, noise."""
    one = world.clips(1, world.speakers)
    for generated in (
        world.clips(300, world.voices(40)),
        world.clips(300, world.speakers),
        world.clips(300, world.speakers, spread=0.2),
        world.clips(300, np.zeros((1, len(one[0]))), spread=0.1),
        np.repeat(one, 300, axis=0),
        one + 0.01 * world.rng.normal(size=(300, len(one[0]))),
        np.concatenate([world.clips(299, world.speakers), world.copies(1)]),
        5 + 3 * world.rng.normal(size=(300, len(one[0]))),
    ):
        assert told(world.training, world.held_out, generated) == ""


def test_a_corpus_that_repeats_itself_does_not_accuse_who_repeats_it() -> None:
    rng = np.random.default_rng(6)
    takes = rng.normal(size=(200, 20))

    def draw(count: int) -> np.ndarray:
        return takes[rng.integers(200, size=count)] + 1e-3 * rng.normal(size=(count, 20))

    real = np.concatenate([takes, rng.normal(size=(300, 20))])
    half = np.concatenate([draw(100), rng.normal(size=(100, 20))])
    assert told(real, half, np.concatenate([draw(100), rng.normal(size=(100, 20))])) == ""
    assert told(real, rng.normal(size=(200, 20)), np.concatenate([draw(100), rng.normal(size=(100, 20))])) != ""


def test_a_low_c_t_without_copies_is_explained(world: World) -> None:
    close = scores(world.training, world.held_out, world.clips(300, np.zeros((1, len(world.training[0]))), spread=0.1))
    assert close["v1/ct"].value < -3
    assert "typical sounds" in close["v1/ct"].warnings[0]
    voices = World(1, 64)
    same = scores(voices.training, voices.held_out, voices.clips(300, voices.speakers, spread=0.75))["v1/ct"]
    assert same.value < -3
    assert "no sign of copying" in same.warnings[0]


def test_the_controls_are_told_apart_by_their_waveforms() -> None:
    """As the pipeline does it: features of 16-bit clips, computed again for the copies."""
    rng = np.random.default_rng(7)
    projection = rng.normal(size=(400, 16)) / 1e4
    train, test = (
        np.rint(8000 * np.sin(np.arange(400) * rng.uniform(0.02, 0.4, (n, 1)) + rng.uniform(0, 6, (n, 1)))).astype(
            np.int16
        )
        for n in (600, 200)
    )
    features = [np.tanh((clips @ projection).astype(np.float32)) for clips in (train, test)]

    def control(name: str) -> str:
        (row,) = (row for row in controls.CONTROLS if row.name == name)
        clips = row.draw(train, test, 150, 0)
        return told(*features, np.tanh((clips[::-1] @ projection).astype(np.float32)))

    assert control("copied").startswith("copies the training set: 150 of 150")
    assert control("held-out") == control("white-noise") == control("half-collapsed") == ""


def test_a_ratio_tells_a_copy_at_any_density() -> None:
    assert copying.ratios(np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 3.0], [2.0, 2.0]])).tolist() == [0.5, 0.0, 0.0, 1.0]
    rng = np.random.default_rng(8)
    real = 1 + np.sort(rng.random((500, 5)), axis=1)
    clip = Neighbours(np.tile(np.arange(5), (40, 1)), np.sort(1 + rng.random((40, 5)), axis=1))
    found = copying.copies(clip, real, real)
    assert (found.clips, found.exact, found.originals) == (0, 0, 0)
    assert found.chance == 1
    assert abs(found.training.z) < 2, "forty clips with one nearest training clip have one vote"


# --- odd sets --------------------------------------------------------------------------------------------------------


def test_order_does_not_matter() -> None:
    world = World(9, 8)
    generated = world.clips(200, world.speakers)
    order, rng = np.random.default_rng(0).permutation(200), np.random.default_rng(1)
    before = scores(world.training, world.held_out, generated)
    after = scores(rng.permutation(world.training), rng.permutation(world.held_out), generated[order])
    for key in KEYS:
        assert after[key].value == pytest.approx(before[key].value, rel=1e-10)
        assert after[key].standard_error == pytest.approx(before[key].standard_error, rel=1e-10)
        ours, theirs = before[key].per_sample, after[key].per_sample
        if ours is not None and theirs is not None:
            np.testing.assert_allclose(theirs, ours[order], rtol=1e-9, atol=1e-10)


def test_equal_values_count_half() -> None:
    assert exceeding(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 4.0, 1.0])).tolist() == [0.875, 0.5, 0.25]


def test_constant_features_have_a_defined_outcome() -> None:
    flat = np.ones((100, 3))
    found = evaluation.measure(SampleSet(flat, held_out=SampleSet(flat)), SampleSet(flat))
    assert found["v1/ct/auc"].value == 0.5
    assert abs(found["v1/ct"].value) < 0.1
    assert found["v1/authpct"].value == found["v1/authpct"].details["target"] == 0
    assert "copies of training clips" in found.not_applicable["v1/nearest"]
    assert "alarm" not in found["v1/authpct"].details


def test_a_copied_set_has_defined_scores() -> None:
    world = World(10, 8)
    found = scores(world.training, world.held_out, world.training)
    assert found["v1/ct/auc"].value == 1
    assert found["v1/authpct"].value == found["v1/nearest"].value == 0
    assert found["v1/ct"].value < -10
    assert found["v1/authpct"].high > 0
    pairs = found["v1/nearest"].details["pairs"]
    assert len(pairs) == 20
    assert all(pair["distance"] == 0 and pair["generated"] == pair["real"] for pair in pairs)


def test_fewer_clips_than_dimensions_and_few_held_out_clips() -> None:
    rng = np.random.default_rng(11)
    real, held_out, generated = (rng.normal(size=(n, 100)) for n in (150, 61, 70))
    found = scores(real, held_out, generated)
    assert math.fsum(cell["held_out"] for cell in found["v1/ct"].details["cells"]) == 61
    assert all(cell["held_out"] >= 20 for cell in found["v1/ct"].details["cells"])
    with pytest.raises(ValueError, match=r"v1/ct.*60 clips on the reference side, at least 61"):
        memorization.prepare(SampleSet(real, held_out=SampleSet(held_out[:60])))
    with pytest.raises(ValueError, match="use one classifier"):
        scores(real, held_out, generated[:, :50])


def test_cells_without_clips_do_not_count() -> None:
    rng = np.random.default_rng(12)
    cells = np.repeat([0, 1, 2], [50, 50, 5]), np.repeat([0, 2], [40, 40])
    found = data_copying(rng.gamma(9, size=105), cells[0], rng.gamma(9, size=80), cells[1], 20)
    assert [cell.counts for cell in found.cells] == [True, False, False]
    assert found.value == pytest.approx(found.cells[0].z)
    with pytest.raises(ValueError, match="C_T is undefined"):
        data_copying(rng.gamma(9, size=50), np.ones(50, int), rng.gamma(9, size=50), np.zeros(50, int), 20)


def test_without_held_out_clips_neither_applies() -> None:
    rng = np.random.default_rng(13)
    real, generated = SampleSet(rng.normal(size=(100, 3))), SampleSet(rng.normal(size=(70, 3)))
    for found in (evaluation.measure(real, generated), evaluation.compute(evaluation.prepare(real), generated)):
        assert all("held" in found.not_applicable[key] for key in KEYS)
        assert "v1/ndb" in found


def test_details_hold_what_the_report_draws() -> None:
    world = World(14, 8)
    generated = world.clips(150, world.speakers)
    details: dict[str, Any] = scores(world.training, world.held_out, generated)["v1/nearest"].details
    comparison = Comparison(
        prepare_comparison(SampleSet(world.training, held_out=SampleSet(world.held_out))), SampleSet(generated)
    )
    ours = comparison.across.nearest.distance[:, 0]
    assert details["curves"]["generated"][50] == details["medians"]["generated"] == np.median(ours)
    assert details["curves"]["training"][0] == comparison.radii[:, 0].min()
    assert [pair["distance"] for pair in details["pairs"]] == np.sort(ours)[:20].tolist()

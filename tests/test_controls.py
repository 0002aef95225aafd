"""The control rows: what they are made of, and that they depend on seed and corpus alone."""

import numpy as np
import pytest

from evaluation import controls

TRAIN = np.arange(50 * 8, dtype=np.int16).reshape(50, 8)
TEST = -1 - np.arange(30 * 8, dtype=np.int16).reshape(30, 8)


@pytest.mark.parametrize("control", controls.CONTROLS, ids=[control.name for control in controls.CONTROLS])
def test_every_control_is_a_seeded_set_of_clips(control: controls.Control) -> None:
    clips = control.draw(TRAIN, TEST, 12, 3)
    assert clips.shape == (12, 8)
    assert clips.dtype == np.int16
    assert np.array_equal(control.draw(TRAIN, TEST, 12, 3), clips)
    assert control.name == "silence" or not np.array_equal(control.draw(TRAIN, TEST, 12, 4), clips)
    assert control.explanation
    assert "\n" not in control.explanation


def test_the_rows_of_every_leaderboard() -> None:
    assert [control.name for control in controls.CONTROLS if not control.trap] == ["held-out", "silence", "white-noise"]
    assert [control.name for control in controls.CONTROLS if control.trap] == ["copied", "repeated", "half-collapsed"]


def row(name: str) -> controls.Control:
    return next(control for control in controls.CONTROLS if control.name == name)


def test_held_out_clips_are_test_clips_none_twice() -> None:
    clips = row("held-out").draw(TRAIN, TEST, 30, 0)
    assert {tuple(clip) for clip in clips} == {tuple(clip) for clip in TEST}
    assert np.array_equal(row("held-out").draw(TRAIN, TEST, 10, 0), clips[:10])
    assert np.array_equal(TEST[controls.choose(30, 10, 0)], clips[:10])
    with pytest.raises(ValueError, match="31 clips were asked for and there are 30"):
        row("held-out").draw(TRAIN, TEST, 31, 0)


def test_copied_and_repeated_clips_are_training_clips() -> None:
    train = {tuple(clip) for clip in TRAIN}
    copied = {tuple(clip) for clip in row("copied").draw(TRAIN, TEST, 20, 1)}
    assert copied < train
    assert len(copied) == 20
    repeated = {tuple(clip) for clip in row("repeated").draw(TRAIN, TEST, 20, 1)}
    assert repeated < train
    assert len(repeated) == 1


@pytest.mark.parametrize("count", [1, 2, 9, 20])
def test_half_collapsed_has_half_the_variety(count: int) -> None:
    clips = row("half-collapsed").draw(TRAIN, TEST, count, 2)
    assert len(clips) == count
    assert len({tuple(clip) for clip in clips}) == (count + 1) // 2
    assert {tuple(clip) for clip in clips} <= {tuple(clip) for clip in TEST}


def test_noise_is_as_loud_as_asked_and_clip_by_clip_its_own() -> None:
    noise = controls.white_noise(20, 4000, 0.1, seed=5)
    assert controls.root_mean_square(noise) == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean()) < 0.01 * 32768
    assert np.array_equal(controls.white_noise(3, 4000, 0.1, seed=5), noise[:3])
    correlation = np.corrcoef(noise.astype(np.float64))
    assert np.abs(correlation - np.eye(20)).max() < 0.1
    loudest = controls.white_noise(2, 4000, 1.0, seed=5)
    assert (loudest.min(), loudest.max()) == (-32768, 32767)


def test_noise_of_no_loudness_is_refused() -> None:
    for rms in (0.0, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
            controls.white_noise(1, 10, rms, seed=0)


def test_root_mean_square_of_known_clips() -> None:
    assert controls.root_mean_square(np.full((3000, 4), -32768, dtype=np.int16)) == 1.0
    assert controls.root_mean_square(np.array([[16384, 0]], dtype=np.int16)) == pytest.approx(0.5 / np.sqrt(2))

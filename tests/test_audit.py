"""Near-duplicates: shifted, scaled and inverted copies are recognized by their waveforms, other clips are not."""

from pathlib import Path

import numpy as np
import pytest

from evaluation import audit

T = 1000


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    """(40, T) int16: filtered noise, as unlike each other as words are."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, T + 8))
    smooth = sum(noise[:, i : i + T] for i in range(9))
    return np.rint(2000 * smooth).astype(np.int16)


def shifted(clip: np.ndarray, lag: int) -> np.ndarray:
    result = np.zeros_like(clip)
    result[max(lag, 0) : T + min(lag, 0)] = clip[max(-lag, 0) : T - max(lag, 0)]
    return result


def test_the_correlation_is_the_largest_of_all_lags(clips: np.ndarray) -> None:
    a, b = clips[0].astype(np.float64), clips[1].astype(np.float64)
    values = np.correlate(a, b, "full") / np.sqrt((a @ a) * (b @ b))
    best = np.abs(values).argmax()
    correlation, lag = audit.cross_correlation(clips[0], clips[1])
    assert correlation == pytest.approx(values[best], rel=1e-10)
    assert lag == best - (T - 1)


@pytest.mark.parametrize("lag", [0, 1, -1, 137, -250])
def test_a_shifted_copy_is_recognized_with_its_lag(clips: np.ndarray, lag: int) -> None:
    correlation, found = audit.cross_correlation(shifted(clips[3], lag), clips[3])
    assert found == lag
    assert correlation is not None
    assert correlation > 0.8


def test_gain_and_polarity_do_not_hide_a_copy(clips: np.ndarray) -> None:
    correlation, lag = audit.cross_correlation((-clips[5] // 4).astype(np.int16), clips[5])
    assert (round(correlation or 0, 3), lag) == (-1, 0)
    loudest = np.full(T, -32768, dtype=np.int16)
    assert audit.cross_correlation(loudest, loudest) == (pytest.approx(1), 0)


def test_silence_correlates_with_nothing(clips: np.ndarray) -> None:
    silence = np.zeros(T, dtype=np.int16)
    assert audit.cross_correlation(silence, clips[0]) == (None, None)
    assert audit.cross_correlation(silence, silence) == (None, None)


def test_the_nearest_pairs_come_first_and_copies_stand_out(clips: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", clips[:20])
    real = np.load(tmp_path / "real.npy", mmap_mode="r")
    generated = np.stack([clips[30], clips[4], shifted(clips[7], 60), clips[31]])
    index, distance = np.array([2, 4, 7, 1]), np.array([3.0, 0.0, 0.2, 2.0])
    pairs = audit.nearest_pairs(generated, real, index, distance, 3)
    assert [(p["generated"], p["real"], p["distance"]) for p in pairs] == [(1, 4, 0.0), (2, 7, 0.2), (3, 1, 2.0)]
    assert [p["identical"] for p in pairs] == [True, False, False]
    assert [p["lag"] for p in pairs[:2]] == [0, 60]
    held_out = audit.nearest_pairs(clips[10:], real, np.arange(30) % 10, np.linspace(1, 2, 30), 30)
    limit = audit.correlation_limit(p["correlation"] for p in held_out)
    assert [abs(p["correlation"]) > limit for p in pairs] == [True, True, False]
    assert max(abs(p["correlation"]) for p in held_out) < limit
    assert len(audit.nearest_pairs(generated, real, index, distance, 50)) == 4


def test_clips_may_differ_in_length(clips: np.ndarray) -> None:
    (pair,) = audit.nearest_pairs(clips[:1, 100:], clips[:1], np.array([0]), np.array([0.5]), 1)
    assert (pair["lag"], pair["identical"]) == (-100, False)


def test_the_limit_is_not_raised_by_a_corpus_that_leaks() -> None:
    rng = np.random.default_rng(1)
    fair = rng.uniform(0.1, 0.3, 100)
    limit = audit.correlation_limit(fair)
    assert 0.3 < limit < 0.9
    leaking = audit.correlation_limit([*fair[:95], 1.0, -1.0, 1.0, 0.999, None])
    assert leaking == pytest.approx(limit, abs=0.05)
    with pytest.raises(ValueError, match=r"at least 20 held-out clips that sound, not of 19"):
        audit.correlation_limit([*fair[:19], None])


def test_the_curves_are_quantiles() -> None:
    rng = np.random.default_rng(2)
    sets = [rng.gamma(5, size=n) for n in (50, 70, 301)]
    curves = audit.distance_curves(*sets, levels=np.array([0, 0.5, 1]))
    assert curves["levels"] == [0, 0.5, 1]
    for name, values in zip(("generated", "held_out", "training"), sets, strict=True):
        assert curves[name] == [values.min(), np.median(values), values.max()]
    assert len(audit.distance_curves(*sets)["training"]) == 101

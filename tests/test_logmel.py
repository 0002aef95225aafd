"""The log-mel front end against the release's librosa pictures, and the release's augmentation."""

import numpy as np
import pytest
import torch

from models.layers.augmentation import Augmentation, change_speed, shift, stretch
from models.layers.logmel import LogMel
from tests import reference

SIGNALS = ("tone440", "tone3000", "chirp", "noise", "impulse", "silence", "short", "long", "loud", "tiny")


def one_second(waveform: np.ndarray) -> torch.Tensor:
    """(1, 16000), padded or cut at the end as the release does."""
    return torch.from_numpy(np.pad(waveform, (0, max(0, 16000 - len(waveform))))[:16000])[None]


@pytest.mark.parametrize("signal", SIGNALS)
def test_matches_the_release(signal: str) -> None:
    arrays = reference.load("logmel").arrays
    picture = LogMel(16000, 16000)(one_second(arrays[f"in_{signal}"]))[0].numpy()
    np.testing.assert_allclose(picture, arrays[f"out_mel_{signal}"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(picture, arrays[f"out_stftmel_{signal}"], atol=1e-3, rtol=0)


def test_filters_match_librosa() -> None:
    filters = LogMel(16000, 16000).filters.T.numpy()
    np.testing.assert_allclose(filters, reference.load("logmel").arrays["out_mel_filterbank"], atol=1e-7, rtol=0)


def test_silence_gives_zeros_and_loudness_changes_nothing() -> None:
    front = LogMel(16000, 16000)
    assert not front(torch.zeros(2, 16000)).any()
    noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    torch.testing.assert_close(front(noise), front(noise * 3), atol=1e-3, rtol=0)


def test_a_clip_is_heard_alone() -> None:
    front = LogMel(16000, 16000)
    clips = torch.randn(5, 16000, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([front(clip[None]) for clip in clips])
    torch.testing.assert_close(front(clips), alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("sample_rate", "timesteps"),
    [(16000, 16000), (8000, 8000), (22050, 22050), (16000, 64000), (16000, 4000), (8000, 100)],
)
def test_every_clip_gives_32_by_32(sample_rate: int, timesteps: int) -> None:
    noise = torch.randn(2, timesteps, generator=torch.Generator().manual_seed(2))
    front = LogMel(sample_rate, timesteps)
    picture = front(noise)
    assert picture.shape == (2, 32, 32)
    assert picture.min() > -80, "every mel band hears white noise"
    assert (front.filters.amax(dim=0) > 0).all()
    assert front.state_dict() == {}


def test_one_second_looks_alike_at_any_rate() -> None:
    """A 440 Hz tone is loudest in the band around 440 Hz, over the whole clip."""
    for sample_rate in (8000, 16000, 44100):
        time = torch.arange(sample_rate) / sample_rate
        front = LogMel(sample_rate, sample_rate)
        picture = front(torch.sin(2 * torch.pi * 440 * time)[None])[0]
        centres = front.filters.argmax(dim=0) * sample_rate / front.fft_length
        loudest = picture[:, 2:30].mean(dim=1).argmax()
        assert abs(float(centres[loudest]) - 440) < 60


def test_refuses_clips_of_another_length() -> None:
    with pytest.raises(ValueError, match="pad or trim"):
        LogMel(16000, 16000)(torch.zeros(1, 8000))
    with pytest.raises(ValueError, match="too short"):
        LogMel(16000, 20)


def test_mixed_precision_leaves_the_picture_alone() -> None:
    noise = torch.randn(1, 16000, generator=torch.Generator().manual_seed(3))
    front = LogMel(16000, 16000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = front(noise)
    torch.testing.assert_close(mixed, front(noise))


def tone(frequency: float, timesteps: int = 16000) -> torch.Tensor:
    return torch.sin(2 * torch.pi * frequency * torch.arange(timesteps) / 16000)[None]


def test_speed_changes_length_and_pitch() -> None:
    slow = change_speed(tone(440), torch.tensor([0.2]))
    torch.testing.assert_close(slow, tone(440 / 1.2), atol=0.01, rtol=0)
    fast = change_speed(tone(440), torch.tensor([-0.2]))
    torch.testing.assert_close(fast[:, :12790], tone(440 / 0.8)[:, :12790], atol=0.02, rtol=0)
    assert not fast[:, 12801:].any()
    torch.testing.assert_close(change_speed(tone(440), torch.zeros(1)), tone(440))


def test_stretch_keeps_pitch_and_phase() -> None:
    front = LogMel(16000, 16000)
    spectrum = front.spectrum(tone(437.5).repeat(3, 1))
    stretched = stretch(spectrum, torch.tensor([0.0, 0.2, -0.2]))
    torch.testing.assert_close(stretched[0], spectrum[0], atol=1e-3, rtol=0)
    # In the middle of a steady tone, a frame of the stretched clip is a frame of the tone at the same time.
    torch.testing.assert_close(stretched[1, 56, 4:28], spectrum[1, 56, 4:28], atol=0.05 * 512, rtol=0)
    assert (stretched[:2, 56, 4:28].abs() > 400).all()
    assert not stretched[2, :, 26:].abs().any(), "0.8 of 32 frames, the rest is zeros"


def test_shift_moves_whole_frames() -> None:
    frames = torch.arange(1, 6).float().expand(3, 2, 5)
    moved = shift(frames, torch.tensor([0, 2, -1]))
    assert moved[:, 0].tolist() == [[1, 2, 3, 4, 5], [0, 0, 1, 2, 3], [2, 3, 4, 5, 0]]


def test_augmentation_is_a_function_of_its_generator() -> None:
    front = LogMel(16000, 16000)
    augment = Augmentation(front, probability=0.5, speed=0.2, stretch=0.2, shift=8, noise=0.45)
    clips = torch.randn(6, 16000, generator=torch.Generator().manual_seed(4))
    background = torch.randn(3, 16000, generator=torch.Generator().manual_seed(5))
    first, again, other = (augment(clips, torch.Generator().manual_seed(seed), background) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert front.picture(first).isfinite().all()
    unchanged = Augmentation(front, probability=0.0, speed=0.2, stretch=0.2, shift=8, noise=0.45)
    spectrum = unchanged(clips, torch.Generator().manual_seed(7), background)
    torch.testing.assert_close(spectrum, front.spectrum(clips), atol=1e-3, rtol=0)
    changed = (front.picture(first) - front(clips)).abs().amax(dim=(1, 2)) > 0.1
    assert changed.any()


def test_noise_is_mixed_in_only_where_there_is_some() -> None:
    front = LogMel(16000, 16000)
    augment = Augmentation(front, probability=1.0, speed=0.0, stretch=0.0, shift=0, noise=0.45)
    silence = torch.zeros(64, 16000)
    assert not augment(silence, torch.Generator().manual_seed(0)).abs().any()
    noise = torch.ones(1, 16000)
    level = (
        augment(silence, torch.Generator().manual_seed(0), noise)[:, 0, 16].abs()
        / front.spectrum(noise)[0, 0, 16].abs()
    )
    assert level.min() >= 0
    assert 0.3 < level.max() <= 0.45 * 1.1

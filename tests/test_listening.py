"""Listening in a notebook, and copies that browsers play."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile
import torch

import evaluation
from evaluation.report import players


def tone(rate: int, pitch: float = 440.0, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(rate * seconds)) / rate)


def heard(page: str) -> list[tuple[np.ndarray, int]]:
    """The sounds in it, as a browser gets them."""
    sounds = re.findall(r'src="data:audio/wav;base64,([^"]+)"', page)
    return [soundfile.read(io.BytesIO(base64.b64decode(sound)), dtype="int16") for sound in sounds]


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_what_is_played_is_the_clip(rate: int) -> None:
    wave = tone(rate)
    ((codes, played),) = heard(evaluation.listen(wave, rate).html)
    assert played == rate
    assert np.array_equal(codes, np.rint(wave * 32768))


@pytest.mark.parametrize(("rate", "expected"), [(4000, 8000), (3000, 9000), (7999, 15998), (1000, 8000)])
def test_a_low_rate_is_played_as_a_copy(rate: int, expected: int) -> None:
    wave = tone(rate, 200)
    ((codes, played),) = heard(evaluation.listen(wave, rate).html)
    assert played == expected
    again = tone(played, 200)
    assert abs(len(codes) - len(again)) <= played // rate
    count = min(len(codes), len(again))
    error = (codes[:count] / 32768 - again[:count])[played // 20 : -played // 20]
    assert np.abs(error).max() < 2e-3, "the same tone, but for the ends"


def test_a_copy_may_overshoot_and_is_clipped() -> None:
    square = np.where(tone(4000, 400) >= 0, 32767, -32768).astype(np.int16)
    codes, _ = players.playable(square, 4000)
    assert codes.max() == 32767
    assert codes.min() == -32768
    assert np.sign(codes[20:-20:2].astype(int)).tolist() == np.sign(square[10:-10].astype(int)).tolist()
    assert players.playable(np.zeros(0, np.int16), 4000)[1] == 8000


@pytest.mark.parametrize("budget", [10_000_000, 1])
def test_the_reports_players_get_the_copy(budget: int) -> None:
    clip = {"caption": "a", "codes": (tone(4000) * 32768).astype(np.int16), "sample_rate": 4000, "details": {}}
    sounds = players.Sounds([clip], budget)
    player = sounds.player(clip)
    with soundfile.SoundFile(io.BytesIO(sounds.files[player.sound])) as file:
        assert file.samplerate == 8000
        assert abs(file.frames - 4000) <= 2
    assert player.seconds == "0.5 s"


def test_everything_is_in_the_page() -> None:
    waves = torch.stack([torch.from_numpy(tone(8000, pitch)) for pitch in (220, 440, 880)]).float().requires_grad_()
    shown = evaluation.listen(waves, 8000, captions=["<a>", "b & c", 3])
    page = shown._repr_html_()
    assert len(heard(page)) == page.count('src="data:image/png;base64,') == page.count("<path d=") == 3
    assert "&lt;a&gt;" in page
    assert "b &amp; c" in page
    assert "http" not in page, "nothing is fetched"
    assert repr(shown) == "3 clips at 8000 Hz, to be heard in a notebook"


def test_many_clips_are_cut_short_and_it_is_said() -> None:
    page = evaluation.listen(np.zeros((30, 100), np.int16), 8000, most=4).html
    assert len(heard(page)) == 4
    assert "26 more are not shown" in page


@pytest.mark.parametrize(
    ("waveforms", "more", "told"),
    [
        (np.zeros((2, 3, 4)), {}, r"shape \(2, 3, 4\)"),
        (np.zeros((0, 4)), {}, r"shape \(0, 4\)"),
        (np.zeros(4, np.int32), {}, "not int32"),
        (np.array([0.0, np.nan]), {}, "diverged"),
        (np.zeros(4), {"captions": ["a", "b"]}, "2 captions for 1 clips"),
        (np.zeros(4), {"sample_rate": 0}, "sample_rate=0"),
    ],
)
def test_what_cannot_be_heard_is_refused(waveforms: np.ndarray, more: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        evaluation.listen(waveforms, **{"sample_rate": 8000, **more})  # type: ignore[arg-type]

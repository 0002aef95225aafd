"""`evaluation.listen(waveforms, 16000)` in a notebook: a player, the waveform and the spectrogram of every clip.

What is shown is one piece of HTML with everything in it: it needs no server, stays in the saved notebook, and is drawn as
in the report, all clips on one scale.
"""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.report import players

MOST = 24
"Clips that are shown unless more are asked for: a notebook keeps all of them in its file."
PAGE = """<div style="display:flex;flex-wrap:wrap;gap:14px;font:13px sans-serif">{figures}</div>{rest}"""
FIGURE = """<figure style="margin:0;width:250px"><figcaption>{caption} <span style="color:#777">{seconds}</span></figcaption>
<svg viewBox="0 0 {columns} {height}" preserveAspectRatio="none" role="img" aria-label="waveform"
 style="width:250px;height:50px;display:block"><path d="{wave}" stroke="currentColor" fill="none"/></svg>
<img src="{spectrogram}" alt="spectrogram" style="width:250px;height:70px;display:block;background:#fff">
<audio controls preload="none" src="{sound}" style="width:250px;height:34px"></audio></figure>"""


class Listening:
    """What a notebook shows of some clips; `html` is the same as text."""

    def __init__(self, codes: np.ndarray, sample_rate: int, captions: Sequence[str], hidden: int) -> None:
        scale = players.shared_scale((clip, sample_rate) for clip in codes)
        figures = "".join(
            FIGURE.format(
                caption=html.escape(caption),
                seconds=f"{len(clip) / sample_rate:.2g} s",
                columns=players.COLUMNS,
                height=players.HEIGHT,
                wave=players.waveform_path(clip, scale),
                spectrogram=players.spectrogram_uri(clip, sample_rate, scale),
                sound=players.wav_uri(clip, sample_rate),
            )
            for clip, caption in zip(codes, captions, strict=True)
        )
        rest = f"<p>{hidden} more are not shown; see <code>most=</code>.</p>" if hidden else ""
        self.html, self.count, self.sample_rate = PAGE.format(figures=figures, rest=rest), len(codes), sample_rate

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"{self.count} clips at {self.sample_rate} Hz, to be heard in a notebook"


def listen(waveforms: Any, sample_rate: int, captions: Sequence[Any] = (), most: int = MOST) -> Listening:
    """Players, waveforms and spectrograms of clips; the last line of a notebook's cell shows them.

    waveforms: (count, timesteps), or (timesteps,) for one: int16, or floats in [-1, 1] (beyond, they are clipped); arrays,
               or tensors on any device. sample_rate: in Hz. captions: one for each; their numbers, where there are none

    Raises ValueError for other shapes and types, values that are not finite, and too few captions.
    """
    array = np.asarray(waveforms.detach().cpu() if hasattr(waveforms, "detach") else waveforms)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise ValueError(f"waveforms of shape {array.shape} cannot be heard: give (count, timesteps) or (timesteps,)")
    if not (array.dtype == np.int16 or np.issubdtype(array.dtype, np.floating)):
        raise ValueError(f"waveforms are int16, or floats in [-1, 1], not {array.dtype}")
    if sample_rate < 1 or most < 1:
        raise ValueError(f"sample_rate={sample_rate} Hz and most={most} must be at least 1")
    if len(captions) not in (0, len(array)):
        raise ValueError(f"{len(captions)} captions for {len(array)} clips: give one for each, or none")
    shown = array[:most]
    if shown.dtype != np.int16:
        if not np.isfinite(shown).all():
            raise ValueError("some values are not finite (NaN or infinity): what made these waveforms has diverged")
        shown = np.clip(np.rint(shown.astype(np.float64) * 32768), -32768, 32767).astype(np.int16)
    names = [str(caption) for caption in captions] or [f"{number}" for number in range(len(array))]
    return Listening(shown, sample_rate, names[:most], len(array) - len(shown))

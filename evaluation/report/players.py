"""A clip for the page: its sound as a file beside it, its waveform as an SVG path, its spectrogram as a small PNG.

One scale for all clips of a page: waveforms share one amplitude axis and spectrograms one reference level, both set by
the loudest clip, so that a quiet generator looks quiet. Spectrograms are ink on paper (dark is loud) over 70 dB, with
mel-spaced rows; they are for looking, no measure reads them.

A sound that is played at several places is one file, called by the hash of its content. Below 8 kHz it is a copy at a
multiple of its rate (`playable`); pictures and measures are always of the clip itself.
"""

import base64
import hashlib
import io
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

COLUMNS, HEIGHT = 80, 100  # of the box of a waveform
ROWS = 56
RANGE_DB = 70.0
SHADES = 16
AUDIO_BUDGET = 60_000_000
"""Bytes of 16-bit audio beside a page, above which clips are Ogg Vorbis (lossy) in place of FLAC."""
LOWEST_RATE = 8000  # Hz: what every browser must play (Web Audio API, section 1.4); below, some are silent
FOLDER = "audio"


@dataclass(frozen=True)
class Scale:
    """What the clips of one page share: peak amplitude in int16 codes, and the loudest spectrogram power."""

    peak: float
    power: float


def shared_scale(clips: Iterable[tuple[np.ndarray, int]]) -> Scale:
    """clips: (int16 codes (timesteps,), sample rate in Hz). Silence alone gives the scale of a full-scale signal."""
    peak, power = 0.0, 0.0
    for codes, sample_rate in clips:
        peak = max(peak, float(np.abs(codes.astype(np.float64)).max(initial=0)))
        power = max(power, float(mel_power(codes, sample_rate).max(initial=0)))
    return Scale(peak or 32768.0, power or 1.0)


@dataclass(frozen=True)
class Player:
    """What the template shows of a clip. sound: path of its file beside the page; wave: `d` of an SVG path; spectrogram: a
    data URI, or ""; seconds: "1 s"; details: texts below the caption.
    """

    caption: str
    sound: str
    wave: str
    spectrogram: str
    seconds: str
    details: Sequence[str] = ()


class Sounds:
    """The clips of one page, which share a scale, and the files that they become.

    files: path beside the page -> content; lossless: whether these are FLAC or WAV, whichever is smaller; where all clips
    together are more than `budget` bytes of audio, they are Ogg Vorbis
    """

    def __init__(self, clips: Iterable[Mapping[str, Any]], budget: int = AUDIO_BUDGET) -> None:
        different = {_name(clip["codes"], clip["sample_rate"]): (clip["codes"], clip["sample_rate"]) for clip in clips}
        self.scale = shared_scale(different.values())
        self.lossless = sum(2 * len(codes) for codes, _ in different.values()) <= budget
        self.files: dict[str, bytes] = {}
        self._places: dict[str, str] = {}

    def player(self, clip: Mapping[str, Any], picture: bool = True) -> Player:
        """clip: caption, codes, sample_rate and perhaps details {name: value}; picture: with a spectrogram."""
        codes, sample_rate = np.asarray(clip["codes"]), clip["sample_rate"]
        return Player(
            caption=str(clip["caption"]),
            sound=self._file(codes, sample_rate),
            wave=waveform_path(codes, self.scale),
            spectrogram=spectrogram_uri(codes, sample_rate, self.scale) if picture else "",
            seconds=f"{len(codes) / sample_rate:.2g} s",
            details=[f"{_spaced(key)} {_short(value)}" for key, value in clip.get("details", {}).items()],
        )

    def _file(self, codes: np.ndarray, sample_rate: int) -> str:
        name = _name(codes, sample_rate)
        if name not in self._places:
            played = playable(codes, sample_rate)
            suffix, data = _lossless(*played) if self.lossless else ("ogg", _vorbis(*played))
            self._places[name] = f"{FOLDER}/{name}.{suffix}"
            self.files[self._places[name]] = data
        return self._places[name]


def playable(codes: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
    """int16 codes (timesteps,) and their rate in Hz, as any browser plays them: below 8 kHz a copy at a multiple of the rate.

    Nothing is added above half the old rate. What overshoots full scale is clipped.
    """
    if sample_rate >= LOWEST_RATE or not len(codes):
        return codes, max(sample_rate, LOWEST_RATE)
    import soxr

    rate = sample_rate * -(-LOWEST_RATE // sample_rate)
    copy = soxr.resample(codes.astype(np.float64), sample_rate, rate, quality="HQ")
    return np.clip(np.rint(copy), -32768, 32767).astype(np.int16), rate


def waveform_path(codes: np.ndarray, scale: Scale, columns: int = COLUMNS, height: int = HEIGHT) -> str:
    """The `d` of an SVG path in a box of columns x height: a stroke per column from its lowest to its highest code."""
    middle, thinnest = height / 2, height / 66
    edges = np.linspace(0, len(codes), columns + 1).astype(int)
    strokes = []
    for column, (start, end) in enumerate(zip(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1), strict=True)):
        part = codes[start:end]
        low, high = (int(part.min()), int(part.max())) if len(part) else (0, 0)
        top, bottom = (middle - middle * value / scale.peak for value in (high, low))
        if bottom - top < thinnest:
            top, bottom = (top + bottom - thinnest) / 2, (top + bottom + thinnest) / 2
        strokes.append(f"M{column} {top:.0f}V{bottom:.0f}")
    return "".join(strokes)


def spectrogram_uri(codes: np.ndarray, sample_rate: int, scale: Scale) -> str:
    """A grey PNG, low frequencies at the bottom, white 70 dB and more below the page's loudest point."""
    level = 10 * np.log10(np.maximum(mel_power(codes, sample_rate) / scale.power, 10 ** (-RANGE_DB / 10)))
    ink = np.round((1 + level[::-1] / RANGE_DB) * (SHADES - 1))
    return _uri("image/png", grey_png((SHADES - 1 - ink).astype(np.uint8)))


def mel_power(codes: np.ndarray, sample_rate: int, rows: int = ROWS, frames: int = COLUMNS) -> np.ndarray:
    """Power (rows, frames) at mel-spaced frequencies from 0 Hz to half the sample rate; 32 ms Hann windows."""
    size = max(64, round(0.032 * sample_rate))
    padded = np.pad(codes.astype(np.float64) / 32768, size // 2)
    starts = np.linspace(0, max(len(padded) - size, 0), frames).astype(int)
    padded = np.pad(padded, (0, max(0, size - len(padded))))
    windows = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, rows + 1) / 2595) - 1) / (sample_rate / size)
    total = np.concatenate([np.zeros((frames, 1)), np.cumsum(power, axis=1)], axis=1)
    positions = np.arange(total.shape[1])
    # Differences of the running sum at fractional bins: a band narrower than a bin still gets its share of it.
    upper = np.array([np.interp(edges, positions, row) for row in total])
    return (np.diff(upper, axis=1) / np.diff(edges)).T.clip(min=0)


def grey_png(shades: np.ndarray) -> bytes:
    """A PNG of 16 shades of grey (height, width), 0 black to 15 white, written by hand: three chunks, no filter."""
    height, width = shades.shape
    packed = np.pad(shades, ((0, 0), (0, width % 2)))
    pairs = packed[:, ::2] << 4 | packed[:, 1::2]
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pairs], axis=1).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 4, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _name(codes: np.ndarray, sample_rate: int) -> str:
    return hashlib.sha256(np.ascontiguousarray(codes).tobytes() + f"@{sample_rate}".encode()).hexdigest()[:16]


def wav_uri(codes: np.ndarray, sample_rate: int) -> str:
    """A WAV that any browser plays, as a data URI."""
    return _uri("audio/wav", _encoded(*playable(codes, sample_rate), "WAV", "PCM_16"))


def _lossless(codes: np.ndarray, sample_rate: int) -> tuple[str, bytes]:
    wav = _encoded(codes, sample_rate, "WAV", "PCM_16")
    flac = _encoded(codes, sample_rate, "FLAC", "PCM_16")
    return ("flac", flac) if len(flac) < len(wav) else ("wav", wav)


def _vorbis(codes: np.ndarray, sample_rate: int) -> bytes:
    return _encoded(codes, sample_rate, "OGG", "VORBIS")


def _encoded(codes: np.ndarray, sample_rate: int, container: str, subtype: str) -> bytes:
    import soundfile

    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", sample_rate, 1, subtype, format=container) as file:
        # In pieces: libsndfile's Vorbis encoder keeps a whole write on the stack and overflows on long ones.
        for start in range(0, len(codes), 8192):
            file.write(codes[start : start + 8192])
    return out.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _spaced(key: str) -> str:
    return key.replace("_", " ")


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")

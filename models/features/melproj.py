"""A mel spectrogram and a fixed random projection: ears without weights, which no training has shaped.

Source: the naive baseline of HEAR 2021 (Turian et al. 2022; hearbaseline/naive.py). Audio at 44,100 Hz; windows of 4,096
timesteps (Hann), one every 250 ms, centred, over a clip that is padded with zeros; 256 Slaney mel bands from 0 Hz to half the
rate; log(power + 1e-4); a projection onto 4,096 dimensions, uniform in [0, 1) / 16, of seed 0; the mean over the windows.

Differs: the 4,096 dimensions are a linear image of 256 log-mel bands, so all that they say fits into 256 coordinates.
`embed` gives those, in a basis (Cholesky's) in which an inner product is the baseline's, divided by 4,096: squared distances
are means over its dimensions. What `scene` gives is the baseline's to the last of them.
The projection is not drawn by torch, whose stream may change: numpy's MT19937 gives the same bits, and a hash is checked.

What it hears: how much of each band there is on average, at five moments of a second. Since all entries of the projection
are positive, the sum of the bands, about the loudness in dB, weighs most. No order in time; not what is said.
"""

import hashlib
from functools import cached_property

import numpy as np
import scipy.fft
import scipy.linalg

from models.features.base import Ears

VERSION = 1
SAMPLE_RATE, BANDS, WINDOW, SIZE = 44100, 256, 4096, 4096
SCENE_HOP_MS, TIMESTAMP_HOP_MS = 250.0, 50.0
OFFSET = 1e-4
PINNED = "20e99150139e1b13ca16625824f227953bdc706454697f43dbf861acd49690ac"  # sha256 of the projection, float32


class MelProj(Ears):
    """bands, window, size: the baseline's, unless a test wants them smaller."""

    name = "melproj"
    sample_rate = SAMPLE_RATE

    def __init__(self, bands: int = BANDS, window: int = WINDOW, size: int = SIZE):
        self.window = hann(window)
        self.filters = mel_filters(bands, window, SAMPLE_RATE)
        self.projection = projection(bands, size)
        if (bands, size) == (BANDS, SIZE):
            found = hashlib.sha256(self.projection.tobytes()).hexdigest()
            if found != PINNED:
                raise RuntimeError(f"melproj's projection is not the baseline's: its sha256 is {found}, not {PINNED}")
        self.dimensions = bands

    def listen(self, waveforms: np.ndarray) -> np.ndarray:
        """(n, timesteps) -> (n, bands): the scene embedding's coordinates, float64."""
        return self.log_mel(waveforms, SCENE_HOP_MS)[0].mean(axis=1) @ self.root

    @cached_property
    def root(self) -> np.ndarray:
        """(bands, bands) float64: root root' = projection projection' / size."""
        wide = self.projection.astype(np.float64)
        return scipy.linalg.cholesky(wide @ wide.T / wide.shape[1], lower=True)

    def log_mel(self, waveforms: np.ndarray, hop_ms: float) -> tuple[np.ndarray, np.ndarray]:
        """(n, windows, bands) float64, and the windows' centres in ms, (windows,)."""
        cut, centres = frames(waveforms, len(self.window), hop_ms, SAMPLE_RATE)
        spectrum = scipy.fft.rfft(cut.astype(np.float64) * self.window)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        return np.log(power @ self.filters.T + OFFSET), centres

    def timestamps(self, waveforms: np.ndarray, hop_ms: float = TIMESTAMP_HOP_MS) -> tuple[np.ndarray, np.ndarray]:
        """The baseline's timestamp embeddings, (n, windows, size), and the windows' centres in ms."""
        bands, centres = self.log_mel(waveforms, hop_ms)
        return bands @ self.projection, centres

    def scene(self, waveforms: np.ndarray) -> np.ndarray:
        """The baseline's scene embeddings, (n, size)."""
        return self.timestamps(waveforms, SCENE_HOP_MS)[0].mean(axis=1)


def frames(waveforms: np.ndarray, length: int, hop_ms: float, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows around 0, hop_ms, 2 hop_ms, ... as long as they fit: (n, windows, length), and their centres in ms.

    The hop is not rounded to whole timesteps; every start is.
    """
    padded = np.pad(waveforms, ((0, 0), (length // 2, length - length // 2)))
    hop = hop_ms / 1000 * sample_rate
    starts = [round(i * hop) for i in range(int(waveforms.shape[1] / hop) + 2)]
    starts = [start for start in starts if start + length <= padded.shape[1]]
    cut = np.lib.stride_tricks.sliding_window_view(padded, length, axis=1)[:, starts]
    return cut, hop_ms * np.arange(len(starts))


def hann(length: int) -> np.ndarray:
    """A periodic Hann window, (length,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def mel_filters(bands: int, window: int, sample_rate: int) -> np.ndarray:
    """(bands, window // 2 + 1) triangles of equal area (Slaney 1998, as in librosa), from 0 Hz to half the rate."""
    edges = _hertz(np.linspace(0, _mel(sample_rate / 2), bands + 2))
    bins = np.linspace(0, sample_rate / 2, window // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.minimum(rising, falling).clip(min=0) * (2 / (edges[2:] - edges[:-2]))[:, None]


def _mel(hertz: float) -> float:
    """Slaney's scale: linear to 1,000 Hz, then logarithmic."""
    return 15 + 27 * np.log(hertz / 1000) / np.log(6.4) if hertz >= 1000 else 3 * hertz / 200


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel >= 15, 1000 * 6.4 ** ((mel - 15) / 27), 200 * mel / 3)


def projection(bands: int, size: int) -> np.ndarray:
    """(bands, size) float32, uniform in [0, 1) / sqrt(bands): the bits of torch.rand after torch.manual_seed(0)."""
    bits = np.random.RandomState(0).randint(0, 2**32, bands * size, dtype=np.uint32)
    uniform = (bits & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)
    return (uniform / np.float32(np.sqrt(bands))).reshape(bands, size)

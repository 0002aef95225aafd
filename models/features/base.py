"""What a pair of ears offers: `embed`, from 16-bit clips to one feature vector each.

Ears of your own are one file in this folder: a docstring (source; idea; "Differs:"), `VERSION`, and a class with the file's
name that says `sample_rate` and `dimensions` and has one method, `listen`. They are asked for by `--features NAME`. They must
hear every clip alone: a clip's features do not depend on the others.
"""

from collections.abc import Callable

import numpy as np

FULL_SCALE = 32768  # int16 code c stands for the amplitude c / 32768
LONGEST_SECONDS = 128.0  # that are listened to at once, so that long clips take no more memory than many short ones
Progress = Callable[[int, int, str], None]


class Ears:
    """name: what paths and tables call them; sample_rate: in Hz, of what `listen` takes; dimensions: of its features;
    batch: how many clips `listen` is given at once, at most: fewer where they are long
    """

    name: str
    sample_rate: int
    dimensions: int
    batch: int = 64

    def listen(self, waveforms: np.ndarray) -> np.ndarray:
        """waveforms: (n, timesteps) float32 in [-1, 1] at `sample_rate` -> features: (n, dimensions)."""
        raise NotImplementedError

    def embed(self, codes: np.ndarray, sample_rate: int, progress: Progress | None = None) -> np.ndarray:
        """Features (n, dimensions) float32 of clips.

        codes: (n, timesteps) int16, may be memory-mapped, at `sample_rate` Hz; they are resampled where the ears need it.
        Raises ValueError for codes of another type or shape, and where what comes out is not finite or of another shape.
        """
        if codes.ndim != 2 or codes.dtype != np.int16:
            raise ValueError(f"{self.name} listens to int16 codes (n, timesteps), not to {codes.dtype} {codes.shape}")
        features = np.empty((len(codes), self.dimensions), np.float32)
        batch = max(1, min(self.batch, int(LONGEST_SECONDS * sample_rate / max(1, codes.shape[1]))))
        for start in range(0, len(codes), batch):
            rows = slice(start, min(start + batch, len(codes)))
            waveforms = codes[rows].astype(np.float32) / FULL_SCALE
            heard = self.listen(resample(waveforms, sample_rate, self.sample_rate))
            if heard.shape != features[rows].shape:
                raise ValueError(f"{self.name} gave features of shape {heard.shape}, not {features[rows].shape}")
            features[rows] = heard
            if progress is not None:
                progress(rows.stop, len(codes), "clips heard")
        bad = ~np.isfinite(features).all(axis=1)
        if bad.any():
            raise ValueError(
                f"the features of {self.name} are not finite for {int(bad.sum())} of {len(codes)} clips; the first is clip "
                f"{int(bad.argmax())}"
            )
        return features


def resample(waveforms: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """(n, timesteps) float32 at `rate` Hz -> (n, about timesteps * sample_rate / rate) at `sample_rate`, each row alone."""
    if rate == sample_rate:
        return waveforms
    import soxr

    return np.stack([soxr.resample(row, rate, sample_rate, quality="HQ") for row in waveforms])

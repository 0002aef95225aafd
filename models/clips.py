"""Clips as the networks see them: waveforms, how much of each is audio, and what was said.

The corpus is kept as 16-bit integers in one memory-mapped file; a batch is decoded when it is needed, on the device
where it is needed, so that neither the data set nor its float copy has to fit into memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

FULL_SCALE = 32768  # int16 code c stands for the amplitude c / 32768


@dataclass(frozen=True)
class Clips:
    """A batch of clips.

    waveforms: (batch, timesteps) float32 in [-1, 1]
    valid:     (batch,) int64, the timesteps that are audio; the rest of a row is zero padding
    labels:    (batch,) int64 class indices, or None where the corpus has no labels
    """

    waveforms: Tensor
    valid: Tensor
    labels: Tensor | None = None

    @classmethod
    def of(cls, waveforms: Tensor) -> Self:
        """Clips that are audio from end to end."""
        batch, timesteps = waveforms.shape
        return cls(waveforms, torch.full((batch,), timesteps, dtype=torch.int64, device=waveforms.device))

    def mask(self) -> Tensor:
        """(batch, timesteps) bool, true where there is audio."""
        timesteps = torch.arange(self.waveforms.shape[1], device=self.waveforms.device)
        return timesteps[None, :] < self.valid[:, None]

    def __len__(self) -> int:
        return len(self.waveforms)


@dataclass(frozen=True)
class ClipArray:
    """A corpus, or a split of it, in 16 bits; `codes` may be memory-mapped.

    codes: (n, timesteps) int16;  valid: (n,);  labels: (n,) or None
    """

    codes: np.ndarray
    valid: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.valid)

    def batch(self, indices: Sequence[int] | np.ndarray, device: str | torch.device = "cpu") -> Clips:
        """The clips at `indices`, decoded on `device`: the 16 bits are what crosses over to it."""
        indices = np.asarray(indices, dtype=np.int64)
        codes = _to(torch.from_numpy(np.ascontiguousarray(self.codes[indices])), device)
        labels = None if self.labels is None else _to(torch.from_numpy(self.labels[indices].astype(np.int64)), device)
        valid = _to(torch.from_numpy(self.valid[indices].astype(np.int64)), device)
        return Clips(codes.float() / FULL_SCALE, valid, labels)


def _to(x: Tensor, device: str | torch.device) -> Tensor:
    """x on `device`. From pinned memory, so that a graphics card fetches it while it still works on what came before, and the
    processor does not wait; PyTorch keeps that memory until then."""
    if torch.device(device).type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def to_int16(waveforms: np.ndarray) -> np.ndarray:
    """Round waveforms in [-1, 1] to 16 bits; what lies outside is clipped, as a sound card would.

    The most positive code is 32767, so +1.0 becomes 32767/32768.
    """
    return np.clip(np.rint(np.asarray(waveforms, dtype=np.float64) * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(
        np.int16
    )


def load_split(folder: Path, split: str) -> ClipArray:
    """One split of a `2-clips` folder, memory-mapped. Splits are contiguous rows of `clips.npy`, in the order of `clips.csv`.

    Raises ValueError where the folder has no clip of that split.
    """
    import csv
    import json

    with open(folder / "clips.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    if not rows:
        raise ValueError(f"{folder} has no clips in the split {split!r}; see its clips.csv")
    first, last = int(rows[0]["index"]), int(rows[-1]["index"])
    if last - first + 1 != len(rows):
        raise ValueError(f"{folder}/clips.csv does not keep the split {split!r} in one piece")
    names: list[str] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    labels = np.array([names.index(row["label"]) for row in rows]) if names else None
    codes = np.load(folder / "clips.npy", mmap_mode="r")[first : last + 1]
    return ClipArray(codes, np.array([int(row["valid"]) for row in rows]), labels)

"""Randomness as an argument: streams that depend on what they are for, never on batch size, shard or machine.

Sample i of a draw gets a stream of its own, keyed by (seed, i). It is the counter-based generator Philox
(Salmon et al. 2011), for which independent keys give independent streams without any state to carry along.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor


def _key(*words: int | str) -> int:
    """A 64-bit key for a sequence of words; different sequences give different keys."""
    return int.from_bytes(hashlib.sha256(repr(words).encode()).digest()[:8], "little")


def generator(*words: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator whose stream is a function of the words alone, e.g. `generator(seed, "step", 17)`."""
    return torch.Generator(device=device).manual_seed(_key(*words) >> 1)


class SampleRandom:
    """The noise of samples first, first + 1, ...: row i of every array is drawn from the stream of sample first + i.

    Drawing 8 samples at once, or 4 and then 4 with `first=4`, gives the same noise.
    """

    def __init__(self, seed: int, first: int = 0):
        self.seed, self.first = seed, first
        self._streams: list[np.random.Generator] = []

    def _stream(self, row: int) -> np.random.Generator:
        while len(self._streams) <= row:
            sample = self.first + len(self._streams)
            self._streams.append(np.random.Generator(np.random.Philox(key=_key("sample", self.seed, sample))))
        return self._streams[row]

    def uniform(self, count: int, *shape: int) -> Tensor:
        """(count, *shape) float64, uniform on [0, 1)."""
        return torch.from_numpy(np.stack([self._stream(row).random(shape) for row in range(count)]))

    def normal(self, count: int, *shape: int) -> Tensor:
        """(count, *shape) float32, standard normal."""
        rows = [self._stream(row).standard_normal(shape, dtype=np.float32) for row in range(count)]
        return torch.from_numpy(np.stack(rows))

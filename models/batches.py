"""Which clips an update sees: a function of (seed, number of the update), so that a resumed training needs no state."""

import numpy as np
import torch

from models.clips import ClipArray
from models.randomness import generator


class Batches:
    """The batches of a training, by number.

    Shuffled: the stream of epochs, each a permutation of the corpus by (seed, epoch), is cut into batches; one that
    starts near the end of an epoch goes on in the next, so that no clip is left out. Balanced: with replacement, every
    class equally often on average, every clip of a class equally often.

    Raises ValueError without clips, or on balanced classes without labels.
    """

    def __init__(self, clips: ClipArray, batch_size: int, seed: int, *, balanced: bool = False):
        if not len(clips):
            raise ValueError("there are no clips to train on")
        if balanced and clips.labels is None:
            raise ValueError("balanced_classes=True needs a corpus with labels; set balanced_classes=False")
        self.batch_size, self.seed = batch_size, seed
        self._count = len(clips)
        self._members: list[np.ndarray] = []
        if balanced and clips.labels is not None:
            labels = np.asarray(clips.labels)
            self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self._epochs: dict[int, np.ndarray] = {}

    def indices(self, number: int) -> np.ndarray:
        """(batch_size,) int64: the clips of batch `number`."""
        return self._balanced(number) if self._members else self._shuffled(number)

    def _balanced(self, number: int) -> np.ndarray:
        rng = generator(self.seed, "balanced", number)
        classes = torch.randint(len(self._members), (self.batch_size,), generator=rng).tolist()
        positions = torch.rand(self.batch_size, generator=rng, dtype=torch.float64).tolist()
        members = (self._members[k] for k in classes)
        return np.array([m[int(u * len(m))] for m, u in zip(members, positions, strict=True)], dtype=np.int64)

    def _shuffled(self, number: int) -> np.ndarray:
        first = number * self.batch_size
        pieces, missing = [], self.batch_size
        while missing:
            epoch, position = divmod(first, self._count)
            piece = self._epoch(epoch)[position : position + missing]
            pieces.append(piece)
            first, missing = first + len(piece), missing - len(piece)
        return np.concatenate(pieces)

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            order = torch.randperm(self._count, generator=generator(self.seed, "epoch", epoch)).numpy()
            self._epochs = {number: kept for number, kept in self._epochs.items() if number == epoch - 1}
            self._epochs[epoch] = order
        return self._epochs[epoch]

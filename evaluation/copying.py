"""When is a generated clip a copy of a training clip, and how many copies are more than chance?

Distances alone accuse the wrong ones: a generator of typical sounds, or of the training speakers, is close to training clips
without having copied any. What gives a copy away is that it is close to one of them: its distance to the nearest is small
beside its distance to the second nearest (a sample is memorized below a third: Yoon et al. 2023, Gu et al. 2023). That ratio
does not depend on how dense the training clips lie, so real clips of both kinds say what is normal: held-out clips, and
training clips among the other training clips. Generated clips must differ from both, because a corpus may repeat itself
(silence, takes of one speaker, overlapping cuts), and repetition is not copying.

The alarm goes off where

- different training clips are copied (ratio below a third, or distance 0) more often than chance allows: Fisher's exact test
  of their number against real clips, at 1e-4, and at least twice the share of either kind of real clips; or
- more than half of the clips are copies, if of one training clip, and no more than 1 % of real clips would pass for one; or
- the ratios are lower than those of real clips of either kind: P(lower) > 0.6 with a Mann-Whitney z above 5. Clips with the
  same nearest training clip count once, by their median: one sound over and over is no evidence.

It is silent below that (of 2,048 clips and 31,158 training clips, up to three copies), where the corpus itself is full of
copies, and about what the features do not recognize: a copy at another pitch, a clip put together from several.
"""

from typing import Any, NamedTuple

import numpy as np

from evaluation.data_copying import exceeding
from evaluation.distances import Neighbours
from evaluation.proportions import chance_of_more

RATIO = 1 / 3
LEVEL, TIMES = 1e-4, 2
MOST, RARE = 0.5, 0.01
LOWER, SIGMAS = 0.6, 5.0


def ratios(distance: np.ndarray) -> np.ndarray:
    """(n,) distance to the nearest over that to the second nearest, of (n, k >= 2); 0 for what is at distance 0."""
    first, second = distance[:, 0], distance[:, 1]
    return np.divide(first, second, out=np.zeros(len(first)), where=first > 0)


class Real(NamedTuple):
    """One kind of real clips. share: how many are as close to one training clip as a copy is; lower: P(a generated clip's ratio
    is lower than theirs), with its z under the null."""

    share: float
    lower: float
    z: float


class Copies(NamedTuple):
    """clips: which of how many generated clips are copies; exact: those at distance 0; originals: training clips that are
    copied; chance: p of Fisher's test of their number."""

    clips: int
    generated: int
    exact: int
    originals: int
    chance: float
    held_out: Real
    training: Real

    @property
    def alarm(self) -> str:
        """What a reader must be told; "" where there is nothing to tell."""
        kinds = (self.held_out, self.training)
        normal = max(kind.share for kind in kinds)
        many = self.chance < LEVEL and self.originals >= TIMES * normal * self.generated
        if many or (self.clips > MOST * self.generated and normal <= RARE):
            return (
                f"copies the training set: {self.clips:,} of {self.generated:,} clips are copies of {self.originals:,} "
                f"training clip{'s' * (self.originals > 1)} (of real clips {normal:.1%} come as close)"
            )
        if all(kind.lower > LOWER and kind.z > SIGMAS for kind in kinds):
            lower = min(kind.lower for kind in kinds)
            return (
                "copies the training set: clips lie closer to single training clips than real clips do "
                f"(P = {lower:.2f}, by chance 0.50)"
            )
        return ""

    def to_json(self) -> dict[str, Any]:
        """Every field as a JSON value."""
        return {**self._asdict(), "held_out": self.held_out._asdict(), "training": self.training._asdict()}


def copies(generated: Neighbours, held_out: np.ndarray, training: np.ndarray) -> Copies:
    """From the nearest training clips of generated clips, and from the distances (n, k) of held-out clips to their nearest
    training clips and of training clips to the nearest others."""
    found, real = ratios(generated.distance), [ratios(held_out), ratios(training)]
    copied = found < RATIO
    originals = len(np.unique(generated.index[copied, 0]))
    marked = sum(int(np.count_nonzero(values < RATIO)) for values in real)

    _, original = np.unique(generated.index[:, 0], return_inverse=True)
    ends = np.cumsum(np.bincount(original))[:-1]
    votes = np.array([np.median(group) for group in np.split(found[np.argsort(original, kind="stable")], ends)])
    return Copies(
        clips=int(copied.sum()),
        generated=len(found),
        exact=int(np.count_nonzero(generated.distance[:, 0] == 0)),
        originals=originals,
        chance=chance_of_more(originals, len(found), marked, len(held_out) + len(training)),
        held_out=_beside(votes, real[0]),
        training=_beside(votes, real[1]),
    )


def _beside(votes: np.ndarray, real: np.ndarray) -> Real:
    lower, v, n = float(exceeding(votes, real).mean()), len(votes), len(real)
    return Real(float(np.mean(real < RATIO)), lower, (lower - 0.5) * float(np.sqrt(12 * v * n / (v + n + 1))))

"""IS as published tables give it: the mean over ten splits (Salimans et al. 2016, section 4).

Beside the whole-set IS for comparison with such tables only: every split estimates its own marginal from a tenth of
the clips, so this value is lower than IS, the more so the fewer clips there are.
The clips are shuffled before they are split, because they may come sorted by likelihood or class; by the permutation
that torch-fidelity takes, so that the two agree to the last digits.
Differs from the paper: that shuffle, and the interval. `standard_deviation` in the details is the published "± std"
(over splits, ddof 0), which is not a standard error of the mean.
"""

import numpy as np

from evaluation.metrics.base import Metric
from evaluation.metrics.inception import divergences_from_marginal
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import split_interval

VERSION = 1
SPLITS = 10
SHUFFLE = 2020  # numpy's legacy generator: its stream is frozen
IS_SPLITS = Metric(
    key="v1/is/10-splits",
    name="IS (10 splits)",
    version=VERSION,
    better="higher",
    needs=("log_probabilities",),
    minimum=2 * SPLITS,
    headline=False,
    doc="The mean IS of ten splits, as published tables give it; lower than IS, by design.",
)
METRICS = (IS_SPLITS,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing: IS looks at generated clips alone."""
    return {}


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score]:
    """The mean of the splits' IS."""
    IS_SPLITS.require(generated)
    n = len(generated)
    values = split_values(generated, SPLITS)
    return [
        IS_SPLITS.score(
            values.mean(),
            split_interval(values),
            f"Student's t over {SPLITS} splits, on the log scale",
            n_generated=n,
            details={"splits": SPLITS, "standard_deviation": float(values.std()), "values": values.tolist()},
        )
    ]


def split_values(samples: SampleSet, splits: int) -> np.ndarray:
    """(splits,) the IS of each of that many parts of the shuffled set, equal in size up to one clip."""
    n = len(samples)
    order = np.random.RandomState(SHUFFLE).permutation(n)
    parts = (samples.take(order[i * n // splits : (i + 1) * n // splits]) for i in range(splits))
    return np.array([np.exp(divergences_from_marginal(part).mean()) for part in parts])

"""Measures: pure functions of arrays. No Luigi, no paths, no torch.

import evaluation
print(evaluation.measure(real_features, generated_features))
evaluation.listen(waveforms, 16000)    # in a notebook: players, waveforms, spectrograms
"""

from evaluation.listening import listen
from evaluation.measure import Scores, applicable, compute, measure, prepare
from evaluation.metrics import metrics as _metrics
from evaluation.sample_set import SampleSet
from evaluation.score import Score

METRICS = _metrics()

__all__ = ["METRICS", "SampleSet", "Score", "Scores", "applicable", "compute", "listen", "measure", "prepare"]

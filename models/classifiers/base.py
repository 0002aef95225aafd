"""What every classifier of clips offers: class scores to learn from, and features for the metrics to listen with.

A classifier is one file in this folder: a docstring (paper; idea; "Differs from the paper:"), `VERSION`, a frozen
`Config` that inherits TrainingConfig, `PRESETS`, and the class with one method, `features_and_logits`.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.clips import Clips


class Classifier(nn.Module):
    """waveforms: (batch, timesteps) in [-1, 1] -> logits: (batch, classes).

    The metrics take the activations of one layer (`features`, (batch, feature_dimensions)) and the log-probabilities.
    """

    schedule: tuple[tuple[str, int], ...] = (("model", 1),)
    precisions: tuple[str, ...] = ("float32",)
    """What `listen_in` takes."""
    features_precision = "float32"
    """Of the arithmetic behind features and logits, outside of training."""
    feature_dimensions: int

    def __init__(self, config: Any, sample_rate: int, timesteps: int, labels: Sequence[str]):
        """sample_rate in Hz; timesteps of a clip; labels: the class names, in the order of the class indices.

        Raises ValueError where there are fewer than two classes, or one is named twice.
        """
        super().__init__()
        self.config, self.sample_rate, self.timesteps, self.labels = config, sample_rate, timesteps, list(labels)
        if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
            raise ValueError(
                f"a classifier needs two or more classes with different names, not {self.labels}; "
                "a corpus without labels cannot train one"
            )

    def listen_in(self, precision: str) -> Self:
        """Compute features in this precision from now on; features in bf16 are other numbers, and not for training.

        Raises ValueError for one that this classifier does not offer.
        """
        if precision not in self.precisions:
            raise ValueError(
                f"{type(self).__name__} has no features in {precision!r}; available: {', '.join(self.precisions)}"
            )
        self.features_precision = precision
        return self

    def features_and_logits(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """waveforms: (batch, timesteps) -> features: (batch, feature_dimensions), logits: (batch, classes)."""
        raise NotImplementedError

    def training_logits(self, waveforms: Tensor, rng: torch.Generator) -> Tensor:
        """Logits to learn from; a classifier that augments its clips does it here, with numbers from `rng`."""
        return self(waveforms)

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.features_and_logits(waveforms)[1]

    def features(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        """waveforms: (batch, timesteps) -> features: (batch, feature_dimensions) float32 and log-probabilities:
        (batch, classes) float64. A float32 softmax rounds the small probabilities to 0, and their logarithm to -inf.
        """
        features, logits = self.features_and_logits(waveforms)
        return features.float(), F.log_softmax(logits.double(), dim=1)

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy in nats of a training batch, and its accuracy."""
        labels = _labels(clips)
        logits = self.training_logits(clips.waveforms, rng).float()
        return F.cross_entropy(logits, labels), {"accuracy": _accuracy(logits, labels)}

    def validation_loss(self, clips: Clips, rng: torch.Generator) -> Tensor:
        """Cross-entropy in nats, without augmentation."""
        return F.cross_entropy(self(clips.waveforms).float(), _labels(clips))

    def validation_scores(self, clips: Clips) -> dict[str, float]:
        return {"accuracy": float(_accuracy(self(clips.waveforms), _labels(clips)))}

    def parameter_groups(self, part: str) -> list[dict[str, Any]]:
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]


def _labels(clips: Clips) -> Tensor:
    if clips.labels is None:
        raise ValueError("these clips have no labels, so no classifier can be trained or validated on them")
    return clips.labels


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels).float().mean()

"""ResNeXt on log-mel pictures of clips (Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural Networks").

The idea: residual bottlenecks whose 3x3 convolution is split into `cardinality` groups; three stages, each at half the
resolution and twice the width of the one before; the mean over the last stage's map goes into one linear layer. The
input of that layer is what the metrics call features.

`paper` is the SC09 classifier of the SaShiMi release: ResNeXt-29, 8 groups of 64, widened by 4 (34,425,546 parameters
for ten classes), trained on 31,158 clips with SGD, a plateau schedule, class-balanced batches and strong augmentation.
`models/published/resnext.py` reads its published weights.

Differs from the paper (section 5.1, the CIFAR form): one input channel, 32 x 32 decibels instead of an image, and
augmentation of sound. Differs from the release in `smoke` and `small` only: they halve the picture at once and train
with AdamW, and `small` adds white noise of random levels to what it learns from.

Outside of training it listens in a frozen form (_frozen_resnext.py), which is faster and equal but for rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.classifiers._frozen_resnext import DTYPES, FrozenResNeXt, fold
from models.classifiers.base import Classifier
from models.kept import Kept
from models.layers.augmentation import Augmentation
from models.layers.logmel import LogMel
from models.training_config import TrainingConfig

VERSION = 1

STAGES = 3


@dataclass(frozen=True)
class Config(TrainingConfig):
    depth: int = 29
    """Weighted layers: 9 per block in each of the three stages, and 2 (so 11, 20, 29, ...)."""
    cardinality: int = 8
    """Groups of the 3x3 convolutions."""
    base_width: int = 64
    """Channels of one group in the first stage; doubled in each further one."""
    width: int = 64
    """Channels of the first convolution."""
    first_stride: int = 1
    """Stride of the first convolution: 2 halves the picture at once, for a quarter of the work."""
    widen_factor: int = 4
    """The stages have width x widen_factor x (1, 2, 4) channels; the last of them is the number of features."""
    augment_probability: float = 0.5
    """How often each step of the augmentation happens to a clip."""
    augment_speed: float = 0.2
    """Largest relative change of length by playing faster or slower."""
    augment_stretch: float = 0.2
    """Largest relative change of length at constant pitch."""
    augment_shift: int = 8
    """Largest movement of a clip, in frames (1/31 of a clip)."""
    augment_noise: float = 0.45
    """Largest share of background noise, where the corpus has noise clips."""
    augment_hiss: float = 0.0
    """Largest standard deviation of added white noise; ours, for corpora without any noise of their own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 11 or (self.depth - 2) % 9:
            raise ValueError(f"depth {self.depth} is not 9 x blocks + 2: use 11, 20, 29, ...")
        if min(self.cardinality, self.base_width, self.width, self.widen_factor) < 1:
            raise ValueError("cardinality, base_width, width and widen_factor must be 1 or more")


class Bottleneck(nn.Module):
    """1x1 down to the groups, 3x3 within them, 1x1 up again, around a shortcut. (batch, channels, height, width)."""

    def __init__(self, channels_in: int, channels_out: int, inner: int, groups: int, stride: int):
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels_in, inner, 1, bias=False)
        self.bn_reduce = nn.BatchNorm2d(inner)
        self.conv_conv = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(inner)
        self.conv_expand = nn.Conv2d(inner, channels_out, 1, bias=False)
        self.bn_expand = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Sequential()
        if channels_in != channels_out:
            self.shortcut.add_module("shortcut_conv", nn.Conv2d(channels_in, channels_out, 1, stride, bias=False))
            self.shortcut.add_module("shortcut_bn", nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn_reduce(self.conv_reduce(x)))
        y = F.relu(self.bn(self.conv_conv(y)))
        return F.relu(self.shortcut(x) + self.bn_expand(self.conv_expand(y)))


class ResNeXt(Classifier):
    """waveforms: (batch, timesteps) -> logits: (batch, classes). The parameters have the names of the release's."""

    precisions = tuple(DTYPES)
    background: Tensor | None

    def __init__(self, config: Config, sample_rate: int, timesteps: int, labels: Sequence[str]):
        super().__init__(config, sample_rate, timesteps, labels)
        self.logmel = LogMel(sample_rate, timesteps)
        self.augmentation = Augmentation(
            self.logmel,
            probability=config.augment_probability,
            speed=config.augment_speed,
            stretch=config.augment_stretch,
            shift=config.augment_shift,
            noise=config.augment_noise,
            hiss=config.augment_hiss,
        )
        self.register_buffer("background", None, persistent=False)
        self.conv_1_3x3 = nn.Conv2d(1, config.width, 3, config.first_stride, padding=1, bias=False)
        self.bn_1 = nn.BatchNorm2d(config.width)
        channels = config.width
        for stage in range(STAGES):
            out = config.width * config.widen_factor * 2**stage
            self.add_module(f"stage_{stage + 1}", _stage(config, stage, channels, out))
            channels = out
        self.feature_dimensions = channels
        self.classifier = nn.Linear(channels, len(self.labels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)
        self._kept: Kept[FrozenResNeXt] = Kept()

    def use_background_noise(self, waveforms: Tensor) -> None:
        """Mix clips of noise, (n, timesteps) in [-1, 1], into the clips that it trains on from now on."""
        if waveforms.ndim != 2 or waveforms.shape[1] != self.timesteps:
            raise ValueError(f"noise clips of shape {tuple(waveforms.shape)} are not (n, {self.timesteps})")
        self.background = waveforms.float()

    def train(self, mode: bool = True) -> Self:
        """Also lets go of the frozen form, which is of no use while the weights change."""
        if mode != self.training:
            self._kept.forget()
        return super().train(mode)

    def features_of_picture(self, picture: Tensor) -> Tensor:
        """picture: (batch, 1, 32, 32) log-mel in dB -> (batch, feature_dimensions), all >= 0.

        Raises ValueError where gradients are wanted, outside of training, of features in another precision than float32.
        """
        tensors = (picture, *self.parameters())
        gradients = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        if not (self.training or gradients or torch.compiler.is_compiling()):
            return self.frozen_form()(picture)
        if self.features_precision != "float32" and not self.training:
            raise ValueError(
                f"features in {self.features_precision} have no gradients, and are not compiled: "
                "ask for them within torch.inference_mode(), or listen_in('float32')"
            )
        return self.trained_form(picture)

    def trained_form(self, picture: Tensor) -> Tensor:
        """`features_of_picture` of the weights and batch norms as they are."""
        # Channels last: the narrow convolutions run up to twice as fast on a CPU.
        x = self.conv_1_3x3(picture).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.bn_1(x))
        for stage in self._stages():
            x = stage(x)
        return x.mean(dim=(2, 3))

    def frozen_form(self) -> FrozenResNeXt:
        """`features_of_picture` of the weights as they are now, in `features_precision`, for as long as they stay."""

        def make() -> FrozenResNeXt:
            return FrozenResNeXt(fold(self.conv_1_3x3, self.bn_1), self._stages(), self.features_precision)

        return self._kept.get([*self.parameters(), *self.buffers()], self.features_precision, make)

    def _stages(self) -> list[nn.Sequential]:
        return [self.get_submodule(f"stage_{stage + 1}") for stage in range(STAGES)]  # type: ignore[misc]

    def features_and_logits(self, waveforms: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features_of_picture(self.logmel(waveforms)[:, None])
        return features, self.classifier(features)

    def training_logits(self, waveforms: Tensor, rng: torch.Generator) -> Tensor:
        with torch.no_grad():
            picture = self.logmel.picture(self.augmentation(waveforms, rng, self.background))
        return self.classifier(self.features_of_picture(picture[:, None]))


def _stage(config: Config, stage: int, channels_in: int, channels_out: int) -> nn.Sequential:
    inner = config.cardinality * config.base_width * 2**stage
    blocks = nn.Sequential()
    for block in range((config.depth - 2) // 9):
        first = block == 0
        blocks.add_module(
            f"stage_{stage + 1}_bottleneck_{block}",
            Bottleneck(
                channels_in if first else channels_out,
                channels_out,
                inner,
                config.cardinality,
                stride=2 if first and stage > 0 else 1,
            ),
        )
    return blocks


PRESETS = {
    "smoke": Config(
        depth=11, cardinality=2, base_width=4, width=8, first_stride=2, widen_factor=2,
        augment_speed=0.1, augment_stretch=0.0, augment_shift=2, augment_noise=0.0,
        steps=60, batch_size=32, learning_rate=1e-2, learning_rate_schedule="cosine", warmup_steps=5,
        validate_every=30, checkpoint_every=30,
    ),
    # 128 features: their covariance is of full rank already for the 512 samples that are drawn by default.
    "small": Config(
        depth=20, cardinality=4, base_width=8, width=32, first_stride=2, widen_factor=1,
        augment_speed=0.15, augment_stretch=0.0, augment_shift=4, augment_noise=0.0, augment_hiss=0.01,
        steps=500, batch_size=64, learning_rate=4e-3, weight_decay=5e-2, learning_rate_schedule="cosine",
        warmup_steps=50, validate_every=100, checkpoint_every=100,
    ),
    # 70 epochs of ceil(31158 / 96) = 325 batches; the plateau is judged once an epoch.
    "paper": Config(
        depth=29, cardinality=8, base_width=64, width=64, first_stride=1, widen_factor=4,
        augment_speed=0.2, augment_stretch=0.2, augment_shift=8, augment_noise=0.45,
        steps=70 * 325, batch_size=96, optimizer="sgd", momentum=0.9, learning_rate=1e-2, weight_decay=1e-2,
        learning_rate_schedule="plateau", plateau_patience=5, plateau_factor=0.1, balanced_classes=True,
        validate_every=325, checkpoint_every=325,
    ),
}  # fmt: skip

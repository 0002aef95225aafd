"""What a generator is: the contract of every file in `models/generators/`.

To add one, write `models/generators/mine.py` with

    a docstring      the paper, the idea in three lines, and "Differs from the paper: ..."
    VERSION = 1      raise it when a change to the file changes what a trained model or its samples are
    Config           a frozen dataclass that inherits `TrainingConfig`, with a line of documentation under every field
    PRESETS          {"smoke": Config(...), "small": ..., "paper": ...}: seconds, minutes on two CPU cores, as published
    class Mine       a `Generator`; it has the file's name, in whatever capitals

and nothing else changes anywhere: `--models mine` trains it, draws from it and puts it on the leaderboard, and the contract
test (`tests/test_generators_contract.py`) tests it. `noise.py` is the shortest example. A class in a file elsewhere works
the same as `--models path/to/mine.py:Mine`; there, VERSION and PRESETS may be missing (`models/plugins.py`).

Four things are asked of the class:

    schedule                                which parts are trained, and how many optimizer steps each takes in a round
    loss(part, clips, rng)                  a scalar to minimize; the one loop in `models/training.py` does everything else
    sample(count, rng, prefix, **sampling)  waveforms and, where the model has one, their exact log-likelihood
    log_likelihood(clips)                   of real clips, where the model has one; `likelihood_space` then says of which data,
                                            and `unigram_entropy(clips)` what it has to beat

Waveforms are (batch, timesteps) float32 in [-1, 1] everywhere. Randomness is always an argument: `rng` is a `torch.Generator`
in training and a `SampleRandom` in sampling, whose row i is the noise of sample i, whatever the size of the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.clips import ClipArray, Clips
from models.randomness import SampleRandom
from models.training_config import TrainingConfig


@dataclass(frozen=True)
class Samples:
    """Generated clips.

    waveforms:      (count, timesteps) float32 in [-1, 1]
    log_likelihood: (count,) float64, nats, the model's own (untempered, untruncated); None where the model has none
    evaluations:    how often the network was evaluated for each sample (NFE), or 0 where there is none to evaluate
    labels:         (count,) int64, the classes that samples were asked for; None where the model was not told any
    """

    waveforms: Tensor
    log_likelihood: Tensor | None = None
    evaluations: int = 1
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.waveforms)


class Generator(nn.Module):
    """A model of waveforms of `timesteps` timesteps at `sample_rate` Hz.

    schedule:         (part, optimizer steps in a round) in order; a GAN has (("critic", 5), ("generator", 1))
    sampled_part:     the part that samples are drawn from, where the others only help to train it, as a GAN's critic does: its
                      weights alone are averaged and counted; "" = all
    likelihood_space: the quantization and scaling that log-likelihoods are over, in words; "" = the model has no likelihood.
                      Only likelihoods over equal spaces are compared.
    continues:        whether it can continue the beginning of a real clip: whether `sample` takes a prefix
    any_length:       whether it draws samples longer than clips: has the sampling setting `seconds`, and `stream`
    compiled:         whether to draw with compiled code, where the model has some; None = where the work pays for compiling it
    class_conditional: whether it draws samples of given classes; tables mark such a row, for it was told more than others
    """

    @dataclass(frozen=True)
    class Sampling:
        """The sampling settings and their defaults; a generator that has some nests a dataclass of this name."""

    schedule: tuple[tuple[str, int], ...] = (("model", 1),)
    sampled_part: str = ""
    likelihood_space: str = ""
    continues: bool = False
    any_length: bool = False
    compiled: bool | None = None
    class_conditional: bool = False

    def __init__(self, config: TrainingConfig, sample_rate: int, timesteps: int):
        super().__init__()
        if sample_rate < 1 or timesteps < 1:
            raise ValueError(f"sample_rate={sample_rate} and timesteps={timesteps} must be at least 1")
        self.config, self.sample_rate, self.timesteps = config, sample_rate, timesteps

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """A scalar to minimize for `part` of the schedule on one batch; or (it, {name: scalar to log})."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(part, clips, rng)")

    def validation_loss(self, clips: Clips, rng: torch.Generator) -> Tensor:
        """A scalar by which the best checkpoint is chosen: the first part's loss, unless there is a better one."""
        loss = self.loss(self.schedule[0][0], clips, rng)
        return loss[0] if isinstance(loss, tuple) else loss

    def parameter_groups(self, part: str) -> list[dict[str, Any]]:
        """Optimizer groups of `part`, each with its "params" and, where they differ, "lr" or "weight_decay"."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def sample(
        self, count: int, rng: SampleRandom | None = None, prefix: Tensor | None = None, **sampling: Any
    ) -> Samples:
        """Draw `count` samples; without `rng`, the first samples of seed 0.

        prefix:   (count, up to timesteps) waveforms that the samples begin with, for models that can continue one
        sampling: fields of `Sampling` by name
        """
        raise NotImplementedError(f"{type(self).__name__} must define sample(count, rng, prefix, **sampling)")

    def asked(self, count: int, prefix: Tensor | None, sampling: dict[str, Any]) -> Any:
        """What every `sample` begins with: its settings, if all that is asked for makes sense.

        Raises ValueError on a count below 1, a setting that there is not, and a prefix that this model cannot continue.
        """
        settings = self.settings(sampling)
        if count < 1:
            raise ValueError(f"count={count} must be at least 1")
        if prefix is not None and not self.continues:
            raise ValueError(
                f"{type(self).__name__} makes all timesteps at once and cannot continue a prefix; draw without one"
            )
        return settings

    def continue_clips(self, clips: Clips, timesteps: int, rng: SampleRandom | None = None, **sampling: Any) -> Samples:
        """One sample for each clip that begins with its first `timesteps` timesteps, at the clip's own level.

        The log-likelihood is that of what follows them. Raises ValueError where the model cannot continue a prefix.
        """
        return self.sample(len(clips), rng, clips.waveforms[:, :timesteps], **sampling)

    def sampling_bytes(self) -> int:
        """Memory that every sample of a batch takes while it is drawn, roughly: by this the size of a batch is chosen.

        Unless a family knows better: 64 numbers for each timestep.
        """
        return 4 * 64 * self.timesteps

    def stream(
        self, count: int, rng: SampleRandom | None = None, prefix: Tensor | None = None, **sampling: Any
    ) -> Iterator[Samples]:
        """What `sample` gives, piece by piece in time, for models of any length; log-likelihoods and evaluations add up."""
        yield self.sample(count, rng, prefix, **sampling)

    def stream_continued(
        self, clips: Clips, timesteps: int, rng: SampleRandom | None = None, **sampling: Any
    ) -> Iterator[Samples]:
        """The same of `continue_clips`."""
        yield self.continue_clips(clips, timesteps, rng, **sampling)

    def log_likelihood(self, clips: Clips) -> Tensor:
        """(batch,) float64, nats, summed over each clip's valid timesteps. Raises ValueError where the model has none."""
        raise ValueError(f"{type(self).__name__} has no likelihood; compare it by its samples")

    def unigram_entropy(self, clips: ClipArray) -> float:
        """Bits per valid timestep of a model that only knows how frequent each value is: what a likelihood has to beat.

        Over the same `likelihood_space`; raises ValueError where the model has no likelihood.
        """
        raise ValueError(f"{type(self).__name__} has no likelihood, and so nothing to compare one with")

    @classmethod
    def settings(cls, sampling: dict[str, Any]) -> Any:
        """The keyword arguments of `sample` as this class's `Sampling`. Raises ValueError on one that it does not have."""
        known = [field.name for field in fields(cls.Sampling)]
        for name in sampling:
            if name not in known:
                raise ValueError(
                    f"{cls.__name__} has no sampling setting {name!r}. Available: {', '.join(known) or 'none'}"
                )
        return cls.Sampling(**sampling)

    def freeze(self) -> Self:
        """For use after training: no dropout, no gradients."""
        return self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

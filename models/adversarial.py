"""Generators that learn from a critic: the Wasserstein GAN with a gradient penalty, WGAN-GP (Gulrajani et al. 2017,
arXiv:1704.00028, algorithm 1).

A critic D is trained to score clips x higher than generated ones G(z), with its slope held near 1, so that the difference of
its means estimates the Wasserstein distance between the two sets; a generator G is trained to raise D(G(z)). A network of
this family says how it makes, prepares and scores waveforms; the loss, the schedule and the learning rates are here.

Differs from the paper: no epsilon is needed under the root of a slope, since where it is exactly zero its derivative is taken
as zero; the weights that are kept are the last, and may be averaged, the generator's alone.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.clips import Clips
from models.generators.base import Generator
from models.training_config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(TrainingConfig):
    """Settings of every generator that learns from a critic. A step is one update of the generator."""

    keep: str = "last"
    "The weights that are the result: last, or best (of lowest validation loss, which is little of a measure here)."
    gradient_penalty: float = 10.0
    "Weight of the gradient penalty (lambda)."
    critic_updates: int = 5
    "Updates of the critic for each one of the generator (n_critic)."
    critic_rate: float = 1.0
    "The critic's learning rate, relative to the generator's `learning_rate`."

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "critic_updates")
        self.require_at_least(0, "gradient_penalty")
        if not self.critic_rate > 0:
            raise ValueError(f"critic_rate={self.critic_rate} must be above 0")


class Adversarial(Generator):
    """A generator G and a critic D. A subclass defines both, and `make`, `real` and `score`.

    Everything between them is a (batch, ...) tensor of what D judges: waveforms, or what the family makes of them.
    """

    config: Any
    sampled_part = "generator"
    G: nn.Module
    D: nn.Module

    def __init__(self, config: AdversarialConfig, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        self.schedule = (("critic", config.critic_updates), ("generator", 1))

    def make(self, count: int, rng: torch.Generator) -> Tensor:
        """(count, ...) G(z) of as many random z."""
        raise NotImplementedError(f"{type(self).__name__} must define make(count, rng)")

    def real(self, clips: Clips) -> Tensor:
        """(batch, ...) the clips in the form of what `make` gives."""
        raise NotImplementedError(f"{type(self).__name__} must define real(clips)")

    def score(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(batch,) D(x); whatever is random in D in training is drawn from `rng`, and left out without one."""
        raise NotImplementedError(f"{type(self).__name__} must define score(x, rng)")

    def parameter_groups(self, part: str) -> list[dict[str, Any]]:
        """See `Generator`."""
        if part == "critic":
            return [{"params": list(self.D.parameters()), "lr": self.config.learning_rate * self.config.critic_rate}]
        return [{"params": list(self.G.parameters())}]

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """For the generator -E D(G(z)), for the critic E D(G(z)) - E D(x) + lambda E (|dD(x')/dx'| - 1)^2.

        x' lies between a clip and a generated one, at a random place on the line from one to the other.
        """
        if part == "generator":
            return -self.score(self.make(len(clips), rng), rng).mean()
        real = self.real(clips)
        with torch.no_grad():
            fake = self.make(len(clips), rng)
        alpha = torch.rand(len(real), *[1] * (real.ndim - 1), generator=rng, device=rng.device)
        between = (real + alpha * (fake - real)).requires_grad_()
        wasserstein = self.score(real, rng).mean() - self.score(fake, rng).mean()
        penalty = (slopes(self.score(between, rng), between) - 1).square().mean()
        loss = self.config.gradient_penalty * penalty - wasserstein
        return loss, {"wasserstein": wasserstein, "gradient_penalty": penalty}

    def validation_loss(self, clips: Clips, rng: torch.Generator) -> Tensor:
        """The critic's estimate of the Wasserstein distance, E D(x) - E D(G(z)), on clips that it was not trained on.

        How far apart the two sets are in the eyes of the critic of the moment: the estimates of two steps are two critics'.
        """
        return self.score(self.real(clips)).mean() - self.score(self.make(len(clips), rng)).mean()


def slopes(scores: Tensor, x: Tensor) -> Tensor:
    """(batch,) the norm of dD(x)/dx for each row, differentiable again; scores: (batch,), D of x (batch, ...)."""
    (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float32)

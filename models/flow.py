"""What every generator shares that follows a flow from noise to data along straight paths (Lipman et al. 2023, eq. 20-23).

x_t = (1 - t) x_0 + t x_1, with x_0 standard normal and x_1 data; the velocity is v(x, t) = E[x_1 - x_0 | x_t = x]. Here are
the times to train at, the classes to ask for, and the way from t = 0 to 1; the network and the loss are the generator's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.clips import Clips
from models.generators.base import Generator, Samples
from models.randomness import SampleRandom
from models.training_config import TrainingConfig

TIME_DISTRIBUTIONS = ("uniform", "logit-normal")
SOLVERS = ("euler", "midpoint", "heun")
EDGE = 1e-5  # float32 knows no logit of 0 and 1
PIECE = 2**20  # numbers that are drawn together: 64 clips of a second at 16 kHz


@dataclass(frozen=True, kw_only=True)
class FlowConfig(TrainingConfig):
    """Settings that every such generator has."""

    time_distribution: str = "logit-normal"
    "uniform or logit-normal: the times at which the network is trained."
    time_mean: float = 0.0
    "Mean of a logit-normal time's logit; below 0 there are more noisy times."
    time_spread: float = 1.0
    "Standard deviation of a logit-normal time's logit."
    classes: int = 0
    "Classes that samples are asked for; 0 = none, an unconditional model."
    label_dropout: float = 0.1
    "With classes: share of training clips whose class is withheld, so that guidance has something to compare with."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_distribution not in TIME_DISTRIBUTIONS:
            raise ValueError(
                f"time_distribution={self.time_distribution!r} is not one of {', '.join(TIME_DISTRIBUTIONS)}"
            )
        if self.classes < 0 or self.time_spread <= 0:
            raise ValueError(f"classes={self.classes} must not be negative, time_spread={self.time_spread} above 0")
        if not 0 <= self.label_dropout < 1:
            raise ValueError(f"label_dropout={self.label_dropout} must lie in [0, 1)")


def stratified(count: int, rng: torch.Generator) -> Tensor:
    """(count,) uniforms on (0, 1), each from its own of `count` equal parts: each alone is uniform, together they are even."""
    u = torch.rand(count, generator=rng, device=rng.device)
    return ((torch.arange(count, device=rng.device) + u) / count).clamp(EDGE, 1 - EDGE)


def times(uniforms: Tensor, config: FlowConfig) -> Tensor:
    """Training times: the quantiles of the configured distribution at uniforms in (0, 1).

    logit-normal: sigmoid(mean + spread z), z standard normal (Esser et al. 2024, 3.1), where the path is hard to guess.
    """
    if config.time_distribution == "uniform":
        return uniforms
    return torch.sigmoid(config.time_mean + config.time_spread * torch.special.ndtri(uniforms))


def integrate(velocity: Callable[[Tensor, float], Tensor], x: Tensor, steps: int, solver: str) -> tuple[Tensor, int]:
    """Follow dx = v(x, t) dt from t = 0 to 1 in equal steps; returns where it ends, and how often v was evaluated.

    euler: first order, one evaluation a step. midpoint and heun: second order, two; heun's last step is Euler's, as the
    velocity at t = 1 is not defined where all data are equal (Karras et al. 2022, algorithm 1).
    """
    evaluations = 0
    for step in range(steps):
        t, dt = step / steps, 1 / steps
        v = velocity(x, t)
        evaluations += 1
        if solver == "midpoint":
            v = velocity(x + dt / 2 * v, t + dt / 2)
            evaluations += 1
        elif solver == "heun" and step < steps - 1:
            v = (v + velocity(x + dt * v, t + dt)) / 2
            evaluations += 1
        x = x + dt * v
    return x, evaluations


class Flow(Generator):
    """A generator by a velocity; a subclass defines `shape`, `velocity`, `decode`, and the loss that teaches them."""

    config: FlowConfig
    shape: tuple[int, ...]
    "Of x without the batch."

    @dataclass(frozen=True)
    class Sampling:
        """How a sample is followed from noise to sound."""

        solver: str = "midpoint"
        "euler, midpoint or heun."
        steps: int = 12
        "Steps of the solver: of one evaluation (euler) or two (the others)."
        guidance: float = 1.0
        "With classes: how far to go from the velocity of any class to that of the class; 1 = as far as that, more = beyond."

        def __post_init__(self) -> None:
            if self.solver not in SOLVERS:
                raise ValueError(f"solver={self.solver!r} is not one of {', '.join(SOLVERS)}")
            if self.steps < 1 or self.guidance < 0:
                raise ValueError(f"steps={self.steps} must be at least 1, and guidance={self.guidance} not negative")

    def __init__(self, config: FlowConfig, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        self.class_conditional = config.classes > 0

    def velocity(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """v(x, t), as x: (batch, *shape); t: (batch,) in [0, 1); labels: (batch,), `classes` = any; None without classes."""
        raise NotImplementedError(f"{type(self).__name__} must define velocity(x, t, labels)")

    def decode(self, x: Tensor) -> Tensor:
        """(batch, *shape) at t = 1 to waveforms (batch, timesteps)."""
        raise NotImplementedError(f"{type(self).__name__} must define decode(x)")

    def told(self, clips: Clips) -> Tensor | None:
        """The clips' classes; None for a model without. Raises ValueError where they are missing or too many."""
        classes = self.config.classes
        if not classes:
            return None
        if clips.labels is None:
            raise ValueError(f"classes={classes} needs a corpus with labels, and this one has none; set classes=0")
        low, high = (int(extreme) for extreme in clips.labels.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(
                f"labels from {low} to {high} do not fit classes={classes}; set classes to the corpus's number of labels"
            )
        return clips.labels

    def withheld(self, labels: Tensor | None, rng: torch.Generator) -> Tensor | None:
        """Labels of which a share of `label_dropout` is replaced by "any class"."""
        if labels is None:
            return None
        kept = torch.rand(labels.shape, generator=rng, device=rng.device) >= self.config.label_dropout
        return torch.where(kept, labels, self.config.classes)

    @torch.inference_mode()
    def sample(
        self, count: int, rng: SampleRandom | None = None, prefix: Tensor | None = None, **sampling: Any
    ) -> Samples:
        """See `Generator.sample`; classes are drawn evenly. What exceeds full scale is clipped."""
        settings = self.asked(count, prefix, sampling)
        classes, rng = self.config.classes, rng or SampleRandom(0)
        if settings.guidance != 1 and not classes:
            raise ValueError(
                f"guidance={settings.guidance} needs a model with classes, and this one has none; leave it at 1"
            )
        labels = (rng.uniform(count, 1)[:, 0] * classes).long() if classes else None
        noise = rng.normal(count, *self.shape)
        piece = max(1, PIECE // noise[0].numel())
        waveforms, evaluations = [], 0
        for start in range(0, count, piece):
            x = noise[start : start + piece].to(self.device)
            asked = None if labels is None else labels[start : start + piece].to(self.device)
            x, evaluations = integrate(self._guided(asked, settings.guidance), x, settings.steps, settings.solver)
            waveforms.append(self.decode(x).clamp(-1, 1).float().cpu())
        evaluations *= 1 if settings.guidance == 1 else 2
        return Samples(torch.cat(waveforms), evaluations=evaluations, labels=labels)

    def _guided(self, labels: Tensor | None, guidance: float) -> Callable[[Tensor, float], Tensor]:
        """The velocity towards labels, strengthened by guidance (Ho & Salimans 2022, eq. 6, with 1 + w = guidance)."""

        def velocity(x: Tensor, t: float) -> Tensor:
            at = torch.full((len(x),), t, device=x.device)
            v = self.velocity(x, at, labels)
            if guidance == 1 or labels is None:
                return v
            anything = self.velocity(x, at, torch.full_like(labels, self.config.classes))
            return anything + guidance * (v - anything)

        return velocity

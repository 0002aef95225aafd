"""What a training is at a given step: weights, optimizers, averages and counters, as they go into a checkpoint."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models import checkpoints
from models.averaging import WeightAverage
from models.objective import Objective
from models.optimizers import LearningRate, make_optimizer
from models.training_config import TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric


KEPT = "kept"


def kept_name(step: int) -> str:
    """The file in `kept/` with the weights after that many steps; in the order of steps, by their names."""
    return f"step-{step:07d}.safetensors"


class TrainingDiverged(ArithmeticError):
    """A loss or a weight is no longer a finite number; the last checkpoint is from before."""


@dataclass
class Position:
    """Where a training stands, apart from its tensors."""

    step: int = 0
    best_step: int = -1
    best_loss: float = math.inf
    waited: int = 0
    "Validations since the best one."
    heard: int = 0
    "The last step that was listened to."
    curve: list[dict[str, float]] = field(default_factory=list)
    window: dict[str, list[float]] = field(default_factory=dict)
    "Sum and count of what was logged since the last row of the curve."
    seconds: float = 0.0
    "Time spent over all attempts."
    stopped: str = ""
    "Why training is over: steps, max_steps, max_hours or patience."


class TrainingState:
    """The tensors and the `Position` of a training in `folder`, begun anew or read from its last checkpoint.

    Raises ValueError where the folder holds another training, or a damaged one.
    """

    def __init__(
        self,
        fabric: "Fabric",
        model: nn.Module,
        folder: Path,
        config: TrainingConfig,
        steps: int,
        about: dict[str, Any],
    ):
        self.model, self.folder, self.config, self.device = model, folder, config, fabric.device
        self.objective = Objective(model.to(fabric.device))
        parts = list(self.objective.parts)
        # The wrapper is what an update must call; the network itself stays as its author knows it.
        self.wrapped, *optimizers = fabric.setup(
            self.objective, *(make_optimizer(self.objective.groups[part], config) for part in parts)
        )
        self.optimizers = dict(zip(parts, optimizers, strict=True))
        self.peaks = {part: [group["lr"] for group in o.param_groups] for part, o in self.optimizers.items()}
        self.rate = LearningRate(config, steps)
        self.average = self._start_average() if config.ema else None
        self.at = Position()
        self.model.train()
        self._about = {name: repr(value) for name, value in {**asdict(config), **about, "steps": steps}.items()}
        self._writes = fabric.is_global_zero
        if self.last.exists():
            self._resume()

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        return self.folder / "checkpoints" / "best.pt"

    def seed_globally(self, seed: int) -> None:
        """Seed the global generators that dropout draws from: the CPU's and this device's.

        `torch.manual_seed` would also note a stack trace for each device that is not in use yet, at every call.
        """
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def focus(self, part: str, step: int) -> None:
        """Make ready for updates of `part` at `step`: its learning rates, and gradients for it alone."""
        factor = self.rate.factor(step)
        for group, peak in zip(self.optimizers[part].param_groups, self.peaks[part], strict=True):
            group["lr"] = peak * factor
        self.objective.focus(part)

    def save(self) -> None:
        """Write last.pt. Raises TrainingDiverged, and leaves the old one, where a weight is not finite."""
        for name, parameter in self.objective.trainable.items():
            if not torch.isfinite(parameter).all():
                raise diverged(f"the weight {name}", self.at.step, self.config.learning_rate)
        if self._writes:
            state = {
                "about": self._about,
                "position": asdict(self.at),
                "model": self.model.state_dict(),
                "optimizers": {part: optimizer.state_dict() for part, optimizer in self.optimizers.items()},
                "rate": self.rate.state_dict(),
                "average": self.average.means if self.average else {},
            }
            checkpoints.save_state(self.last, state)

    def save_best(self) -> None:
        """Write best.pt: the weights as they are validated now."""
        if self._writes:
            weights = (self.average or self.model).state_dict()
            best = {"step": self.at.step, "validation_loss": self.at.best_loss, "weights": dict(weights)}
            checkpoints.save_state(self.best, best)

    def keep(self) -> None:
        """Write kept/step-<n>.safetensors: the weights as they are validated now, to look at the training afterwards."""
        if self._writes:
            path = self.folder / KEPT / kept_name(self.at.step)
            checkpoints.save_weights(path, (self.average or self.model).state_dict())

    def finish(self) -> None:
        """Put the weights that are kept into model.safetensors and into the model: the best, or those of now."""
        weights: dict[str, Tensor]
        if self.config.keep == "best":
            weights = checkpoints.load_state(self.best)["weights"]
        else:
            weights = (self.average or self.model).state_dict()
        if self._writes:
            checkpoints.save_weights(self.folder / "model.safetensors", weights)
        self.model.load_state_dict(weights)
        self.model.eval()

    @contextmanager
    def best_form(self, seed: int) -> Iterator[None]:
        """The network as it is validated and heard: averaged weights, no dropout, no gradients, fixed global noise."""
        self.seed_globally(seed)
        self.model.eval()
        try:
            with torch.no_grad():
                if self.average:
                    with self.average.applied():
                        yield
                else:
                    yield
        finally:
            self.model.train()

    def _start_average(self) -> WeightAverage:
        """The running average of all weights, or of the network's `sampled_part` alone, where it names one.

        A GAN averages its generator alone: a critic is only right beside the generator that it was trained against.
        """
        part = getattr(self.model, "sampled_part", "")
        if not part:
            return WeightAverage(self.model, self.config.ema)
        self.objective.focus(part)
        average = WeightAverage(self.model, self.config.ema)
        self.objective.release()
        return average

    def _resume(self) -> None:
        state = checkpoints.load_state(self.last)
        differing = [name for name in self._about if state["about"].get(name) != self._about[name]]
        if differing:
            changes = ", ".join(f"{name} was {state['about'].get(name)}, is {self._about[name]}" for name in differing)
            raise ValueError(
                f"{self.folder} holds a training with other settings ({changes}); go on with those, "
                "or train in an empty folder"
            )
        self.model.load_state_dict(state["model"])
        for part, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][part])
        self.rate.load_state_dict(state["rate"])
        if self.average:
            self.average.load(state["average"])
        self.at = Position(**state["position"])
        # best.pt follows last.pt; whoever was killed between the two still has its weights here.
        if self.config.keep == "best" and self.at.best_step == self.at.step:
            self.save_best()


def diverged(what: str, step: int, learning_rate: float, part: str = "") -> TrainingDiverged:
    """The error for something that is not finite at `step`, with what to try."""
    return TrainingDiverged(
        f"{what} is not finite at step {step}{f' ({part})' if part else ''}, at a learning rate of {learning_rate:g}. "
        f"Try a lower rate (--set NAME.learning_rate={learning_rate / 3:.2g}) or a limit on the gradient "
        "(--set NAME.gradient_clip=1), where NAME is the model's; the last checkpoint is from before"
    )

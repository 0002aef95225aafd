"""Optimizers and learning-rate schedules, from a `TrainingConfig`."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from models.training_config import TrainingConfig


def make_optimizer(groups: Sequence[dict[str, Any]], config: TrainingConfig) -> Optimizer:
    """The configured optimizer over parameter groups; a group's own settings (`lr`, `weight_decay`, ...) win."""
    # The fused kernels do one pass over all parameters, but know neither complex numbers nor every device.
    parameters = [p for group in groups for p in group["params"]]
    fused = all(p.device.type in ("cpu", "cuda") and torch.is_floating_point(p) for p in parameters)
    common: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": fused}
    if config.optimizer == "sgd":
        return SGD(groups, momentum=config.momentum, nesterov=config.nesterov, **common)
    kind = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    return kind(groups, betas=(config.beta1, config.beta2), **common)


class LearningRate:
    """The factor on every learning rate, as a function of the step and, for plateau, of the validations so far.

    Plateau lowers the rate once more than `plateau_patience` validations in a row brought no lower loss, and then
    starts to count anew.
    """

    def __init__(self, config: TrainingConfig, steps: int):
        self.config, self.steps = config, steps
        self.best, self.waited, self.reductions = math.inf, 0, 0

    def factor(self, step: int) -> float:
        """The factor for the update that leads from `step` to `step + 1`."""
        warmup = self.config.warmup_steps
        if step < warmup:
            return (step + 1) / warmup
        if self.config.learning_rate_schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, self.steps - warmup)))
        return self.config.plateau_factor**self.reductions

    def validated(self, loss: float) -> None:
        """Take a validation loss into account."""
        if self.config.learning_rate_schedule != "plateau":
            return
        self.best, self.waited = (loss, 0) if loss < self.best else (self.best, self.waited + 1)
        if self.waited > self.config.plateau_patience:
            self.reductions, self.waited = self.reductions + 1, 0

    def state_dict(self) -> dict[str, float]:
        return {"best": self.best, "waited": self.waited, "reductions": self.reductions}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited, self.reductions = state["best"], state["waited"], state["reductions"]

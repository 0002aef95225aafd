"""What the training loop asks of a network, with a default for everything but the loss.

    schedule: tuple[tuple[str, int], ...] = (("model", 1),)    parts, and the updates that each takes in one step
    loss(part, clips, rng) -> scalar, or (scalar, {"name": value}) to have more in the curve
    parameter_groups(part) -> list of optimizer groups          default: every parameter that requires a gradient
    validation_loss(clips, rng) -> scalar                       default: the loss of the first part
    validation_scores(clips) -> {"name": value}                 default: none
    loss_weight(valid) -> number                                default: how many clips they are
    sampled_part: str = ""                                      the part whose weights alone are averaged and counted

`loss` and `validation_loss` are means over the batch. A loss needs all its randomness from `rng`, which lives on the
device of the clips, or from torch's global generator (dropout), which the loop seeds at every step.

A batch may be cut into pieces, for micro-batches and for several processes. Where a loss is a mean over something else than
clips, such as timesteps that are not padding, `loss_weight` says how many of these there are in clips of `valid` timesteps, an
array (clips,): the pieces' losses then count in that proportion, as they do in one piece.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.clips import Clips


class Objective(nn.Module):
    """A network seen as something to minimize.

    The loss is this module's `forward`, because distributed training averages gradients only for what passes through
    the wrapper's forward. Clips cross that border as single tensors: the wrapper refuses to look into frozen classes.
    """

    model: Any

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.schedule: tuple[tuple[str, int], ...] = tuple(getattr(model, "schedule", (("model", 1),)))
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.groups = {part: self._groups(part) for part, _ in self.schedule}
        self.parts = {part: [p for group in groups for p in group["params"]] for part, groups in self.groups.items()}
        trained = {id(p) for parameters in self.parts.values() for p in parameters}
        idle = [name for name, p in self.trainable.items() if id(p) not in trained]
        if not self.trainable or idle:
            raise ValueError(
                f"{type(model).__name__}: nothing trains {', '.join(idle) or 'it, for it has no trainable parameter'}. "
                "Return every parameter from parameter_groups(part), or call requires_grad_(False) on it"
            )

    def _groups(self, part: str) -> list[dict[str, Any]]:
        if not hasattr(self.model, "parameter_groups"):
            return [{"params": list(self.trainable.values())}]
        return [{**group, "params": list(group["params"])} for group in self.model.parameter_groups(part)]

    def forward(
        self, part: str, waveforms: Tensor, valid: Tensor, labels: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, dict[str, Any]]:
        """The loss of `part` on a batch, and what else the network wants to have logged."""
        return self._loss(part, Clips(waveforms, valid, labels), rng)

    def weights(self, pieces: list[np.ndarray]) -> list[float]:
        """The factor on the loss of each piece of a batch, of clips of so many valid timesteps: 1 on average."""
        of_one = getattr(self.model, "loss_weight", len)
        counts = [float(of_one(valid)) for valid in pieces]
        total = sum(counts)
        if not total > 0:
            raise ValueError(f"{type(self.model).__name__}.loss_weight(valid) is 0 for all clips of a batch")
        return [len(pieces) * count / total for count in counts]

    def _loss(self, part: str, clips: Clips, rng: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        answer = self.model.loss(part, clips, rng)
        loss, extra = answer if isinstance(answer, tuple) else (answer, {})
        if loss.ndim:
            raise ValueError(
                f"{type(self.model).__name__}.loss({part!r}, ...) returned shape {tuple(loss.shape)}; "
                "it must be a scalar: the mean over the batch"
            )
        self._check_names(extra)
        return loss, {name: value.detach() if isinstance(value, Tensor) else value for name, value in extra.items()}

    def _check_names(self, extra: dict[str, Any]) -> None:
        if "loss" in extra:
            raise ValueError(
                f"{type(self.model).__name__} logs a value named 'loss', as the loss is; name it otherwise"
            )

    def focus(self, part: str) -> None:
        """Let gradients flow to the parameters of `part` alone; one part after another then never wastes a backward."""
        if len(self.schedule) == 1:
            return
        wanted = {id(p) for p in self.parts[part]}
        for parameter in self.trainable.values():
            parameter.requires_grad_(id(parameter) in wanted)

    def release(self) -> None:
        """Undo `focus`."""
        for parameter in self.trainable.values():
            parameter.requires_grad_(True)

    def validation(self, clips: Clips, rng: torch.Generator) -> dict[str, float]:
        """{"loss": ..., further scores}: means over the clips."""
        if hasattr(self.model, "validation_loss"):
            loss = self.model.validation_loss(clips, rng)
        else:
            loss = self._loss(self.schedule[0][0], clips, rng)[0]
        scores = self.model.validation_scores(clips) if hasattr(self.model, "validation_scores") else {}
        self._check_names(scores)
        return {"loss": float(loss), **{name: float(value) for name, value in scores.items()}}

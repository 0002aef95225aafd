"""A training from one step to the next: updates, validation, listening, and when to stop."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from models.batches import Batches
from models.clips import ClipArray
from models.interruption import Interruption, Preempted
from models.monitor import Monitor
from models.randomness import generator
from models.training_config import TrainingConfig
from models.training_state import TrainingState, diverged

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECKPOINT_SECONDS = 60.0
LOSSES_IN_FLIGHT = 25  # reading a loss waits for the accelerator, so there it is done for several at once
Progress = Callable[[int, int, str], None]
Listen = Callable[[], tuple[Tensor, int]]


class TrainingRun:
    """One attempt at a training of `steps` steps, begun where the checkpoint in `folder` ends."""

    def __init__(
        self,
        fabric: "Fabric",
        model: nn.Module,
        train: ClipArray,
        validation: ClipArray,
        folder: Path,
        config: TrainingConfig,
        seed: int,
        steps: int,
        keep_every: int = 0,
    ):
        if not len(validation):
            raise ValueError("there are no validation clips, and a training is judged by them")
        self.fabric, self.train, self.validation = fabric, train, validation
        self.folder, self.config, self.seed, self.steps = folder, config, seed, steps
        self.keep_every = keep_every
        self.batches = Batches(train, config.batch_size, seed, balanced=config.balanced_classes)
        about = {"seed": seed, "training clips": len(train), "validation clips": len(validation)}
        self.state = TrainingState(fabric, model, folder, config, steps, about)
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        self.statistics = [s for norm in norms for s in (norm.running_mean, norm.running_var) if s is not None]
        self.begun = self.saved = time.monotonic()
        self.seconds_before = self.state.at.seconds
        self.pending: list[tuple[int, str, Tensor, dict[str, Any]]] = []

    def until_done(
        self, interruption: Interruption, max_hours: float | None, progress: Progress | None, listen: Listen | None
    ) -> None:
        """Step until the last step, the time limit or the end of patience."""
        at = self.state.at
        if at.stopped:
            return
        monitor = None
        if self.fabric.is_global_zero:
            monitor = Monitor(self.folder, at.curve, at.step, self.steps, progress)
        limit = math.inf if max_hours is None else max_hours * 3600
        try:
            while not at.stopped:
                asked, late, overdue = self._agree(
                    bool(interruption.requested),
                    self._seconds() > limit,
                    time.monotonic() - self.saved > CHECKPOINT_SECONDS,
                )
                if asked:
                    self._save(monitor)
                    self.fabric.barrier()  # until it is on disk: of processes that leave one by one, torchrun ends the rest
                    reason = interruption.requested or "a signal to another process"
                    raise Preempted(f"{reason}: the training is kept at step {at.step} of {self.steps}")
                self._between_steps(monitor, listen, late, overdue)
                if not at.stopped:
                    self._step(monitor)
        finally:
            if monitor:
                monitor.close()

    def result(self) -> dict[str, Any]:
        """What `fit` returns; the weights that are kept are now in the model and in model.safetensors."""
        self.fabric.barrier()  # the other processes read what the first one has written
        self.state.finish()
        at = self.state.at
        kept_step = at.best_step if self.config.keep == "best" else at.step
        kept = next(row for row in at.curve if row["step"] == kept_step)
        return {
            "steps": at.step,
            "kept_step": kept_step,
            "best_step": at.best_step,
            "best_validation_loss": at.best_loss,
            "train_loss": at.curve[-1].get("train_loss"),
            "parameters": self._parameters(),
            "stopped": at.stopped,
            **{name: value for name, value in kept.items() if name.startswith("validation_")},
        }

    def _parameters(self) -> int:
        """How many are trained; of the part alone that samples are drawn from, where the others only help to train it."""
        objective = self.state.objective
        sampled = objective.parts.get(getattr(objective.model, "sampled_part", ""), objective.trainable.values())
        return sum(p.numel() for p in sampled)

    def _between_steps(self, monitor: Monitor | None, listen: Listen | None, late: bool, overdue: bool) -> None:
        """Validate, listen, decide to stop, and write checkpoints, each when it is due."""
        at, config = self.state.at, self.config
        ended = "max_hours" if late else ""
        if at.step == self.steps:
            ended = "steps" if self.steps == config.steps else "max_steps"
        better = False
        # A checkpoint at this very step may already hold its validation.
        if (ended or at.step % config.validate_every == 0) and not (at.curve and at.curve[-1]["step"] == at.step):
            better = self._validate()
            if monitor:
                monitor.validated(at.curve)
        if not ended and config.patience and at.waited >= config.patience:
            ended = "patience"
        if ended and at.best_step < 0:
            at.best_step, at.best_loss, better = at.step, at.curve[-1]["validation_loss"], True
        if monitor and listen and config.listen_every and at.step > at.heard and at.step % config.listen_every == 0:
            with self.state.best_form(self._generator("listen").initial_seed()):
                monitor.heard(at.step, *listen())
            at.heard = at.step
        at.stopped = ended
        keep = better and config.keep == "best"
        if keep or overdue or ended or at.step % config.checkpoint_every == 0:
            self._save(monitor)
        if keep:
            self.state.save_best()
        if self.keep_every and at.step and (ended or at.step % self.keep_every == 0):
            self.state.keep()

    def _step(self, monitor: Monitor | None) -> None:
        """One round of the schedule; every update takes a batch of its own."""
        state, step = self.state, self.state.at.step
        number = step * sum(count for _, count in state.objective.schedule)
        state.seed_globally(self._generator("dropout", step).initial_seed())
        for part, count in state.objective.schedule:
            state.focus(part, step)
            for substep in range(count):
                self._update(part, substep, self.batches.indices(number))
                number += 1
        state.objective.release()
        self._share_statistics()
        state.at.step += 1
        if state.average:
            state.average.update(state.at.step)
        if self.fabric.device.type == "cpu" or len(self.pending) >= LOSSES_IN_FLIGHT:
            loss = self._settle()
            if monitor:
                monitor.stepped(state.at.step, loss)

    def _update(self, part: str, substep: int, indices: np.ndarray) -> None:
        """One step of one part's optimizer on the clips at `indices`, of which this process takes its share.

        They are cut into as many pieces as there are processes times micro-batches, and what is random in a piece is a
        function of its number: two processes do what one with two micro-batches does.
        """
        step, pieces, world = self.state.at.step, self.config.accumulate, self.fabric.world_size
        shards = np.split(indices, pieces * world)
        weights = self.state.objective.weights([self.train.valid[shard] for shard in shards])
        for micro, number in enumerate(range(self.fabric.global_rank, len(shards), world)):
            clips = self.train.batch(shards[number], self.fabric.device)
            rng = generator(self.seed, "step", step, part, substep, number, 0, device=self.fabric.device)
            if len(shards) > 1:
                self.state.seed_globally(generator(self.seed, "dropout", step, part, substep, number).initial_seed())
            with self.fabric.no_backward_sync(self.state.wrapped, enabled=micro < pieces - 1):
                loss, extra = self.state.wrapped(part, clips.waveforms, clips.valid, clips.labels, rng)
                loss = loss if weights[number] == 1 else loss * weights[number]
                self.fabric.backward(loss / pieces if pieces > 1 else loss)
            self.pending.append((step + 1, part, loss.detach(), extra))
        if self.config.gradient_clip:
            clip_grad_norm_(self.state.objective.parts[part], self.config.gradient_clip)
        if self.config.gradient_clip_value:
            clip_grad_value_(self.state.objective.parts[part], self.config.gradient_clip_value)
        self.state.optimizers[part].step()
        self.state.optimizers[part].zero_grad()

    def _share_statistics(self) -> None:
        """Let the running statistics of batch norms be the means over all processes, each of which normalizes its own part."""
        if self.fabric.world_size > 1 and self.statistics:
            flat = torch.cat([s.flatten() for s in self.statistics])
            means = cast(Tensor, self.fabric.all_reduce(flat, reduce_op="mean"))
            for mine, shared in zip(self.statistics, means.split([s.numel() for s in self.statistics]), strict=True):
                mine.copy_(shared.view_as(mine))

    def _settle(self) -> float:
        """Read the losses since the last time into the window of the curve's next row; the first part's last one."""
        first, _ = self.state.objective.schedule[0]
        window, latest = self.state.at.window, math.nan
        for step, part, loss, extra in self.pending:
            value = float(loss)
            if not math.isfinite(value):
                raise diverged("the loss", step, self.config.learning_rate * self.state.rate.factor(step - 1), part)
            latest = value if part == first else latest
            named = {"train_loss" if part == first else f"train_{part}_loss": value}
            named |= {f"train_{name}": float(v) for name, v in extra.items()}
            for name, v in named.items():
                total, count = window.get(name, (0.0, 0))
                window[name] = [total + v, count + 1]
        self.pending.clear()
        return latest

    def _validate(self) -> bool:
        """Add a row to the curve; whether its validation loss is the lowest so far."""
        self._settle()
        at, config = self.state.at, self.config
        scores = self._validation_scores()
        loss = scores["validation_loss"]
        if not math.isfinite(loss):
            raise diverged("the validation loss", at.step, config.learning_rate * self.state.rate.factor(at.step))
        means = self._summed([total / count / self.fabric.world_size for total, count in at.window.values()])
        rate = config.learning_rate * self.state.rate.factor(max(0, at.step - 1))
        at.curve.append({"step": at.step, **dict(zip(at.window, means, strict=True)), **scores, "learning_rate": rate})
        at.window = {}
        if at.step == 0:
            return False  # whatever its loss, an untrained network is not the result while there is another
        self.state.rate.validated(loss)
        at.waited += 1
        if loss < at.best_loss:
            at.best_step, at.best_loss, at.waited = at.step, loss, 0
        return at.waited == 0

    def _validation_scores(self) -> dict[str, float]:
        """Means over the validation clips, each batch with the same noise at every validation."""
        config, world = self.config, self.fabric.world_size
        indices = np.arange(len(self.validation))
        if 0 < config.validation_clips < len(indices):
            order = torch.randperm(len(indices), generator=generator(self.seed, "validation clips"))
            indices = np.sort(order[: config.validation_clips].numpy())
        batches = np.array_split(indices, max(world, math.ceil(len(indices) / config.batch_size)))
        totals: dict[str, float] = {}
        with self.state.best_form(self._generator("validation").initial_seed()), self.fabric.autocast():
            for number in range(self.fabric.global_rank, len(batches), world):
                clips = self.validation.batch(batches[number], self.fabric.device)
                rng = generator(self.seed, "validation", number, device=self.fabric.device)
                for name, value in self.state.objective.validation(clips, rng).items():
                    totals[name] = totals.get(name, 0.0) + value * len(clips)
        sums = self._summed(list(totals.values()))
        return {f"validation_{name}": value / len(indices) for name, value in zip(totals, sums, strict=True)}

    def _save(self, monitor: Monitor | None) -> None:
        self._settle()
        at = self.state.at
        # Where the clock did not end it, a finished training keeps no clock time: equal trainings leave equal files.
        at.seconds = 0.0 if at.stopped and at.stopped != "max_hours" else self._seconds()
        if monitor:
            monitor.flush()
        self.state.save()
        self.saved = time.monotonic()

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.begun

    def _agree(self, *flags: bool) -> tuple[bool, ...]:
        """The flags, each set if any process sets it: all must take the same turn."""
        return tuple(total > 0 for total in self._summed([float(flag) for flag in flags]))

    def _summed(self, values: list[float]) -> list[float]:
        """Sums over all processes."""
        if self.fabric.world_size == 1:
            return values
        mine = torch.tensor(values, dtype=torch.float64, device=self.fabric.device)
        return cast(Tensor, self.fabric.all_reduce(mine, reduce_op="sum")).tolist()

    def _generator(self, *words: int | str) -> torch.Generator:
        return generator(self.seed, *words, self.fabric.global_rank, device=self.fabric.device)

"""`fit`, the one way to train a network here: classifiers and every family of generators.

It runs a network's `schedule` (models/objective.py) with Lightning Fabric for device, precision and several processes
under `torchrun`. All randomness is a function of (seed, step): a training that was killed and resumed is bit for bit
the uninterrupted one, on a CPU at the same thread count.
"""

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models.clips import ClipArray
from models.interruption import Interruption, Preempted
from models.training_config import TrainingConfig
from models.training_run import TrainingRun
from models.training_state import TrainingDiverged

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Preempted", "TrainingConfig", "TrainingDiverged", "fit"]


def fit(
    model: nn.Module,
    train: ClipArray,
    validation: ClipArray,
    folder: Path,
    *,
    config: TrainingConfig,
    seed: int,
    device: str = "cpu",
    max_steps: int | None = None,
    max_hours: float | None = None,
    keep_every: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
    listen: Callable[[], tuple[Tensor, int]] | None = None,
) -> dict[str, Any]:
    """Train `model` and leave the weights that `config.keep` names in `folder/model.safetensors` and in `model`.

    folder:    also gets curve.csv, checkpoints/last.pt (and best.pt), tensorboard/ and listen/; a training that was
               begun there is continued
    device:    cpu, cuda, cuda:1 or mps; under torchrun every process takes the device of its rank
    max_steps: train for fewer steps than `config.steps`; the learning-rate schedule spans the fewer ones
    max_hours: stop in good order after that time, counted over all attempts
    keep_every: leave the weights of every so many steps, and the last, in kept/step-<n>.safetensors, in the form in which they
               are validated; 0 for none. It changes nothing else
    progress:  called about once a second with (steps done, steps in all, what to show)
    listen:    gives samples (k, timesteps) in [-1, 1] and their sample rate, every `config.listen_every` steps

    The caller seeds the network's initialization. `fit` leaves torch's global random state as it found it.

    Returns steps, kept_step (whose weights were kept), validation_loss and the curve's other validation columns there,
    best_step and best_validation_loss (the lowest; with keep=best the same step), train_loss (mean over the last stretch
    between two validations; None without a step), parameters (trainable; of `sampled_part` alone, where there is one),
    and stopped ("steps", "max_steps", "max_hours" or "patience").
    Raises Preempted after SIGTERM or SIGINT, once a checkpoint is on disk; TrainingDiverged when a loss is not finite;
    ValueError on a device, a batch size or a begun training that does not fit.
    """
    fabric = _launch(device, config.precision)
    shares = config.accumulate * fabric.world_size
    if config.batch_size % shares:
        raise ValueError(
            f"batch_size={config.batch_size} cannot be shared by {fabric.world_size} processes with "
            f"accumulate={config.accumulate}; make it a multiple of {shares}"
        )
    steps = config.steps if max_steps is None else min(config.steps, max_steps)
    cuda = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(cuda), Interruption() as interruption:
        run = TrainingRun(fabric, model, train, validation, folder, config, seed, steps, keep_every)
        run.until_done(interruption, max_hours, progress, listen)
        result = run.result()
    if interruption.requested:
        raise Preempted(f"{interruption.requested} came as training finished; its result is on disk")
    return result


def _launch(device: str, precision: str) -> "Fabric":
    """Lightning Fabric on a device, or as one of torchrun's processes."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    kind, _, index = device.partition(":")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(kind) or (index and not index.isdigit()):
        choices = ", ".join(name for name, there in present.items() if there)
        raise ValueError(f"device {device!r} is not to be had on this machine; choose from: {choices}")
    options: dict[str, Any] = {"accelerator": kind, "precision": precision}
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # Some networks have parameters that never get a gradient (a WaveNet's last residual output), and with several
        # parts each update leaves the others' out.
        # While the first process listens, the others wait for it; a slow generator draws for more than the usual ten minutes.
        options["strategy"] = DDPStrategy(find_unused_parameters=True, timeout=timedelta(hours=6))
        options["devices"] = int(os.environ["LOCAL_WORLD_SIZE"])
        options["num_nodes"] = int(os.environ["WORLD_SIZE"]) // int(os.environ["LOCAL_WORLD_SIZE"])
    else:
        options["devices"] = [int(index)] if index and kind == "cuda" else 1
    fabric = Fabric(**options)
    fabric.launch()
    if "strategy" in options:
        atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Part from the other processes in good order: on a CPU, one that just ends now and then aborts, and torchrun kills all."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

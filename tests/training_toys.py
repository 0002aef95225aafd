"""Small networks and random clips for the tests of the training loop; importable by the child processes they kill."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.clips import ClipArray, Clips
from models.training import Preempted, TrainingConfig, fit

TIMESTEPS = 64


RESULTS = ("model.safetensors", "curve.csv", "checkpoints/last.pt", "checkpoints/best.pt", "listen/step-000060.wav")


def contents(folder: Path, names: tuple[str, ...] = RESULTS) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def random_clips(count: int, seed: int = 0) -> ClipArray:
    """Noise in three classes, whose loudness tells them apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    codes = rng.normal(0, 1000 * (1 + labels[:, None]), (count, TIMESTEPS)).astype(np.int16)
    return ClipArray(codes, np.full(count, TIMESTEPS), labels)


class Listener(nn.Module):
    """A classifier with everything that makes resuming hard: dropout, batch statistics, and noise from `rng`."""

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.Linear(TIMESTEPS, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)
            )

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        assert clips.labels is not None
        noise = torch.randn(clips.waveforms.shape, generator=rng, device=clips.waveforms.device)
        loss = cross_entropy(self.net(clips.waveforms.abs() * 10 + 0.1 * noise), clips.labels)
        return loss, {"noise": noise.mean()}

    def validation_scores(self, clips: Clips) -> dict[str, float]:
        right = self.net(clips.waveforms.abs() * 10).argmax(1) == clips.labels
        return {"accuracy": float(right.float().mean())}


@dataclass(frozen=True)
class Duel(TrainingConfig):
    "The settings of `Adversaries`."


class Adversaries(nn.Module):
    """Two parts in turns, as in a GAN; counts the updates' losses that were asked for."""

    schedule = (("critic", 3), ("generator", 1))

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Parameter(torch.zeros(TIMESTEPS))
        self.generator = nn.Parameter(torch.ones(TIMESTEPS))
        self.asked: list[str] = []

    def parameter_groups(self, part: str) -> list[dict[str, Any]]:
        return [{"params": [self.critic if part == "critic" else self.generator], "lr": 0.5}]

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> Tensor:
        if self.training:
            self.asked.append(part)
        judged = self.critic @ self.generator
        return judged - (clips.waveforms @ self.critic).mean() if part == "critic" else -judged


CONFIG = TrainingConfig(
    steps=60,
    batch_size=8,
    learning_rate=0.01,
    learning_rate_schedule="plateau",
    plateau_patience=0,
    gradient_clip=1.0,
    ema=0.9,
    validate_every=8,
    checkpoint_every=7,
    listen_every=20,
)

LONG = replace(CONFIG, steps=400, validate_every=20, checkpoint_every=5, listen_every=200)


def chirp() -> tuple[Tensor, int]:
    """Two samples to listen to; draws from torch's global generator, as a careless model would."""
    return torch.rand(2, 400) - 0.5, 8000


def train(folder: Path, config: TrainingConfig = CONFIG, **options: Any) -> dict[str, Any]:
    """`fit` a `Listener` on random clips."""
    options = {"config": config, "seed": 3, "listen": chirp, **options}
    return fit(Listener(), random_clips(50), random_clips(20, 1), folder, **options)


def train_in_child(folder: Path) -> None:
    """The body of a child process: exit code 0 when done, 3 when preempted."""
    torch.set_num_threads(1)
    try:
        train(folder, LONG)
    except Preempted:
        raise SystemExit(3) from None

"""Training in several processes: two on a CPU, over gloo, learn what one does at the same batch, and log the same curve.

A batch is cut into pieces, by `accumulate` and by processes. What has no noise is the same however it is cut; noise and
dropout are a function of the piece, so that two processes are what one is with two micro-batches.
"""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models import checkpoints
from models.clips import ClipArray, Clips
from models.generators import wavenet
from models.objective import Objective
from models.training import TrainingConfig, fit
from tests import training_toys as toys

CONFIG = TrainingConfig(
    steps=30, batch_size=8, learning_rate=0.02, learning_rate_schedule="plateau", plateau_patience=0, gradient_clip=1.0,
    ema=0.9, validate_every=5, checkpoint_every=7,
)  # fmt: skip


def uneven_clips(count: int, seed: int) -> ClipArray:
    """Clips of very different lengths, some hardly any."""
    clips = toys.random_clips(count, seed)
    return replace(clips, valid=np.random.default_rng(seed).integers(1, toys.TIMESTEPS + 1, count))


class Predictor(nn.Module):
    """Predicts a timestep from the four before it, and is judged where there is audio. One weight is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.taps, self.idle = nn.Parameter(torch.linspace(-1, 1, 4)), nn.Parameter(torch.ones(3))

    def loss_weight(self, valid: np.ndarray) -> int:
        return int(valid.sum())

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> Tensor:
        past = nn.functional.pad(clips.waveforms, (4, 0))[:, :-1].unfold(1, 4, 1)
        error = (past @ self.taps - clips.waveforms - 0.03).abs()
        return error[clips.mask()].mean()


class Noisy(nn.Module):
    """Regression with dropout and noise; logs a value of its own."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(toys.TIMESTEPS, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 1))

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        noise = torch.randn(clips.waveforms.shape, generator=rng, device=clips.waveforms.device)
        loudness = self.net(10 * clips.waveforms.abs() + noise)[:, 0]
        return (loudness - 1 - 20 * clips.waveforms.square().mean(1)).square().mean(), {"noise": noise.mean()}


class Turns(toys.Adversaries):
    """Two parts in turns, each with an optimizer of its own."""


MODELS = {"predictor": Predictor, "noisy": Noisy, "turns": Turns}


def train_all(folder: Path, accumulate: int) -> None:
    """Every model, one after the other, into folder/<name>."""
    for name, kind in MODELS.items():
        clips, validation = uneven_clips(50, 0), uneven_clips(20, 1)
        fit(kind(), clips, validation, folder / name, config=replace(CONFIG, accumulate=accumulate), seed=3)


SCRIPT = """
import sys
from pathlib import Path
import torch
from tests.test_torchrun import train_all
torch.set_num_threads(1)
train_all(Path(sys.argv[1]), 1)
train_all(Path(sys.argv[2]), 2)
print("processes:", torch.distributed.get_world_size(), torch.distributed.get_backend())
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Path]:
    """Folders of trainings, by how many processes and micro-batches they had."""
    folder = tmp_path_factory.mktemp("torchrun")
    folders = {key: folder / f"{key[0]}x{key[1]}" for key in ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2))}
    script = folder / "train.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [*torchrun, str(script), str(folders[2, 1]), str(folders[2, 2])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("processes: 2 gloo") == 2, done.stdout
    for processes, accumulate in folders:
        if processes == 1:
            train_all(folders[1, accumulate], accumulate)
    return folders


def curve(folder: Path) -> dict[str, list[float]]:
    """The curve's columns, without the row of the untrained network, which has no training loss."""
    with open(folder / "curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))[1:]
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def assert_same(a: Path, b: Path) -> None:
    """The same curve and the same weights, to rounding."""
    ours, theirs = curve(a), curve(b)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert values == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name
    one, two = (checkpoints.load_weights(folder / "model.safetensors") for folder in (a, b))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["predictor", "turns"])
@pytest.mark.parametrize("cut", [(2, 1), (1, 2), (1, 4), (2, 2)])
def test_the_loss_curve_is_that_of_one_process(trained, name, cut):
    assert_same(trained[cut] / name, trained[1, 1] / name)
    column = "train_loss" if name == "predictor" else "train_generator_loss"
    assert len(set(curve(trained[cut] / name)[column])) == CONFIG.steps // CONFIG.validate_every, "it learns"


@pytest.mark.parametrize(("processes", "accumulate"), [(2, 1), (2, 2)])
def test_noise_and_dropout_are_those_of_as_many_micro_batches(trained, processes, accumulate):
    assert_same(trained[processes, accumulate] / "noisy", trained[1, processes * accumulate] / "noisy")
    assert curve(trained[2, 1] / "noisy") != curve(trained[1, 1] / "noisy")


def test_all_pieces_have_noise_of_their_own(tmp_path: Path):
    seen = []

    class Spy(Noisy):
        def loss(self, part: str, clips: Clips, rng: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
            seen.append((float(torch.rand(())), float(torch.rand((), generator=rng))))
            return super().loss(part, clips, rng)

    fit(
        Spy(),
        toys.random_clips(8),
        toys.random_clips(2),
        tmp_path,
        config=replace(CONFIG, steps=2, accumulate=4),
        seed=0,
    )
    assert len(set(seen[-8:])) == 8, "two steps of four micro-batches"


def test_only_the_first_process_writes(trained):
    names = {path.relative_to(trained[2, 1]).as_posix() for path in trained[2, 1].rglob("*") if path.is_file()}
    of_one = {path.relative_to(trained[1, 1]).as_posix() for path in trained[1, 1].rglob("*") if path.is_file()}
    boards = {name for name in names | of_one if "tfevents" in name}
    assert names - boards == of_one - boards
    assert len(boards & names) == len(boards & of_one) == len(MODELS)


@pytest.mark.parametrize("train_on_padding", [False, True])
def test_what_pieces_of_uneven_clips_count_in_autoregressive_models(train_on_padding: bool):
    """Together, weighted, what they are in one piece."""
    config = replace(wavenet.PRESETS["smoke"], margin=0, train_on_padding=train_on_padding)
    objective = Objective(wavenet.WaveNet(config, 4000, toys.TIMESTEPS))
    clips = uneven_clips(8, 0)
    pieces = np.split(np.arange(8), 4)
    weights = objective.weights([clips.valid[piece] for piece in pieces])
    whole, *parts = (
        objective.model.loss("model", clips.batch(indices), torch.Generator().manual_seed(0)).item()
        for indices in (np.arange(8), *pieces)
    )
    together = sum(weight * part for weight, part in zip(weights, parts, strict=True)) / len(pieces)
    assert together == pytest.approx(whole, rel=1e-6)
    if not train_on_padding:
        assert sum(parts) / len(pieces) != pytest.approx(whole, rel=1e-4)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path):
    class Weightless(Predictor):
        def loss_weight(self, valid: np.ndarray) -> int:
            return 0

    with pytest.raises(ValueError, match=r"Weightless\.loss_weight\(valid\) is 0"):
        fit(Weightless(), toys.random_clips(8), toys.random_clips(2), tmp_path, config=CONFIG, seed=0)

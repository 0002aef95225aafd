"""Training that is stopped by signals, kills and crashes: resumed, it ends with the bytes of an uninterrupted one."""

import errno
import io
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import checkpoints, training_run
from models.training import Preempted
from tests import training_toys as toys
from tests.training_toys import contents


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    toys.train(folder)
    return folder


def _ask_to_stop() -> tuple[torch.Tensor, int]:
    os.kill(os.getpid(), signal.SIGTERM)
    return toys.chirp()


def test_sigterm_keeps_the_training_and_hands_the_handlers_back(whole: Path, tmp_path: Path):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Preempted, match="SIGTERM: the training is kept at step 21 of 60"):
        toys.train(tmp_path, listen=_ask_to_stop)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert not (tmp_path / "model.safetensors").exists()
    toys.train(tmp_path)
    assert contents(tmp_path) == contents(whole)


class Crash(BaseException):
    """Power is gone."""


def test_crashes_around_writes_change_nothing(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rename, crashes = os.replace, 0
    while True:
        lives = [5 + crashes % 4]  # files that this attempt gets written

        def fragile(source: Path, target: Path, lives: list[int] = lives, after: bool = bool(crashes % 2)) -> None:
            lives[0] -= 1
            if lives[0] == 0 and not after:
                raise Crash
            rename(source, target)
            if lives[0] == 0:
                raise Crash

        monkeypatch.setattr(os, "replace", fragile)
        try:
            toys.train(tmp_path)
            break
        except Crash:
            crashes += 1
            assert crashes < 50, "no progress between crashes"
    assert crashes > 4
    assert contents(tmp_path) == contents(whole)


def test_checkpoints_by_the_clock_change_nothing(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training_run, "CHECKPOINT_SECONDS", 0.0)
    config = replace(toys.CONFIG, checkpoint_every=10**6)

    def crash_at_40() -> tuple[torch.Tensor, int]:
        if (tmp_path / "listen" / "step-000020.wav").exists():
            raise Crash
        return toys.chirp()

    with pytest.raises(Crash):
        toys.train(tmp_path, config, listen=crash_at_40)
    assert checkpoints.load_state(tmp_path / "checkpoints" / "last.pt")["position"]["step"] == 39
    toys.train(tmp_path, config)
    names = tuple(name for name in toys.RESULTS if name != "checkpoints/last.pt")  # it holds checkpoint_every
    assert contents(tmp_path, names) == contents(whole, names)


def test_killed_again_and_again_the_result_is_the_same(tmp_path: Path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training_toys", "lightning_fabric", "torch.utils.tensorboard"])
    seed = time.time_ns()
    rng = random.Random(seed)

    def attempt(folder: Path, signals: list[signal.Signals]) -> int | None:
        child = context.Process(target=toys.train_in_child, args=(folder,))
        child.start()
        last = folder / "checkpoints" / "last.pt"
        known = last.stat().st_mtime_ns if last.exists() else 0
        while signals and child.is_alive():
            if last.exists() and last.stat().st_mtime_ns > known:
                time.sleep(rng.uniform(0, 0.05))
                os.kill(child.pid or 0, signals[0])
                break
            time.sleep(0.005)
        child.join(60)
        return child.exitcode

    assert attempt(tmp_path / "whole", []) == 0
    codes = [
        attempt(tmp_path / "killed", [number])
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
    ]
    assert codes == [-signal.SIGKILL, 3, -signal.SIGKILL, 3], f"seed {seed}"
    assert attempt(tmp_path / "killed", []) == 0
    names = ("model.safetensors", "curve.csv", "checkpoints/last.pt", "checkpoints/best.pt", "listen/step-000400.wav")
    assert contents(tmp_path / "whole", names) == contents(tmp_path / "killed", names), f"seed {seed}"


def test_tensorboard_holds_every_step_once_after_a_resume(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def crash_at_60() -> tuple[torch.Tensor, int]:
        if (tmp_path / "listen" / "step-000040.wav").exists():
            raise Crash
        return toys.chirp()

    with pytest.raises(Crash):  # at step 60; the last checkpoint is of step 56
        toys.train(tmp_path, listen=crash_at_60)
    toys.train(tmp_path)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("validation/loss")] == [0, 8, 16, 24, 32, 40, 48, 56, 60]
    assert [e.step for e in events.Scalars("step/loss")] == [10, 20, 30, 40, 50, 60]
    assert {"train/loss", "train/noise", "learning/rate", "validation/accuracy"} <= set(events.Tags()["scalars"])


def test_max_hours_counts_all_attempts(tmp_path: Path):
    with pytest.raises(Preempted):
        toys.train(tmp_path, listen=_ask_to_stop)
    last = tmp_path / "checkpoints" / "last.pt"
    state = checkpoints.load_state(last)
    assert 0 < state["position"]["seconds"] < 60
    state["position"]["seconds"] = 7200.0
    checkpoints.save_state(last, state)
    result = toys.train(tmp_path, max_hours=1.9)
    assert (result["steps"], result["stopped"]) == (21, "max_hours")
    assert toys.train(tmp_path, max_hours=1.9) == result, "a finished training stays finished"
    nothing = toys.train(tmp_path / "nothing", max_hours=0.0)
    assert (nothing["steps"], nothing["best_step"], nothing["train_loss"]) == (0, 0, None)


def test_another_training_in_the_folder_is_refused(whole: Path):
    before = contents(whole)
    with pytest.raises(ValueError, match=r"batch_size was 8, is 4.*empty folder"):
        toys.train(whole, replace(toys.CONFIG, batch_size=4))
    with pytest.raises(ValueError, match="seed was 3, is 4"):
        toys.train(whole, seed=4)
    assert contents(whole) == before


def test_a_damaged_checkpoint_is_an_error(tmp_path: Path):
    toys.train(tmp_path, replace(toys.CONFIG, steps=5))
    last = tmp_path / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"last\.pt cannot be read.*remove it"):
        toys.train(tmp_path, replace(toys.CONFIG, steps=5))


def test_a_full_disk_is_named_and_the_old_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "last.pt"
    checkpoints.save_state(path, {"step": 1})

    class Full(io.BufferedWriter):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("builtins.open", lambda name, mode: Full(io.FileIO(name, mode.replace("b", ""))))
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save_state(path, {"step": 2, "weights": torch.zeros(1000)})
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
    assert checkpoints.load_state(path) == {"step": 1}

"""The training loop: what it leaves behind, and that no crash, signal or divergence can change or damage it."""

import csv
import itertools
import math
import os
import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from models import checkpoints
from models.averaging import WeightAverage
from models.batches import Batches
from models.clips import ClipArray
from models.monitor import Monitor, duration
from models.objective import Objective
from models.optimizers import LearningRate
from models.training import TrainingConfig, TrainingDiverged, fit
from tests import training_toys as toys
from tests.training_toys import contents


def curve(folder: Path) -> list[dict[str, str]]:
    with open(folder / "curve.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    toys.train(folder)
    return folder


# ---------------------------------------------------------------- settings


def test_settings_name_every_fault_at_once():
    with pytest.raises(ValueError, match=r"adamw, adam, sgd.*batch_size=0.*learning_rate=-1"):
        TrainingConfig(optimizer="adan", batch_size=0, learning_rate=-1.0)
    with pytest.raises(ValueError, match="choose one"):
        TrainingConfig(gradient_clip=1.0, gradient_clip_value=1.0)
    with pytest.raises(ValueError, match="equal parts"):
        TrainingConfig(batch_size=9, accumulate=2)


def test_warmup_then_cosine_ends_at_zero():
    rate = LearningRate(TrainingConfig(learning_rate_schedule="cosine", warmup_steps=10), 110)
    assert rate.factor(0) == pytest.approx(0.1)
    assert rate.factor(9) == rate.factor(10) == 1
    assert rate.factor(60) == pytest.approx(0.5)
    assert rate.factor(110) == pytest.approx(0)


def test_plateau_lowers_after_its_patience_and_counts_anew():
    rate = LearningRate(TrainingConfig(learning_rate_schedule="plateau", plateau_factor=0.5, plateau_patience=1), 100)
    factors = []
    for loss in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 2.0):
        rate.validated(loss)
        factors.append(rate.factor(5))
    assert factors == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


# ---------------------------------------------------------------- batches


def test_an_epoch_shows_every_clip_once_and_batches_need_no_history():
    batches = Batches(toys.random_clips(10), 4, seed=1)
    stream = np.concatenate([batches.indices(k) for k in range(5)])
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:])
    fresh = Batches(toys.random_clips(10), 4, seed=1)
    assert np.array_equal(fresh.indices(4), stream[16:])
    assert not np.array_equal(Batches(toys.random_clips(10), 4, seed=2).indices(0), stream[:4])
    assert len(Batches(toys.random_clips(3), 8, seed=1).indices(0)) == 8


def test_balanced_classes_are_equally_frequent():
    clips = toys.random_clips(1000)
    uneven = ClipArray(clips.codes, clips.valid, np.array([0] * 980 + [1] * 20))
    indices = Batches(uneven, 4000, seed=0, balanced=True).indices(0)
    assert 0.45 < (indices >= 980).mean() < 0.55
    assert set(indices[indices >= 980]) == set(range(980, 1000))
    with pytest.raises(ValueError, match="balanced_classes=False"):
        Batches(ClipArray(clips.codes, clips.valid), 4, seed=0, balanced=True)


# ---------------------------------------------------------------- what a training leaves


def test_result_is_the_best_validated_step(whole: Path, tmp_path: Path):
    model = toys.Listener()
    result = fit(
        model, toys.random_clips(50), toys.random_clips(20, 1), tmp_path, config=toys.CONFIG, seed=3, listen=toys.chirp
    )
    assert contents(tmp_path) == contents(whole)
    rows = curve(tmp_path)
    assert [int(row["step"]) for row in rows] == [0, 8, 16, 24, 32, 40, 48, 56, 60]
    assert rows[0]["train_loss"] == ""
    assert float(rows[1]["train_loss"]) > 0
    best = min(rows[1:], key=lambda row: float(row["validation_loss"]))
    assert result["best_step"] == int(best["step"])
    assert result["best_validation_loss"] == pytest.approx(float(best["validation_loss"]), rel=1e-8)
    assert result["validation_accuracy"] == pytest.approx(float(best["validation_accuracy"]), rel=1e-8)
    assert result["best_validation_loss"] < float(rows[0]["validation_loss"]), "it learns"
    assert (result["steps"], result["stopped"]) == (60, "steps")
    assert result["parameters"] == sum(p.numel() for p in model.parameters())
    saved = checkpoints.load_weights(tmp_path / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_global_randomness_is_left_alone_and_does_not_matter(whole: Path, tmp_path: Path):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    toys.train(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert contents(tmp_path) == contents(whole)


def test_samples_to_listen_to_are_16_bit_wavs(whole: Path):
    assert sorted(path.name for path in (whole / "listen").iterdir()) == [f"step-0000{k}.wav" for k in (20, 40, 60)]
    path = str(whole / "listen" / "step-000020.wav")
    audio, rate = soundfile.read(path)
    assert (soundfile.info(path).subtype, rate, len(audio)) == ("PCM_16", 8000, 2 * (400 + 2000))
    assert np.abs(audio[:400]).max() > 0.4


def test_progress_tells_the_time_left(tmp_path: Path):
    told: list[tuple[int, int, str]] = []
    toys.train(tmp_path, replace(toys.CONFIG, steps=10), progress=lambda *news: told.append(news))
    assert told[-1][:2] == (10, 10)
    assert "validation" in told[-1][2]
    assert told[-1][2].endswith("0 s left")
    assert [duration(s) for s in (40, 720, 12600, 180000)] == ["40 s", "12 min", "3.5 h", "2.1 days"]


class Told(list[str]):
    """Progress with a method `note`, as a stage's reporter has it."""

    def __call__(self, *news: object) -> None:
        pass

    note = list.append


@pytest.mark.parametrize(("steps", "times"), [(60, 1), (50, 0), (20, 0)])
def test_after_50_steps_the_time_is_estimated_once(steps: int, times: int, tmp_path: Path):
    toys.train(tmp_path, replace(toys.CONFIG, steps=steps), progress=(told := Told()))
    assert len(told) == times
    for line in told:
        assert re.fullmatch(r"\d+ ms a step: about 0 s for the other 10 steps, to \d\d:\d\d", line)


def test_the_estimate_leaves_the_first_steps_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = iter(
        [0.0, *(100.0 + step for step in range(1, 200))]
    )  # the first step takes 101 s, each other one a second
    fake = SimpleNamespace(**{**vars(time), "monotonic": lambda: next(clock)})
    monkeypatch.setattr("models.monitor.time", fake)
    monitor = Monitor(tmp_path, [], 0, 2050, told := Told())
    for step in range(1, 60):
        monitor.stepped(step, 1.0)
    monitor.close()
    assert [line.rpartition(",")[0] for line in told] == ["1000 ms a step: about 33 min for the other 2,000 steps"]


# ---------------------------------------------------------------- which weights are kept


LAST = replace(toys.CONFIG, keep="last", learning_rate=1.0, steps=40)  # steps so large that the last are not the best


def test_the_last_weights_are_kept_where_asked_for(tmp_path: Path):
    best, last = (toys.train(tmp_path / keep, replace(LAST, keep=keep)) for keep in ("best", "last"))
    assert curve(tmp_path / "best") == curve(tmp_path / "last"), "it changes no step"
    rows = {int(row["step"]): float(row["validation_loss"]) for row in curve(tmp_path / "last")}
    assert last["steps"] == last["kept_step"] == 40 > last["best_step"] > 0
    assert last["validation_loss"] == pytest.approx(rows[40], rel=1e-8)
    assert last["best_validation_loss"] == pytest.approx(min(rows.values()), rel=1e-8)
    assert best["kept_step"] == best["best_step"] == last["best_step"]
    assert best["validation_loss"] == best["best_validation_loss"] == last["best_validation_loss"]

    kept = checkpoints.load_weights(tmp_path / "last" / "model.safetensors")
    state = checkpoints.load_state(tmp_path / "last" / "checkpoints" / "last.pt")
    assert all(torch.equal(kept[name], mean) for name, mean in state["average"].items()), "averaged, as validated"
    assert not (tmp_path / "last" / "checkpoints" / "best.pt").exists()
    other = checkpoints.load_weights(tmp_path / "best" / "model.safetensors")
    assert any(not torch.equal(kept[name], other[name]) for name in kept)

    model = toys.Listener()
    again = fit(model, toys.random_clips(50), toys.random_clips(20, 1), tmp_path / "last", config=LAST, seed=3)
    assert again == last, "a finished training stays finished"
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_the_last_weights_survive_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Crash(BaseException):
        """Power is gone."""

    toys.train(tmp_path / "whole", LAST)
    replace_file, crashes = os.replace, 0
    for lives in itertools.count(5):
        left = [lives]

        def fragile(source: Path, target: Path, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Crash
            replace_file(source, target)

        monkeypatch.setattr(os, "replace", fragile)
        try:
            toys.train(tmp_path / "crashed", LAST)
            break
        except Crash:
            crashes += 1
    assert crashes > 2
    names = ("model.safetensors", "curve.csv", "checkpoints/last.pt")
    assert contents(tmp_path / "crashed", names) == contents(tmp_path / "whole", names)


@pytest.mark.parametrize("limit", [{"max_steps": 0}, {"max_steps": 11}, {"max_hours": 0.0}])
def test_the_last_weights_of_a_training_that_was_cut_short(tmp_path: Path, limit: dict[str, float]):
    result = toys.train(tmp_path, LAST, **limit)
    assert result["kept_step"] == result["steps"] == limit.get("max_steps", 0)
    assert result["validation_loss"] == pytest.approx(float(curve(tmp_path)[-1]["validation_loss"]), rel=1e-8)
    assert result["best_step"] <= result["steps"]


def test_the_last_weights_and_patience_exclude_each_other():
    with pytest.raises(ValueError, match=r"patience=3.*keep=last.*patience=0, or keep=best"):
        TrainingConfig(keep="last", patience=3)
    with pytest.raises(ValueError, match="keep='first' is not one of best, last"):
        TrainingConfig(keep="first")


class Averaged(toys.Adversaries):
    sampled_part = "generator"


def test_the_average_of_one_part(tmp_path: Path):
    config = TrainingConfig(
        steps=4, batch_size=4, optimizer="sgd", momentum=0.0, ema=0.5, keep="last", validate_every=2
    )
    for cls, averaged in ((Averaged, {"generator"}), (toys.Adversaries, {"critic", "generator"})):
        model, folder = cls(), tmp_path / cls.__name__
        fit(model, toys.random_clips(20), toys.random_clips(4), folder, config=config, seed=0)
        state = checkpoints.load_state(folder / "checkpoints" / "last.pt")
        assert set(state["average"]) == averaged
        kept = checkpoints.load_weights(folder / "model.safetensors")
        assert {name for name in kept if not torch.equal(kept[name], state["model"][name])} == averaged
        assert all(p.requires_grad for p in model.parameters())


# ---------------------------------------------------------------- when it ends


def test_max_steps_lowers_the_steps_and_the_schedule_with_them(tmp_path: Path):
    config = replace(toys.CONFIG, learning_rate_schedule="cosine")
    assert toys.train(tmp_path / "a", config, max_steps=20)["stopped"] == "max_steps"
    toys.train(tmp_path / "b", replace(config, steps=20))
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert toys.train(tmp_path / "c", replace(config, steps=20), max_steps=1000)["stopped"] == "steps"


def test_patience_ends_it(tmp_path: Path):
    config = replace(toys.CONFIG, steps=5000, learning_rate=10.0, ema=0.0, patience=3, validate_every=5)
    result = toys.train(tmp_path, config)
    assert result["stopped"] == "patience"
    assert result["steps"] == result["best_step"] + 15


# ---------------------------------------------------------------- what cannot go on


class Exploding(toys.Listener):
    def loss(self, part, clips, rng):
        loss, extra = super().loss(part, clips, rng)
        self.calls = getattr(self, "calls", 0) + self.training
        return loss * (math.inf if self.calls == 12 else 1), extra


def test_a_loss_that_is_not_finite_is_an_error_with_advice(tmp_path: Path):
    with pytest.raises(TrainingDiverged, match=r"step 12 \(model\).*0\.01.*NAME\.learning_rate=0\.0033.*gradient_clip"):
        fit(Exploding(), toys.random_clips(50), toys.random_clips(20), tmp_path, config=toys.CONFIG, seed=0)
    state = checkpoints.load_state(tmp_path / "checkpoints" / "last.pt")
    assert state["position"]["step"] == 8
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_bad_calls_are_explained(tmp_path: Path):
    with pytest.raises(ValueError, match=r"'tpu'.*choose from: cpu"):
        toys.train(tmp_path, device="tpu")
    with pytest.raises(ValueError, match="no validation clips"):
        fit(toys.Listener(), toys.random_clips(5), toys.random_clips(0), tmp_path, config=toys.CONFIG, seed=0)
    model = toys.Adversaries()
    model.idle = nn.Linear(2, 2, bias=False)
    with pytest.raises(ValueError, match=r"nothing trains idle\.weight"):
        Objective(model)


# ---------------------------------------------------------------- how an update is made


def test_parts_take_their_turns_and_leave_each_other_alone(tmp_path: Path):
    model = toys.Adversaries()
    config = TrainingConfig(steps=5, optimizer="sgd", momentum=0.0, batch_size=4, validate_every=5)
    fit(model, toys.random_clips(20), toys.random_clips(4), tmp_path, config=config, seed=0)
    assert model.asked == ["critic", "critic", "critic", "generator"] * 5
    assert all(p.requires_grad for p in model.parameters())
    rows = curve(tmp_path)
    assert float(rows[-1]["train_generator_loss"]) != 0

    # The first critic update by hand: the batch is the first of 4 per step, the rate the group's own.
    clips = toys.random_clips(20)
    critic = torch.zeros(toys.TIMESTEPS)
    for number in range(3):
        waveforms = clips.batch(Batches(clips, 4, seed=0).indices(number)).waveforms
        critic -= 0.5 * (torch.ones(toys.TIMESTEPS) - waveforms.mean(0))
    fresh = toys.Adversaries()
    fit(fresh, clips, toys.random_clips(4), tmp_path / "one", config=replace(config, steps=1), seed=0)
    assert torch.allclose(fresh.critic, critic, atol=1e-5)
    assert torch.allclose(fresh.generator, 1 + 0.5 * critic, atol=1e-5)


class Quiet(nn.Module):
    """A linear regression without any noise."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(toys.TIMESTEPS))

    def loss(self, part, clips, rng):
        return ((clips.waveforms @ self.weight - 1) ** 2).mean()


def test_micro_batches_add_up_to_the_batch(tmp_path: Path):
    weights = []
    for pieces in (1, 4):
        model = Quiet()
        config = TrainingConfig(steps=20, batch_size=8, accumulate=pieces, optimizer="adam", validate_every=20)
        fit(model, toys.random_clips(40), toys.random_clips(4), tmp_path / str(pieces), config=config, seed=0)
        weights.append(model.weight.detach())
    assert weights[0].abs().max() > 0.01
    assert torch.allclose(weights[0], weights[1], atol=1e-6)


def test_gradient_limits(tmp_path: Path):
    config = TrainingConfig(steps=1, batch_size=8, optimizer="sgd", momentum=0.0, learning_rate=1.0)
    clips = ClipArray(np.full((8, toys.TIMESTEPS), 20000, np.int16), np.full(8, toys.TIMESTEPS))
    by_norm, by_value = replace(config, gradient_clip=0.5), replace(config, gradient_clip_value=0.5)
    for limited, expected in ((by_norm, 0.5 / math.sqrt(toys.TIMESTEPS)), (by_value, 0.5)):
        model = Quiet()
        fit(model, clips, clips, tmp_path / str(expected), config=limited, seed=0)
        assert torch.allclose(model.weight, torch.full((toys.TIMESTEPS,), expected), atol=1e-4)


def test_averaged_weights_are_validated_and_kept(tmp_path: Path):
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, decay=0.5)
    model.load_state_dict(model.state_dict() | {"weight": torch.full((2,), 3.0), "running_mean": torch.full((2,), 7.0)})
    average.update(1000)
    averaged = average.state_dict()
    assert averaged["weight"].tolist() == [2.0, 2.0], "half of 1 and 3"
    assert averaged["running_mean"].tolist() == [7.0, 7.0], "buffers are the present ones"
    assert model.weight.tolist() == [3.0, 3.0]

    config = TrainingConfig(steps=10, batch_size=8, ema=0.99, validate_every=10, learning_rate=0.1)
    fit(Quiet(), toys.random_clips(40), toys.random_clips(9), tmp_path, config=config, seed=0)
    state = checkpoints.load_state(tmp_path / "checkpoints" / "last.pt")
    kept = checkpoints.load_weights(tmp_path / "model.safetensors")
    assert torch.equal(kept["weight"], state["average"]["weight"])
    assert not torch.allclose(kept["weight"], state["model"]["weight"])
    clips = toys.random_clips(9).batch(range(9))
    loss = float(((clips.waveforms @ kept["weight"] - 1) ** 2).mean())
    assert float(curve(tmp_path)[-1]["validation_loss"]) == pytest.approx(loss, rel=1e-5), "9 clips in batches of 8"


def test_bfloat16_trains_with_float32_weights(tmp_path: Path):
    model = toys.Listener()
    seen = Counter[torch.dtype]()
    model.net[0].register_forward_hook(lambda module, inputs, output: seen.update([output.dtype]))
    config = TrainingConfig(steps=3, batch_size=8, precision="bf16-mixed", validate_every=3)
    fit(model, toys.random_clips(20), toys.random_clips(8), tmp_path, config=config, seed=0)
    assert set(seen) == {torch.bfloat16}, "in validation too"
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_part_of_the_validation_clips_is_always_the_same_part(tmp_path: Path):
    losses = []
    for count in (5, 20):
        config = replace(toys.CONFIG, steps=0, validation_clips=count)
        losses += [toys.train(tmp_path / f"{count}-{k}", config)["best_validation_loss"] for k in range(2)]
    assert losses[0] == losses[1] != losses[2] == losses[3]

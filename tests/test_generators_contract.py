"""What every file in models/generators/ must be; a new one is tested by this file as soon as it is there."""

import ast
import dataclasses
import inspect
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import models
from models import describe, generators
from models.checkpoints import save_weights
from models.clips import ClipArray, Clips, to_int16
from models.generators.base import Generator
from models.plugins import Plugin
from models.randomness import SampleRandom
from models.training import fit
from models.training_config import TrainingConfig

SAMPLE_RATE = 16000
NAMES = generators.names()
AWKWARD_LENGTHS = (1, 2, 97, 1000)


@cache
def build(name: str, timesteps: int, preset: str = "smoke") -> Any:
    """An untrained generator, always with the same weights."""
    plugin = generators.find(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return plugin.cls(plugin.presets[preset], SAMPLE_RATE, timesteps).eval()


def clips_of(timesteps: int, batch: int = 4) -> Clips:
    """Tones that end at different times."""
    time, pitch = torch.arange(timesteps) / SAMPLE_RATE, torch.tensor([110.0, 220.0, 330.0, 440.0])[:batch, None]
    valid = torch.tensor([timesteps, max(1, timesteps // 2), max(1, timesteps // 3), max(1, timesteps - 1)])[:batch]
    waveforms = 0.3 * torch.sin(2 * torch.pi * pitch * time)
    return Clips(waveforms * Clips(waveforms, valid).mask(), valid, torch.arange(batch) % 2)


@pytest.fixture(params=NAMES)
def plugin(request: pytest.FixtureRequest) -> Plugin:
    return generators.find(request.param)


def test_there_are_generators() -> None:
    assert {"wavenet", "noise"} <= set(NAMES)
    assert "base" not in NAMES


def test_file_is_short_and_explains_itself(plugin: Plugin) -> None:
    assert len(plugin.source_path.read_text(encoding="utf-8").splitlines()) <= 150
    assert len(plugin.module.__doc__ or "") > 100
    assert plugin.cls.__doc__
    assert isinstance(plugin.version, int)
    assert plugin.version >= 1


def test_config_is_a_documented_frozen_dataclass(plugin: Plugin) -> None:
    config = plugin.module.Config
    assert issubclass(config, TrainingConfig)
    assert config.__dataclass_params__.frozen
    for owner in filter(dataclasses.is_dataclass, inspect.getmro(config)):
        assert isinstance(owner, type)
        body = next(node for node in ast.parse(inspect.getsource(owner)).body if isinstance(node, ast.ClassDef)).body
        for field, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert documented, (
                    f"{owner.__name__}.{ast.unparse(field.target)} needs a line of documentation under it"
                )


def test_presets_have_the_common_names(plugin: Plugin) -> None:
    assert {"smoke", "small", "paper"} <= set(plugin.presets)
    for preset in plugin.presets.values():
        assert isinstance(preset, plugin.module.Config)
        assert plugin.config(json.loads(json.dumps(dataclasses.asdict(preset)))) == preset


def test_class_is_a_generator(plugin: Plugin) -> None:
    assert issubclass(plugin.cls, Generator)
    model = build(plugin.name, 1000)
    assert model.schedule
    assert all(isinstance(part, str) and times >= 1 for part, times in model.schedule)
    for part, _ in model.schedule:
        assert all(group["params"] for group in model.parameter_groups(part))


@pytest.mark.parametrize("timesteps", AWKWARD_LENGTHS)
def test_loss_is_a_finite_scalar_that_trains_every_part(plugin: Plugin, timesteps: int) -> None:
    model, clips = build(plugin.name, timesteps), clips_of(timesteps)
    for part, _ in model.schedule:
        model.zero_grad()
        loss = model.loss(part, clips, torch.Generator().manual_seed(0))
        loss = loss[0] if isinstance(loss, tuple) else loss
        assert loss.shape == ()
        assert loss.isfinite()
        loss.backward()
        gradients = [p.grad for group in model.parameter_groups(part) for p in group["params"] if p.grad is not None]
        assert gradients
        assert all(g.isfinite().all() for g in gradients)
        assert any(g.abs().sum() > 0 for g in gradients)
        repeated = model.loss(part, clips, torch.Generator().manual_seed(0))
        assert (repeated[0] if isinstance(repeated, tuple) else repeated).item() == loss.item()
    assert model.validation_loss(clips, torch.Generator().manual_seed(0)).isfinite()
    model.zero_grad()


@pytest.mark.parametrize("timesteps", AWKWARD_LENGTHS)
def test_samples_are_waveforms(plugin: Plugin, timesteps: int) -> None:
    model = build(plugin.name, timesteps)
    for count in (1, 3):
        samples = model.sample(count, SampleRandom(0))
        assert samples.waveforms.shape == (count, timesteps)
        assert samples.waveforms.dtype == torch.float32
        assert samples.waveforms.abs().max() <= 1
        if samples.log_likelihood is not None:
            assert samples.log_likelihood.shape == (count,)
            assert samples.log_likelihood.dtype == torch.float64
            assert samples.log_likelihood.isfinite().all()


def test_samples_are_a_function_of_seed_and_index(plugin: Plugin) -> None:
    model = build(plugin.name, 97)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        six = model.sample(6, SampleRandom(5)).waveforms
        torch.manual_seed(2)
        assert torch.equal(model.sample(6, SampleRandom(5)).waveforms, six), "the same again, whatever the global seed"
    split = torch.cat([model.sample(4, SampleRandom(5)).waveforms, model.sample(2, SampleRandom(5, 4)).waveforms])
    # products of other sizes may round differently, and a code that lies on the edge may then differ
    assert (split - six).abs().mean() < 1e-3
    assert not torch.equal(model.sample(6, SampleRandom(6)).waveforms, six)
    assert len(torch.unique(six, dim=0)) == 6
    assert torch.equal(model.sample(2).waveforms, model.sample(2, SampleRandom(0)).waveforms)


def test_unknown_sampling_settings_are_refused(plugin: Plugin) -> None:
    with pytest.raises(ValueError, match="no sampling setting 'no_such_setting'"):
        build(plugin.name, 97).sample(1, SampleRandom(0), no_such_setting=1)
    assert isinstance(dataclasses.asdict(plugin.cls.Sampling()), dict), "every setting has a default"


@pytest.mark.parametrize("timesteps", AWKWARD_LENGTHS)
def test_likelihood_is_that_of_sampling(plugin: Plugin, timesteps: int) -> None:
    model, clips = build(plugin.name, timesteps), clips_of(timesteps)
    if type(model).log_likelihood is Generator.log_likelihood:
        assert model.likelihood_space == ""
        assert model.sample(1).log_likelihood is None
        return
    assert model.likelihood_space
    nats = model.log_likelihood(clips)
    array = ClipArray(to_int16(clips.waveforms.numpy()), clips.valid.numpy())
    assert 0 <= model.unigram_entropy(array) <= 16
    assert nats.shape == (4,)
    assert nats.dtype == torch.float64
    louder = Clips(clips.waveforms + 0.1 * ~clips.mask(), clips.valid)
    torch.testing.assert_close(model.log_likelihood(louder), nats, msg="what is in the padding must not matter")
    if "per clip" in model.likelihood_space:
        return  # what was drawn is scaled once more before it is scored
    samples = model.sample(3, SampleRandom(2))
    again = model.log_likelihood(Clips.of(samples.waveforms))
    torch.testing.assert_close(again, samples.log_likelihood, rtol=1e-4, atol=1e-2)


def test_a_saved_model_comes_back(plugin: Plugin, tmp_path: Path) -> None:
    model = build(plugin.name, 97)
    models.save_description(tmp_path, model, plugin)
    save_weights(tmp_path / "model.safetensors", model.state_dict())
    loaded = models.load(tmp_path)
    assert loaded.config == model.config
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert torch.equal(loaded.sample(2, SampleRandom(3)).waveforms, model.sample(2, SampleRandom(3)).waveforms)


def test_the_smoke_preset_trains_and_draws(plugin: Plugin, tmp_path: Path) -> None:
    """With the loop that trains everything, and the folder that it leaves is what `models.load` reads."""
    timesteps = 1000
    tones = clips_of(timesteps)
    codes, valid = to_int16(tones.waveforms.repeat(8, 1).numpy()), tones.valid.repeat(8).numpy()
    corpus = ClipArray(codes, valid, np.arange(32) % 2)
    model = plugin.cls(plugin.presets["smoke"], SAMPLE_RATE, timesteps)
    models.save_description(tmp_path, model, plugin)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = fit(model, corpus, corpus, tmp_path, config=model.config, seed=0, max_steps=3)
    assert result["steps"] == 3
    assert any(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert models.load(tmp_path).sample(2).waveforms.shape == (2, timesteps)


def test_a_killed_training_ends_with_the_same_weights(plugin: Plugin, tmp_path: Path) -> None:
    """Killed after a checkpoint, in the middle of a step: the resumed training is the uninterrupted one, bit for bit."""
    timesteps, steps = 500, 4
    tones = clips_of(timesteps)
    corpus = ClipArray(to_int16(tones.waveforms.repeat(8, 1).numpy()), tones.valid.repeat(8).numpy(), np.arange(32) % 2)
    config = dataclasses.replace(plugin.presets["smoke"], checkpoint_every=2, validate_every=2)

    class Killed(BaseException):
        pass

    def train(folder: Path, die_in_step: int = 0) -> bytes:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = plugin.cls(config, SAMPLE_RATE, timesteps)
        loss, updates = model.loss, [0]

        def fragile(*arguments: Any) -> Any:
            updates[0] += torch.is_grad_enabled()  # validation is no update
            if die_in_step and updates[0] > (die_in_step - 1) * sum(times for _, times in model.schedule):
                raise Killed
            return loss(*arguments)

        model.loss = fragile
        fit(model, corpus, corpus, folder, config=config, seed=0, max_steps=steps)
        return (folder / "model.safetensors").read_bytes()

    whole = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", die_in_step=4)
    assert (tmp_path / "killed" / "checkpoints" / "last.pt").exists()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    assert train(tmp_path / "killed") == whole


OUTSIDE = '''
from dataclasses import dataclass
import torch
from models.generators.base import Generator, Samples
from models.training import fit
from models.training_config import TrainingConfig

@dataclass(frozen=True)
class Config(TrainingConfig):
    level: float = 0.5

class Mine(Generator):
    """A constant."""
    def __init__(self, config, sample_rate, timesteps):
        super().__init__(config, sample_rate, timesteps)
        self.level = torch.nn.Parameter(torch.tensor(config.level))
    def loss(self, part, clips, rng):
        return (clips.waveforms - self.level).square().mean()
    def sample(self, count, rng=None, prefix=None, **sampling):
        return Samples(self.level.detach().expand(count, self.timesteps).clone())
'''


def test_a_class_from_outside_works_the_same(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OUTSIDE)
    plugin = generators.find(f"{file}:Mine")
    assert plugin.name == "Mine"
    assert list(plugin.presets) == ["smoke", "small", "paper"]
    assert str(plugin.version).startswith("sha256:")
    model = plugin.cls(plugin.config({"level": 0.25}), SAMPLE_RATE, 10)
    models.save_description(tmp_path / "trained", model, plugin)
    save_weights(tmp_path / "trained" / "model.safetensors", model.state_dict())
    assert (models.load(tmp_path / "trained").sample(2).waveforms == 0.25).all()


def test_an_edited_file_from_outside_is_another_version(tmp_path: Path) -> None:
    file, versions = tmp_path / "mine.py", []
    for remark in ("", "# edited\n"):
        file.write_text(f"VERSION = 3\n{remark}{OUTSIDE}")
        versions.append(str(generators.find(f"{file}:Mine").version))
    assert all(version.startswith("3+sha256:") for version in versions)
    assert versions[0] != versions[1]
    assert generators.find("noise").version == generators.find("noise").module.VERSION


def test_settings_are_checked_in_a_process_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert describe.main(["--check", "generators/wavenet", '{"layers": 0}']) == 1
    assert "layers=0 must be at least 1" in capsys.readouterr().err
    assert describe.main(["--check", "generators/wavenet", '{"layers": 2}']) == 0
    assert capsys.readouterr().out == "{}\n"


def test_wrong_names_are_answered_with_the_right_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown model 'wavnet'\. Did you mean wavenet\? Available: .*noise.*"):
        generators.find("wavnet")
    with pytest.raises(ValueError, match=r"Add one as models/generators/base\.py"):
        generators.find("base")
    with pytest.raises(ValueError, match="with a file that exists"):
        generators.find(f"{tmp_path}/none.py:Mine")
    with pytest.raises(ValueError, match=r"no setting 'layer'\. Did you mean layers\?"):
        generators.find("wavenet").config({"layer": 3})
    with pytest.raises(ValueError, match=r"there is no model\.json"):
        models.load(tmp_path)


def test_models_describe_themselves_without_torch_here() -> None:
    """The names are found without torch, and the rest is asked of a process of its own."""
    code = (
        "import sys, models.generators as g; assert 'wavenet' in g.names(); g.find('wavenet'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    specs = [f"generators/{name}" for name in NAMES]
    command = [sys.executable, "-m", "models.describe", *specs]
    described = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert list(described) == specs
    wavenet = described["generators/wavenet"]
    assert wavenet["class"] == "WaveNet"
    assert wavenet["likelihood"]
    assert wavenet["sampling"] == {"temperature": 1.0, "top_p": 1.0, "seconds": 0.0}
    assert wavenet["presets"]["paper"]["skip_channels"] == 1024
    assert not described["generators/noise"]["likelihood"]
    wrong = subprocess.run([*command[:3], "generators/wavnet"], check=False, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "Did you mean wavenet" in wrong.stderr

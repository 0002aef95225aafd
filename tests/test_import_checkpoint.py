"""Published checkpoints, in every container, become our networks with the same outputs; and the tasks that import them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import models
from models import plugins, published
from models.classifiers.resnext import Config as ResNeXtConfig
from models.classifiers.resnext import ResNeXt
from models.published import open_checkpoint
from models.published.wavenet import convert
from pipeline.options import parse
from tasks import folders, machine
from tasks.artifact import ArtifactTask, request
from tasks.checkpoints import ImportCheckpoint, ImportClassifier
from tasks.classifier import CacheFeatures, TrainClassifier
from tasks.corpora.sc09 import DIGITS
from tasks.errors import EarshotError, StaleArtifact
from tasks.evaluation import CompareGenerators, EvaluateSamples
from tasks.generator import DrawSamples, MeasureLikelihood, TrainGenerator
from tests import reference, toy_runs
from tests.containers import CONTAINERS

WAVENET = {"blocks": 2, "layers": 4}  # of the fixtures: the weights do not tell after how many layers dilations repeat
AUTOREGRESSIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "fw_wavenet_v2": ("wavenet", WAVENET), "fw_wavenet_main": ("wavenet", WAVENET),
    "fw_sashimi_v2_glu": ("sashimi", {}), "fw_sashimi_v2_noglu": ("sashimi", {}), "fw_sashimi_v2_hurwitz": ("sashimi", {}),
    "fw_sashimi_main": ("sashimi", {}), "fw_sashimi_unet_main": ("sashimi", {}),
    "fw_samplernn_v2": ("samplernn", {}), "fw_samplernn_main": ("samplernn", {}),
}  # fmt: skip
DIFFUSION = {
    **dict.fromkeys(("diffwave_legacy", "diffwave_checkpoints_branch"), "diffwave"),
    **dict.fromkeys(
        [f"diffwave_sashimi_{name}" for name in ("jan22_bi", "jan22_uni_snet", "v3_bi", "v3_uni_snet")],
        "diffwave_sashimi",
    ),
}


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", AUTOREGRESSIVE)
def test_the_same_logits_come_out(name: str, container: str, tmp_path: Path) -> None:
    fixture, (network, settings) = reference.load(name), AUTOREGRESSIVE[name]
    path, told = CONTAINERS[container](fixture.state, tmp_path)
    codes = torch.from_numpy(fixture.arrays["in_y"])
    opened = open_checkpoint(path, plugins.find("generators", network), 16000, codes.shape[1], settings)
    logits = opened.network.freeze().logits(codes)
    np.testing.assert_allclose(logits, fixture.arrays["out_logits"], atol=2e-4, rtol=1e-4)
    assert opened.container == told
    assert opened.tensors == len(fixture.state)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", DIFFUSION)
def test_the_same_noise_is_predicted(name: str, container: str, tmp_path: Path) -> None:
    fixture, network = reference.load(name), DIFFUSION[name]
    path, _ = CONTAINERS[container](fixture.state, tmp_path)
    arrays = {key: torch.from_numpy(array) for key, array in fixture.arrays.items()}
    x, steps = arrays["in_x"], arrays["in_t"][:, 0]
    opened = open_checkpoint(path, plugins.find("generators", network), 16000, x.shape[2], {})
    predicted = noise(opened.network.freeze(), x, steps)
    torch.testing.assert_close(predicted, arrays["out_eps"], atol=1e-4, rtol=1e-4)


def noise(net: Any, x: Tensor, steps: Tensor) -> Tensor:
    with torch.inference_mode():
        return net.network(x, net.conditions(steps))


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_classifier_hears_the_same(container: str, tmp_path: Path) -> None:
    fixture = reference.load("classifier_resnext")
    path, _ = CONTAINERS[container](fixture.state, tmp_path)
    opened = open_checkpoint(path, plugins.find("classifiers", "resnext"), 16000, 16000, {}, list(DIGITS))
    with torch.inference_mode():
        features = opened.network.eval().features_of_picture(torch.from_numpy(fixture.arrays["in_mel"]))
        logits = opened.network.classifier(features)
    np.testing.assert_allclose(features, fixture.arrays["out_features"], atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(logits, fixture.arrays["out_logits"], atol=1e-3, rtol=1e-4)


def test_every_network_with_a_key_map_is_tested_here() -> None:
    tested = {network for network, _ in AUTOREGRESSIVE.values()} | {*DIFFUSION.values(), "resnext"}
    assert tested == set(published.names()) - {"wavegan"}  # which no release holds in a file of PyTorch


# -- weights in the release's layout, small enough to draw from in a moment --------------------------------------------


def wavenet_weights(layers: int = 2, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)

    def weight(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random) / max(1, shape[-1] * shape[-2] if len(shape) > 1 else 1) ** 0.5

    state = {"encoder.weight": weight(256, 256), "model.start_conv.weight": weight(4, 256, 1)}
    for i in range(layers):
        state |= {f"model.{kind}_convs.{i}.weight": weight(4, 4, 2) for kind in ("filter", "gate")}
        state |= {f"model.residual_convs.{i}.weight": weight(4, 4, 1), f"model.skip_convs.{i}.weight": weight(8, 4, 1)}
    state |= {"model.end_conv_1.weight": weight(8, 8, 1), "model.end_conv_1.bias": weight(8)}
    state |= {"model.end_conv_2.weight": weight(256, 8, 1), "model.end_conv_2.bias": weight(256)}
    return state | {
        f"decoder.output_transform.{n}": t for n, t in (("weight", weight(256, 256)), ("bias", weight(256)))
    }


def classifier_weights(classes: int = 10) -> dict[str, Tensor]:
    """Of a small ResNeXt of the release's kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = ResNeXtConfig(depth=11, cardinality=2, base_width=2, width=4, widen_factor=1)
        return dict(ResNeXt(shape, 16000, 16000, [str(i) for i in range(classes)]).state_dict())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return CONTAINERS["Lightning"](wavenet_weights(), tmp_path)[0].rename(tmp_path / "tiny.ckpt")


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    with toy_runs.settings(workdir=tmp_path / "workdir"):
        yield tmp_path / "workdir"


def make(task: ArtifactTask) -> Path:
    """The finished artifact of `task`, made in this process: a stage's takes seconds to start."""
    if not task.complete():
        building = folders.partial(task.folder)
        building.mkdir(parents=True, exist_ok=True)
        folders.write_json(building / folders.CONFIG, task.identity())
        folders.write_json(building / folders.METRICS, task.build(building, lambda done, total, text: None))
        folders.write_json(building / folders.PROVENANCE, {"seconds": 1.0, "request": request(task)})
        folders.publish(building, task.folder, task.unhashed, machine.workdir())
    return task.folder


SHORT = (("corpus.clip_seconds", "0.02"), ("corpus.clips_per_digit", "16"))


def test_what_does_not_fit_is_listed_at_once(tmp_path: Path) -> None:
    state, plugin = wavenet_weights(), plugins.find("generators", "wavenet")
    del state["model.gate_convs.1.weight"]
    state |= {"model.extra": torch.zeros(2), "model.skip_convs.1.weight": torch.zeros(8, 4, 2)}
    path, _ = CONTAINERS["state_dict"](state, tmp_path)
    with pytest.raises(ValueError, match=r"weights\.pt: this is not a WaveNet of the SaShiMi release") as told:
        open_checkpoint(path, plugin, 16000, 160, {})
    for fault in ("missing: model.gate_convs.1.weight", "misshapen: model.skip_convs.1.weight", "unknown: model.extra"):
        assert fault in str(told.value)
    path, _ = CONTAINERS["state_dict"](wavenet_weights(), tmp_path)
    with pytest.raises(ValueError, match="do not fit the network with these settings") as told:
        open_checkpoint(path, plugin, 16000, 160, {"layers": 3, "residual_channels": 6})
    for fault in ("misshapen: start is (4, 256), not (6, 256)", "misshapen: skip is (2, 8, 4), not (3, 8, 6)"):
        assert fault in str(told.value)


def test_a_network_without_a_key_map_says_which_have_one(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"no key map from published checkpoints to noise; there is one for .*wavenet"):
        open_checkpoint(checkpoint, plugins.find("generators", "noise"), 16000, 160, {})


def test_filling_a_network_names_what_is_wrong() -> None:
    net = torch.nn.Linear(2, 3)
    with pytest.raises(ValueError, match="under our names") as told:
        published.fill(net, {"weight": torch.zeros(2, 3), "more": torch.zeros(1)})
    for fault in ("missing: bias (3)", "unknown: more", "misshapen: weight is (2, 3), not (3, 2)"):
        assert fault in str(told.value)


def test_a_checkpoint_becomes_a_trained_model(checkpoint: Path, workdir: Path) -> None:
    task = ImportCheckpoint(model="wavenet", checkpoint=str(checkpoint), settings=SHORT)
    folder = make(task)
    assert folder.relative_to(workdir).as_posix().endswith("/wavenet/checkpoint-tiny/1-import")
    model = models.load(folder)
    assert (model.sample_rate, model.timesteps) == (16000, 320)
    converted = convert(wavenet_weights(), 320)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in converted.state.items())
    for name, value in converted.settings.items():
        assert getattr(model.config, name) == value
    assert model.config.learning_rate == plugins.find("generators", "wavenet").presets["paper"].learning_rate
    metrics = folders.read_json(folder / folders.METRICS)
    assert metrics["sha256"] == folders.sha256(checkpoint)
    assert metrics["bytes"] == checkpoint.stat().st_size
    assert metrics["container"] == "zip of torch.save, under 'state_dict'"
    assert metrics["layout"] == "SaShiMi release, 2022"
    assert model.sample(2).waveforms.shape == (2, 320)


def test_it_is_known_by_its_content(checkpoint: Path, workdir: Path, tmp_path: Path) -> None:
    def task(path: Path) -> ImportCheckpoint:
        return ImportCheckpoint(model="wavenet", checkpoint=str(path), settings=SHORT)

    digest = folders.digest_of(make(task(checkpoint)))
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.copy(checkpoint, tmp_path / "elsewhere"))
    assert task(moved).complete()
    checkpoint.unlink()
    assert task(checkpoint).complete()
    torch.save(wavenet_weights(seed=1), checkpoint)
    with pytest.raises(StaleArtifact, match=r"settings\.checkpoint: was .* is now"):
        task(checkpoint).complete()
    with toy_runs.settings(stale="rebuild=import"):
        assert folders.digest_of(make(task(checkpoint))) != digest
    with toy_runs.settings(stale="rebuild=import"):
        assert folders.digest_of(make(task(moved))) == digest


def test_a_half_finished_import_is_finished(checkpoint: Path, workdir: Path) -> None:
    task = ImportCheckpoint(model="wavenet", checkpoint=str(checkpoint), settings=SHORT)
    digest = folders.digest_of(make(task))
    building = folders.partial(task.folder)
    os.rename(task.folder, building)
    for name in (folders.MANIFEST, folders.METRICS, models.DESCRIPTION):
        (building / name).unlink()
    (building / models.WEIGHTS).write_bytes(b"half")
    (building / f"{models.WEIGHTS}.tmp").write_bytes(b"half")
    assert folders.digest_of(make(task)) == digest


def test_settings_on_top_are_a_path_of_their_own(checkpoint: Path, workdir: Path) -> None:
    chosen = (*SHORT, ("wavenet.blocks", "2"), ("wavenet.layers", "1"))
    folder = make(ImportCheckpoint(model="wavenet", checkpoint=str(checkpoint), settings=chosen))
    assert folder.parent.name == "checkpoint-tiny+blocks=2+layers=1"
    config = models.load(folder).config
    assert (config.blocks, config.layers) == (2, 1)
    paper = plugins.find("generators", "wavenet").presets["paper"]
    same = (*SHORT, ("wavenet.blocks", str(paper.blocks)))  # the preset's own value, but not what the weights imply
    assert "+blocks=" in str(ImportCheckpoint(model="wavenet", checkpoint=str(checkpoint), settings=same).place())


def test_a_file_of_something_else_fails_with_the_list(workdir: Path, tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    task = ImportCheckpoint(model="wavenet", checkpoint=str(tmp_path / "other.pt"), settings=SHORT)
    with pytest.raises(ValueError, match=r"not a WaveNet of the SaShiMi release.*(?s:.*)unknown: layer\.weight"):
        make(task)
    assert not task.folder.exists()


def test_what_cannot_be_is_said_before_anything_runs(checkpoint: Path, workdir: Path, tmp_path: Path) -> None:
    with pytest.raises(
        EarshotError, match=r"there is no checkpoint .*gone\.pt: give path/to/file\.pt, or release:NAME"
    ):
        ImportCheckpoint(model="wavenet", checkpoint=str(tmp_path / "gone.pt")).complete()
    with pytest.raises(EarshotError, match=r"unknown release 'wavenet_sc9'.*Did you mean wavenet_sc09\?"):
        ImportCheckpoint(model="wavenet", checkpoint="release:wavenet_sc9")
    with pytest.raises(EarshotError, match="release:sashimi_sc09 is a checkpoint of sashimi, not of wavenet"):
        ImportCheckpoint(model="wavenet", checkpoint="release:sashimi_sc09").place()
    with pytest.raises(EarshotError, match="say whose weights they are: --model sashimi"):
        ImportCheckpoint(checkpoint=str(checkpoint)).place()
    with pytest.raises(EarshotError, match="say what to import"):
        ImportCheckpoint(model="wavenet").place()
    limited = ImportCheckpoint(model="wavenet", checkpoint=str(checkpoint), settings=(("wavenet.max_steps", "3"),))
    with pytest.raises(EarshotError, match="unknown setting of wavenet 'max_steps'"):
        limited.place()
    with pytest.raises(EarshotError, match="is of one model"):
        CompareGenerators(models=("wavenet", "noise"), checkpoint=str(checkpoint)).inputs()
    with pytest.raises(EarshotError, match="cannot name a folder"):
        ImportCheckpoint(model="wavenet", checkpoint="path/to/a b.pt")


def test_draws_and_likelihoods_come_from_the_import(checkpoint: Path, workdir: Path) -> None:
    about: dict[str, Any] = {"model": "wavenet", "checkpoint": str(checkpoint), "settings": SHORT}
    draw, likelihood = DrawSamples(count=3, seed=5, **about), MeasureLikelihood(**about)
    assert draw.place().parts[1:] == ("wavenet", "checkpoint-tiny-seed5", "draw-3", "2-samples")
    assert isinstance(draw.inputs()["train"], ImportCheckpoint)
    assert isinstance(DrawSamples(model="wavenet").inputs()["train"], TrainGenerator)
    evaluation = EvaluateSamples(seed=5, count=3, classifier="smoke", **about)
    assert evaluation.inputs()["likelihood"].place() == likelihood.place()
    make(draw.inputs()["train"])
    for shard in draw.shards():
        make(shard)
    make(draw)
    asked = folders.read_json(draw.folder / folders.CONFIG)["parameters"]
    assert (asked["checkpoint"], asked["preset"]) == ("tiny", "paper")
    assert str(checkpoint.parent) not in (draw.folder / folders.CONFIG).read_text()
    codes = np.load(draw.folder / "samples.npy")
    assert codes.shape == (3, 320)
    assert DrawSamples(count=3, seed=5, preset="smoke", **about).complete()  # it has no bearing on an import


def test_trained_models_are_identified_as_before(workdir: Path) -> None:
    draw = DrawSamples(model="wavenet", preset="smoke", count=3)
    assert "checkpoint" not in draw.identity_parameters()
    assert CacheFeatures(classifier="smoke").identity_parameters()["classifier"] == "smoke"


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    return CONTAINERS["module"](classifier_weights(), tmp_path)[0].rename(tmp_path / "resnext.pth")


def test_the_doors_have_a_flag_for_it() -> None:
    words = ["--models", "sashimi", "--checkpoint", "release:sashimi_sc09", "--classifier", "my/resnext.pth"]
    options = parse("sc09", words)
    assert (options.checkpoint, options.classifier) == ("release:sashimi_sc09", "my/resnext.pth")
    assert parse("sc09", []).checkpoint == ""


def test_an_imported_classifier_judges(judge: Path, workdir: Path) -> None:
    features = CacheFeatures(classifier=str(judge))
    imported = features.inputs()["classifier"]
    assert isinstance(imported, ImportClassifier)
    assert imported.place().parts[1:] == ("3-classifier", "checkpoint-resnext")
    assert features.place().parts[1:] == ("4-features", "checkpoint-resnext")
    assert isinstance(CacheFeatures(classifier="small").inputs()["classifier"], TrainClassifier)
    assert CompareGenerators(classifier="release:resnext").place().parts[1:] == ("6-leaderboard", "checkpoint-resnext")


def test_a_classifier_is_for_what_it_has_learned(judge: Path, workdir: Path) -> None:
    for settings in ((("corpus.sample_rate", "8000"),), (("corpus.clip_seconds", "0.5"),)):
        with pytest.raises(EarshotError, match=r"one-second clips at 16000 Hz of zero, one, .*train a classifier"):
            ImportClassifier(classifier=str(judge), settings=settings).place()
    with pytest.raises(EarshotError, match="is a checkpoint of wavenet, not of resnext"):
        ImportClassifier(classifier="release:wavenet_sc09").place()


@pytest.mark.slow
def test_a_checkpoint_and_a_classifier_make_a_leaderboard(checkpoint: Path, judge: Path, tmp_path: Path) -> None:
    words = ["-m", "pipeline.spoken_digits", "--models", "wavenet", "--checkpoint", str(checkpoint), "--count", "4"]
    words += ["--classifier", str(judge), "--set", "corpus.clips_per_digit=16", "--workdir", str(tmp_path / "workdir")]
    command = [sys.executable, *words]
    answer = subprocess.run(command, cwd=toy_runs.REPOSITORY, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    corpus = tmp_path / "workdir" / "spoken-digits+clips_per_digit=16"
    assert "wavenet checkpoint-tiny" in (corpus / "leaderboard.md").read_text()
    assert (corpus / "6-leaderboard" / "checkpoint-resnext" / "leaderboard.md").is_file()
    checkpoint.unlink()
    judge.unlink()
    again = subprocess.run(command, cwd=toy_runs.REPOSITORY, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "starts" not in again.stderr

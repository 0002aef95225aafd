"""The classifier against the release's, its presets, what it says of clips, and that it learns."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from models import classifiers, plugins
from models.assessment import assess, assess_predictions, calibration, embed, wilson_interval
from models.classifiers.resnext import PRESETS, Config, ResNeXt
from models.clips import ClipArray
from models.published.resnext import convert
from models.training import fit
from tests import reference

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TINY = Config(depth=11, cardinality=2, base_width=2, width=4, first_stride=2, widen_factor=1)


def released(item: reference.Reference) -> ResNeXt:
    """Our network with the release's arguments and weights."""
    given = item.config["config"]["constructor"]
    assert given["nlabels"] == 10
    converted = convert(item.state, 16000)
    shape = {name: given[name] for name in ("depth", "cardinality", "base_width", "widen_factor")}
    assert shape.items() <= converted.settings.items()
    network = ResNeXt(Config(**converted.settings), 16000, 16000, DIGITS)
    network.load_state_dict(converted.state)
    return network.eval()


@pytest.mark.parametrize("form", ["trained_form", "features_of_picture"])
def test_matches_the_release_on_pictures(form: str) -> None:
    item = reference.load("classifier_resnext")
    network = released(item)
    with torch.inference_mode():
        features = getattr(network, form)(torch.from_numpy(item.arrays["in_mel"]))
        logits = network.classifier(features)
    np.testing.assert_allclose(features, item.arrays["out_features"], atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(logits, item.arrays["out_logits"], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("split", ["train", "test", "gen"])
def test_matches_the_release_from_wav_to_features(split: str) -> None:
    item = reference.load("classifier_end_to_end")
    codes = item.arrays[f"in_{split}"]
    codes = np.pad(codes, ((0, 0), (0, 16000 - codes.shape[1])))
    if split != "gen":  # the release lists its labelled clips class by class, and clip i is of class i % 10
        codes = codes[np.argsort(np.arange(len(codes)) % 10, kind="stable")]
    features, log_probabilities = embed(released(item), codes)
    np.testing.assert_allclose(features, item.arrays[f"out_{split}_activations"], atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(np.exp(log_probabilities), item.arrays[f"out_{split}_probs"], atol=1e-4, rtol=0)


def test_paper_is_the_release_s_network() -> None:
    item = reference.load("classifier_resnext")
    network = ResNeXt(PRESETS["paper"], 16000, 16000, DIGITS)
    ours = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert ours == item.config["observed"]["full_size"]["state_dict"]
    assert sum(p.numel() for p in network.parameters()) == 34_425_546
    assert network.feature_dimensions == 1024


def test_small_has_features_for_512_samples() -> None:
    network = ResNeXt(PRESETS["small"], 16000, 16000, DIGITS)
    assert network.feature_dimensions == 128
    features, log_probabilities = network.features(torch.zeros(2, 16000))
    assert features.shape == (2, 128)
    assert log_probabilities.shape == (2, 10)


def test_refuses_what_it_cannot_be() -> None:
    with pytest.raises(ValueError, match="use 11, 20, 29"):
        Config(depth=30)
    with pytest.raises(ValueError, match="different names"):
        ResNeXt(TINY, 16000, 16000, [])
    with pytest.raises(ValueError, match="different names"):
        ResNeXt(TINY, 16000, 16000, ["one", "one"])
    with pytest.raises(ValueError, match=r"unknown classifier 'resnet'\. Did you mean resnext"):
        classifiers.find("resnet")
    assert "resnext" in classifiers.names()
    assert "base" not in classifiers.names()
    assert plugins.find("classifiers", "resnext").cls is ResNeXt


@pytest.fixture(scope="module")
def network() -> ResNeXt:
    torch.manual_seed(0)
    return ResNeXt(TINY, 8000, 8000, ["low", "middle", "high"])


def noise(count: int, timesteps: int = 8000) -> np.ndarray:
    return np.random.default_rng(0).integers(-3000, 3000, (count, timesteps)).astype(np.int16)


def test_embed_does_not_depend_on_batches_or_mode(network: ResNeXt) -> None:
    codes = noise(11)
    network.train()
    told: list[tuple[int, int]] = []
    features, log_probabilities = embed(network, codes, 4, lambda done, total, text: told.append((done, total)))
    assert network.training
    assert told == [(4, 11), (8, 11), (11, 11)]
    assert (features.dtype, log_probabilities.dtype) == (np.float32, np.float64)
    assert features.shape == (11, network.feature_dimensions)
    np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=1), 1, rtol=1e-12)
    again, _ = embed(network, codes, 4)
    assert np.array_equal(features, again)
    alone, alone_log_probabilities = embed(network.eval(), codes, 1)
    np.testing.assert_allclose(features, alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_probabilities, alone_log_probabilities, rtol=1e-4, atol=1e-4)


def test_embed_hears_silence_and_nothing(network: ResNeXt) -> None:
    features, log_probabilities = embed(network, np.zeros((2, 8000), np.int16))
    assert np.isfinite(features).all()
    assert np.isfinite(log_probabilities).all()
    features, log_probabilities = embed(network, np.zeros((0, 8000), np.int16))
    assert features.shape == (0, network.feature_dimensions)
    assert log_probabilities.shape == (0, 3)


def test_embed_reads_memory_maps(network: ResNeXt, tmp_path: Path) -> None:
    np.save(tmp_path / "clips.npy", noise(3))
    mapped = np.load(tmp_path / "clips.npy", mmap_mode="r")
    assert np.array_equal(embed(network, mapped)[0], embed(network, noise(3))[0])


def test_embed_refuses_other_clips_and_broken_weights(network: ResNeXt) -> None:
    with pytest.raises(ValueError, match=r"\(n, 8000\) at 8000 Hz, not to float32"):
        embed(network, noise(2).astype(np.float32))
    with pytest.raises(ValueError, match="int16 codes of shape"):
        embed(network, noise(2, 4000))
    broken = ResNeXt(TINY, 8000, 8000, ["low", "high"])
    torch.nn.init.constant_(broken.classifier.weight, float("nan"))
    with pytest.raises(ValueError, match="not finite for 2 of 2 clips"):
        embed(broken, noise(2))


def test_log_probabilities_survive_certainty(network: ResNeXt) -> None:
    """Where a float32 softmax is exactly 0 and 1, the log-probabilities still tell the classes apart."""
    sure = ResNeXt(TINY, 8000, 8000, ["low", "middle", "high"]).eval()
    torch.nn.init.zeros_(sure.classifier.weight)
    with torch.no_grad():
        sure.classifier.bias.copy_(torch.tensor([0.0, -200.0, -400.0]))
        _, log_probabilities = sure.features(torch.zeros(1, 8000))
    np.testing.assert_allclose(log_probabilities[0], [0, -200, -400], rtol=1e-12, atol=1e-80)


def test_assessment_by_hand() -> None:
    probabilities = np.array([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.45, 0.5, 0.05]])
    result = assess_predictions(np.log(probabilities), np.array([0, 1, 1, 1]), ["a", "b", "c"])
    assert result["count"] == 4
    assert result["accuracy"] == 0.75
    assert result["confusion_matrix"] == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert result["per_class_accuracy"] == {"a": 1.0, "b": pytest.approx(2 / 3), "c": None}
    assert result["mean_confidence"] == pytest.approx((0.9 + 0.6 + 0.7 + 0.5) / 4)
    # every clip is in a bin of its own: |1 - 0.9| + |0 - 0.6| + |1 - 0.7| + |1 - 0.5|, a quarter of each
    assert result["expected_calibration_error"] == pytest.approx((0.1 + 0.6 + 0.3 + 0.5) / 4)
    assert sum(row["count"] for row in result["reliability_bins"]) == 4
    assert result["cross_entropy"] == pytest.approx(-np.log([0.9, 0.3, 0.7, 0.5]).mean())
    json.dumps(result, allow_nan=False)


def test_wilson_interval() -> None:
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(29, 29) == pytest.approx((0.8830, 1.0), abs=1e-4)


def test_calibration_of_a_perfect_and_an_overconfident_classifier() -> None:
    confidence = np.full(1000, 0.75)
    assert calibration(confidence, np.arange(1000) % 4 > 0)[0] == pytest.approx(0)
    assert calibration(np.ones(10), np.zeros(10, bool))[0] == 1


def tones(count: int, seed: int) -> ClipArray:
    """Low, middle and high notes in noise, half a second."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    frequency = np.array([200.0, 500.0, 1250.0])[labels] * rng.uniform(0.8, 1.25, count)
    phase = rng.uniform(0, 2 * np.pi, count)
    waves = np.sin(2 * np.pi * frequency[:, None] * np.arange(4000) / 8000 + phase[:, None])
    codes = 8000 * waves + rng.normal(0, 300, waves.shape)
    return ClipArray(codes.astype(np.int16), np.full(count, 4000), labels)


def test_smoke_learns_and_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = ResNeXt(PRESETS["smoke"], 8000, 4000, ["low", "middle", "high"])
    result = fit(trained, tones(240, 1), tones(60, 2), tmp_path, config=trained.config, seed=0)
    assert result["steps"] == PRESETS["smoke"].steps
    assert result["validation_accuracy"] > 0.9
    test = tones(90, 3)
    assert assess(trained, test)["accuracy"] > 0.9

    models.save_description(tmp_path, trained, classifiers.find("resnext"))
    loaded = models.load(tmp_path)
    assert loaded.labels == ["low", "middle", "high"]
    assert np.array_equal(embed(loaded, test.codes)[0], embed(trained, test.codes)[0])
    with pytest.raises(ValueError, match="assessed on clips with labels"):
        assess(loaded, dataclasses.replace(test, labels=None))


def test_training_hears_background_noise() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(TINY, augment_probability=1.0)
    network = ResNeXt(config, 8000, 4000, ["low", "middle", "high"])
    clips = tones(6, 4).batch(range(6))
    quiet, _ = network.loss("model", clips, torch.Generator().manual_seed(1))
    network.use_background_noise(torch.rand(2, 4000) - 0.5)
    noisy, scores = network.loss("model", clips, torch.Generator().manual_seed(1))
    assert quiet.item() != noisy.item()
    assert 0 <= float(scores["accuracy"]) <= 1
    assert "background" not in network.state_dict()
    with pytest.raises(ValueError, match=r"not \(n, 4000\)"):
        network.use_background_noise(torch.zeros(2, 8000))


def test_torchaudio_works_without_its_extension() -> None:
    """Also for libraries that import torchaudio on their own later; its aligner says what it lacks."""
    code = (
        "import sys, torch\n"
        "def refuse(*_): raise OSError('libcudart.so: cannot open shared object file')\n"
        "torch.ops.load_library = refuse\n"
        "from models.torchaudio_compat import functional, torchaudio\n"
        "import torchaudio.transforms, torchaudio.pipelines\n"
        "assert torchaudio.transforms.MuLawEncoding()(torch.zeros(1)).item() == 128\n"
        "assert functional.melscale_fbanks(9, 0.0, 4000.0, 3, 8000).shape == (9, 3)\n"
        "try: functional.forced_align(torch.zeros(1, 2, 3), torch.zeros(1, 1))\n"
        "except RuntimeError as error: print(error)\n"
    )
    root = Path(models.__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert "forced_align needs torchaudio's compiled extension" in run.stdout, run.stderr

"""The form in which a classifier listens: equal to the one that is trained, in step with its weights, in bf16 where asked."""

import copy

import numpy as np
import pytest
import torch

from models.assessment import embed
from models.classifiers import _frozen_resnext
from models.classifiers.resnext import PRESETS, Config, ResNeXt
from tasks.classifier import CacheFeatures, TrainClassifier
from tasks.errors import EarshotError
from tasks.evaluation import CacheSampleFeatures, CompareGenerators, EvaluateSamples
from tests.test_classifier import TINY, noise


def settled(config: Config, seed: int = 0) -> ResNeXt:
    """A network whose batch norms are those of some training: no statistic, scale or shift is 0 or 1."""
    torch.manual_seed(seed)
    network = ResNeXt(config, 8000, 8000, ["low", "middle", "high"])
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        for _ in range(3):
            network.features_of_picture(pictures(16))
    return network.eval().requires_grad_(False)


def pictures(count: int) -> torch.Tensor:
    return -80 * torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(count))


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        PRESETS["small"],
        Config(depth=20, cardinality=8, base_width=4, width=16),  # as `paper`, narrower: every stage changes its width
        Config(depth=11, cardinality=1, base_width=8, width=8, widen_factor=1),
    ],
    ids=["tiny", "small", "like paper", "no groups"],
)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_frozen_form_is_the_trained_one(config: Config, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, picture = settled(config), pictures(count)
    trained, before = network.trained_form(picture), picture.clone()
    logits = network.classifier(trained)
    for piece in (_frozen_resnext.PIECE, 1, 3 * config.cardinality * config.base_width * 32 * 32):
        monkeypatch.setattr(_frozen_resnext, "PIECE", piece)  # all at once, one by one, and a remainder
        features = network.features_of_picture(picture)
        assert features.shape == trained.shape
        assert torch.equal(picture, before)
        if count:
            assert apart(features, trained) < 1e-5
            assert apart(network.classifier(features), logits) < 1e-5


def test_the_frozen_form_follows_the_weights() -> None:
    """Whatever is done to them, by whom and in which mode of autograd."""
    network, other, picture = settled(TINY), settled(TINY, seed=1), pictures(4)

    def write() -> None:
        network.get_submodule("stage_2.stage_2_bottleneck_0.conv_conv").weight.mul_(1.5)  # type: ignore[operator]

    def replace() -> None:
        network.conv_1_3x3.weight = torch.nn.Parameter(-network.conv_1_3x3.weight, requires_grad=False)

    def train() -> None:
        network.train().features_of_picture(pictures(9))  # moves the statistics of the batch norms alone
        network.eval()

    seen = [network.features_of_picture(picture)]
    changes = (
        write,
        torch.inference_mode()(write),
        replace,
        train,
        lambda: network.load_state_dict(other.state_dict()),
    )
    for change in changes:
        change()
        with torch.inference_mode():
            found = network.features_of_picture(picture)
        assert apart(found, network.trained_form(picture)) < 1e-5
        assert apart(found, seen[-1]) > 1e-3
        assert torch.equal(found, network.features_of_picture(picture))  # kept, and usable outside of inference mode
        seen.append(found)
    assert apart(copy.deepcopy(network).features_of_picture(picture), seen[-1]) == 0
    assert "_kept" not in " ".join(network.state_dict())


def test_the_frozen_form_of_weights_that_were_made_in_inference_mode() -> None:
    with torch.inference_mode():
        network = settled(TINY)
        first = network.features_of_picture(pictures(2))
        network.conv_1_3x3.weight.mul_(-1)
        assert apart(network.features_of_picture(pictures(2)), first) > 1e-3


def test_gradients_flow_through_the_trained_form() -> None:
    network, picture = settled(TINY), pictures(2).requires_grad_()
    network.features_of_picture(picture).sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0
    picture = pictures(2)
    network.requires_grad_(True)
    assert network.features_of_picture(picture).requires_grad
    network.listen_in("bf16")
    with pytest.raises(ValueError, match=r"features in bf16 have no gradients.*inference_mode"):
        network.features_of_picture(picture)
    assert torch.isfinite(network.train().features_of_picture(picture)).all()


def test_validation_in_mixed_precision() -> None:
    network, picture = settled(TINY), pictures(4)
    with torch.autocast("cpu", torch.bfloat16):
        features = network.features_of_picture(picture)
    assert apart(features.float(), network.trained_form(picture)) < 0.05


def test_features_in_bf16_are_asked_for_and_close() -> None:
    network, codes = settled(Config(depth=20, cardinality=8, base_width=4, width=16)), noise(6)
    features, log_probabilities = embed(network, codes)
    low, low_log_probabilities = embed(network.listen_in("bf16"), codes)
    assert (low.dtype, low_log_probabilities.dtype) == (np.float32, np.float64)
    assert 1e-5 < np.abs(low - features).max() / np.abs(features).max() < 0.03
    assert np.abs(np.exp(low_log_probabilities) - np.exp(log_probabilities)).max() < 0.05
    assert np.array_equal(embed(network.listen_in("float32"), codes)[0], features)
    with pytest.raises(ValueError, match="ResNeXt has no features in 'fp8'; available: float32, bf16"):
        network.listen_in("fp8")


def test_another_precision_is_another_judge_and_the_same_training() -> None:
    usual, low = "corpus.sample_rate=8000", "corpus.sample_rate=8000,features.precision=bf16"
    found, asked = (CacheFeatures(classifier="smoke", settings=settings) for settings in (usual, low))
    assert asked.place().name == "smoke-seed0+precision=bf16"
    assert asked.identity_parameters() == found.identity_parameters() | {"precision": "bf16"}
    assert asked.classifier_task().task_id == found.classifier_task().task_id
    assert TrainClassifier(classifier="smoke", settings=low).place() == found.classifier_task().place()
    assert CacheFeatures(settings=low + ",classifier.width=16").place().name == "small+width=16-seed0+precision=bf16"
    assert CacheFeatures(settings="features.precision=float32").place().name == "small-seed0"
    row = EvaluateSamples(model="noise", preset="smoke", settings=low, features="classifier")
    assert row.place().name == "4-evaluation-small-seed0+precision=bf16"
    assert row.upstream(CacheSampleFeatures).place().name == "3-features-small-seed0+precision=bf16"
    assert "features" not in row.identity_parameters()  # which would make it another pair of ears' column in a row
    board = CompareGenerators(models=("noise",), preset="smoke", settings=low)
    assert board.place().name == "small-seed0+precision=bf16"
    names = {task.place().name for task in board.inputs().values()}
    assert {"small-seed0", "small-seed0+precision=bf16", "4-evaluation-melproj"} <= names
    assert "4-evaluation-small-seed0" not in names
    with pytest.raises(EarshotError, match=r"unknown features\.precision 'bf17'\. Did you mean bf16"):
        CacheFeatures(settings="features.precision=bf17").place()

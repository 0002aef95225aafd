"""DiffWave with SaShiMi against the published code's numbers, in both generations of S4 and both forms of the backbone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from models.generators.diffwave_sashimi import PRESETS, Config, DiffWaveSaShiMi
from models.layers import diffwave_sashimi_evaluation, ssm
from models.layers.s4 import S4, SSM
from models.published import diffwave_sashimi as published
from tests import reference
from tests.test_diffwave import chain, check_against, check_both_forms

FIXTURES = [
    f"diffwave_sashimi_{name}" for name in ("jan22_bi", "jan22_uni_snet", "v3_bi", "v3_uni_snet")
]  # fmt: skip
COUNTS = {
    "paper": 22_964_091, "paper-small": 7_480_827, "paper-v3": 23_470_971, "paper-v3-small": 7_734_267,
    "paper-uni": 7_121_635,
}  # fmt: skip


def released(name: str) -> tuple[DiffWaveSaShiMi, dict[str, Tensor]]:
    """The fixture's network with its weights, and the fixture's arrays."""
    fixture = reference.load(name)
    arrays = {key: torch.from_numpy(array) for key, array in fixture.arrays.items()}
    timesteps = arrays["in_x"].shape[2]
    converted = published.convert(fixture.state, timesteps)
    net = DiffWaveSaShiMi(Config(**converted.settings), 16000, timesteps)
    net.load_state_dict(converted.state)
    return net.freeze(), arrays


@pytest.mark.parametrize("name", FIXTURES)
def test_function_loss_and_chain_equal_the_published_ones(name: str) -> None:
    net, arrays = released(name)
    with net.remembered():
        check_against(net, arrays, net.embedding.waves(arrays["in_t"][:, 0]))


@pytest.mark.parametrize("name", [name for name in FIXTURES if name.endswith("_bi")])
def test_the_full_chain_equals_the_published_one(name: str) -> None:
    net, arrays = released(name)
    with torch.inference_mode(), net.remembered():
        sample = chain(net, 200, 0.02, arrays["in_noise_T200"])
    torch.testing.assert_close(sample, arrays["out_sample_T200"], atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", FIXTURES)
def test_settings_are_read_off_a_published_state(name: str) -> None:
    fixture = reference.load(name)
    converted, sizes = published.convert(fixture.state, 256), fixture.config["config"]["constructor"]
    for ours in ("d_model", "n_layers", "expand", "ff", "unet"):
        assert converted.settings[ours] == sizes[ours]
    assert list(converted.settings["pool"]) == sizes["pool"]
    assert converted.settings["s4"] == ("2022-01" if "jan22" in name else "v3")
    assert converted.settings["bidirectional"] == ("_bi" in name)
    assert converted.settings["glu"] == (name != "diffwave_sashimi_jan22_bi")


def test_published_state_that_does_not_fit_is_refused() -> None:
    state = dict(reference.load("diffwave_sashimi_v3_bi").state)
    del state["u_layers.1.norm2.s"], state["d_layers.2.linear.conv.bias"]
    state |= {"extra": torch.zeros(1), "c_layers.0.fc_t.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match="not a DiffWave with the SaShiMi backbone") as refused:
        published.convert(state, 256)
    for fault in ("missing: u_layers.1.norm2.s (1)", "missing: d_layers.2.linear.conv.bias (16)", "unknown: extra"):
        assert fault in str(refused.value)
    assert "misshapen: c_layers.0.fc_t.bias is (3), not (32)" in str(refused.value)
    with pytest.raises(ValueError, match="missing: init_conv"):
        published.convert({"extra": torch.zeros(1)}, 256)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_of_the_papers(name: str) -> None:
    net = DiffWaveSaShiMi(PRESETS[name], 16000, 16000)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == COUNTS[name]
    layers = [module for module in net.modules() if isinstance(module, S4)]
    frozen = PRESETS[name].s4 == "2022-01"
    assert all(bool(layer.dynamics()) != frozen for layer in layers), "S4 of January 2022 learns neither dt nor A nor B"


@pytest.mark.parametrize("positions", [1, 15, 16, 37])
@pytest.mark.parametrize("unet", [True, False])
def test_any_length_will_do_and_all_of_it_is_seen(positions: int, unet: bool) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 8, "n_layers": 1, "step_sines": 8, "step_hidden": 8, "step_channels": 8, "d_state": 4}
    net = DiffWaveSaShiMi(Config(**sizes, unet=unet, norm="layer"), 16000, positions).freeze()  # type: ignore[arg-type]
    torch.nn.init.normal_(net.sashimi.leave.weight)
    conditions, x = net.conditions(torch.tensor([7.0])), torch.randn(2, 1, positions)
    changed = x.clone()
    changed[0, 0, -1] += 1
    before, after = net.network(x, conditions), net.network(changed, conditions)
    assert before.shape == x.shape
    assert (before[0] != after[0]).all()
    assert torch.equal(before[1], after[1])


def test_kernels_are_remembered_during_a_run_and_forgotten_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = DiffWaveSaShiMi(PRESETS["smoke"], 16000, 200).freeze()
    torch.nn.init.normal_(net.sashimi.leave.weight)
    calls, kernel = [], ssm.kernel
    monkeypatch.setattr(ssm, "kernel", lambda *about: calls.append(1) or kernel(*about))  # type: ignore[func-returns-value]
    first = net.sample(2, steps=5).waveforms
    assert len(calls) == sum(isinstance(module, SSM) for module in net.modules())
    for module in net.modules():
        if isinstance(module, S4):
            module.D.add_(1)
            module.ssm.C.mul_(3)
    assert not torch.allclose(net.sample(2, steps=5).waveforms, first)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="s4='v9' is not one of 2022-01, v3"):
        Config(s4="v9")
    with pytest.raises(ValueError, match="norm='batch' is not one of layer, scalar"):
        Config(norm="batch")
    with pytest.raises(ValueError, match=r"pool and .* must all be at least 1"):
        Config(pool=(4, 0))
    with pytest.raises(ValueError, match=r"dt_min=0.2 must be above 0 and at most dt_max=0.1"):
        Config(dt_min=0.2)


@pytest.mark.parametrize("at_once", [24, 2**18])
@pytest.mark.parametrize(("batch", "positions"), [(1, 1), (1, 37), (3, 16)])
@pytest.mark.parametrize(
    "form",
    [
        {}, {"s4": "v3", "glu": True}, {"s4": "v3", "norm": "layer", "expand": 1, "ff": 1}, {"norm": "layer", "glu": True},
        {"unet": False, "bidirectional": False, "glu": True}, {"unet": False, "pool": (3,)}, {"pool": ()},
    ],
)  # fmt: skip
def test_both_forms_are_the_same_function(
    form: dict[str, Any], batch: int, positions: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffwave_sashimi_evaluation, "IN_CHUNK", at_once)
    monkeypatch.setattr(diffwave_sashimi_evaluation, "IN_TRANSFORM", at_once)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"d_model": 4, "n_layers": 2, "pool": (2, 3), "d_state": 4, **form}
    network = DiffWaveSaShiMi(Config(**sizes), 16000, positions).freeze().sashimi
    steps = tuple(torch.randn(1, width) for width in network.widths)
    check_both_forms(network, torch.randn(batch, 1, positions, dtype=torch.float64), steps)

"""SaShiMi against the release's numbers, its two forms against each other, and the pieces that it is made of."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.autoregressive import cross_entropy
from models.clips import Clips
from models.generators.sashimi import PRESETS, Config, SaShiMi
from models.layers.pooling import DownPool, UpPool, down_columns, up_rows
from models.layers.sashimi import SaShiMi as Backbone
from models.layers.scalar_norm import ScalarNorm
from models.published import sashimi as published
from models.stepping import sampling_law
from tests import reference

FRAMEWORK = ("main", "unet_main", "v2_glu", "v2_hurwitz", "v2_noglu")
STANDALONE = ("bi_snet", "bi_unet", "uni_glu", "uni_tied_noglu", "uni_unet", "v2_standalone")
TINY: dict[str, Any] = {"d_model": 8, "n_layers": 1, "d_state": 8, "pool": (4, 2)}


def released(version: str) -> tuple[SaShiMi, dict[str, Tensor], dict[str, Any]]:
    """The fixture's network with its weights, its arrays and its runs of generation."""
    fixture = reference.load(f"fw_sashimi_{version}")
    timesteps = fixture.config["config"]["L"]
    converted = published.convert(fixture.state, timesteps)
    net = SaShiMi(Config(**converted.settings, scale_per_clip=True, train_on_padding=False), 16000, timesteps)
    net.load_state_dict(converted.state)
    arrays = {name: torch.from_numpy(array) for name, array in fixture.arrays.items()}
    return net.freeze(), arrays, fixture.config["config"].get("generate", {})


def standalone(name: str) -> tuple[Backbone, dict[str, Tensor]]:
    """The fixture's backbone with its weights, and its arrays."""
    fixture = reference.load(f"sashimi_{name}")
    options = fixture.config["config"]["constructor"]
    dt_transform = options.get("dt_transform", "exp")
    converted = published.convert_backbone(fixture.state, fixture.config["config"]["L"], dt_transform)
    net = Backbone(**converted.settings)
    net.load_state_dict(converted.state)
    return net.requires_grad_(False), {name: torch.from_numpy(array) for name, array in fixture.arrays.items()}


def teacher_forced(net: SaShiMi, codes: Tensor) -> Tensor:
    """(batch, timesteps, 256) logits of the step form when it is fed `codes`."""
    step, code, logits = net.stepper(len(codes)), torch.full((len(codes),), net.before), []
    for t in range(codes.shape[1]):
        logits.append(step(code).clone())
        code = codes[:, t]
    return torch.stack(logits, 1)


def stepped(net: Backbone, x: Tensor) -> Tensor:
    step = net.stepper(len(x))
    return torch.stack([step(x[:, t]).clone() for t in range(x.shape[1])], 1)


@pytest.mark.parametrize("version", FRAMEWORK)
def test_logits_loss_and_steps_equal_the_releases(version: str) -> None:
    net, arrays, _ = released(version)
    codes = arrays["in_y"]
    logits = net.logits(codes)
    torch.testing.assert_close(logits, arrays["out_logits"], atol=1e-4, rtol=1e-4)
    loss = cross_entropy(logits, codes, torch.ones_like(codes, dtype=torch.bool))
    torch.testing.assert_close(loss, arrays["out_loss"], atol=1e-5, rtol=0)
    torch.testing.assert_close(teacher_forced(net, codes), arrays["out_step_logits"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("version", [version for version in FRAMEWORK if version != "v2_hurwitz"])
def test_drawn_codes_are_worth_what_the_release_says(version: str) -> None:
    """2022 keeps all real codes of a prefix and newer versions one fewer; what was drawn is worth the same untempered."""
    net, arrays, runs = released(version)
    for run, settings in runs.items():
        codes = arrays[f"out_gen_{run}_y"]
        given = max(settings["prefix"] - version.endswith("main"), 0)
        log_p = net.logits(codes).log_softmax(2)
        nats = log_p.gather(2, codes[:, :, None])[:, :, 0].double()[:, given:].sum(1)
        torch.testing.assert_close(nats, arrays[f"out_gen_{run}_logprobs"], atol=1e-3, rtol=0)
        law = torch.stack([sampling_law(row, settings["tau"], settings["top_p"]) for row in log_p])
        theirs = arrays[f"out_gen_{run}_sampler_logits"]
        theirs = theirs.masked_fill(theirs < -1e19, -torch.inf)
        torch.testing.assert_close(law.softmax(2), theirs.softmax(2), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", STANDALONE)
def test_backbone_equals_the_releases(name: str) -> None:
    net, arrays = standalone(name)
    torch.testing.assert_close(net(arrays["in_x"]), arrays["out_y"], atol=1e-4, rtol=1e-4)
    if "out_step_dense" in arrays:
        torch.testing.assert_close(stepped(net, arrays["in_x"]), arrays["out_step_dense"], atol=1e-4, rtol=1e-4)


def test_settings_are_read_off_a_published_state() -> None:
    settings = {
        version: published.convert(reference.load(f"fw_sashimi_{version}").state, 64).settings for version in FRAMEWORK
    }
    common = {
        "d_model": 8,
        "pool": (4, 4),
        "expand": 2,
        "ff": 2,
        "d_state": 64,
        "norm": "scalar",
        "start_marker": False,
    }
    assert all(both.items() >= common.items() for both in settings.values())
    assert [settings[version]["n_layers"] for version in FRAMEWORK] == [2, 2, 2, 1, 1]
    assert [settings[version]["unet"] for version in FRAMEWORK] == [False, True, False, False, False]
    assert [settings[version]["n_ssm"] for version in FRAMEWORK] == [1, 0, 1, 1, 1]
    assert [settings[version]["glu"] for version in FRAMEWORK] == [True, True, True, True, False]
    assert [settings[version]["tied"] for version in FRAMEWORK] == [True, True, False, True, False]
    assert [settings[version]["dt_transform"] for version in FRAMEWORK] == ["softplus"] * 2 + ["exp"] * 3
    assert [settings[version]["weight_normed"] for version in FRAMEWORK] == [True, False, True, True, True]


def test_published_state_that_does_not_fit_is_refused() -> None:
    state = dict(reference.load("fw_sashimi_v2_glu").state)
    del state["model.u_layers.0.2.layer.ff.0.0.weight"]
    state |= {"model.extra": torch.zeros(1), "model.c_layers.1.norm.norm.s": torch.zeros(3)}
    with pytest.raises(ValueError, match="not a SaShiMi of the SaShiMi release") as refused:
        published.convert(state, 64)
    assert "missing: model.u_layers.0.2.layer.ff.0.0.weight (32, 16)" in str(refused.value)
    assert "misshapen: model.c_layers.1.norm.norm.s is (3), not (1)" in str(refused.value)
    assert "unknown: model.extra" in str(refused.value)
    for nothing in ({}, {"encoder.weight": torch.zeros(256, 8)}, {"model.norm.weight": torch.zeros(8)}):
        with pytest.raises(ValueError, match="missing: model"):
            published.convert(nothing, 64)


def test_kernels_of_unknown_length_are_taken_to_be_of_the_clips() -> None:
    """Without their buffers, C is undone with the length of each tier, rounded up."""
    state = reference.load("fw_sashimi_v2_glu").state
    bare = {name: tensor for name, tensor in state.items() if not name.endswith((".omega", ".z"))}
    whole, guessed, wrong = (published.convert(*of).state for of in ((state, 64), (bare, 63), (bare, 32)))
    C = [name for name in whole if name.endswith(".C")]
    assert all(torch.allclose(whole[name], guessed[name]) for name in C if "below.tier" in name)
    assert not any(torch.allclose(whole[name], wrong[name]) for name in C)


@pytest.mark.parametrize(
    ("preset", "parameters"), [("paper", 4_752_608), ("paper-noglu", 4_059_360), ("paper-unet", 6_820_512)]
)
def test_parameter_counts_of_the_published_models(preset: str, parameters: int) -> None:
    net = SaShiMi(PRESETS[preset], 16000, 16000)
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize(
    "options", [{}, {"unet": True, "norm": "layer"}, {"pool": (), "n_layers": 2}, {"n_ssm": 0, "pool": (3,)}]
)
@pytest.mark.parametrize("timesteps", [1, 7, 8, 45])
def test_both_forms_agree(options: dict[str, Any], timesteps: int) -> None:
    torch.manual_seed(0)
    net = SaShiMi(Config(**(TINY | options)), 16000, timesteps).freeze()
    codes = torch.randint(256, (3, timesteps))
    logits = net.logits(codes)
    assert logits.shape == (3, timesteps, 256)
    torch.testing.assert_close(teacher_forced(net, codes), logits, atol=1e-5, rtol=1e-5)


def test_both_forms_agree_after_many_steps() -> None:
    torch.manual_seed(0)
    net = Backbone(8, 1, (4, 4), n_ssm=1).requires_grad_(False)
    x = torch.randn(2, 4000, 8)
    torch.testing.assert_close(stepped(net, x), net(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("unet", [False, True])
@pytest.mark.parametrize("norm", ["layer", "scalar"])
def test_nothing_sees_the_future_and_everything_the_past(unet: bool, norm: str) -> None:
    torch.manual_seed(0)
    net = Backbone(4, 1, (4, 2), unet=unet, norm=norm, d_state=4).double().requires_grad_(False)
    x = torch.randn(1, 37, 4, dtype=torch.float64)
    for t in (0, 7, 8, 20, 36):
        changed = x.clone()
        changed[0, t, 1] += 1
        differs = (net(x) - net(changed)).abs().amax(2)[0]
        assert (differs[:t] < 1e-12).all()
        assert (differs[t:] > 1e-9).all()


@pytest.mark.parametrize("late_pools", [False, True])
def test_two_directions_see_everything(late_pools: bool) -> None:
    torch.manual_seed(0)
    net = Backbone(4, 1, (4, 2), bidirectional=True, late_pools=late_pools, d_state=4).double().requires_grad_(False)
    x = torch.randn(1, 21, 4, dtype=torch.float64)
    changed = x.clone()
    changed[0, 11, 1] += 1
    assert ((net(x) - net(changed)).abs().amax(2) > 1e-9).all()
    with pytest.raises(ValueError, match="build it with bidirectional=False"):
        net.stepper(1)


def test_what_is_cut_off_is_what_a_shorter_clip_gives() -> None:
    torch.manual_seed(0)
    net = Backbone(4, 1, (4, 4), d_state=4, norm="scalar", unet=True).double().requires_grad_(False)
    x = torch.randn(2, 40, 4, dtype=torch.float64)
    for timesteps in (1, 2, 16, 33):
        torch.testing.assert_close(net(x[:, :timesteps]), net(x)[:, :timesteps])


def test_states_are_trained_at_their_own_rate() -> None:
    net = SaShiMi(Config(**TINY, tied=False, weight_decay=0.1), 16000, 16)
    others, dynamics, readouts = net.parameter_groups("model")
    assert (dynamics["lr"], dynamics["weight_decay"]) == (1e-3, 0.0)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    kinds = {names[id(parameter)].rsplit(".", 1)[1] for parameter in dynamics["params"]}
    assert kinds == {"raw_dt", "w_real", "w_imag", "P", "Q", "B"}
    assert {names[id(parameter)].rsplit(".", 1)[1] for parameter in readouts["params"]} == {"C"}
    assert readouts["lr"] == net.config.learning_rate, "unless told otherwise"
    assert sum(len(group["params"]) for group in (others, dynamics, readouts)) == len(names)


def test_a_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    net = SaShiMi(Config(**TINY, unet=True, tied=False), 16000, 50)
    net.loss("model", Clips.of(torch.rand(2, 50) - 0.5), torch.Generator().manual_seed(0)).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_scalar_norm_is_what_it_says() -> None:
    norm = ScalarNorm().requires_grad_(False)
    norm.m[0], norm.s[0] = 0.3, 2.0
    x = torch.tensor([[1.0, 2.0, 6.0]])
    expected = 2 * (x - 3 + 0.3) / math.sqrt((4 + 1 + 9) / 3)
    torch.testing.assert_close(norm(x), expected)


def test_pools_group_timesteps_and_come_late() -> None:
    down, up = DownPool(2, 3, 4), UpPool(3, 2, 4)
    x = torch.randn(2, 12, 2)
    torch.testing.assert_close(down(x)[:, 1], down.linear(x[:, 4:8].flatten(1)))
    y = up(down(x))
    assert y.shape == x.shape
    assert not y[:, :4].any(), "nothing is known of a group before it is over"
    torch.testing.assert_close(y[:, 8:].flatten(1), up.linear(down(x)[:, 1]))
    early = UpPool(3, 2, 4, causal=False)
    torch.testing.assert_close(early(down(x))[:, 4:8].flatten(1), early.linear(down(x)[:, 1]))


def test_weights_of_pools_are_translated() -> None:
    down, up, x = torch.randn(3, 2 * 4), torch.randn(2 * 4, 3), torch.randn(2, 4)  # x: (channels, timesteps)
    torch.testing.assert_close(down_columns(down, 4) @ x.t().flatten(), down @ x.flatten())
    z = torch.randn(3)
    torch.testing.assert_close((up_rows(up, 4) @ z).view(4, 2), (up @ z).view(2, 4).t())


def test_settings_that_mean_nothing_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"d_model": 0}, "d_model=0 must be at least 1"), ({"n_layers": 0}, "n_layers=0 must be at least 1"),
        ({"pool": (4, 0)}, r"pool=\(4, 0\) must be at least 1"), ({"n_ssm": 3}, "n_ssm=3 must divide d_model=64"),
        ({"norm": "batch"}, r"norm='batch' one of \['layer', 'scalar'\]"), ({"margin": -1}, "margin=-1 must not be negative"),
    ]  # fmt: skip
    for settings, message in wrong:
        with pytest.raises(ValueError, match=message):
            Config(**settings)
    with pytest.raises(ValueError, match="norm='batch' is not one of layer, scalar"):
        Backbone(norm="batch")
    with pytest.raises(ValueError, match="needs bidirectional=True"):
        Backbone(late_pools=False)
    with pytest.raises(ValueError, match="pool=0 must be at least 1"):
        Backbone(pool=(4, 0))

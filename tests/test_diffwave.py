"""DiffWave against the published code's numbers: its function, both of its forms, its chain, and its checkpoints' layout."""

from typing import Any

import pytest
import torch
from torch import Tensor

from models.diffusion import Diffusion
from models.generators.diffwave import PRESETS, Config, DiffWave
from models.layers import diffwave_evaluation
from models.layers.diffwave import DilatedStack
from models.layers.evaluation import Evaluated, kept_evaluation
from models.noise_schedule import NoiseSchedule
from models.published import diffwave as published
from models.samplers import ancestral
from tests import reference

FIXTURES = {"diffwave_master": False, "diffwave_legacy": True, "diffwave_checkpoints_branch": True}


def released(name: str) -> tuple[DiffWave, dict[str, Tensor]]:
    """The fixture's network with its weights, and the fixture's arrays."""
    fixture = reference.load(name)
    arrays = {key: torch.from_numpy(array) for key, array in fixture.arrays.items()}
    timesteps = arrays["in_x"].shape[2]
    converted = published.convert(fixture.state, timesteps, legacy=FIXTURES[name])
    net = DiffWave(Config(**converted.settings), 16000, timesteps)
    net.load_state_dict(converted.state)
    return net.freeze(), arrays


def chain(net: Diffusion, T: int, beta_last: float, draws: Tensor) -> Tensor:
    """The published sampler with T steps of its own, and the fixture's draws."""
    levels, steps = NoiseSchedule.linear(T, 1e-4, beta_last).abar[::-1], torch.arange(T - 1, -1, -1)
    conditions, left = net.conditions(steps), iter(draws)

    def predict(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
        return net.predict(x, levels[i], tuple(condition[i : i + 1] for condition in conditions))

    sample = ancestral(predict, next(left), [*levels, 1.0], lambda: next(left))
    assert not list(left), "as many draws as the published code makes"
    return sample


def check_against(net: Diffusion, arrays: dict[str, Tensor], waves: Tensor) -> None:
    """Everything that a fixture of a diffusion network holds."""
    torch.testing.assert_close(waves, arrays["out_step_embedding"], atol=1e-4, rtol=0)
    eps = net.network(arrays["in_x"], net.conditions(arrays["in_t"][:, 0]))
    torch.testing.assert_close(eps, arrays["out_eps"], atol=1e-4, rtol=1e-4)
    with torch.no_grad():  # clip by clip, so that both forms of the network have their turn
        steps = [net.conditions(t) for t in arrays["in_t"]]
        eps = torch.cat([net.network(x[None], step) for x, step in zip(arrays["in_x"], steps, strict=True)])
    torch.testing.assert_close(eps, arrays["out_eps"], atol=1e-4, rtol=1e-4)
    loss = net.denoising_loss(arrays["in_train_audio"], arrays["in_train_t"][:, 0, 0], arrays["in_train_z"])
    torch.testing.assert_close(loss, arrays["out_train_loss"], rtol=1e-4, atol=0)
    sample = chain(net, 4, 0.05, arrays["in_noise_T4"])
    torch.testing.assert_close(sample, arrays["out_sample_T4"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", FIXTURES)
def test_function_loss_and_chain_equal_the_published_ones(name: str) -> None:
    net, arrays = released(name)
    check_against(net, arrays, net.embedding.waves(arrays["in_t"][:, 0]))


@pytest.mark.parametrize("name", ["diffwave_master", "diffwave_legacy"])
def test_the_full_chain_equals_the_published_one(name: str) -> None:
    net, arrays = released(name)
    sample = chain(net, 200, 0.02, arrays["in_noise_T200"])
    torch.testing.assert_close(sample, arrays["out_sample_T200"], atol=1e-2, rtol=0)


def test_noise_levels_equal_the_published_ones() -> None:
    arrays = reference.load("diffwave_master").arrays
    for T, beta_last in ((4, 0.05), (200, 0.02)):
        abar = torch.tensor(NoiseSchedule.linear(T, 1e-4, beta_last).abar)
        torch.testing.assert_close(abar.float(), torch.from_numpy(arrays[f"out_T{T}_Alpha_bar"]), atol=1e-6, rtol=0)


def test_the_two_functions_are_far_apart() -> None:
    """Loading a published checkpoint as the master branch does gives something else altogether."""
    net, arrays = released("diffwave_legacy")
    for block in net.stack.blocks:
        block.time_in_residual = False  # type: ignore[assignment]
    eps = net.network(arrays["in_x"], net.conditions(arrays["in_t"][:, 0]))
    assert (eps - arrays["out_eps"]).abs().max() > 1e-2, "a hundred times the tolerance"


def test_newer_names_of_weight_norm_are_understood() -> None:
    fixture = reference.load("diffwave_master")
    newer = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): tensor
        for key, tensor in fixture.state.items()
    }
    old, new = published.convert(fixture.state, 512), published.convert(newer, 512)
    assert old.settings == new.settings
    assert all(torch.equal(new.state[name], tensor) for name, tensor in old.state.items())


def test_settings_are_read_off_a_published_state() -> None:
    fixture = reference.load("diffwave_master")
    converted = published.convert(fixture.state, 512)
    sizes = fixture.config["config"]["constructor"]
    assert converted.settings["residual_channels"] == sizes["res_channels"]
    assert converted.settings["skip_channels"] == sizes["skip_channels"]
    assert converted.settings["layers"] == sizes["num_res_layers"]
    assert converted.settings["step_hidden"] == sizes["diffusion_step_embed_dim_mid"]
    assert converted.settings["time_in_residual"], "published checkpoints are of the older function"
    assert not published.convert(fixture.state, 512, legacy=False).settings["time_in_residual"]
    assert published.convert(fixture.state, 512, dilation_cycle=2).settings["dilation_cycle"] == 2


def test_published_state_that_does_not_fit_is_refused() -> None:
    state = dict(reference.load("diffwave_master").state)
    block = "residual_layer.residual_blocks.3"
    del state[f"{block}.res_conv.weight_g"], state["final_conv.2.conv.bias"]
    state |= {"extra": torch.zeros(1), f"{block}.fc_t.weight": torch.zeros(12, 3)}
    with pytest.raises(ValueError, match="not a DiffWave with the WaveNet backbone") as refused:
        published.convert(state, 512)
    assert f"missing: {block}.res_conv.weight_g (12, 1, 1)" in str(refused.value)
    assert "missing: final_conv.2.conv.bias (1)" in str(refused.value)
    assert f"misshapen: {block}.fc_t.weight is (12, 3), not (12, 32)" in str(refused.value)
    assert "unknown: extra" in str(refused.value)


def test_parameter_counts_of_the_papers() -> None:
    counts = {"paper": 24_071_681, "paper-small": 6_827_393}
    for name, count in counts.items():
        with torch.device("meta"):
            net = DiffWave(PRESETS[name], 16000, 16000)
        assert sum(p.numel() for p in net.parameters() if p.requires_grad) == count


def test_an_untrained_network_estimates_nothing() -> None:
    net = DiffWave(PRESETS["smoke"], 16000, 400).freeze()
    estimate = net.network(torch.randn(2, net.inputs, 9), net.conditions(torch.tensor([3.0])))
    assert torch.equal(estimate, torch.zeros(2, net.outputs, 9))


def test_everything_within_the_receptive_field_is_seen() -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"residual_channels": 8, "skip_channels": 8, "layers": 4, "dilation_cycle": 2}
    net = DiffWave(Config(**sizes, step_sines=8, step_hidden=8, step_channels=8), 16000, 60).freeze()
    torch.nn.init.normal_(net.stack.leave.weight)
    conditions, x = net.conditions(torch.tensor([7.0])), torch.randn(1, 1, 60)
    changed = x.clone()
    changed[0, 0, 30] += 1
    differs = (net.network(x, conditions) != net.network(changed, conditions))[0, 0].nonzero()[:, 0]
    assert differs.tolist() == list(range(24, 37)), "dilations 1, 2, 1, 2 reach 6 timesteps to either side"


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="layers=0 must be at least 1"):
        Config(layers=0)
    with pytest.raises(ValueError, match="an even number of sines and cosines"):
        DiffWave(Config(step_sines=5), 16000, 16)


def randomized(network: torch.nn.Module) -> None:
    """Parameters that began at zero or one are drawn, so that each of them counts."""
    for p in network.parameters():
        if p.eq(0).all() or p.eq(1).all():
            torch.nn.init.normal_(p, 0.7, 0.3)


def check_both_forms(network: Evaluated, x: Tensor, steps: tuple[Tensor, ...]) -> None:
    """In float64 and in float32, the evaluation is the trained form."""
    randomized(network)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-5)):
        network.to(dtype)
        x, steps = x.to(dtype), tuple(step.to(dtype) for step in steps)
        with torch.no_grad():
            expected, seen = network.trained(x, steps), network.evaluation()(x, steps)
        assert seen.shape == expected.shape
        assert (seen - expected).abs().max() <= tolerance * expected.abs().max()
        with torch.no_grad():
            assert torch.equal(network(x, steps), seen), "it is what evaluates"


@pytest.mark.parametrize("at_once", [8, 40, 2**19], ids=["rows", "blocks", "everything"])
@pytest.mark.parametrize(("batch", "positions"), [(1, 1), (1, 7), (3, 16), (2, 61)])
@pytest.mark.parametrize("time_in_residual", [True, False])
def test_both_forms_are_the_same_function(
    at_once: int, batch: int, positions: int, time_in_residual: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffwave_evaluation, "AT_ONCE", at_once)
    torch.manual_seed(0)
    network = DilatedStack(2, 3, 4, 6, layers=5, cycle=4, time_in_residual=time_in_residual)
    steps = tuple(torch.randn(1, 4) for _ in range(5))
    check_both_forms(network, torch.randn(batch, 2, positions, dtype=torch.float64), steps)


@pytest.mark.parametrize(("rows", "d", "most"), [(64, 1, 5), (61, 4, 8), (61, 16, 5), (7, 8, 3), (48, 8, 8)])
def test_pairs_cover_every_whole_block_once(rows: int, d: int, most: int) -> None:
    seen = []
    for start, blocks, n in diffwave_evaluation.paired(rows, d, most):
        assert blocks * n <= most
        first = [start + 2 * d * i + j for i in range(blocks) for j in range(n)]
        seen += first + [row + d for row in first]
    assert sorted(seen) == list(range(rows // (2 * d) * 2 * d))


def test_an_evaluation_is_kept_within_a_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = DiffWave(PRESETS["smoke"], 16000, 400).freeze()
    made, evaluation = [], net.stack.evaluation
    monkeypatch.setattr(net.stack, "evaluation", lambda: made.append(1) or evaluation())  # type: ignore[func-returns-value]
    first = net.sample(2, steps=5).waveforms
    assert len(made) == 1
    randomized(net.stack)
    assert not torch.allclose(net.sample(2, steps=5).waveforms, first), "the weights are those of now"
    assert len(made) == 2


def test_where_gradients_are_needed_or_steps_differ_the_trained_form_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = DilatedStack(1, 1, 4, 4, layers=2, cycle=2, time_in_residual=False)
    x, one, two = torch.randn(2, 1, 9), (torch.randn(1, 4),) * 2, (torch.randn(2, 4),) * 2
    monkeypatch.setattr(network, "evaluation", lambda: pytest.fail("this form has no gradients"))
    with kept_evaluation(network):
        network(x, one).sum().backward()
        assert network.leave.weight.grad is not None
        with torch.no_grad():
            network(x, two)
            with torch.autocast("cpu", torch.bfloat16):
                network(x, one)

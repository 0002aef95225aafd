"""SampleRNN against the release's numbers, its two forms against each other, and its truncated gradient against a plain one."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.autoregressive import cross_entropy
from models.clips import Clips
from models.generators.samplernn import PRESETS, Config, SampleRNN
from models.layers.frames import Normed, lookup
from models.layers.quantization import LEVELS, ZERO
from models.published import samplernn as published
from tests import reference

TINY: dict[str, Any] = {"frames": (4, 2, 3), "hidden": 6, "embedding": 5, "code_hidden": 7, "window": 48}
VERSIONS = ["main", "v2"]


def tiny(timesteps: int = 100, **settings: Any) -> SampleRNN:
    """A network whose parameters are all drawn at random, those that begin as zeros too."""
    torch.manual_seed(0)
    net = SampleRNN(Config(**{**TINY, **settings}), 16000, timesteps)
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return net


def released(version: str) -> tuple[SampleRNN, dict[str, Tensor], dict[str, Any]]:
    """The fixture's network with its weights, the fixture's arrays, and its configuration."""
    fixture = reference.load(f"fw_samplernn_{version}")
    converted = published.convert(fixture.state, 48)
    net = SampleRNN(Config(**converted.settings, scale_per_clip=True, train_on_padding=False), 16000, 48)
    net.load_state_dict(converted.state)
    arrays = {name: torch.from_numpy(array) for name, array in fixture.arrays.items()}
    return net.freeze(), arrays, fixture.config["config"]


def teacher_forced(net: SampleRNN, codes: Tensor) -> Tensor:
    """(batch, timesteps, 256) logits of the step form when it is fed `codes`."""
    step, code, logits = net.stepper(len(codes)), torch.full((len(codes),), net.before), []
    for t in range(codes.shape[1]):
        logits.append(step(code).clone())
        code = codes[:, t]
    return torch.stack(logits, 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_logits_and_loss_equal_the_releases(version: str) -> None:
    net, arrays, _ = released(version)
    logits = net.logits(arrays["in_y"])
    torch.testing.assert_close(logits, arrays["out_logits"], atol=2e-5, rtol=1e-4)
    everywhere = torch.ones_like(arrays["in_y"], dtype=torch.bool)
    torch.testing.assert_close(cross_entropy(logits, arrays["in_y"], everywhere), arrays["out_loss"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("version", VERSIONS)
def test_steps_equal_the_releases(version: str) -> None:
    net, arrays, _ = released(version)
    stepped = teacher_forced(net, arrays["in_y"])
    torch.testing.assert_close(stepped, arrays["out_step_logits"], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_likelihood_of_drawn_codes_equals_the_releases(version: str) -> None:
    """Codes of a prefix do not count; the newer version keeps one less of them than it is told to."""
    net, arrays, config = released(version)
    for run, settings in config["generate"].items():
        given = max(settings["prefix"] - (version == "main"), 0)
        codes = arrays[f"out_gen_{run}_y"]
        log_p = net.logits(codes).log_softmax(2).gather(2, codes[:, :, None])[:, given:, 0].double()
        torch.testing.assert_close(log_p.sum(1), arrays[f"out_gen_{run}_logprobs"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("version", VERSIONS)
def test_settings_are_read_off_a_published_state(version: str) -> None:
    settings = published.convert(reference.load(f"fw_samplernn_{version}").state, 48).settings
    expected = {"frames": (8, 2, 2), "hidden": 16, "layers": 1, "embedding": 12, "code_hidden": 16, "window": 1024}
    assert {name: settings[name] for name in expected} == expected


def as_released(net: SampleRNN) -> dict[str, Tensor]:
    """A network's weights in the published layout, written down from its description alone."""
    state: dict[str, Tensor] = {}

    def put(name: str, normed: Normed, v: Tensor) -> None:
        state[f"{name}.weight_g"], state[f"{name}.weight_v"] = normed.gain.detach()[:, :, None], v.detach()

    mlp, k = "model.sample_level_mlp", net.config.frames[0]
    state[f"{mlp}.embedding.weight"] = net.embedding.weight.detach()
    taps = net.input.direction.unflatten(1, (k, -1)).transpose(1, 2)
    put(f"{mlp}.input", net.input, taps)
    for name, normed, bias in (
        ("hidden", net.middle, net.middle_bias),
        ("output", net.output, net.output_bias),
    ):
        put(f"{mlp}.{name}", normed, normed.direction[:, :, None])
        state[f"{mlp}.{name}.bias"] = bias.detach()
    for i, tier in enumerate(net.tiers.all):
        name = f"model.frame_level_rnns.{i}"
        put(f"{name}.input_expand", tier.expand, tier.expand.direction[:, :, None])
        put(f"{name}.upsampling.conv_t", tier.upsample, tier.upsample.direction.unflatten(1, (tier.times, -1)).mT)
        state[f"{name}.input_expand.bias"] = tier.expand_bias.detach()
        state[f"{name}.upsampling.bias"] = tier.upsample_bias.detach().view(tier.times, -1).t()
        state[f"{name}.rnn.h0"] = tier.h0.detach()
        state |= {f"{name}.rnn.{key}": value.detach() for key, value in tier.rnn.named_parameters()}
    return state


@pytest.mark.parametrize("settings", [{}, {"frames": (5,), "layers": 2, "window": 5}, {"frames": (3, 2), "window": 6}])
def test_any_size_is_read_off_a_published_state(settings: dict[str, Any]) -> None:
    net = tiny(**settings).freeze()
    converted = published.convert(as_released(net), 100)
    again = SampleRNN(Config(**converted.settings), 16000, 100).freeze()
    again.load_state_dict(converted.state)
    codes = torch.randint(LEVELS, (2, 50))
    assert torch.equal(again.logits(codes), net.logits(codes))


def test_published_state_that_does_not_fit_is_refused() -> None:
    state = as_released(tiny())
    del state["model.frame_level_rnns.1.rnn.h0"], state["model.sample_level_mlp.hidden.weight_g"]
    state |= {"model.extra": torch.zeros(1), "model.frame_level_rnns.0.input_expand.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match="not a SampleRNN of the SaShiMi release") as refused:
        published.convert(state, 48)
    assert "missing: model.frame_level_rnns.1.rnn.h0 (1, 1, 6)" in str(refused.value)
    assert "missing: model.sample_level_mlp.hidden.weight_g (7, 1, 1)" in str(refused.value)
    assert "misshapen: model.frame_level_rnns.0.input_expand.bias is (3), not (6)" in str(refused.value)
    assert "unknown: model.extra" in str(refused.value)
    with pytest.raises(ValueError, match="missing: model"):
        published.convert({}, 48)


def test_parameter_count_of_the_paper() -> None:
    with torch.device("meta"):
        config = PRESETS["paper"]
        assert sum(p.numel() for p in SampleRNN(config, 16000, 16000).parameters()) == 35_034_624
    assert config.steps == 200 * math.ceil(31_158 / config.batch_size)
    assert config.batch_size * math.ceil(16_000 / config.window) == 128, "windows in an update, as published"


@pytest.mark.parametrize("settings", [{}, {"layers": 2}, {"frames": (5,), "window": 5}])
@pytest.mark.parametrize("timesteps", [1, 3, 100])
def test_both_forms_agree(settings: dict[str, Any], timesteps: int) -> None:
    net = tiny(timesteps, **settings).freeze()
    codes = torch.randint(LEVELS, (3, timesteps))
    torch.testing.assert_close(teacher_forced(net, codes), net.logits(codes), atol=1e-5, rtol=1e-5)


def test_both_forms_agree_after_16000_steps() -> None:
    net = tiny(16000, hidden=3, code_hidden=3, frames=(8, 2, 2), window=32).freeze()
    codes = torch.randint(LEVELS, (1, 16000))
    torch.testing.assert_close(teacher_forced(net, codes), net.logits(codes), atol=1e-4, rtol=1e-4)


def test_nothing_sees_the_future_and_states_never_end() -> None:
    net = tiny().double().freeze()
    codes = torch.randint(LEVELS, (1, 100))
    for changed_at in (0, 20, 23, 47, 99):
        changed = codes.clone()
        changed[0, changed_at] = (codes[0, changed_at] + 77) % LEVELS
        differs = (net.logits(codes) != net.logits(changed)).any(-1)[0]
        assert not differs[: changed_at + 1].any()
        assert differs[changed_at + 1 :].all()


def test_what_precedes_a_clip_is_one_frame_of_silence() -> None:
    net = tiny().freeze()
    codes = torch.randint(LEVELS, (2, 60))
    levels = net.levels(F.pad(codes, (24, 12), value=ZERO))  # to whole frames of 24
    lowest = net.tiers(levels, 72)
    expected = net.predict(F.pad(codes, (24, 12), value=ZERO), lowest)[:, :60]
    torch.testing.assert_close(net.logits(codes), expected)
    assert levels.abs().max() > 1
    assert levels[:, :24].count_nonzero() == 0


def plainly(net: SampleRNN, codes: Tensor, window: int) -> Tensor:
    """(batch, timesteps, 256) logits, timestep by timestep with cells, in the paper's words; gradients end at the borders
    of windows. An implementation to test with: it knows one layer only, and is slow."""
    batch, timesteps = codes.shape
    tiers, k = net.tiers.all, net.config.frames[0]
    past = F.pad(codes, (24, 0), value=ZERO)
    states = [tier.h0[0].expand(batch, -1) for tier in tiers]
    sent: list[list[Tensor]] = [[] for _ in tiers]
    taps = net.input().unflatten(1, (k, -1))
    logits = []
    for t in range(timesteps):
        if t and t % window == 0:
            states = [state.detach() for state in states]
        for i in reversed(range(len(tiers))):
            tier, w = tiers[i], dict(tiers[i].rnn.named_parameters())
            if t % tier.frame == 0:
                frame = 2 * net.quantizer.decode(past[:, t + 24 - tier.frame : t + 24]).double()
                x = frame @ tier.expand().t() + tier.expand_bias
                if i + 1 < len(tiers):
                    x = x + sent[i + 1].pop(0)
                cell = (w["weight_ih_l0"], w["weight_hh_l0"], w["bias_ih_l0"], w["bias_hh_l0"])
                states[i] = torch.gru_cell(x, states[i], *cell)
                up = (states[i] @ tier.upsample() + tier.upsample_bias).unflatten(1, (tier.times, -1))
                sent[i] = list(up.unbind(1))
        x = sent[0].pop(0)
        for j in range(k):
            x = x + net.embedding(past[:, t + 24 - k + j]) @ taps[:, j].t()
        x = (x.relu() @ net.middle().t() + net.middle_bias).relu()
        logits.append(x @ net.output().t() + net.output_bias)
    return torch.stack(logits, 1)


@pytest.mark.parametrize("timesteps", [30, 48, 130])
def test_gradients_end_at_the_borders_of_windows(timesteps: int) -> None:
    net = tiny(timesteps).double()
    clips, rng = Clips.of(torch.rand(2, timesteps).double() - 0.5), torch.Generator()
    codes = net.quantizer.encode_clips(clips)

    def gradient(loss: Tensor) -> dict[str, Tensor]:
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        return dict(zip([name for name, _ in net.named_parameters()], gradients, strict=True))

    loss, everywhere = net.loss("model", clips, rng), torch.ones_like(codes, dtype=torch.bool)
    whole = cross_entropy(net.logits(codes), codes, everywhere)
    plain = cross_entropy(plainly(net, codes, 48), codes, everywhere)
    torch.testing.assert_close(loss, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(loss, plain, atol=1e-6, rtol=0)
    ours, expected, untruncated = gradient(loss), gradient(plain), gradient(whole)
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5, msg=name)
    recurrent = "tiers.2.rnn.weight_hh_l0"
    same = torch.allclose(ours[recurrent], untruncated[recurrent], atol=1e-6, rtol=1e-5)
    assert same == (timesteps <= 48), "across a border, the truth is something else"


def test_a_table_is_a_convolution_over_embedded_codes() -> None:
    torch.manual_seed(0)
    codes, embedding, kernel = torch.randint(LEVELS, (2, 9)), torch.randn(LEVELS, 4), torch.randn(6, 4, 3)
    table = torch.einsum("ce,hek->kch", embedding, kernel)
    expected = F.conv1d(embedding[codes].mT, kernel).mT
    torch.testing.assert_close(lookup(codes, table), expected, atol=1e-5, rtol=1e-5)


def test_weight_norm_begins_with_a_given_weight() -> None:
    torch.manual_seed(0)
    normed, weight = Normed(3, 4, 4), torch.randn(3, 4)
    normed.set(weight)
    torch.testing.assert_close(normed(), weight)
    normed.gain.data *= 2
    torch.testing.assert_close(normed().norm(dim=1), 2 * weight.norm(dim=1))


def test_likelihood_ignores_padding_and_batches() -> None:
    net = tiny().freeze()
    waveforms, valid = torch.rand(2, 100) - 0.5, torch.tensor([25, 100])
    both = net.log_likelihood(Clips(waveforms * Clips(waveforms, valid).mask(), valid))
    cut = net.log_likelihood(Clips.of(waveforms[:1, :25]))
    torch.testing.assert_close(both[:1], cut, atol=1e-3, rtol=0)
    torch.testing.assert_close(both[1:], net.log_likelihood(Clips.of(waveforms[1:])), atol=1e-3, rtol=0)


def test_a_prefix_is_kept_and_not_counted() -> None:
    net = tiny(60).freeze()
    whole = net.sample(2)
    again = net.sample(2, prefix=whole.waveforms[:, :30])
    assert torch.equal(again.waveforms, whole.waveforms), "the noise of a timestep does not depend on the prefix"
    assert again.log_likelihood is not None
    assert whole.log_likelihood is not None
    head = net.log_likelihood(Clips.of(whole.waveforms[:, :30]))
    torch.testing.assert_close(again.log_likelihood + head, whole.log_likelihood, atol=1e-2, rtol=0)


def test_settings_that_mean_nothing_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"hidden": 0}, "hidden=0 must be at least 1"),
        ({"frames": ()}, "must name one size per tier"),
        ({"frames": (8, 0)}, "each at least 1"),
        ({"window": 40}, "window=40 must be a multiple of 32"),
    ]
    for settings, message in wrong:
        with pytest.raises(ValueError, match=message):
            Config(**settings)


def test_memory_spreads_the_update_gates_over_time() -> None:
    torch.manual_seed(0)
    net = SampleRNN(Config(**{**TINY, "memory": 2400, "hidden": 400}), 16000, 100)
    for tier in net.tiers.all:
        bias = dict(tier.rnn.named_parameters())["bias_hh_l0"]
        kept = bias[400:800].sigmoid()  # of a state, from frame to frame, where nothing else speaks
        frames = 1 / (1 - kept)
        assert 2 <= frames.min() < 3
        assert 0.8 * 2400 / tier.frame < frames.max() <= 2400 / tier.frame + 1
        assert bias[:400].count_nonzero() == 0
        assert bias[800:].count_nonzero() == 0

"""WaveNet against the release's numbers, its two forms against each other, and the pieces that they are made of."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.autoregressive import cross_entropy
from models.clips import Clips
from models.generators.wavenet import PRESETS, Config, WaveNet
from models.layers.causal import GatedSteps, gated_layer
from models.layers.quantization import ZERO
from models.published import wavenet as published
from models.stepping import invert, sampling_law
from tests import reference

TINY: dict[str, Any] = {"blocks": 2, "layers": 4, "residual_channels": 8, "skip_channels": 16, "end_channels": 12}


def released(version: str) -> tuple[WaveNet, dict[str, Tensor]]:
    """The fixture's network with its weights, and the fixture's arrays."""
    fixture = reference.load(f"fw_wavenet_{version}")
    net = WaveNet(Config(**TINY, scale_per_clip=True, train_on_padding=False), 16000, 48)
    net.load_state_dict(published.convert(fixture.state, 48).state)
    return net.freeze(), {name: torch.from_numpy(array) for name, array in fixture.arrays.items()}


def teacher_forced(net: WaveNet, codes: Tensor) -> Tensor:
    """(batch, timesteps, 256) logits of the step form when it is fed `codes`."""
    step, code, logits = net.stepper(len(codes)), torch.full((len(codes),), net.before), []
    for t in range(codes.shape[1]):
        logits.append(step(code).clone())
        code = codes[:, t]
    return torch.stack(logits, 1)


@pytest.mark.parametrize("version", ["main", "v2"])
def test_logits_and_loss_equal_the_releases(version: str) -> None:
    net, arrays = released(version)
    logits = net.logits(arrays["in_y"])
    torch.testing.assert_close(logits, arrays["out_logits"], atol=2e-4, rtol=1e-4)
    everywhere = torch.ones_like(arrays["in_y"], dtype=torch.bool)
    torch.testing.assert_close(cross_entropy(logits, arrays["in_y"], everywhere), arrays["out_loss"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("version", ["main", "v2"])
def test_steps_equal_the_releases(version: str) -> None:
    net, arrays = released(version)
    stepped = teacher_forced(net, arrays["in_y"])
    torch.testing.assert_close(stepped, arrays["out_step_logits"], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("version", "run"), [("main", "prefixed"), ("v2", "plain")])
def test_likelihood_of_drawn_codes_equals_the_releases(version: str, run: str) -> None:
    """Of the newer version's other run, which counts one code that it does not return, nothing can be said."""
    net, arrays = released(version)
    codes, given = arrays[f"out_gen_{run}_y"], net_prefix(version, run)
    scored = torch.arange(codes.shape[1]) >= given
    log_p = net.logits(codes).log_softmax(2).gather(2, codes[:, :, None])[:, :, 0].double()
    torch.testing.assert_close((log_p * scored).sum(1), arrays[f"out_gen_{run}_logprobs"], atol=1e-2, rtol=0)


def net_prefix(version: str, run: str) -> int:
    """Real codes at the beginning of a fixture's run; the newer version keeps one less than it is told to."""
    prefix: int = reference.load(f"fw_wavenet_{version}").config["config"]["generate"][run]["prefix"]
    return max(prefix - (version == "main"), 0)


def test_published_state_that_does_not_fit_is_refused() -> None:
    state = dict(reference.load("fw_wavenet_main").state)
    del state["model.gate_convs.0.weight"]
    state |= {"model.extra": torch.zeros(1), "model.skip_convs.3.weight": torch.zeros(16, 8, 2)}
    with pytest.raises(ValueError, match="not a WaveNet of the SaShiMi release") as refused:
        published.convert(state, 48)
    assert "missing: model.gate_convs.0.weight (8, 8, 2)" in str(refused.value)
    assert "misshapen: model.skip_convs.3.weight is (16, 8, 2), not (16, 8, 1)" in str(refused.value)
    assert "unknown: model.extra" in str(refused.value)


@pytest.mark.parametrize("version", ["main", "v2"])
def test_settings_are_read_off_a_published_state(version: str) -> None:
    settings = published.convert(reference.load(f"fw_wavenet_{version}").state, 48).settings
    assert {name: settings[name] for name in ("residual_channels", "skip_channels", "end_channels")} == {
        name: TINY[name] for name in ("residual_channels", "skip_channels", "end_channels")
    }
    assert settings["blocks"] * settings["layers"] == TINY["blocks"] * TINY["layers"]


def test_parameter_count_of_the_paper() -> None:
    assert sum(p.numel() for p in WaveNet(PRESETS["paper"], 16000, 16000).parameters()) == 4_244_480


@pytest.mark.parametrize("marker", [False, True])
@pytest.mark.parametrize("timesteps", [1, 3, 40])
def test_both_forms_agree(marker: bool, timesteps: int) -> None:
    torch.manual_seed(0)
    net = WaveNet(Config(**TINY, start_marker=marker), 16000, timesteps).freeze()
    codes = torch.randint(256, (3, timesteps))
    torch.testing.assert_close(teacher_forced(net, codes), net.logits(codes), atol=1e-5, rtol=1e-5)


def test_nothing_sees_the_future_or_beyond_the_receptive_field() -> None:
    torch.manual_seed(0)
    net = WaveNet(Config(**TINY), 16000, 80).double().freeze()
    codes = torch.randint(256, (1, 80))
    changed = codes.clone()
    changed[0, 20] = (codes[0, 20] + 77) % 256
    differs = (net.logits(codes) != net.logits(changed)).any(-1)[0]
    field = sum(net.dilations) + 1
    assert field == 31
    assert not differs[:21].any()
    assert differs[21]
    assert differs[20 + field]
    assert not differs[20 + field + 1 :].any()


def test_what_precedes_a_clip_is_endless_silence() -> None:
    torch.manual_seed(0)
    net = WaveNet(Config(**TINY), 16000, 40).freeze()
    codes = torch.randint(256, (2, 40))
    silence = torch.full((2, sum(net.dilations) + 5), ZERO)
    later = net.logits(torch.cat([silence, codes], 1))[:, silence.shape[1] :]
    torch.testing.assert_close(net.logits(codes), later, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dilation", [1, 2, 5, 9])
def test_the_written_out_gradient_is_right(dilation: int) -> None:
    torch.manual_seed(0)
    shapes = ((10, 3), (8, 3), (8, 3))
    arguments = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda x, p, c: gated_layer(x, p, c, dilation, 2), arguments)


def test_queues_agree_with_the_convolution() -> None:
    torch.manual_seed(0)
    past, current, residual = (torch.randn(2, *shape) for shape in ((6, 4), (6, 4), (4, 3)))
    stack = GatedSteps(past, current, residual, (2, 3), torch.zeros(4), 2)
    stack.reset()
    x = torch.randn(8, 4, 2)
    x[0] = 0  # the past is the first timestep's, endlessly
    rows = x.transpose(1, 2).reshape(16, 4)
    first = gated_layer(rows, past[0], current[0], 2, 2)
    second = gated_layer(rows + first @ residual[0].t(), past[1], current[1], 3, 2)
    expected = torch.cat([first, second], 1).view(8, 2, 6).transpose(1, 2)
    stepped = torch.stack([stack(stack.weights, x[t], *stack.tensors) / 2 for t in range(8)])
    torch.testing.assert_close(stepped, expected, atol=1e-5, rtol=1e-5)


def test_training_scores_padding_only_where_told_to() -> None:
    torch.manual_seed(0)
    waveforms = torch.rand(2, 60) - 0.5
    valid = torch.tensor([20, 30])
    waveforms = waveforms * Clips(waveforms, valid).mask()
    clips, rng = Clips(waveforms, valid), torch.Generator().manual_seed(0)
    for train_on_padding in (True, False):
        net = WaveNet(Config(**TINY, train_on_padding=train_on_padding), 16000, 60)
        codes = net.quantizer.encode_clips(clips)
        nats = -net.logits(codes).log_softmax(2).gather(2, codes[:, :, None])[:, :, 0]
        expected = nats.mean() if train_on_padding else nats[clips.mask()].mean()
        torch.testing.assert_close(net.loss("model", clips, rng), expected)


def test_a_margin_cuts_what_follows_the_longest_clip() -> None:
    torch.manual_seed(0)
    clips = Clips(torch.zeros(2, 600), torch.tensor([20, 30]))
    net, rng = WaveNet(Config(**TINY, margin=50), 16000, 600), torch.Generator().manual_seed(0)
    lengths = set()
    seen = net.logits
    net.logits = lambda codes: lengths.add(codes.shape[1]) or seen(codes)  # type: ignore[method-assign, func-returns-value]
    for _ in range(20):
        net.loss("model", clips, rng)
    assert min(lengths) >= 30
    assert max(lengths) <= 80
    assert len(lengths) > 5


def test_likelihood_ignores_padding() -> None:
    torch.manual_seed(0)
    net = WaveNet(Config(**TINY), 16000, 60).freeze()
    waveforms = torch.rand(2, 60) - 0.5
    valid = torch.tensor([25, 60])
    one = net.log_likelihood(Clips(waveforms * Clips(waveforms, valid).mask(), valid))
    cut = net.log_likelihood(Clips.of(waveforms[:1, :25]))
    torch.testing.assert_close(one[:1], cut, atol=1e-4, rtol=0)


def test_draws_follow_the_distribution() -> None:
    p = torch.tensor([0.1, 0.0, 0.6, 0.3])
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    codes = invert(p.log().expand(1000, 4), uniforms)
    assert torch.bincount(codes, minlength=4).tolist() == [100, 0, 600, 300]
    assert invert(p.log()[None], torch.tensor([1 - 2**-53], dtype=torch.float64)).item() == 3


@pytest.mark.parametrize(("top_p", "kept"), [(0.49, 1), (0.51, 2), (0.79, 2), (0.81, 3), (1.0, 3)])
def test_nucleus_is_the_smallest_set_with_that_probability(top_p: float, kept: int) -> None:
    law = sampling_law(torch.tensor([[0.3, 0.5, 0.2]]).log(), 1.0, top_p)
    assert law.isfinite().sum() == kept
    assert law[0, 1].isfinite()


def test_a_prefix_is_kept_and_not_counted() -> None:
    torch.manual_seed(0)
    net = WaveNet(Config(**TINY), 16000, 30).freeze()
    whole = net.sample(2)
    again = net.sample(2, prefix=whole.waveforms[:, :10])
    assert torch.equal(again.waveforms[:, :10], whole.waveforms[:, :10])
    assert torch.equal(again.waveforms, whole.waveforms), "the noise of a timestep does not depend on the prefix"
    assert again.log_likelihood is not None
    assert whole.log_likelihood is not None
    head = net.log_likelihood(Clips.of(whole.waveforms[:, :10]))
    torch.testing.assert_close(again.log_likelihood + head, whole.log_likelihood, atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="prefix must be waveforms of shape"):
        net.sample(2, prefix=torch.zeros(1, 10))


def test_unigram_entropy_counts_valid_timesteps() -> None:
    import numpy as np

    from models.clips import ClipArray

    codes = np.zeros((3, 40), dtype=np.int16)
    codes[:, 1:20:2] = 16000  # two levels, equally frequent within the valid half
    net = WaveNet(Config(**TINY), 16000, 40)
    assert net.unigram_entropy(ClipArray(codes, np.full(3, 20))) == pytest.approx(1.0)


def test_settings_that_mean_nothing_are_refused() -> None:
    for name in ("layers", "blocks", "skip_channels"):
        with pytest.raises(ValueError, match=f"{name}=0 must be at least 1"):
            Config(**dict[str, Any]({name: 0}))
    net = WaveNet(Config(**TINY), 16000, 8)
    settings: list[dict[str, Any]] = [{"temperature": 0.0}, {"top_p": 0.0}, {"top_p": math.inf}]
    for setting in settings:
        with pytest.raises(ValueError, match="must"):
            net.sample(1, **setting)
    with pytest.raises(ValueError, match="Available: temperature, top_p"):
        net.sample(1, temprature=1.0)

"""Flow matching: its pieces against closed forms, its sampler against exact solutions, and its classes."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import flow
from models.clips import ClipArray, Clips, to_int16
from models.flow import integrate, stratified, times
from models.generators.base import Generator
from models.generators.flow_matching import PRESETS, Config, FlowMatching, local_gaussian
from models.layers.companding import FAINTEST, Companding
from models.layers.mdct import MDCT
from models.layers.unet1d import UNet1d
from models.randomness import SampleRandom
from models.training import fit

TINY: dict[str, Any] = {
    "bands": 16, "channels": (24, 32), "blocks": 1, "heads": 2, "condition": 16, "calibration": 5, "batch_size": 16,
    "learning_rate": 5e-3, "warmup_steps": 5, "learning_rate_schedule": "cosine", "gradient_clip": 1.0,
}  # fmt: skip


def tiny(timesteps: int = 300, seed: int = 0, **settings: Any) -> FlowMatching:
    """An untrained model that answers something other than zero everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FlowMatching(Config(**{**TINY, **settings}), 16000, timesteps)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.freeze()


# the transform


@pytest.mark.parametrize(("bands", "timesteps"), [(1, 5), (2, 1), (16, 97), (256, 1000)])
def test_mdct_is_orthogonal(bands: int, timesteps: int) -> None:
    mdct = MDCT(bands)
    frames = mdct.frames(timesteps)
    assert frames == math.ceil(timesteps / bands) + 1
    x, y = SampleRandom(0).normal(2, timesteps).unbind()
    X, Y = mdct(torch.stack([x, y]), frames)
    torch.testing.assert_close(mdct.inverse(torch.stack([X, Y]), timesteps), torch.stack([x, y]), atol=1e-4, rtol=0)
    torch.testing.assert_close((X * Y).sum(), x @ y, atol=1e-3, rtol=1e-4)
    assert mdct.frames(timesteps, multiple=4) % 4 == 0
    longer = mdct(x[None], mdct.frames(timesteps, multiple=4))
    torch.testing.assert_close(longer[0, :frames], X)
    assert not longer[0, frames:].any()


def test_mdct_follows_its_formula_and_finds_a_tone_in_its_band() -> None:
    M, n = 8, 2
    x = SampleRandom(0).normal(1, 4 * M)
    m, k = np.arange(2 * M)[:, None], np.arange(M)
    window = np.sin(np.pi * (m + 0.5) / (2 * M))
    basis = np.sqrt(2 / M) * window * np.cos(np.pi / M * (m + 0.5 + M / 2) * (k + 0.5))
    expected = x[0].double().numpy()[(n - 1) * M : (n + 1) * M] @ basis
    np.testing.assert_allclose(MDCT(M)(x, 5)[0, n].numpy(), expected, atol=1e-5)

    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 16000)[None]
    power = MDCT(128)(tone, 64)[0, 2:-2].square().mean(0)
    assert abs(power.argmax().item() - 1000 / 62.5) <= 1
    with pytest.raises(ValueError, match="bands=0"):
        MDCT(0)


def test_companding_brings_every_band_to_unit_power_and_back() -> None:
    amplitudes = torch.tensor([1.0, 1e-2, 1e-4, 0.0])
    X = SampleRandom(0).normal(8, 50, 4) * amplitudes
    companding = Companding(4, 0.5, batches=2).eval()
    louder = companding.encode(16 * X)
    torch.testing.assert_close(companding.encode(X), louder, msg="before it is measured, a batch goes by its own power")
    assert companding.measured == 0, "what is validated is not measured"
    companding.train()
    companding.encode(X[:4])
    x = companding.encode(X[4:])
    state = {name: value.clone() for name, value in companding.state_dict().items()}
    torch.testing.assert_close(state["power"], X.abs().mean((0, 1)))
    assert companding.scale(companding.power)[3] == FAINTEST**0.5
    torch.testing.assert_close(companding.decode(x), X[4:])
    companding.encode(100 * X)
    assert torch.equal(companding.power, state["power"]), "two batches were to be measured"


# the network


def test_network_says_nothing_at_first_and_sees_everything_later() -> None:
    sizes: dict[str, Any] = {"blocks": 1, "kernel": 3, "expansion": 2, "heads": 2, "condition": 8}
    net = UNet1d(5, 7, (8, 12, 16), classes=3, **sizes)
    x, t, labels = torch.randn(2, 32, 5), torch.tensor([0.2, 0.2]), torch.tensor([0, 3])
    assert net.stride == 4
    assert not net(x, t, labels).any()
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    x.requires_grad_(True)
    answer = net(x, t, labels)
    assert answer.shape == (2, 32, 7)
    (gradient,) = torch.autograd.grad(answer[0, 0].sum(), x)
    assert (gradient[0].abs().sum(1) > 0).all(), "the first frame hears the last one"
    assert not gradient[1].any(), "but no other clip"
    assert not torch.allclose(net(x, t + 0.5, labels), answer)
    changed = net(x, t, torch.tensor([1, 3]))
    assert not torch.allclose(changed[0], answer[0])
    torch.testing.assert_close(changed[1], answer[1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kernel": 4}, "kernel=4 must be odd"),
        ({"heads": 3}, "divisor"),
        ({"blocks": 0}, "blocks=0"),
        ({"channels": ()}, "at least one level"),
    ],
)
def test_networks_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {"blocks": 1, "kernel": 3, "expansion": 2, "heads": 2, "condition": 8, "channels": (8, 8)}
    with pytest.raises(ValueError, match=message):
        UNet1d(5, 7, **{**sizes, **wrong})
    with pytest.raises(ValueError, match="31 frames are not a multiple of 2"):
        UNet1d(5, 7, **sizes)(torch.zeros(1, 31, 5), torch.zeros(1))


# the path and the loss


def test_times_are_even_quantiles() -> None:
    u = stratified(1000, torch.Generator().manual_seed(0))
    assert ((u * 1000).long() - torch.arange(1000)).abs().max() <= 1
    assert torch.equal(times(u, Config(time_distribution="uniform")), u)
    config = Config(time_mean=-0.5, time_spread=1.5)
    one_sigma = torch.tensor([0.15865525, 0.5, 0.84134475])
    expected = torch.sigmoid(torch.tensor([-2.0, -0.5, 1.0]))
    torch.testing.assert_close(times(one_sigma, config), expected, atol=1e-5, rtol=0)
    edges = times(torch.tensor([flow.EDGE, 1 - flow.EDGE]), config)
    assert edges.min() > 0
    assert edges.max() < 1


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("t", [0.0, 0.3, 0.9])
def test_velocity_of_gaussians_is_their_conditional_mean(sigma: float, t: float) -> None:
    """Regression of x_1 - x_0 on x_t, from the moments; and the residual's standard deviation is what f is scaled by."""
    variance_t = t**2 * sigma**2 + (1 - t) ** 2
    slope = (t * sigma**2 - (1 - t)) / variance_t
    residual = math.sqrt(sigma**2 + 1 - slope**2 * variance_t)
    x, h = torch.tensor([[0.7]]), torch.tensor([[2 * math.log(sigma)]])
    v = local_gaussian(x, torch.tensor([t]), h, torch.zeros(1, 1))
    assert v.item() == pytest.approx(slope * 0.7, abs=1e-5)
    assert (local_gaussian(x, torch.tensor([t]), h, torch.ones(1, 1)) - v).item() == pytest.approx(residual, abs=1e-5)


def test_what_is_silent_ends_in_silence() -> None:
    x, t = torch.randn(3, 5), torch.tensor([0.0, 0.5, 0.95])
    v = local_gaussian(x, t, torch.full((3, 5), -30.0), torch.randn(3, 5))
    torch.testing.assert_close(x + (1 - t)[:, None] * v, torch.zeros(3, 5), atol=2e-3, rtol=0)


@pytest.mark.parametrize("distribution", flow.TIME_DISTRIBUTIONS)
def test_loss_of_an_untrained_network_is_known(distribution: str) -> None:
    """With v = E[...] for unit Gaussians, what remains at t is 1 / (t^2 + (1 - t)^2): pi / 2 over uniform times."""
    config = Config(**{**TINY, "time_distribution": distribution, "compression": 1.0})
    model = FlowMatching(config, 16000, 800)
    clips = Clips.of(0.1 * SampleRandom(0).normal(64, 800))
    u = (torch.arange(10000) + 0.5) / 10000
    t = times(u, config)
    expected = (1 / (t.square() + (1 - t).square())).mean()
    if distribution == "uniform":
        assert expected == pytest.approx(math.pi / 2, rel=1e-4)
    losses = [model.loss("model", clips, torch.Generator().manual_seed(seed)).item() for seed in range(3)]
    assert np.mean(losses) == pytest.approx(expected.item(), rel=0.02)
    validation = model.eval().validation_loss(clips, torch.Generator().manual_seed(7))
    assert validation.item() == pytest.approx(math.pi / 2, rel=0.03)
    assert model.validation_loss(clips, torch.Generator().manual_seed(7)).item() == validation.item()


# the sampler


def constant(sigma: float) -> Any:
    """The velocity towards data of one standard deviation; its flow ends at sigma times where it began."""

    def velocity(x: Tensor, t: float) -> Tensor:
        return local_gaussian(x, torch.full((len(x),), t), torch.full_like(x, 2 * math.log(sigma)), torch.zeros_like(x))

    return velocity


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_solvers_converge_to_the_exact_flow_with_their_order(solver: str, order: int) -> None:
    x = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    exact = {constant(0.5): 0.5 * x, constant(3.0): 3 * x, (lambda x, t: x * math.cos(t)): x * math.exp(math.sin(1))}
    for number, (velocity, end) in enumerate(exact.items()):
        errors = []
        for steps in (20, 40, 80):
            arrived, evaluations = integrate(velocity, x, steps, solver)
            assert evaluations == {"euler": steps, "midpoint": 2 * steps, "heun": 2 * steps - 1}[solver]
            errors.append((arrived - end).abs().max().item())
        rates = [math.log2(errors[0] / errors[1]), math.log2(errors[1] / errors[2])]
        assert min(rates) > order - 0.25
        # of Gaussians, midpoint's errors in both halves of the time cancel
        assert max(rates) < order + 0.25 or (solver == "midpoint" and number < 2)


def test_a_straight_path_takes_one_step() -> None:
    """Data that are all equal: every solver arrives exactly, and none asks for the velocity at t = 1."""
    target, x = torch.tensor([3.0, -1.0]), torch.randn(4, 2)
    for solver in flow.SOLVERS:
        for steps in (1, 3):
            end, _ = integrate(lambda x, t: (target - x) / (1 - t), x, steps, solver)
            torch.testing.assert_close(end, target.expand(4, 2), atol=1e-5, rtol=0)


def test_samples_are_the_flow_of_their_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    samples = model.sample(5, SampleRandom(3), steps=3, solver="heun")
    assert samples.evaluations == 5
    assert samples.labels is None
    noise = SampleRandom(3).normal(5, *model.shape)
    end, _ = integrate(lambda x, t: model.velocity(x, torch.full((len(x),), t), None), noise, 3, "heun")
    torch.testing.assert_close(samples.waveforms, model.decode(end).clamp(-1, 1))
    monkeypatch.setattr(flow, "PIECE", 2 * noise[0].numel())
    in_pieces = model.sample(5, SampleRandom(3), steps=3, solver="heun")
    torch.testing.assert_close(in_pieces.waveforms, samples.waveforms, atol=1e-4, rtol=1e-3)


# classes


def test_guidance_of_one_is_the_plain_conditional_sample() -> None:
    model = tiny(classes=4)
    assert model.class_conditional
    plain = model.sample(6, SampleRandom(1), solver="euler", steps=2)
    labels = (SampleRandom(1).uniform(6, 1)[:, 0] * 4).long()
    assert plain.labels is not None
    assert torch.equal(plain.labels, labels)
    assert plain.evaluations == 2

    rng = SampleRandom(1)
    rng.uniform(6, 1)
    noise = rng.normal(6, *model.shape)

    def end(towards: Tensor) -> Tensor:
        arrived, _ = integrate(lambda x, t: model.velocity(x, torch.full((6,), t), towards), noise, 2, "euler")
        return model.decode(arrived).clamp(-1, 1)

    torch.testing.assert_close(plain.waveforms, end(labels))
    nobody = model.sample(6, SampleRandom(1), solver="euler", steps=2, guidance=0.0)
    assert nobody.evaluations == 4, "two networks' worth of evaluations"
    torch.testing.assert_close(nobody.waveforms, end(torch.full((6,), 4)))
    guided = model.sample(6, SampleRandom(1), solver="euler", steps=2, guidance=3.0)
    assert not torch.allclose(guided.waveforms, plain.waveforms)


def test_labels_are_drawn_evenly() -> None:
    model = tiny(timesteps=1, classes=4)
    labels = model.sample(400, steps=1, solver="euler").labels
    assert labels is not None
    assert torch.bincount(labels, minlength=4).min() > 70


def test_some_labels_are_withheld_in_training_alone() -> None:
    model = tiny(classes=3, label_dropout=0.25)
    told = model.withheld(torch.zeros(4000, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert told is not None
    assert set(told.tolist()) == {0, 3}
    assert (told == 3).float().mean().item() == pytest.approx(0.25, abs=0.03)
    clips = Clips(torch.randn(4, 300), torch.full((4,), 300), torch.tensor([0, 1, 2, 2]))
    other = dataclasses.replace(clips, labels=torch.tensor([2, 1, 2, 2]))
    losses = [model.validation_loss(c, torch.Generator().manual_seed(0)).item() for c in (clips, other)]
    assert losses[0] != losses[1]


def test_it_learns_when_there_is_sound_and_for_which_class(tmp_path: Path) -> None:
    """Class 0 is noise, then silence; class 1 silence, then noise."""
    timesteps, count = 320, 128
    labels = np.arange(count) % 2
    waveforms = 0.2 * SampleRandom(0).normal(count, timesteps).numpy()
    early = np.arange(timesteps) < timesteps // 2
    clips = ClipArray(to_int16(waveforms * (early[None] == (labels == 0)[:, None])), np.full(count, timesteps), labels)
    config = Config(**TINY, steps=150, validate_every=75, classes=2, ema=0.9, compression=1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FlowMatching(config, 16000, timesteps)
    fit(model, clips, clips, tmp_path, config=config, seed=0)
    samples = model.freeze().sample(64, steps=12)
    assert samples.labels is not None
    energy = samples.waveforms.square()
    first, second = energy[:, : timesteps // 2].mean(1), energy[:, timesteps // 2 :].mean(1)
    loud = torch.where(samples.labels == 0, first, second).mean()
    quiet = torch.where(samples.labels == 0, second, first).mean()
    assert loud.sqrt().item() == pytest.approx(0.2, rel=0.3)
    assert quiet < 0.05 * loud


# what it refuses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time_distribution": "normal"}, "not one of uniform, logit-normal"),
        ({"classes": -1}, "classes=-1"),
        ({"time_spread": 0.0}, "time_spread=0.0"),
        ({"label_dropout": 1.0}, "label_dropout=1.0"),
        ({"compression": 0.0}, "compression=0.0"),
        ({"bands": 0}, "bands=0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"solver": "rk4"}, "not one of euler, midpoint, heun"),
        ({"steps": 0}, "steps=0"),
        ({"guidance": -1.0}, "guidance=-1.0"),
        ({"guidance": 2.0}, "needs a model with classes"),
        ({"prefix": torch.zeros(1, 10)}, "cannot continue a prefix"),
    ],
)
def test_sampling_that_cannot_be_is_refused(sampling: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny().sample(1, **sampling)
    with pytest.raises(ValueError, match="count=0"):
        tiny().sample(0)


def test_labels_that_do_not_fit_are_refused() -> None:
    model, rng = tiny(classes=3), torch.Generator()
    clips = Clips.of(torch.zeros(2, 300))
    with pytest.raises(ValueError, match="needs a corpus with labels"):
        model.loss("model", clips, rng)
    with pytest.raises(ValueError, match="labels from 1 to 3 do not fit classes=3"):
        model.loss("model", dataclasses.replace(clips, labels=torch.tensor([1, 3])), rng)
    assert tiny().loss("model", clips, rng).isfinite(), "without classes, nobody asks for labels"


def test_presets() -> None:
    assert not Generator.class_conditional
    for name, config in PRESETS.items():
        assert (config.classes > 0) == ("classes" in name)
    paper = FlowMatching(PRESETS["paper"], 16000, 16000)
    assert sum(p.numel() for p in paper.parameters()) == 28_059_072
    assert not paper.class_conditional

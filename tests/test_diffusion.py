"""Samplers against a known distribution, noise schedules against their formulas, and what all diffusion models share."""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.clips import Clips
from models.diffusion import Diffusion, DiffusionConfig
from models.generators.diffwave import PRESETS, Config, DiffWave
from models.layers.representation import Representation
from models.noise_schedule import NoiseSchedule
from models.randomness import SampleRandom
from models.samplers import Predict, ancestral, ddim, dpm_solver_2m, level_of, log_snr

MEAN, STD = 0.3, 0.2  # of the known distribution, whose data are single numbers
TINY: dict[str, Any] = {
    "residual_channels": 8, "skip_channels": 8, "layers": 2, "dilation_cycle": 2, "step_sines": 8, "step_hidden": 8,
    "step_channels": 8,
}  # fmt: skip


def known(levels: list[float]) -> Predict:
    """What a perfect network estimates where the data are Gaussian: E[x_0 | x] and E[eps | x]."""

    def predict(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
        alpha, sigma = math.sqrt(levels[i]), math.sqrt(1 - levels[i])
        variance = alpha**2 * STD**2 + sigma**2
        eps = sigma * (x - alpha * MEAN) / variance
        return (x - sigma * eps) / alpha, eps

    return predict


def flow(x: Tensor, begin: float, end: float) -> Tensor:
    """Where the deterministic samplers go in the limit of many steps: along the distribution's own standard deviations."""
    spread = [math.sqrt(level * STD**2 + 1 - level) for level in (begin, end)]
    return math.sqrt(end) * MEAN + spread[1] / spread[0] * (x - math.sqrt(begin) * MEAN)


def evenly(begin: float, end: float, steps: int) -> list[float]:
    """Levels evenly spaced in lambda."""
    return [level_of(float(snr)) for snr in np.linspace(log_snr(begin), log_snr(end), steps + 1)]


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm++"])
def test_a_known_distribution_is_drawn(sampler: str) -> None:
    levels = [*reversed(NoiseSchedule.cosine(200, 1e-4).abar), 1.0]
    rng = torch.Generator().manual_seed(0)
    x, predict = torch.randn(100_000, generator=rng), known(levels)
    if sampler == "ancestral":
        x = ancestral(predict, x, levels, lambda: torch.randn(x.shape, generator=rng))
    else:
        x = ddim(predict, x, levels) if sampler == "ddim" else dpm_solver_2m(predict, x, levels)
    assert x.dtype == torch.float32
    assert x.mean().item() == pytest.approx(MEAN, abs=4 * STD / math.sqrt(len(x)) + 0.002)
    assert x.std().item() == pytest.approx(STD, rel=0.05)
    assert ((x - x.mean()) / x.std()).pow(4).mean().item() == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (dpm_solver_2m, 2)])
def test_errors_fall_with_the_order_of_the_solver(sampler: Any, order: int) -> None:
    x, begin, end = torch.linspace(-2, 2, 9, dtype=torch.float64), 0.001, 0.999
    exact, errors = flow(x, begin, end), []
    for steps in (20, 40, 80, 160):
        levels = evenly(begin, end, steps)
        errors.append(float((sampler(known(levels), x, levels) - exact).abs().max()))
    rates = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert errors[-1] < 0.01 / order**5
    assert all(rate == pytest.approx(order, abs=0.35) for rate in rates), rates


def test_errors_of_the_ancestral_chain_fall_with_its_steps() -> None:
    """Its variance is exact in the limit; over few levels, it is what the posteriors' product says, and too small."""
    errors = []
    for steps in (10, 40, 160):
        levels, variance = [*evenly(1e-4, 0.9999, steps), 1.0], 1.0
        for level, target in pairwise(levels):
            alpha, total = level / target, level * STD**2 + 1 - level
            gain = (1 - (1 - alpha) / total) / math.sqrt(alpha)
            variance = gain**2 * variance + (1 - target) / (1 - level) * (1 - alpha)
        errors.append(abs(math.sqrt(variance) - STD))
        rng = torch.Generator().manual_seed(steps)
        x = torch.randn(40_000, dtype=torch.float64, generator=rng)
        noise = partial(torch.randn, x.shape, dtype=torch.float64, generator=rng)
        drawn = ancestral(known(levels), x, levels, noise)
        assert drawn.std().item() == pytest.approx(math.sqrt(variance), rel=0.02)
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.01


def test_the_ancestral_chain_is_ho_and_others() -> None:
    """Algorithm 2 with sigma_t^2 = beta_tilde_t, written out."""
    beta = np.linspace(1e-4, 0.05, 6)
    abar = np.cumprod(1 - beta)
    levels = [*(float(level) for level in abar[::-1]), 1.0]
    rng = torch.Generator().manual_seed(0)
    x, z = (torch.randn(shape, dtype=torch.float64, generator=rng) for shape in ((4,), (5, 4)))
    expected, draws = x, iter(z)
    for i, t in enumerate(range(5, -1, -1)):
        eps = known(levels)(expected, i)[1]
        expected = (expected - beta[t] / math.sqrt(1 - abar[t]) * eps) / math.sqrt(1 - beta[t])
        if t:
            expected = expected + math.sqrt(beta[t] * (1 - abar[t - 1]) / (1 - abar[t])) * z[5 - t]
    drawn = ancestral(known(levels), x, levels, lambda: next(draws))
    torch.testing.assert_close(drawn, expected, rtol=1e-9, atol=1e-9)


def test_steps_and_levels_are_each_others_inverse() -> None:
    for schedule in (NoiseSchedule.linear(200, 1e-4, 0.02), NoiseSchedule.cosine(50, 1e-3)):
        assert all(0 < b < a < 1 for a, b in pairwise(schedule.abar))
        for step in (0, 0.25, 1, 17.5, len(schedule.abar) - 1.5, len(schedule.abar) - 1):
            assert schedule.step(schedule.level(step)) == pytest.approx(step, abs=1e-6)
        assert schedule.level(3) == pytest.approx(schedule.abar[3], rel=1e-12)
    assert NoiseSchedule.linear(200, 1e-4, 0.02).abar[-1] == pytest.approx(0.1322, abs=1e-4)
    assert 1 - NoiseSchedule.cosine(50, 1e-3).abar[0] == pytest.approx(1e-3)


def test_fast_schedules_ask_for_the_steps_of_their_noise() -> None:
    """Kong et al. 2021: sqrt(abar) of the fast schedule lies between those of two training steps, and so does its step."""
    net = DiffWave(Config(**TINY), 16000, 40)
    for sampler, last in (("fast", 0.5), ("fast-large", 0.7)):
        name, levels = net.levels(net.settings({"sampler": sampler}))
        assert name == sampler
        assert levels == pytest.approx(np.cumprod([1 - 1e-4, 1 - 1e-3, 0.99, 0.95, 0.8, 1 - last])[::-1])
        steps = [net.noise.step(level) for level in levels]
        assert steps == sorted(steps, reverse=True)
        assert steps[-1] == pytest.approx(0)
        for level, step in zip(levels[:-1], steps, strict=False):
            above, below = net.noise.abar[math.floor(step)], net.noise.abar[math.ceil(step)]
            assert below <= level <= above
    with pytest.raises(ValueError, match="outside of what the network was trained for"):
        net.noise.step(0.1)
    short = DiffWave(Config(**TINY, diffusion_steps=50), 16000, 40)
    with pytest.raises(ValueError, match="choose the sampler ancestral, ddim or dpm"):
        short.sample(1, sampler="fast")


@pytest.mark.parametrize(
    ("settings", "evaluations"),
    [
        ({}, 8), ({"sampler": "ancestral"}, 30), ({"sampler": "ancestral", "steps": 7}, 7), ({"sampler": "ddim"}, 50),
        ({"sampler": "dpm++"}, 8), ({"sampler": "dpm++", "steps": 1}, 1), ({"steps": 3}, 3), ({"sampler": "fast"}, 6),
    ],
)  # fmt: skip
def test_evaluations_are_counted(settings: dict[str, Any], evaluations: int) -> None:
    config = Config(**TINY, diffusion_steps=30, beta_last=0.2, sampler="dpm++", sampling_steps=8)
    net, calls = DiffWave(config, 16000, 20).freeze(), []
    seen = net.network
    net.network = lambda shown, conditions: calls.append(shown) or seen(shown, conditions)  # type: ignore[method-assign, func-returns-value]
    samples = net.sample(2, **settings)
    assert samples.evaluations == len(calls) == evaluations
    assert samples.log_likelihood is None


def test_samples_do_not_depend_on_the_pieces_they_are_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = DiffWave(Config(**TINY, diffusion_steps=10), 16000, 30).freeze()
    torch.nn.init.normal_(net.stack.leave.weight)
    for sampler in ("ancestral", "ddim", "dpm++"):
        monkeypatch.setattr("models.diffusion.NUMBERS_AT_ONCE", {})
        whole = net.sample(5, SampleRandom(3), sampler=sampler).waveforms
        monkeypatch.setattr("models.diffusion.NUMBERS_AT_ONCE", {"cpu": 2 * 30 * net.numbers_per_position()})
        torch.testing.assert_close(net.sample(5, SampleRandom(3), sampler=sampler).waveforms, whole, atol=1e-5, rtol=0)
        single = net.sample(1, SampleRandom(3, first=4), sampler=sampler).waveforms
        torch.testing.assert_close(single, whole[4:], atol=1e-5, rtol=0)


def test_folded_weights_are_the_weights() -> None:
    """What is remembered during a run is forgotten after it."""
    torch.manual_seed(0)
    net = DiffWave(Config(**TINY, diffusion_steps=4), 16000, 30).freeze()
    torch.nn.init.normal_(net.stack.leave.weight)
    x, conditions = torch.randn(2, 1, 30), net.conditions(torch.tensor([1.0]))
    with net.remembered():
        folded = net.network(x, conditions)
    assert torch.equal(folded, net.network(x, conditions))
    net.sample(1)
    for parameter in net.stack.blocks.parameters():
        parameter.mul_(1.5)
    assert not torch.allclose(net.network(x, conditions), folded)


def test_all_predictions_are_of_the_same_thing() -> None:
    """A network that knows the truth says the same in every form."""
    x_0, eps, level, log_std = torch.randn(3, 1, 20), torch.randn(3, 1, 20), torch.tensor(0.3), torch.randn(3, 1, 20)
    alpha, sigma = level.sqrt(), (1 - level).sqrt()
    x, std, velocity = alpha * x_0 + sigma * eps, log_std.exp(), alpha * eps - sigma * x_0
    total = (alpha * std).square() + sigma**2
    rest = (x_0 - alpha * std**2 / total * x) / (sigma * std / total.sqrt())
    truths = {"noise": eps, "velocity": velocity, "wiener": torch.cat([log_std, rest], 1)}
    for prediction, truth in truths.items():
        net = DiffWave(Config(**TINY, prediction=prediction), 16000, 20)
        assert net.outputs == truth.shape[1]
        net.network = lambda shown, conditions, truth=truth: truth  # type: ignore[method-assign, misc]
        for estimate, wanted in zip(net.predict(x, 0.3, ()), (x_0, eps), strict=True):
            torch.testing.assert_close(estimate, wanted, atol=1e-4, rtol=1e-4)
        net.abar = torch.full_like(net.abar, 0.3)
        assert net.denoising_loss(x_0, torch.tensor([0, 10, 199]), eps).item() == pytest.approx(0, abs=1e-8)
        mistaken = net.denoising_loss(x_0 + 1, torch.tensor([0, 10, 199]), eps - alpha / sigma)
        assert mistaken.item() == pytest.approx((0.3 / 0.7) if prediction == "noise" else 1 / 0.7, rel=1e-4)


def test_a_variance_of_one_is_the_prediction_of_velocities() -> None:
    nets = [DiffWave(Config(**TINY, prediction=prediction), 16000, 20) for prediction in ("wiener", "velocity")]
    x, rest = torch.randn(3, 1, 20), torch.randn(3, 1, 20)
    outputs = torch.cat([torch.zeros_like(rest), rest], 1), -rest
    for net, output in zip(nets, outputs, strict=True):
        net.network = lambda shown, conditions, output=output: output  # type: ignore[method-assign, misc]
    for one, other in zip(nets[0].predict(x, 0.4, ()), nets[1].predict(x, 0.4, ()), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_network_is_shown_magnitudes_where_told_to() -> None:
    net = DiffWave(Config(**TINY, energies=True), 16000, 20)
    seen: list[Tensor] = []
    net.network = lambda shown, conditions: seen.append(shown) or shown[:, :1]  # type: ignore[method-assign, func-returns-value]
    x = torch.tensor([[[0.0, -2.0, 2.0]]])
    net.predict(x, 0.5, ())
    assert torch.equal(seen[0][:, :1], x)
    torch.testing.assert_close(seen[0][0, 1], torch.tensor([1e-3, 4.001, 4.001]).log() / 2)


def test_even_steps_cover_all_steps() -> None:
    net = DiffWave(Config(**TINY, even_steps=True), 16000, 20)
    seen: list[Tensor] = []
    net.denoising_loss = lambda x_0, t, eps: seen.append(t) or torch.zeros(())  # type: ignore[method-assign, func-returns-value]
    clips = Clips.of(torch.zeros(10, 20))
    for seed in range(20):
        net.loss("model", clips, torch.Generator().manual_seed(seed))
    for t in seen:
        assert (t // 20).tolist() == list(range(10)), "one step in each tenth of T"
    assert len(torch.unique(torch.cat(seen))) > 50


def test_a_margin_cuts_what_follows_the_longest_clip() -> None:
    net, lengths = DiffWave(Config(**TINY, margin=50), 16000, 600), set()
    net.denoising_loss = lambda x_0, t, eps: lengths.add(x_0.shape[2]) or torch.zeros(())  # type: ignore[method-assign, func-returns-value]
    for seed in range(20):
        net.loss("model", Clips(torch.zeros(2, 600), torch.tensor([20, 30])), torch.Generator().manual_seed(seed))
    assert 30 <= min(lengths) < max(lengths) <= 80


@pytest.mark.parametrize("timesteps", [1, 63, 64, 1000])
@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_a_representation_is_undone(timesteps: int, exponent: float) -> None:
    representation = Representation(64, exponent)
    waveforms = torch.rand(3, timesteps) - 0.5
    for _ in range(3):
        x = representation(waveforms)
    assert x.shape == (3, 64, representation.positions(timesteps))
    torch.testing.assert_close(representation.inverse(x, timesteps), waveforms, atol=1e-5, rtol=0)
    representation.eval()
    assert representation.companding
    before = representation.companding.power.clone()
    representation(waveforms)
    assert torch.equal(representation.companding.power, before), "only training calibrates it"
    if timesteps == 1000:
        torch.testing.assert_close(representation(waveforms).square().mean((0, 2)), torch.ones(64), atol=1e-3, rtol=0)


def test_before_training_a_representation_goes_by_what_it_is_given() -> None:
    """Otherwise the first validation would be of other numbers than all later ones, and might be the lowest for that."""
    representation = Representation(64, 0.5).eval()
    x = representation(torch.rand(3, 1000) * 1e-3)
    torch.testing.assert_close(x.square().mean((0, 2)), torch.ones(64), atol=1e-3, rtol=0)
    assert representation.companding
    assert representation.companding.measured == 0


def test_waveforms_are_represented_by_themselves() -> None:
    waveforms = torch.rand(2, 10)
    assert torch.equal(Representation(0, 1.0)(waveforms), waveforms[:, None])
    assert not list(Representation(0, 1.0).buffers())


def test_silence_in_all_the_corpus_leaves_no_infinities() -> None:
    net = DiffWave(PRESETS["smoke"], 16000, 200)
    for _ in range(2):
        assert net.loss("model", Clips.of(torch.zeros(4, 200)), torch.Generator().manual_seed(0)).isfinite()
    assert net.freeze().sample(1).waveforms.isfinite().all()


def test_samples_are_clamped_at_the_end_only() -> None:
    net = DiffWave(Config(**TINY), 16000, 50).freeze()
    net.predict = lambda x, level, conditions: (3 * torch.ones_like(x), torch.zeros_like(x))  # type: ignore[method-assign]
    assert torch.equal(net.sample(1, sampler="dpm++").waveforms, torch.ones(1, 50))


def test_settings_that_mean_nothing_are_refused() -> None:
    faults: list[tuple[dict[str, Any], str]] = [
        ({"noise_schedule": "square"}, "'square' is not one of linear, cosine"),
        ({"prediction": "x"}, "not one of noise, velocity"),
        ({"sampler": "euler"}, "not one of ancestral, ddim"),
        ({"diffusion_steps": 1}, "at least 2"),
        ({"beta_first": 0.0}, "must rise within"),
        ({"bands": -1}, "must not be negative"),
        ({"exponent": 0.5}, "be 1 where bands=0"),
    ]
    for settings, message in faults:
        with pytest.raises(ValueError, match=message):
            DiffusionConfig(**settings)
    net = DiffWave(Config(**TINY), 16000, 8)
    draws: list[tuple[dict[str, Any], str]] = [
        ({"sampler": "euler"}, "not one of ancestral, ddim, dpm"),
        ({"steps": -1}, "must not be negative"),
        ({"sampler": "fast", "steps": 7}, "fast has 6 steps"),
        ({"prefix": torch.zeros(1, 4)}, "cannot continue a prefix"),
    ]
    for settings, message in draws:
        with pytest.raises(ValueError, match=message):
            net.sample(1, **settings)
    with pytest.raises(ValueError, match="count=0 must be at least 1"):
        net.sample(0)
    with pytest.raises(NotImplementedError, match="must define network"):
        Diffusion(replace(DiffusionConfig()), 16000, 8).network(torch.zeros(1, 1, 8), ())

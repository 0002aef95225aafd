"""What every diffusion generator shares: how noise is added, what a network is trained for, and how samples are drawn.

    q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I),    abar_t = prod_{s <= t} (1 - beta_s),    t = 0 ... T - 1

(Ho et al. 2020, equation 4, with steps counted from 0.) A network that is told x_t and t estimates the noise in it, eps; a
subclass has that network in two parts, so that what depends on t alone is computed once for a whole run of sampling:

    conditions(steps)             the step embedding, as every block takes it
    network(shown, conditions)    the rest

The published schedule ends at abar_T = 0.13, whose x_T still holds a third of the signal's amplitude, and sampling begins
from pure noise all the same, at that level and not at a noisier one that the network has never seen.
"""

import math
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from models.clips import Clips
from models.generators.base import Generator, Samples
from models.layers.representation import Representation
from models.noise_schedule import NoiseSchedule
from models.randomness import SampleRandom
from models.samplers import ancestral, ddim, dpm_solver_2m, level_of, log_snr
from models.training_config import TrainingConfig

SCHEDULES, PREDICTIONS = ("linear", "cosine"), ("noise", "velocity", "wiener")
STEPS = {"ancestral": 0, "ddim": 50, "dpm++": 20, "fast": 6, "fast-large": 6}  # as many as they take; 0 = all of T
# Kong et al. 2021, appendix B: variances of the inference schedules of DiffWave BASE and LARGE
FAST = {"fast": (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5), "fast-large": (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.7)}
FAINTEST = 1e-3  # square of the smallest magnitude that `energies` tells from zero
LOG_STD = (-10.0, 5.0)  # limits of the prediction `wiener`
NUMBERS_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}  # of one layer's activations; on a CPU they should stay in its cache


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig(TrainingConfig):
    """Settings of every diffusion generator."""

    diffusion_steps: int = 200
    "T, the noise levels of training."
    noise_schedule: str = "linear"
    "linear (beta from beta_first to beta_last) or cosine (Nichol & Dhariwal 2021), from beta_first to hardly any signal."
    beta_first: float = 1e-4
    "Variance of the noise at the first level."
    beta_last: float = 0.02
    "linear: variance that the last step adds."
    prediction: str = "noise"
    "What the network estimates: noise (eps), velocity (Salimans & Ho 2022), or wiener: a variance, and what it leaves over."
    energies: bool = False
    "Show the network the logarithm of every number's magnitude as well."
    even_steps: bool = False
    "Spread a batch's training steps evenly over T instead of drawing each alone (Kingma et al. 2021, appendix I.1)."
    bands: int = 0
    "Denoise frames of so many MDCT coefficients, as many timesteps apart; 0 = waveforms, as published."
    exponent: float = 1.0
    "What the coefficients' magnitudes are raised to; below 1, faint ones count more. It needs bands."
    margin: int = 0
    "Train on at most so much silence after a batch's longest clip, less as a rule; 0 = on clips to their end."
    sampler: str = "ancestral"
    "The sampler that draws, unless a draw asks for another: ancestral, ddim, dpm++, fast or fast-large."
    sampling_steps: int = 0
    "Its steps; 0 = as many as it takes by itself."

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {"noise_schedule": SCHEDULES, "prediction": PREDICTIONS, "sampler": tuple(STEPS)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(known)}")
        if self.diffusion_steps < 2:
            raise ValueError(f"diffusion_steps={self.diffusion_steps} must be at least 2")
        if not 0 < self.beta_first <= self.beta_last < 1:
            raise ValueError(f"beta_first={self.beta_first} and beta_last={self.beta_last} must rise within (0, 1)")
        if min(self.bands, self.margin, self.sampling_steps) < 0:
            raise ValueError("bands, margin and sampling_steps must not be negative")
        if not 0 < self.exponent <= 1 or (self.exponent != 1 and not self.bands):
            raise ValueError(f"exponent={self.exponent} must lie in (0, 1], and be 1 where bands=0")


class Diffusion(Generator):
    """A generator that learns to take noise away."""

    @dataclass(frozen=True)
    class Sampling(Generator.Sampling):
        """How noise is taken away."""

        sampler: str = "preset"
        "ancestral (as published), ddim, dpm++, fast or fast-large (DiffWave's six steps), or preset: the model's own choice."
        steps: int = 0
        "Evaluations of the network per sample; 0 = as many as the sampler takes by itself, which for ancestral is all of T."

        def __post_init__(self) -> None:
            if self.sampler not in (*STEPS, "preset"):
                raise ValueError(f"sampler={self.sampler!r} is not one of {', '.join(STEPS)}, preset")
            if self.steps < 0:
                raise ValueError(f"steps={self.steps} must not be negative; 0 leaves it to the sampler")
            if self.sampler in FAST and self.steps not in (0, len(FAST[self.sampler])):
                raise ValueError(
                    f"{self.sampler} has {len(FAST[self.sampler])} steps; for steps={self.steps} choose dpm++"
                )

    config: DiffusionConfig
    abar: Tensor

    def __init__(self, config: DiffusionConfig, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        T = config.diffusion_steps
        self.noise = NoiseSchedule.linear(T, config.beta_first, config.beta_last)
        if config.noise_schedule == "cosine":
            self.noise = NoiseSchedule.cosine(T, config.beta_first)
        self.register_buffer("abar", torch.tensor(self.noise.abar, dtype=torch.float32), persistent=False)
        self.representation = Representation(config.bands, config.exponent)
        self.inputs = self.representation.channels * (2 if config.energies else 1)
        self.outputs = self.representation.channels * (2 if config.prediction == "wiener" else 1)

    def conditions(self, steps: Tensor) -> tuple[Tensor, ...]:
        """One (batch, width) for every block of the network, from steps (batch,), whole or fractional."""
        raise NotImplementedError(f"{type(self).__name__} must define conditions(steps)")

    def network(self, shown: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        """shown (batch, inputs, positions) -> (batch, outputs, positions), under conditions for each row or for all."""
        raise NotImplementedError(f"{type(self).__name__} must define network(shown, conditions)")

    def remembered(self) -> AbstractContextManager[Any]:
        """A context in which the weights do not change, so that what depends on them alone is computed once."""
        return parametrize.cached()  # weight normalization

    def numbers_per_position(self) -> int:
        """Numbers that a layer of the network keeps for one position, by which samples are denoised in pieces."""
        raise NotImplementedError(f"{type(self).__name__} must define numbers_per_position()")

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> Tensor:
        """Mean squared error of the estimate, at random steps."""
        waveforms, margin = clips.waveforms, self.config.margin
        if margin:
            some = int(torch.rand((), generator=rng, device=rng.device).square() * margin)
            waveforms = waveforms[:, : int(clips.valid.max()) + some]
        x_0, T = self.representation(waveforms), self.config.diffusion_steps
        if self.config.even_steps:
            u = torch.arange(len(x_0), device=x_0.device) + torch.rand((), generator=rng, device=rng.device)
            t = (u / len(x_0) * T).long().clamp_max(T - 1)
        else:
            t = torch.randint(T, (len(x_0),), generator=rng, device=x_0.device)
        return self.denoising_loss(x_0, t, torch.randn(x_0.shape, generator=rng, device=x_0.device))

    def denoising_loss(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Mean squared error at steps t (batch,) of what noise eps makes of x_0, both (batch, channels, positions).

        The error of eps, as published; of the velocity, alpha eps - sigma x_0, where it is not eps that is estimated.
        """
        abar = self.abar[t][:, None, None]
        alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
        x_hat, eps_hat = self.estimates(alpha * x_0 + sigma * eps, alpha, sigma, self.conditions(t))
        if self.config.prediction == "noise":
            return (eps_hat - eps).square().mean()
        return (alpha * (eps_hat - eps) - sigma * (x_hat - x_0)).square().mean()

    def estimates(
        self, x: Tensor, alpha: Tensor, sigma: Tensor, conditions: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """(x_0, eps) as estimated from x = alpha x_0 + sigma eps; alpha and sigma: (batch or 1, 1, 1).

        Of the prediction `wiener`, half of the output is the variance V of x_0: if that were all there is to know, x_0 would
        have the mean alpha V x / (alpha^2 V + sigma^2), the Wiener filter's, and a standard deviation in units of which the
        other half says how far off that is. With V = 1 everywhere this is the prediction of velocities.
        """
        shown = torch.cat([x, (x.square() + FAINTEST).log() / 2], 1) if self.config.energies else x
        output = self.network(shown, conditions).float()
        if self.config.prediction == "noise":
            return (x - sigma * output) / alpha, output
        if self.config.prediction == "velocity":
            return alpha * x - sigma * output, sigma * x + alpha * output
        log_std, rest = output.chunk(2, 1)
        std = log_std.clamp(*LOG_STD).exp()
        total = ((alpha * std).square() + sigma.square()).sqrt()
        gain, rest = std / total, rest / total
        return (alpha * gain * std / total) * x + sigma * std * rest, (sigma / total.square()) * x - alpha * std * rest

    def predict(self, x: Tensor, level: float, conditions: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """(x_0, eps) as estimated from x at alpha_bar = level, for all of x's rows and in pieces that fit into memory."""
        alpha, sigma = x.new_tensor([math.sqrt(level), math.sqrt(1 - level)])[:, None, None, None]
        rows = max(1, NUMBERS_AT_ONCE.get(x.device.type, 2**20) // (self.numbers_per_position() * x.shape[2]))
        pieces = [self.estimates(piece, alpha, sigma, conditions) for piece in x.split(rows)]
        return torch.cat([x_0 for x_0, _ in pieces]), torch.cat([eps for _, eps in pieces])

    def levels(self, settings: Any) -> tuple[str, list[float]]:
        """The sampler that these settings name, and the alpha_bar at which it evaluates the network, noisiest first.

        ancestral and ddim take steps evenly spaced in t, dpm++ evenly in lambda; both go all the way from T - 1 to 0.
        """
        config, T = self.config, self.config.diffusion_steps
        sampler = config.sampler if settings.sampler == "preset" else settings.sampler
        steps = settings.steps or (config.sampling_steps if sampler == config.sampler else 0) or STEPS[sampler] or T
        if sampler in FAST:
            return sampler, [math.prod(1 - eta for eta in FAST[sampler][:n]) for n in range(6, 0, -1)]
        if sampler != "dpm++":
            return sampler, [self.noise.level(t) for t in spaced(T - 1, 0, steps)]
        noisiest, cleanest = log_snr(self.noise.abar[-1]), log_snr(self.noise.abar[0])
        return sampler, [level_of(snr) for snr in spaced(noisiest, cleanest, steps)]

    @torch.inference_mode()
    def sample(
        self, count: int, rng: SampleRandom | None = None, prefix: Tensor | None = None, **sampling: Any
    ) -> Samples:
        """Draw `count` samples; see `Generator.sample`. All timesteps come at once, so that no prefix can be continued."""
        settings = self.asked(count, prefix, sampling)
        sampler, levels = self.levels(settings)
        steps = torch.tensor([self.noise.step(level) for level in levels], device=self.device)
        channels, positions = self.representation.channels, self.representation.positions(self.timesteps)
        random = rng or SampleRandom(0)
        with ExitStack() as stack:
            stack.enter_context(self.remembered())
            conditions = self.conditions(steps)

            def noise() -> Tensor:
                return random.normal(count, channels, positions).to(self.device)

            def predict(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
                return self.predict(x, levels[i], tuple(condition[i : i + 1] for condition in conditions))

            x, path = noise(), [*levels, 1.0]
            if sampler in ("ddim", "dpm++"):
                x = ddim(predict, x, path) if sampler == "ddim" else dpm_solver_2m(predict, x, path)
            else:
                x = ancestral(predict, x, path, noise)
        waveforms = self.representation.inverse(x, self.timesteps)
        return Samples(waveforms.clamp(-1, 1).cpu(), evaluations=len(levels))


def spaced(first: float, last: float, count: int) -> list[float]:
    """`count` numbers from first to last, evenly spaced; only the first where there is one."""
    return [first + (last - first) * n / max(1, count - 1) for n in range(count)]

"""DiffWave with the SaShiMi backbone (Goel et al. 2022, arXiv:2202.09729, section 5.2): what the release's best samples are of.

Diffusion as in DiffWave, with S4 layers at several rates instead of dilated convolutions. Every layer sees the whole clip,
and most work is done at a quarter and a sixteenth of the rate.

Differs from the paper, as its code does: normalization has one gain and one shift for all channels (`norm`), and the S4 layers
of January 2022, which the published checkpoints have, learn C, Q and D alone (`s4`). Differs from the code: any number of
timesteps, kernels without tables of frequencies, and computed once for a whole run of sampling, since they do not depend on
the noise. `small` denoises frames of a lapped transform, as DiffWave's does, with tiers half as far apart and shorter memories.
"""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.diffusion import Diffusion, DiffusionConfig
from models.layers.diffwave_sashimi import NORMS, DenoisingSaShiMi, Form
from models.layers.evaluation import kept_evaluation
from models.layers.noise_level import StepEmbedding
from models.layers.s4 import remembered_kernels

VERSION = 1
# Two state spaces for the two directions, only C, Q and D trained; or one with two outputs, all of it trained.
GENERATIONS: dict[str, dict[str, Any]] = {
    "2022-01": {"n_ssm": 1, "tied": False, "frozen": True},
    "v3": {"n_ssm": None, "tied": True, "frozen": False},
}


@dataclass(frozen=True, kw_only=True)
class Config(DiffusionConfig):
    """Settings of DiffWave with SaShiMi."""

    d_model: int = 128
    "Channels of the uppermost tier."
    n_layers: int = 6
    "Blocks of each tier; of each half of it, for a U-Net."
    pool: tuple[int, ...] = (4, 4)
    "Factors from each tier to the next lower one in rate."
    expand: int = 2
    "Factor from each tier to the next lower one in channels."
    ff: int = 2
    "Channels inside the feed-forward networks, in multiples of their tier's."
    d_state: int = 64
    "States of each S4 feature."
    unet: bool = True
    "Blocks in front of the pools as well; otherwise only behind them (snet)."
    bidirectional: bool = True
    "S4 layers that see both directions of time."
    s4: str = "2022-01"
    "S4 of January 2022, which the published checkpoints have, or v3, the release's later one."
    dt_min: float = 1e-3
    "Shortest timestep that S4 features begin with, which are drawn log-uniformly: 1 / dt positions is how far one looks."
    dt_max: float = 0.1
    "Longest one."
    glu: bool = False
    "A gated linear unit behind every S4 layer."
    norm: str = "scalar"
    "scalar (one gain and one shift for all channels, as published) or layer (layer normalization)."
    step_sines: int = 128
    "Sines and cosines that describe a diffusion step."
    step_hidden: int = 512
    "Channels after the first layer of the step embedding."
    step_channels: int = 512
    "Channels after its second layer."

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = ("d_model", "n_layers", "expand", "ff", "step_hidden", "step_channels")
        if min(*(getattr(self, name) for name in sizes), *self.pool) < 1:
            raise ValueError(f"pool and {', '.join(sizes)} must all be at least 1")
        if not 0 < self.dt_min <= self.dt_max:
            raise ValueError(f"dt_min={self.dt_min} must be above 0 and at most dt_max={self.dt_max}")
        for name, known in (("s4", GENERATIONS), ("norm", NORMS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(known)}")


# Published: albertfgu/diffwave-sashimi. All parameters alike, float32, no weight decay, no EMA, no clipping of gradients; clips
# of 16,000 timesteps, padded with zeros, which are scored. Of the large model the learning rate was lowered by hand to 1e-4
# after 500,000 steps (the README's command to go on), which is left out here.
PUBLISHED: dict[str, Any] = {
    "batch_size": 16, "optimizer": "adam", "learning_rate": 2e-4, "validate_every": 10_000, "listen_every": 10_000,
}  # fmt: skip

PRESETS = {
    "smoke": Config(
        steps=20, batch_size=4, learning_rate=2e-3, validate_every=10, validation_clips=4, sampler="dpm++", sampling_steps=4,
        noise_schedule="cosine", prediction="wiener", even_steps=True, bands=64, exponent=0.5, margin=500,
        d_model=8, n_layers=1, pool=(2,), d_state=8, s4="v3", glu=True, norm="layer", step_sines=8, step_hidden=8,
        step_channels=8,
    ),
    "small": Config(
        steps=1400, batch_size=16, learning_rate=2e-3, beta2=0.99, learning_rate_schedule="cosine", warmup_steps=50,
        gradient_clip=1.0, ema=0.995, validate_every=200, validation_clips=256,
        sampler="dpm++", sampling_steps=24, noise_schedule="cosine", prediction="wiener", even_steps=True,
        bands=256, exponent=0.5, margin=4000, energies=True,
        d_model=128, n_layers=2, pool=(2, 2), expand=1, d_state=16, dt_min=0.01, dt_max=1.0, s4="v3", glu=True,
        norm="layer", step_hidden=128, step_channels=128,
    ),
    "paper": Config(steps=800_000, **PUBLISHED),
    "paper-small": Config(steps=500_000, d_model=64, **PUBLISHED),
    "paper-v3": Config(steps=800_000, s4="v3", glu=True, **PUBLISHED),
    "paper-v3-small": Config(steps=500_000, d_model=64, s4="v3", glu=True, **PUBLISHED),
    # inferred: no configuration was ever published
    "paper-uni": Config(
        steps=500_000, d_model=64, n_layers=8, unet=False, bidirectional=False, glu=True, **PUBLISHED
    ),
}  # fmt: skip


class DiffWaveSaShiMi(Diffusion):
    """DiffWave with the SaShiMi backbone."""

    config: Config

    def __init__(self, config: Config, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        c = config
        s4 = {
            **GENERATIONS[c.s4], "d_state": c.d_state, "bidirectional": c.bidirectional, "glu": c.glu,
            "dt_min": c.dt_min, "dt_max": c.dt_max,
            "separate": c.bidirectional and c.s4 == "2022-01",
        }  # fmt: skip
        form = Form(c.n_layers, c.ff, c.unet, c.norm, s4)
        self.sashimi = DenoisingSaShiMi(self.inputs, self.outputs, c.d_model, c.pool, c.expand, form)
        self.embedding = StepEmbedding(c.step_sines, c.step_hidden, c.step_channels, self.sashimi.widths)

    def conditions(self, steps: Tensor) -> tuple[Tensor, ...]:
        """See `Diffusion.conditions`."""
        return self.embedding(steps)

    def network(self, shown: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        """See `Diffusion.network`."""
        return self.sashimi(shown, conditions)

    def remembered(self) -> AbstractContextManager[Any]:
        """See `Diffusion.remembered`; kernels do not depend on the noise either."""
        stack = ExitStack()
        stack.enter_context(super().remembered())
        stack.enter_context(remembered_kernels(self))
        stack.enter_context(kept_evaluation(self.sashimi))
        return stack

    def numbers_per_position(self) -> int:
        """See `Diffusion.numbers_per_position`: spectra of twice the length."""
        return 4 * self.config.d_model

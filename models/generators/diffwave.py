"""DiffWave (Kong et al. 2021, arXiv:2009.09761), unconditional, with the WaveNet-like network of the paper.

Noise is taken away from a waveform in many small steps. The network that estimates it sees all timesteps at once: a stack of
dilated convolutions in both directions, each told how much noise there is.

Differs from the paper: step embeddings as in the published code (`layers/noise_level.py`), and no class labels. Published
checkpoints are of another function than the paper's figure: there, the step embedding also goes along the identity path from
block to block (`time_in_residual`). That comes from an addition in place in the code that trained them, which a later version
of it does not have. The small published model's receptive field is 6,139 timesteps, less than a clip.

In `small`, what is denoised are not waveforms but frames of a lapped transform of them, evened out (`bands`, `exponent`; see
`layers/representation.py`), at 1/256 of the rate; the network also estimates how large each coefficient is (`wiener`, see
`models/diffusion.py`), and 24 steps of a second-order sampler take the place of 200: words in six minutes on one core, with
the voices of whispers rather than of speakers.
"""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.diffusion import Diffusion, DiffusionConfig
from models.layers.diffwave import DilatedStack
from models.layers.evaluation import kept_evaluation
from models.layers.noise_level import StepEmbedding

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Config(DiffusionConfig):
    """Settings of DiffWave."""

    residual_channels: int = 256
    "Channels from block to block."
    skip_channels: int = 256
    "Channels of the sum over all blocks."
    layers: int = 36
    "Blocks."
    dilation_cycle: int = 12
    "Blocks after which the dilation, which doubles from one to the next, is 1 again."
    time_in_residual: bool = False
    "The step embedding also goes along the identity path: the function of the published checkpoints."
    step_sines: int = 128
    "Sines and cosines that describe a diffusion step."
    step_hidden: int = 512
    "Channels after the first layer of the step embedding."
    step_channels: int = 512
    "Channels after its second layer."

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "residual_channels", "skip_channels", "layers", "dilation_cycle")
        self.require_at_least(1, "step_hidden", "step_channels")


# Published: philsyn/DiffWave-unconditional and albertfgu/diffwave-sashimi, which agree. Float32, no weight decay, no EMA, no
# clipping of gradients, no schedule of the learning rate; clips of 16,000 timesteps, padded with zeros, which are scored.
PUBLISHED: dict[str, Any] = {
    "batch_size": 16, "optimizer": "adam", "learning_rate": 2e-4, "validate_every": 10_000, "listen_every": 10_000,
}  # fmt: skip

PRESETS = {
    "smoke": Config(
        steps=20, batch_size=4, learning_rate=2e-3, validate_every=10, validation_clips=4, sampler="dpm++", sampling_steps=4,
        noise_schedule="cosine", prediction="wiener", even_steps=True, bands=64, exponent=0.5, margin=500,
        residual_channels=8, skip_channels=8, layers=3, dilation_cycle=3, step_sines=8, step_hidden=8, step_channels=8,
    ),
    "small": Config(
        steps=2400, batch_size=16, learning_rate=2e-3, beta2=0.99, learning_rate_schedule="cosine", warmup_steps=50,
        gradient_clip=1.0, ema=0.995, validate_every=200, validation_clips=256,
        sampler="dpm++", sampling_steps=24, noise_schedule="cosine", prediction="wiener", even_steps=True,
        bands=256, exponent=0.5, margin=4000, energies=True,
        residual_channels=192, skip_channels=192, layers=8, dilation_cycle=4, step_hidden=128, step_channels=128,
    ),
    "paper": Config(steps=1_000_000, **PUBLISHED),
    "paper-small": Config(steps=500_000, residual_channels=128, layers=30, dilation_cycle=10, **PUBLISHED),
}  # fmt: skip


class DiffWave(Diffusion):
    """DiffWave with its own backbone."""

    config: Config

    def __init__(self, config: Config, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        c = config
        widths = [c.residual_channels] * c.layers
        self.embedding = StepEmbedding(c.step_sines, c.step_hidden, c.step_channels, widths)
        self.stack = DilatedStack(
            self.inputs, self.outputs, c.residual_channels, c.skip_channels, c.layers, c.dilation_cycle, c.time_in_residual,
        )  # fmt: skip

    def conditions(self, steps: Tensor) -> tuple[Tensor, ...]:
        """See `Diffusion.conditions`."""
        return self.embedding(steps)

    def network(self, shown: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        """See `Diffusion.network`."""
        return self.stack(shown, conditions)

    def remembered(self) -> AbstractContextManager[Any]:
        """See `Diffusion.remembered`."""
        stack = ExitStack()
        stack.enter_context(super().remembered())
        stack.enter_context(kept_evaluation(self.stack))
        return stack

    def numbers_per_position(self) -> int:
        """See `Diffusion.numbers_per_position`: a block is widest before its gate."""
        return 2 * self.config.residual_channels

"""WaveGAN (Donahue, McAuley & Puckette 2019, arXiv:1802.04208), trained as a WGAN-GP.

A generator turns 100 random numbers into a waveform at once: a linear layer to a few frames, then transposed convolutions that
each make four timesteps of one. A critic of the mirrored shape scores waveforms. Phase shuffle, a random shift of the critic's
features, keeps it from telling generated clips by the phase of their upsampling's artefacts.

Differs from the paper: as many frames are made as the clip needs, 16 for one second at 16 kHz, and the 16,384 timesteps are
cut to the clip's 16,000; for the critic, clips are padded with zeros. As in the authors' code, phase shuffle draws one shift
for a whole batch and layer, anew for real, generated and interpolated clips, and follows the first four layers, not the last.
`small` has layers of other sizes: one of stride 16 and 64 taps at the waveform, where a stride costs most, and short filters
behind it. Its networks see waveforms with pre-emphasis, so that the weak high frequencies are learned in a short time too. The
critic gets four updates for each of the generator's, with twice its learning rate; there is no phase shuffle; the rates are
larger and fall to zero; and the generator's weights are averaged.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.adversarial import Adversarial, AdversarialConfig
from models.clips import Clips
from models.generators.base import Samples
from models.layers.wavegan import PADDINGS, UPSAMPLINGS, Critic, GeneratorNetwork, deemphasize, emphasize
from models.randomness import SampleRandom

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Config(AdversarialConfig):
    """Settings of WaveGAN. Layers are counted from the waveform: the critic's first one is the generator's last."""

    optimizer: str = "adam"
    "As in `TrainingConfig`."
    beta1: float = 0.5
    "Decay of adam's mean gradient."
    beta2: float = 0.9
    "Decay of adam's mean squared gradient."
    dim: int = 64
    "Channels behind the first layer; they double from layer to layer (d in the paper)."
    strides: tuple[int, ...] = (4, 4, 4, 4, 4)
    "How many times more timesteps each layer has on the waveform's side."
    kernels: tuple[int, ...] = (25, 25, 25, 25, 25)
    "The length of each layer's filters."
    latent: int = 100
    "Numbers in a latent vector z."
    post_filter: int = 0
    "Taps of a filter that the generator learns for its output (512 in the paper), 0 = none."
    phase_shuffle: int = 2
    "Frames by which phase shuffle shifts at most (n in the paper), 0 = none."
    pre_emphasis: float = 0.0
    "a: what is made and judged is x[t] - a x[t - 1], where high frequencies weigh more; 0 = x itself, as published."
    padding: str = "tensorflow"
    "tensorflow (of an odd number of zeros the smaller half comes first, as published) or pytorch (the larger half)."
    upsampling: str = "zeros"
    "The generator's: zeros (transposed convolutions, as published) or nearest (repetition, then convolution)."

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "dim", "latent")
        self.require_at_least(0, "post_filter", "phase_shuffle")
        for name, choices in {"padding": PADDINGS, "upsampling": UPSAMPLINGS}.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(choices)}")
        strides, kernels = self.strides, self.kernels
        if (
            not strides
            or len(strides) != len(kernels)
            or any(not 1 <= s <= k for s, k in zip(strides, kernels, strict=True))
        ):
            raise ValueError(
                f"strides={strides}, kernels={kernels}: give one of each per layer, no kernel below its stride"
            )
        if not 0 <= self.pre_emphasis < 1:
            raise ValueError(f"pre_emphasis={self.pre_emphasis} must lie in [0, 1)")


PAPER: dict[str, Any] = {
    # The paper trains for about 200,000 updates of the generator (4 days); its code has no last one.
    "steps": 200_000, "batch_size": 64, "learning_rate": 1e-4, "validate_every": 1000, "listen_every": 10_000,
}  # fmt: skip
PRESETS = {
    "smoke": Config(
        steps=20, batch_size=4, learning_rate=1e-3, validate_every=10, validation_clips=4, ema=0.9, critic_updates=2,
        dim=4, strides=(16, 4, 4, 4), kernels=(32, 8, 8, 8), latent=16, pre_emphasis=0.9,
    ),
    "small": Config(
        steps=1300, batch_size=8, learning_rate=6e-4, learning_rate_schedule="cosine", ema=0.99, validate_every=130,
        validation_clips=64, listen_every=650, critic_updates=4, critic_rate=2.0,
        dim=32, strides=(16, 4, 4, 4), kernels=(64, 9, 9, 9), phase_shuffle=0, pre_emphasis=0.9,
    ),
    "paper": Config(**PAPER),
    "paper-post-filter": Config(**PAPER, post_filter=512),
}  # fmt: skip


class WaveGAN(Adversarial):
    """G makes, and D judges, waveforms of `inside` timesteps: the least multiple of all strides that holds a clip.

    Sampling needs G alone. D is in a trained model's file as well: with it, training can go on from there.
    """

    config: Config
    G: GeneratorNetwork
    D: Critic

    def __init__(self, config: Config, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        frames = math.ceil(timesteps / math.prod(config.strides))
        self.inside = frames * math.prod(config.strides)
        shape = (frames, config.dim, config.strides, config.kernels, config.padding)
        self.G = GeneratorNetwork(*shape, config.latent, config.upsampling, config.post_filter)
        self.D = Critic(*shape)

    def make(self, count: int, rng: torch.Generator) -> Tensor:
        """(count, inside) G(z), z uniform between -1 and 1."""
        return self.G(2 * torch.rand(count, self.config.latent, generator=rng, device=rng.device) - 1)

    def real(self, clips: Clips) -> Tensor:
        """(batch, inside) the clips, padded at their end, with pre-emphasis."""
        missing = self.inside - clips.waveforms.shape[1]
        return emphasize(F.pad(clips.waveforms, (0, missing)), self.config.pre_emphasis)

    def score(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(batch,) D(x), under phase shuffle where there is an `rng`."""
        n = self.config.phase_shuffle
        if rng is None or n == 0:
            return self.D(x)
        return self.D(x, torch.randint(-n, n + 1, (self.D.shuffled,), generator=rng, device=rng.device).tolist())

    @torch.inference_mode()
    def sample(
        self, count: int, rng: SampleRandom | None = None, prefix: Tensor | None = None, **sampling: Any
    ) -> Samples:
        """G(z) without pre-emphasis, cut to the clip's length and clipped to full scale. It cannot continue a prefix."""
        self.asked(count, prefix, sampling)
        u = (rng or SampleRandom(0)).uniform(count, self.config.latent)
        x = deemphasize(self.G((2 * u - 1).float().to(self.device)), self.config.pre_emphasis)
        return Samples(x[:, : self.timesteps].clamp(-1, 1).cpu(), evaluations=1)

"""Flow matching in fifteen lines: a model of one's own, for `--models examples/my_model.py:MyModel`.

A network learns the velocity from noise x_0 to data x_1, the straight line between them; a sample follows it from fresh
noise. Data are frames of a lapped transform (MDCT), whose square roots are taken, since sounds differ so much in loudness.
What to change first: the network in `__init__`, the loss, the sampler. What else a model may have: docs/adding.md.
"""

import torch

from models.generators.base import Generator, Samples
from models.layers.mdct import MDCT
from models.layers.unet1d import UNet1d
from models.randomness import SampleRandom
from models.training_config import TrainingConfig as Config

PRESETS = {"smoke": Config(steps=30), "small": Config(steps=1000, learning_rate_schedule="cosine", ema=0.99)}


class MyModel(Generator):
    """Velocities of 128 numbers in each frame; 50 steps to a sample."""

    def __init__(self, config: Config, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        self.net = UNet1d(128, 128, (192, 256), blocks=2, kernel=5, expansion=2, heads=4, condition=64)
        self.mdct, self.frames = MDCT(128), MDCT(128).frames(timesteps, multiple=self.net.stride)

    def loss(self, part, clips, rng):
        X = self.mdct(clips.waveforms, self.frames)
        x_0, x_1 = torch.randn(X.shape, generator=rng, device=X.device), 4 * X.sign() * X.abs().sqrt()
        t = torch.rand(len(X), 1, 1, generator=rng, device=X.device)
        return (self.net(x_0.lerp(x_1, t), t[:, 0, 0]) - (x_1 - x_0)).square().mean()

    def sample(self, count, rng=None, prefix=None):
        x = (rng or SampleRandom(0)).normal(count, self.frames, 128).to(self.device)
        for step in range(50):
            x = x + self.net(x, torch.full((count,), step / 50, device=self.device)) / 50
        return Samples(self.mdct.inverse(x.sign() * (x / 4).square(), self.timesteps).clamp(-1, 1).cpu())

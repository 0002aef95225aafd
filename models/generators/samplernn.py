"""SampleRNN (Mehri et al. 2017, arXiv:1612.07837), its 3-tier version, as the SaShiMi release configures it.

Recurrent tiers run at different clocks: in `paper`, one GRU every 32 timesteps, one every 16 and one every 8, each of which
reads the frame just ended and tells the tier below what to expect. At the bottom, a network of three layers predicts each
8-bit code from the 8 codes before it and from what the tiers say.

Training is truncated backpropagation through time (section 2.3): states are carried through the whole clip, gradients end
at the borders of its windows (`layers/recurrence.py`).

Differs from the paper: the tiers are GRUs at 8, 16 and 32 timesteps, and codes are mu-law, as in the release.
Differs from the release: that makes an update after each window of 128 clips, with states left over from the last update.
Here an update sees all 16 windows of 8 clips: as many sequences, and as many updates per epoch, but nothing has to be
kept from one update to the next.
In `small` the code network is narrower than the tiers, whose states begin with long memories, and training clips end in
more silence than WaveNet's: words then end, and with a margin of 2000 timesteps and no `memory` they went on and on.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.autoregressive import Autoregressive, AutoregressiveConfig, cross_entropy
from models.clips import Clips
from models.layers.frame_steps import SampleRNNSteps, TierSteps
from models.layers.frames import Normed, Tiers, lookup
from models.layers.quantization import LEVELS, ZERO, ordered
from models.stepping import Steps

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Config(AutoregressiveConfig):
    """Settings of SampleRNN."""

    frames: tuple[int, ...] = (8, 2, 2)
    "Timesteps of the lowest tier's frames, which is also what the code network sees; then each tier's in those below it."
    hidden: int = 1024
    "Channels of the recurrent tiers."
    layers: int = 1
    "Layers of each tier's GRU."
    embedding: int = 256
    "Channels of an embedded code."
    code_hidden: int = 1024
    "Channels of the code network."
    window: int = 1024
    "Timesteps after which gradients end, a multiple of the product of `frames`."
    memory: int = 0
    "Timesteps over which the tiers' slowest states begin to forget; 0 = all forget over two frames."
    ordered_codes: bool = False
    "Begin with an embedding and an output in which neighbouring codes are alike."

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "hidden", "layers", "embedding", "code_hidden", "window")
        if not self.frames or min(self.frames) < 1:
            raise ValueError(f"frames={self.frames} must name one size per tier, the lowest first, each at least 1")
        if self.window % math.prod(self.frames):
            raise ValueError(f"window={self.window} must be a multiple of {math.prod(self.frames)}, the largest frame")


PRESETS = {
    "smoke": Config(
        steps=20, batch_size=2, learning_rate=1e-2, validate_every=10, validation_clips=4, ordered_codes=True, margin=500,
        frames=(8, 2), hidden=16, embedding=8, code_hidden=16, window=256,
    ),
    "small": Config(
        steps=1500, batch_size=1, learning_rate=8e-3, beta2=0.99, learning_rate_schedule="cosine", warmup_steps=30,
        gradient_clip=1.0, ema=0.99, validate_every=300, validation_clips=32, listen_every=750, memory=16_000,
        ordered_codes=True, margin=6000, frames=(16, 4), hidden=256, embedding=64, code_hidden=128, window=2048,
    ),
    "paper": Config(  # 200 epochs of 31,158 clips
        steps=779_000, batch_size=8, learning_rate=1e-3, gradient_clip_value=1.0, learning_rate_schedule="plateau",
        plateau_factor=0.2, plateau_patience=20, validate_every=3895, listen_every=19_475, scale_per_clip=True,
        train_on_padding=False,
    ),
}  # fmt: skip


class SampleRNN(Autoregressive):
    """Tiers are in a list, the lowest first. Before a sequence there is one frame of silence, as large as the largest."""

    config: Config

    def __init__(self, config: Config, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        E, C, k = config.embedding, config.code_hidden, config.frames[0]
        self.tiers = Tiers(config.frames, config.hidden, config.layers, C, config.memory)
        self.embedding = nn.Embedding(LEVELS, E)
        self.input, self.middle, self.output = Normed(C, k * E, k * E), Normed(C, C, C), Normed(LEVELS, C, C)
        self.middle_bias, self.output_bias = nn.Parameter(torch.zeros(C)), nn.Parameter(torch.zeros(LEVELS))
        if config.ordered_codes:
            self.embedding.weight.data = ordered(E)
            self.output.set(ordered(C) / math.sqrt(C))

    def levels(self, codes: Tensor) -> Tensor:
        """What the tiers read of codes: twice their amplitudes."""
        return 2 * self.quantizer.decode(codes).to(self.middle_bias.dtype)

    def table(self) -> Tensor:
        """(k, 256, C): embedding and first layer of the code network as one, for each of the k codes that it sees."""
        taps = self.input().view(self.config.code_hidden, self.config.frames[0], -1)
        return self.embedding.weight @ taps.permute(1, 2, 0)

    def predict(self, codes: Tensor, outputs: Tensor) -> Tensor:
        """(batch, timesteps, 256) logits of the code network for codes (batch, context + timesteps)."""
        recent = codes[:, self.tiers.context - self.config.frames[0] : -1]
        x = F.relu(lookup(recent, self.table()) + self.tiers.all[0].send(outputs))
        x = F.relu(F.linear(x, self.middle(), self.middle_bias))
        return F.linear(x, self.output(), self.output_bias)

    def logits(self, codes: Tensor, window: int = 0) -> Tensor:
        """See `Autoregressive.logits`. Gradients end at the borders of windows of that many timesteps, 0 = nowhere."""
        timesteps, context = codes.shape[1], self.tiers.context
        padded = F.pad(codes, (context, -timesteps % context), value=ZERO)
        outputs = self.tiers(self.levels(padded), window or padded.shape[1] - context)
        return self.predict(padded, outputs)[:, :timesteps]

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> Tensor:
        """Mean cross-entropy of a code, in nats, with gradients that end at the borders of windows."""
        clips = self.shortened(clips, rng)
        codes = self.quantizer.encode_clips(clips)
        scored = torch.ones_like(codes, dtype=torch.bool) if self.config.train_on_padding else clips.mask()
        return cross_entropy(self.logits(codes, self.config.window), codes, scored)

    @torch.no_grad()
    def steps(self, batch: int, *, fused: bool = False) -> Steps:
        """See `Autoregressive.steps`."""
        tiers, middle, output = TierSteps(self.tiers.all, batch, ZERO, self.levels), self.middle(), self.output()
        layers = (middle.t().contiguous(), self.middle_bias, output.t().contiguous(), self.output_bias)
        return SampleRNNSteps(tiers, self.table(), layers)

"""WaveNet (van den Oord et al. 2016, arXiv:1609.03499), as the SaShiMi release configures it.

A stack of dilated causal convolutions predicts each 8-bit code from those before it. Dilations double from layer to layer
and start again in each block, so that four blocks of ten layers look back 4092 timesteps. Each layer is a gated unit with a
residual connection; the sum of all layers' skip outputs goes through two more layers to the logits.

Differs from the paper: codes are embedded instead of one-hot, convolutions have no bias (only the two last ones do), and a
last linear layer follows them, all as in the release. What precedes a clip is endless silence in the release and in
`paper`. In `small` it is a code of its own: a clip ends in silence longer than the receptive field, and a network that
cannot tell that from the beginning falls silent for half a second before it speaks, or speaks again after it has ended.
`small` has one block that looks back 8191 timesteps, so that it sees how long ago a word began: with two blocks of ten
it predicts a little better (4.1 instead of 4.4 bits), and its words do not end. It also begins with codes in their order
(`ordered`), which saves it most of its first hundreds of steps.
Sampling keeps queues of each layer's last inputs (Paine et al. 2016).
"""

import math
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.autoregressive import Autoregressive, EmbeddingConfig, shift_right
from models.layers.causal import GatedSteps, WaveNetSteps, gated_layer
from models.layers.quantization import LEVELS, ZERO, ordered
from models.layers.wavenet_pass import WaveNetPass
from models.stepping import Steps

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Config(EmbeddingConfig):
    """Settings of WaveNet."""

    blocks: int = 4
    "Times that the dilations start again from 1."
    layers: int = 10
    "Layers of a block; the last one's dilation is 2 ** (layers - 1)."
    residual_channels: int = 64
    "Channels from layer to layer, and inside each."
    skip_channels: int = 1024
    "Channels of the sum over all layers' outputs."
    end_channels: int = 512
    "Channels between that sum and the logits."

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "blocks", "layers", "residual_channels", "skip_channels", "end_channels")


PRESETS = {
    "smoke": Config(
        steps=20, batch_size=2, learning_rate=1e-2, validate_every=10, validation_clips=4, start_marker=True,
        ordered_codes=True, margin=500, blocks=1, layers=4, residual_channels=8, skip_channels=16, end_channels=16,
    ),
    "small": Config(
        steps=1400, batch_size=1, learning_rate=8e-3, beta2=0.99, learning_rate_schedule="cosine", warmup_steps=30,
        gradient_clip=1.0, ema=0.99, validate_every=200, validation_clips=32, listen_every=700,
        start_marker=True, ordered_codes=True, margin=2000,
        blocks=1, layers=13, residual_channels=48, skip_channels=64, end_channels=64,
    ),
    "paper": Config(
        steps=500_000, batch_size=8, learning_rate=1e-3, learning_rate_schedule="plateau", plateau_factor=0.2,
        plateau_patience=5, validate_every=4000, listen_every=20_000, scale_per_clip=True, train_on_padding=False,
    ),
}  # fmt: skip


def uniform(fan_in: int, *shape: int) -> nn.Parameter:
    """A weight drawn as PyTorch draws those of its convolutions: uniform within 1 / sqrt(fan_in)."""
    return nn.Parameter(torch.empty(*shape).uniform_(-1, 1) / math.sqrt(fan_in))


class WaveNet(Autoregressive):
    """Weights of all layers are stacked: past, current (layers, 2D, R), residual (layers, R, D), skip (layers, S, D)."""

    config: Config

    def __init__(self, config: Config, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        R, S, E = config.residual_channels, config.skip_channels, config.end_channels
        self.dilations = tuple(2**layer for layer in range(config.layers)) * config.blocks
        self.receptive_field = 1 + sum(self.dilations)
        L = len(self.dilations)
        self.before = LEVELS if config.start_marker else ZERO
        self.embedding = nn.Embedding(LEVELS + config.start_marker, LEVELS)
        self.start = uniform(LEVELS, R, LEVELS)
        self.past, self.current = uniform(2 * R, L, 2 * R, R), uniform(2 * R, L, 2 * R, R)
        self.residual, self.skip = uniform(R, L, R, R), uniform(R, L, S, R)
        self.end_1, self.end_2, self.output = nn.Linear(S, E), nn.Linear(E, LEVELS), nn.Linear(LEVELS, LEVELS)

        if config.ordered_codes:
            self.embedding.weight.data[:LEVELS] = ordered(LEVELS)
            self.output.weight.data = ordered(LEVELS) / math.sqrt(LEVELS)

    def table(self) -> Tensor:
        """(codes, R): the first layer's input for each code, which is all that embedding and first convolution amount to."""
        return self.embedding.weight @ self.start.t()

    def head(self) -> tuple[Tensor, Tensor]:
        """The last two linear layers as one, weight (256, E) and bias: there is nothing but a product between them."""
        return self.output.weight @ self.end_2.weight, self.output.weight @ self.end_2.bias + self.output.bias

    def logits(self, codes: Tensor) -> Tensor:
        """See `Autoregressive.logits`."""
        batch = len(codes)
        x = F.embedding(shift_right(codes, self.before).t().flatten(), self.table())
        total = x.new_zeros(len(x), self.config.skip_channels)
        layers = zip(self.dilations, self.past, self.current, self.residual, strict=True)
        # Where it is wider than a layer, going over the sum costs more than putting layers' outputs side by side.
        together = min(8, max(1, self.config.skip_channels // self.config.residual_channels))
        for skip in self.skip.transpose(1, 2).split(together):
            outputs = []
            for dilation, past, current, residual in islice(layers, len(skip)):
                outputs.append(gated_layer(x, past, current, dilation, batch))
                x = torch.addmm(x, outputs[-1], residual.t())
            total = torch.addmm(total, torch.cat(outputs, 1), skip.flatten(0, 1))
        logits = F.linear(F.relu(self.end_1(F.relu(total))), *self.head())
        return logits.view(-1, batch, LEVELS).transpose(0, 1)

    @torch.no_grad()
    def steps(self, batch: int, *, fused: bool = False) -> Steps:
        """See `Autoregressive.steps`."""
        table = self.table()
        stack = GatedSteps(self.past, self.current, self.residual, self.dilations, table[self.before], batch)
        ends = {"end_1": self.end_1.weight, "bias_1": self.end_1.bias[:, None], "table": table}
        ends["end_2"], ends["bias_2"] = self.head()
        if fused and batch == 1 and self.device.type == "cpu":
            return WaveNetPass(stack, self.skip, ends)
        return WaveNetSteps(stack, self.skip, ends)

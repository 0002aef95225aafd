"""Recurrent tiers over frames of a waveform (Mehri et al. 2017, section 2.1), for whole sequences; steps: frame_steps.py.

A tier reads non-overlapping frames of `frame` timesteps, plus what the tier above sends for each, runs them through a GRU,
and sends `times` vectors per frame to the tier below, each by a linear map of its own (the paper's upsampling).
Linear maps are weight-normed (Salimans and Kingma 2016). Layout: (batch, frames, channels).
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.quantization import LEVELS
from models.layers.recurrence import gru


class Normed(nn.Module):
    """A weight g v / |v|, one gain g per row of v.

    rows, columns: its shape; fan_in: how many inputs each output is a sum of. Drawn uniformly, as in He et al. 2015.
    """

    def __init__(self, rows: int, columns: int, fan_in: int):
        super().__init__()
        self.direction = nn.Parameter(torch.empty(rows, columns).uniform_(-1, 1) * math.sqrt(6 / fan_in))
        self.gain = nn.Parameter(self.direction.detach().norm(dim=1, keepdim=True))

    def forward(self) -> Tensor:
        """(rows, columns) the weight."""
        return torch._weight_norm(self.direction, self.gain, 0)

    @torch.no_grad()
    def set(self, weight: Tensor) -> None:
        """Begin with this weight (rows, columns)."""
        self.direction.copy_(weight)
        self.gain.copy_(weight.norm(dim=1, keepdim=True))


class Tier(nn.Module):
    """frame: timesteps per frame; hidden, layers: of the GRU; times, into: vectors sent per frame, and their channels.

    memory: frames over which the slowest states begin to forget, the quickest over two; 0 = all over two. Update gates
    begin with biases that keep a state as long (Tallec and Ollivier 2018), spread evenly over the logarithm of time
    """

    def __init__(self, frame: int, hidden: int, layers: int, times: int, into: int, memory: float = 0):
        super().__init__()
        self.frame, self.times = frame, times
        self.expand, self.expand_bias = Normed(hidden, frame, frame), nn.Parameter(torch.zeros(hidden))
        self.rnn = nn.GRU(hidden, hidden, layers, batch_first=True)
        self.h0 = nn.Parameter(torch.zeros(layers, 1, hidden))
        self.upsample = Normed(hidden, times * into, hidden)
        self.upsample_bias = nn.Parameter(torch.zeros(times * into))
        for name, parameter in self.rnn.named_parameters():
            if "weight_hh" in name:
                for gate in parameter.data.chunk(3):
                    nn.init.orthogonal_(gate)
            elif "bias" in name:
                nn.init.zeros_(parameter)
            if "bias_hh" in name and memory > 1:
                parameter.data[hidden : 2 * hidden] = math.log(memory) * torch.rand(hidden)

    def start(self, batch: int) -> Tensor:
        """(layers, batch, hidden) the state before a sequence."""
        return self.h0.expand(-1, batch, -1).contiguous()

    def forward(self, frames: Tensor, received: Tensor | None, window: int) -> Tensor:
        """The GRU's outputs (batch, frames, hidden), from the start of a sequence.

        frames: (batch, frames, frame); received: (batch, frames, hidden) from the tier above; gradients end at the borders of
        windows of `window` timesteps
        """
        x = F.linear(frames, self.expand(), self.expand_bias)
        return gru(self.rnn, x if received is None else x + received, self.start(len(x)), window // self.frame)

    def send(self, outputs: Tensor) -> Tensor:
        """(batch, frames * times, into) for the tier below, from the GRU's outputs (batch, frames, hidden)."""
        sent = F.linear(outputs, self.upsample().t(), self.upsample_bias)
        return sent.view(len(outputs), outputs.shape[1] * self.times, -1)


class Tiers(nn.ModuleList):
    """Tiers over one sequence, the lowest first.

    frames: timesteps of the lowest tier's frames, then how many frames of each tier make one of the next
    into: channels of what the lowest tier sends for each timestep; memory: in timesteps, see `Tier`
    """

    def __init__(self, frames: tuple[int, ...], hidden: int, layers: int, into: int, memory: int = 0):
        sizes = [math.prod(frames[: i + 1]) for i in range(len(frames))]
        super().__init__(
            Tier(size, hidden, layers, times, hidden if i else into, memory / size)
            for i, (size, times) in enumerate(zip(sizes, frames, strict=True))
        )
        self.context = sizes[-1]

    @property
    def all(self) -> list[Tier]:
        """The tiers, the lowest first."""
        return cast(list[Tier], list(self))

    def forward(self, levels: Tensor, window: int) -> Tensor:
        """The lowest tier's outputs (batch, frames, hidden).

        levels: (batch, context + timesteps), whose first `context` come before the first timestep, and whose last frame
        therefore tells a tier about nothing any more; window: timesteps after which gradients end, whole frames of each tier
        """
        outputs, above = levels, None
        for tier in reversed(self.all):
            frames = levels[:, self.context - tier.frame : -tier.frame].unflatten(1, (-1, tier.frame))
            outputs = tier(frames, None if above is None else above.send(outputs), window)
            above = tier
        return outputs


def lookup(codes: Tensor, table: Tensor) -> Tensor:
    """(batch, timesteps - k + 1, channels) a convolution over embedded codes, by adding up rows of a table.

    codes: (batch, timesteps) int64; table: (k, 256, channels), what each code at each tap amounts to
    """
    k = len(table)
    rows = codes.unfold(1, k, 1) + LEVELS * torch.arange(k, device=codes.device)
    return F.embedding_bag(rows.flatten(0, 1), table.flatten(0, 1), mode="sum").view(*rows.shape[:2], -1)

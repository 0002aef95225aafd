"""WaveGAN's two networks and what they are made of (Donahue et al. 2019, arXiv:1802.04208, section 3 and appendix D).

A layer of stride s turns (batch, channels, s * frames) into (batch, channels', frames), or back. Of the kernel - s zeros
that it needs around its input, TensorFlow's SAME puts the smaller half first, as the published weights expect; ports to
PyTorch put the larger half first, which shifts everything by one timestep in every layer.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PADDINGS = ("tensorflow", "pytorch")
UPSAMPLINGS = ("zeros", "nearest")
SHUFFLED_LAYERS = 4  # phase shuffle follows the critic's first four layers, and never its last


def zeros_before(kernel: int, stride: int, padding: str) -> int:
    """How many of the kernel - stride zeros precede the input; `padding` is one of PADDINGS."""
    total = kernel - stride
    return total // 2 if padding == "tensorflow" else total - total // 2


def glorot(*shape: int) -> nn.Parameter:
    """A weight as TensorFlow begins: uniform within sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010)."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(*shape)))


def dense(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer as TensorFlow begins: a Glorot weight and no bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def fold(x: Tensor, stride: int) -> Tensor:
    """(n, 1, stride * frames) to (n, stride, frames): a convolution over one channel with a stride, as one without.

    The sums are the same, and take a CPU a third of the time. The kernel, folded alike, must be a multiple of the stride.
    """
    return x.squeeze(1).unflatten(1, (-1, stride)).transpose(1, 2)


class Down(nn.Module):
    """A strided convolution: (batch, inputs, stride * frames) to (batch, outputs, frames)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: str):
        super().__init__()
        self.stride, self.folds = stride, inputs == 1 and kernel % stride == 0
        before = zeros_before(kernel, stride, padding)
        self.zeros = (before, kernel - stride - before)
        self.weight = glorot(outputs, inputs, kernel)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.zeros)
        if self.folds:
            return F.conv1d(fold(x, self.stride), fold(self.weight, self.stride).contiguous(), self.bias)
        return F.conv1d(x, self.weight, self.bias, self.stride)


class Up(nn.Module):
    """Its counterpart: (batch, inputs, frames) to (batch, outputs, stride * frames).

    upsampling: "zeros" is the transposed convolution; "nearest" repeats every frame and convolves, which avoids the
                pitched artefacts of the first (section 3.2)
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: str, upsampling: str):
        super().__init__()
        self.stride, self.kernel, self.transposed = stride, kernel, upsampling == "zeros"
        self.folds = self.transposed and outputs == 1 and kernel % stride == 0
        self.before = zeros_before(kernel, stride if self.transposed else 1, padding)
        self.weight = glorot(inputs, outputs, kernel) if self.transposed else glorot(outputs, inputs, kernel)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        timesteps = self.stride * x.shape[2]
        if not self.transposed:
            zeros = (self.before, self.kernel - 1 - self.before)
            return F.conv1d(F.pad(x.repeat_interleave(self.stride, 2), zeros), self.weight, self.bias)
        if self.folds:
            frames = F.conv_transpose1d(x, fold(self.weight, self.stride).contiguous())
            whole = frames.transpose(1, 2).flatten(1)[:, None] + self.bias
        else:
            whole = F.conv_transpose1d(x, self.weight, self.bias, self.stride)
        return whole[..., self.before : self.before + timesteps]


class GeneratorNetwork(nn.Module):
    """G: latent vectors (batch, latent) to waveforms (batch, frames * product of strides), tanh-limited (table 3).

    dim, strides, kernels: of its layers, counted from the waveform; post_filter: taps of a filter of its output, or 0
    """

    def __init__(
        self, frames: int, dim: int, strides: Sequence[int], kernels: Sequence[int], padding: str, latent: int,
        upsampling: str, post_filter: int,
    ):  # fmt: skip
        super().__init__()
        self.frames, self.widths = frames, [1, *(dim * 2**layer for layer in range(len(strides)))]
        self.project = dense(latent, frames * self.widths[-1])
        layers = [
            Up(inputs, outputs, kernel, stride, padding, upsampling)
            for (outputs, inputs), kernel, stride in zip(pairwise(self.widths), kernels, strides, strict=True)
        ]
        self.up = nn.ModuleList(reversed(layers))
        self.post = glorot(1, 1, post_filter) if post_filter else None

    def forward(self, z: Tensor) -> Tensor:
        x = self.project(z).view(len(z), self.widths[-1], self.frames)
        for up in self.up:
            x = up(F.relu(x))
        x = torch.tanh(x)
        if self.post is not None:
            taps = self.post.shape[2]
            x = F.conv1d(F.pad(x, ((taps - 1) // 2, taps // 2)), self.post)
        return x.squeeze(1)


class Critic(nn.Module):
    """D: waveforms (batch, frames * product of strides) to scores (batch,), higher for what seems real (table 4)."""

    def __init__(self, frames: int, dim: int, strides: Sequence[int], kernels: Sequence[int], padding: str):
        super().__init__()
        widths = [1, *(dim * 2**layer for layer in range(len(strides)))]
        self.down = nn.ModuleList(
            Down(inputs, outputs, kernel, stride, padding)
            for (inputs, outputs), kernel, stride in zip(pairwise(widths), kernels, strides, strict=True)
        )
        self.output = dense(frames * widths[-1], 1)
        self.shuffled = min(SHUFFLED_LAYERS, len(strides) - 1)

    def forward(self, waveforms: Tensor, shifts: Sequence[int] = ()) -> Tensor:
        """shifts: by how many frames phase shuffle delays each shuffled layer's features; none = no phase shuffle."""
        x = waveforms[:, None]
        for layer, down in enumerate(self.down):
            x = F.leaky_relu(down(x), 0.2)
            if shifts and layer < self.shuffled:
                x = phase_shuffle(x, shifts[layer])
        return self.output(x.flatten(1)).squeeze(1)


def phase_shuffle(x: Tensor, shift: int) -> Tensor:
    """Delay (batch, channels, frames) by `shift` frames, or advance it by -shift; reflection fills the gap (section 3.3).

    The frame at the border is not repeated. Raises ValueError where there are too few frames to reflect.
    """
    frames = x.shape[2]
    if abs(shift) >= frames:
        raise ValueError(
            f"{frames} frames cannot be shifted by {shift}, their reflection reaches {frames - 1}: choose a smaller "
            "phase_shuffle, fewer or smaller strides, or longer clips"
        )
    if shift > 0:
        return torch.cat([x[..., 1 : shift + 1].flip(2), x[..., :-shift]], dim=2)
    if shift < 0:
        return torch.cat([x[..., -shift:], x[..., frames - 1 + shift : -1].flip(2)], dim=2)
    return x


def emphasize(x: Tensor, a: float) -> Tensor:
    """x[t] - a x[t - 1] of waveforms (batch, timesteps), with silence before them."""
    return x - a * F.pad(x, (1, -1)) if a else x


def deemphasize(y: Tensor, a: float) -> Tensor:
    """The inverse of `emphasize`: x[t] = y[t] + a x[t - 1], as a convolution with the powers of a."""
    if not a:
        return y
    timesteps = y.shape[1]
    powers = torch.exp(math.log(a) * torch.arange(timesteps, device=y.device, dtype=torch.float32))
    size = 2 * timesteps  # no wrapping around
    return torch.fft.irfft(torch.fft.rfft(y, n=size) * torch.fft.rfft(powers, n=size), n=size)[:, :timesteps]

"""Waveforms as classes: 8 bits, linear or mu-law (ITU-T G.711 as a continuous function; van den Oord et al. 2016, 2.2).

An amplitude in [-1, 1] is companded (mu-law only) and rounded to one of 256 levels, q / 128 - 1 for code q. Silence is code
128, and decoding and encoding again gives the same codes, even through a 16-bit file.

With `per_clip=True` it is the coder of the SaShiMi release instead: every clip is stretched to the full range first, and
rounded down. The absolute level and the offset of a clip are then unrecoverable, silence is rarely code 128, and codes above
128 fall by one when they are decoded and encoded again.

Likelihoods over different codes are likelihoods of different data: `Quantizer.space` names the data, and only equal names
may be compared.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.clips import Clips

BITS = 8
LEVELS = 2**BITS
ZERO = LEVELS // 2  # the code of silence, and of whatever came before the first timestep
MU = LEVELS - 1
_EPSILON = 1e-8  # the release's: lifts an exact zero, whose sign is 0, into the cell above it
_MARGIN = 0.01  # the release's: keeps an amplitude of exactly 1 inside the last cell


def to_unit(waveforms: Tensor, valid: Tensor | None = None) -> Tensor:
    """Stretch every clip of (batch, timesteps) to [0, 1] by its own minimum and maximum over its valid timesteps.

    A constant clip becomes zeros. Padding is scaled along with the rest, and is meaningless afterwards.
    """
    lowest, span = _extent(waveforms, valid)
    return (waveforms - lowest) / span


def _extent(waveforms: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """(batch, 1) the lowest value of every clip, and how far its highest lies above it."""
    inside = waveforms
    outside = waveforms
    if valid is not None:
        padding = torch.arange(waveforms.shape[-1], device=waveforms.device) >= valid[:, None]
        inside, outside = waveforms.masked_fill(padding, math.inf), waveforms.masked_fill(padding, -math.inf)
    lowest, highest = inside.amin(-1, keepdim=True), outside.amax(-1, keepdim=True)
    return lowest, highest - lowest + 1e-6


def quantize(unit: Tensor) -> Tensor:
    """The codes of values in [0, 1], rounded down, as the release does."""
    return (unit * (LEVELS - _MARGIN) + _MARGIN / 2).long()


def nearest(values: Tensor) -> Tensor:
    """The codes of values in [-1, 1], rounded to the nearest level."""
    return ((values * ZERO).round() + ZERO).clamp(0, LEVELS - 1).long()


def dequantize(codes: Tensor) -> Tensor:
    """The level of each code: float32 in [-1, 1)."""
    return codes.float() / ZERO - 1


def compand(waveforms: Tensor) -> Tensor:
    """f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu), from [-1, 1] onto itself."""
    return waveforms.sign() * torch.log1p(MU * waveforms.abs()) / math.log1p(MU)


def expand(companded: Tensor) -> Tensor:
    """The inverse of `compand`."""
    return companded.sign() * torch.expm1(companded.abs() * math.log1p(MU)) / MU


def ordered(channels: int) -> Tensor:
    """(256, channels) an embedding to begin with in which neighbouring codes are alike, with a mean square of 1.

    Cosines and sines over half a period and its multiples, the higher the weaker. Networks otherwise begin with codes in no
    order, and spend their first thousand steps finding out that 128 is closer to 129 than to 5.
    """
    octave = torch.arange(1, (channels + 1) // 2 + 1)
    phase = math.pi / 2 * octave * ((torch.arange(LEVELS)[:, None] - ZERO + 0.5) / ZERO)
    waves = torch.stack([phase.cos() / octave, phase.sin() / octave], dim=2).flatten(1)[:, :channels]
    return waves * waves.square().mean().rsqrt()


@dataclass(frozen=True)
class Quantizer:
    """8-bit codes of clips and back.

    law:      "mu-law" or "linear"
    per_clip: stretch every clip to the full range first, as the SaShiMi release does
    """

    law: str = "mu-law"
    per_clip: bool = False

    def __post_init__(self) -> None:
        if self.law not in ("mu-law", "linear"):
            raise ValueError(f"unknown quantization {self.law!r}. Available: mu-law, linear")

    @property
    def space(self) -> str:
        """What a likelihood over these codes is a likelihood of, in words."""
        return f"{BITS}-bit {self.law}, {'min-max scaled per clip' if self.per_clip else 'unscaled'}"

    def encode(self, waveforms: Tensor, valid: Tensor | None = None) -> Tensor:
        """(batch, timesteps) int64 codes of waveforms (batch, timesteps) in [-1, 1].

        With `per_clip`, only the first `valid` (batch,) timesteps of a clip decide about its scale.
        """
        if self.per_clip:
            unit = to_unit(waveforms, valid)
            return quantize((compand(unit * 2 - 1 + _EPSILON) + 1) / 2 if self.law == "mu-law" else unit)
        if waveforms.numel() and not waveforms.abs().amax() <= 1:
            raise ValueError("waveforms to be quantized must lie in [-1, 1] and hold no NaN; scale them first")
        return nearest(compand(waveforms) if self.law == "mu-law" else waveforms)

    def encode_clips(self, clips: Clips) -> Tensor:
        """(batch, timesteps) int64 codes of clips; their padding becomes silence, code 128, whatever the scaling."""
        return self.encode(clips.waveforms, clips.valid).masked_fill(~clips.mask(), ZERO)

    def decode(self, codes: Tensor) -> Tensor:
        """float32 waveforms in [-1, 1) of int64 codes, of the same shape."""
        values = dequantize(codes)
        return expand(values) if self.law == "mu-law" else values

    def at_level(self, decoded: Tensor, clips: Clips) -> Tensor:
        """Decoded waveforms (batch, timesteps) at the level and offset of the clips that they belong to."""
        if not self.per_clip:
            return decoded
        lowest, span = (extent.to(decoded.device) for extent in _extent(clips.waveforms, clips.valid))
        return lowest + (decoded + 1) / 2 * span

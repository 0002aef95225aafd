"""What the SC09 classifier of the SaShiMi release does to a clip before it learns from it.

Source: that classifier's training transforms, in their order: loudness, speed and pitch together, a phase-vocoder time
stretch (Flanagan & Golden 1966), a shift by whole frames, background noise. Each is applied to a clip with probability
1/2; the result is always the length of a clip.

Differs: in batches on the device of the clips, and every choice is drawn from the generator that is handed in (always
equally many numbers, so that what one clip gets does not depend on what the others got). One step is ours: white noise
of a random level (`hiss`), for corpora whose clips are digitally silent around the sound. A classifier that never heard
a noise floor takes the faintest one of a generator (a few steps of 16 bits) for another word.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from models.layers.logmel import LogMel

LOUDNESS = (0.7, 1.1)
HISS_RANGE_DB = 60.0


class Draw:
    """One generator's numbers, for a batch, on the device of the batch."""

    def __init__(self, rng: torch.Generator, batch: int, probability: float, device: torch.device):
        self.rng, self.batch, self.probability, self.device = rng, batch, probability, device

    def normal(self, *shape: int) -> Tensor:
        """(batch, *shape) float32, standard normal."""
        return torch.randn(self.batch, *shape, generator=self.rng, device=self.rng.device).to(self.device)

    def uniform(self, low: float, high: float) -> Tensor:
        """(batch,) float32 in [low, high)."""
        values = torch.rand(self.batch, generator=self.rng, device=self.rng.device)
        return (low + (high - low) * values).to(self.device)

    def sometimes(self, values: Tensor, otherwise: float) -> Tensor:
        """`values`, each kept with the probability of this draw and else replaced by the value that changes nothing."""
        return torch.where(self.uniform(0, 1) < self.probability, values, otherwise)


def change_speed(waveforms: Tensor, scale: Tensor) -> Tensor:
    """Play each clip (1 + scale) times as long, pitch and all, by linear interpolation; the end is cut or zeros.

    waveforms: (batch, timesteps);  scale: (batch,) > -1;  returns (batch, timesteps)
    """
    timesteps = waveforms.shape[1]
    # float64: a float32 position near timestep 16000 is only good to a thousandth of a timestep.
    position = torch.arange(timesteps, device=waveforms.device, dtype=torch.float64) / (1 + scale.double())[:, None]
    left = position.floor().long().clamp(max=timesteps - 1)
    right = (left + 1).clamp(max=timesteps - 1)
    weight = (position - left).clamp(max=1).to(waveforms.dtype)
    played = torch.lerp(waveforms.gather(1, left), waveforms.gather(1, right), weight)
    return played * (position < timesteps)


def _frames(spectrum: Tensor, index: Tensor) -> Tensor:
    """The frames at index (batch, frames) of spectrum (batch, bins, frames); those outside are zero."""
    inside = (index >= 0) & (index < spectrum.shape[2])
    index = index.clamp(0, spectrum.shape[2] - 1)[:, None, :].expand(-1, spectrum.shape[1], -1)
    return spectrum.gather(2, index) * inside[:, None, :]


def stretch(spectrum: Tensor, scale: Tensor) -> Tensor:
    """Make each clip (1 + scale) times as long at the same pitch; frames past the end are cut or zeros.

    Magnitudes are interpolated between the two nearest frames, and each step advances the phase by as much as it
    advances between those two.

    spectrum: (batch, bins, frames) complex;  scale: (batch,) > -1;  returns (batch, bins, frames)
    """
    frames = spectrum.shape[2]
    position = torch.arange(frames, device=spectrum.device) / (1 + scale)[:, None]
    left = position.floor().long()
    weight = (position - left)[:, None, :]
    magnitude, phase = spectrum.abs(), spectrum.angle()
    magnitude = torch.lerp(_frames(magnitude, left), _frames(magnitude, left + 1), weight)
    advance = _frames(phase, left + 1) - _frames(phase, left)
    start = phase[:, :, :1]
    phase = torch.cat([start, start + advance[:, :, :-1].cumsum(2)], dim=2)
    return torch.polar(magnitude, phase)


def shift(spectrum: Tensor, frames: Tensor) -> Tensor:
    """Move each clip later by `frames` (batch,) int64 (earlier where negative); what is uncovered is zeros."""
    return _frames(spectrum, torch.arange(spectrum.shape[2], device=spectrum.device) - frames[:, None])


def _affected(step: Callable[[Tensor, Tensor], Tensor], clips: Tensor, amount: Tensor) -> Tensor:
    """step(clips, amount) where amount (batch,) is not 0, and the clips themselves elsewhere, at no cost."""
    rows = amount.nonzero()[:, 0]
    return clips.index_copy(0, rows, step(clips[rows], amount[rows])) if len(rows) else clips


class Augmentation:
    """waveforms (batch, timesteps) -> augmented STFT (batch, bins, 32), for `LogMel.picture`.

    probability: of each step, for each clip;  speed, stretch: largest relative change of length;  shift: largest
    movement in frames;  noise: largest share of the background noise in the mix;  hiss: largest standard deviation of
    white noise, whose level is uniform in dB over the 60 dB below that. 0 leaves a step out.
    """

    def __init__(
        self,
        logmel: LogMel,
        *,
        probability: float,
        speed: float,
        stretch: float,
        shift: int,
        noise: float,
        hiss: float = 0.0,
    ) -> None:
        if not 0 <= speed < 1 or not 0 <= stretch < 1:
            raise ValueError(f"speed {speed} and stretch {stretch} are relative changes of length: use 0 to below 1")
        if not all(0 <= share <= 1 for share in (noise, hiss, probability)) or shift < 0:
            raise ValueError(
                f"noise {noise}, hiss {hiss} and probability {probability} must lie between 0 and 1, "
                f"and shift {shift} must be 0 or more"
            )
        self.logmel, self.probability = logmel, probability
        self.speed, self.stretch, self.shift, self.noise, self.hiss = speed, stretch, shift, noise, hiss

    def __call__(self, waveforms: Tensor, rng: torch.Generator, background: Tensor | None = None) -> Tensor:
        """background: (n, timesteps) noise clips to mix in, or None. They get augmented like the clips themselves."""
        draw = Draw(rng, len(waveforms), self.probability, waveforms.device)
        spectrum = self._distort(waveforms, draw)
        if background is None or len(background) == 0 or self.noise == 0:
            return spectrum
        chosen = draw.uniform(0, len(background)).long().clamp(max=len(background) - 1)
        noise = self._distort(background.to(waveforms)[chosen], draw)
        share = draw.sometimes(draw.uniform(0, self.noise), 0.0)[:, None, None]
        return (1 - share) * spectrum + share * noise

    def _distort(self, waveforms: Tensor, draw: Draw) -> Tensor:
        waveforms = waveforms * draw.sometimes(draw.uniform(*LOUDNESS), 1.0)[:, None]
        if self.speed:
            scale = draw.sometimes(draw.uniform(-self.speed, self.speed), 0.0)
            waveforms = _affected(change_speed, waveforms, scale)
        if self.hiss:
            level = draw.sometimes(self.hiss * 10 ** (-HISS_RANGE_DB / 20 * draw.uniform(0, 1)), 0.0)
            waveforms = waveforms + level[:, None] * draw.normal(waveforms.shape[1])
        spectrum = self.logmel.spectrum(waveforms)
        if self.stretch:
            scale = draw.sometimes(draw.uniform(-self.stretch, self.stretch), 0.0)
            spectrum = _affected(stretch, spectrum, scale)
        if self.shift:
            frames = draw.uniform(-self.shift, self.shift + 1).floor().clamp(max=self.shift)
            spectrum = _affected(shift, spectrum, draw.sometimes(frames, 0.0).long())
        return spectrum

"""What a diffusion model denoises: waveforms themselves, or the coefficients of a lapped transform of them.

Noise is white in either, for the transform is orthogonal. But speech is 30 dB weaker at the top of its spectrum than at the
bottom, and its loudest moments 60 dB above its faintest, so that in a waveform the noise buries most of what the ear goes by
until the very last steps. Coefficients can be evened out, as `companding.py` does it.
"""

from torch import Tensor, nn

from models.layers.companding import Companding
from models.layers.mdct import MDCT

CALIBRATION = 100  # batches of training over which the bands' power is averaged


class Representation(nn.Module):
    """bands: coefficients per frame, which lie as many timesteps apart, or 0 for waveforms as they are;
    exponent: what magnitudes of coefficients are raised to.
    """

    def __init__(self, bands: int, exponent: float):
        super().__init__()
        self.channels = bands or 1
        self.transform = MDCT(bands) if bands else None
        self.companding = Companding(bands, exponent, CALIBRATION) if bands else None

    def positions(self, timesteps: int) -> int:
        """The length of what represents so many timesteps."""
        return self.transform.frames(timesteps) if self.transform else timesteps

    def forward(self, waveforms: Tensor) -> Tensor:
        """(batch, timesteps) -> (batch, channels, positions); in training, the first batches also calibrate it."""
        if self.transform is None or self.companding is None:
            return waveforms[:, None]
        X = self.transform(waveforms, self.positions(waveforms.shape[1]))
        return self.companding.encode(X).transpose(1, 2)

    def inverse(self, x: Tensor, timesteps: int) -> Tensor:
        """(batch, channels, positions) -> (batch, timesteps)."""
        if self.transform is None or self.companding is None:
            return x[:, 0]
        return self.transform.inverse(self.companding.decode(x.transpose(1, 2)), timesteps)

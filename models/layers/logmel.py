"""The log-mel picture that the classifiers look at: 32 mel bands x 32 frames, in dB below the clip's loudest cell.

Source: the input of the SC09 classifier of the SaShiMi release, which takes librosa's defaults: a centred STFT with
zero padding, a periodic Hann window of 2048 and a hop of 512 timesteps, the power spectrum, 32 Slaney mel bands from 0
to half the sample rate, and dB relative to the clip's maximum, cut off at -80.

Differs: computed in batches by torchaudio instead of clip by clip by librosa, from the fixed zero padding of librosa
0.10 and later (older versions mirrored the ends, which moves every feature a little). Other sample rates and clip
lengths give 32 x 32 too: the hop is the same fraction of the clip as in the release (0.032 of it, rounded down, and
the first 32 frames are taken), the window is four hops, and so one-second clips are seen with the same 128 ms windows
at any sample rate.
"""

import math

import torch
from torch import Tensor, nn

from models.torchaudio_compat import functional

BANDS = 32
FRAMES = 32
RELEASE_HOP, RELEASE_TIMESTEPS, HOPS_PER_WINDOW = 512, 16000, 4
# Fewer frequency bins would leave the lowest mel bands without any: very short clips get a zero-padded FFT.
COARSEST_BIN_HZ = 64
POWER_FLOOR = 1e-10
RANGE_DB = 80.0


class LogMel(nn.Module):
    """waveforms: (batch, timesteps) in [-1, 1] -> (batch, 32, 32) float32 dB in [-80, 0], as (band, frame).

    Scaling a waveform changes nothing (down to the floor of 1e-10 in power), and digital silence gives zeros.
    Its buffers are computed from its arguments, so they are no part of the state_dict.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, timesteps: int):
        """sample_rate in Hz; timesteps of a clip. Raises ValueError for clips too short to give 32 frames."""
        super().__init__()
        self.sample_rate, self.timesteps = sample_rate, timesteps
        self.hop = timesteps * RELEASE_HOP // RELEASE_TIMESTEPS
        if self.hop < 1:
            raise ValueError(
                f"clips of {timesteps} timesteps are too short for a picture of {FRAMES} frames; "
                "use clips of 32 timesteps or more (corpus.clip_seconds x corpus.sample_rate)"
            )
        self.window_length = HOPS_PER_WINDOW * self.hop
        self.fft_length = max(self.window_length, 2 * math.ceil(sample_rate / (2 * COARSEST_BIN_HZ)))
        self.register_buffer("window", torch.hann_window(self.window_length), persistent=False)
        filters = functional.melscale_fbanks(
            self.fft_length // 2 + 1, 0.0, sample_rate / 2, BANDS, sample_rate, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", filters, persistent=False)

    def spectrum(self, waveforms: Tensor) -> Tensor:
        """waveforms: (batch, timesteps) -> (batch, bins, 32) complex STFT."""
        if waveforms.ndim != 2 or waveforms.shape[1] != self.timesteps:
            raise ValueError(
                f"waveforms of shape {tuple(waveforms.shape)} do not fit a log-mel front end that was built for "
                f"(batch, {self.timesteps}) at {self.sample_rate} Hz; pad or trim the clips first"
            )
        # Mixed precision would compute the mel bands in 8 bits of mantissa.
        with torch.autocast(waveforms.device.type, enabled=False):
            spectrum = functional.spectrogram(
                waveforms.float(),
                pad=0,
                window=self.window,
                n_fft=self.fft_length,
                hop_length=self.hop,
                win_length=self.window_length,
                power=None,
                normalized=False,
                pad_mode="constant",
            )
        return spectrum[..., :FRAMES]

    def picture(self, spectrum: Tensor) -> Tensor:
        """spectrum: (batch, bins, frames) complex STFT -> (batch, 32, frames) dB relative to each clip's maximum."""
        with torch.autocast(spectrum.device.type, enabled=False):
            power = spectrum.real.square() + spectrum.imag.square()
            mel = torch.einsum("nft,fm->nmt", power, self.filters)
            decibels = 10 * torch.log10(mel.clamp(min=POWER_FLOOR))
            return (decibels - decibels.amax(dim=(1, 2), keepdim=True)).clamp(min=-RANGE_DB)

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.picture(self.spectrum(waveforms))

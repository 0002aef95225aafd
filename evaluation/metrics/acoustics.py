"""Plain acoustics of waveforms: loudness, peak, clipping, DC offset, silence, spectral flatness, beside those of real clips.

A code c of 16 bits stands for some amplitude in (c ± 1/2) / 32768, so that its power is (c^2 + 1/12) / 32768^2 on average.
With that, digital silence has a level, -101.1 dBFS, and a spectrum, a flat one; no logarithm meets a zero. Frames are of
25 ms, side by side. One below -60 dBFS is silent, the others sound. Generated clips do not say where their audio ends, so on
both sides loudness and flatness are over what sounds: of a clip that is silent throughout, over all of it, and a warning.

    loudness   10 log10 of the mean power of the frames that sound (a full-scale sine has -3 dBFS)
    peak       max |x|
    clipping   the share of clips that touch full scale (code -32768 or 32767); the share of timesteps is in the details
    DC offset  |mean x|, over the clip
    silence    the share of frames that are silent, padding included
    flatness   10 log10 of the geometric over the arithmetic mean of a frame's power spectrum (Hann window, without 0 Hz), the
               mean over frames (Gray & Markel 1974): about -2.5 for white noise, far below for a tone

The value is the mean over clips, and the target that of the reference's: what is asked is how close it comes. Clips are of
the same length and rate on both sides. Differs from the paper: decibels, a mean over frames, and rounding has its power.
The interval is normal; of clipping it is Wilson's (1927), whose half-width is called 1.96 standard errors.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft

from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval, proportion_interval, standard_error

VERSION = 1
FULL_SCALE = 32768
ROUNDING = 1 / (12 * FULL_SCALE**2)  # mean power of what rounding to 16 bits took away
FRAME_SECONDS = 0.025
SILENT_POWER = 10 ** (-60 / 10)
BLOCK, TIMESTEPS = 64, 2**21  # clips that are looked at together, and their timesteps at most: a few dozen MB
NEEDS = ("waveforms", "sample_rate")


def _metric(variant: str, name: str, unit: str, digits: int, doc: str) -> Metric:
    return Metric(
        key=f"v1/acoustics/{variant}",
        name=name,
        version=VERSION,
        better="target",
        needs=NEEDS,
        needs_reference=NEEDS,
        unit=unit,
        digits=digits,
        headline=False,
        doc=doc,
    )


METRICS = (
    _metric("loudness", "loudness", "dBFS", 1, "Mean level of what sounds in a clip."),
    _metric("peak", "peak", "", 3, "Mean of the clips' largest amplitudes, full scale being 1."),
    _metric("clipping", "clipping", "", 4, "Share of clips that touch full scale."),
    _metric("dc-offset", "DC offset", "", 5, "Mean distance of a clip's mean from zero, full scale being 1."),
    _metric("silence", "silence", "", 3, "Share of time that is silent."),
    _metric("flatness", "flatness", "dB", 1, "How flat short-time spectra are: 0 for noise, far below for tones."),
)


class Measured(NamedTuple):
    """of_clips: (n, 6), the measures of every clip in the order of METRICS; clipped: share of timesteps at full scale;
    silent: clips that are silent throughout
    """

    of_clips: np.ndarray
    clipped: float
    silent: int


def measure(samples: SampleSet) -> Measured:
    """All measures of every clip; memory-mapped waveforms are read a block at a time."""
    codes = samples.array("waveforms")
    rows = max(1, min(BLOCK, TIMESTEPS // codes.shape[1]))
    blocks = [_measure(codes[first : first + rows], samples.sample_rate) for first in range(0, len(codes), rows)]
    clipped = sum(block.clipped * len(block.of_clips) for block in blocks) / len(codes)
    return Measured(np.concatenate([block.of_clips for block in blocks]), clipped, sum(b.silent for b in blocks))


def _measure(codes: np.ndarray, rate: int) -> Measured:
    x = codes / FULL_SCALE
    length = min(x.shape[1], max(2, round(FRAME_SECONDS * rate)))
    frames = x[:, : x.shape[1] // length * length].reshape(len(x), -1, length)
    power = np.einsum("nft,nft->nf", frames, frames) / length + ROUNDING
    sounds = power >= SILENT_POWER
    silent = ~sounds.any(axis=1)
    heard = sounds | silent[:, None]
    counts = heard.sum(axis=1)

    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    spectrum = scipy.fft.rfft(frames[heard] * window)[:, 1:]
    bins = np.square(spectrum.real) + np.square(spectrum.imag) + ROUNDING * np.square(window).sum()
    flatness = np.zeros(power.shape)
    flatness[heard] = 10 * (np.log10(bins).mean(axis=1) - np.log10(bins.mean(axis=1)))

    full = (codes == -FULL_SCALE) | (codes == FULL_SCALE - 1)
    measures = (
        10 * np.log10((power * heard).sum(axis=1) / counts),
        np.abs(x).max(axis=1),
        full.any(axis=1),
        np.abs(x.mean(axis=1)),
        1 - sounds.mean(axis=1),
        flatness.sum(axis=1) / counts,
    )
    return Measured(np.stack(measures, axis=1), float(full.mean()), int(silent.sum()))


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """mean and sd (6,) of the measures over the reference's clips, clipped (), sample_rate (), count ()."""
    METRICS[0].require(reference, "reference")
    found = measure(reference)
    return {
        "mean": found.of_clips.mean(axis=0),
        "sd": found.of_clips.std(axis=0, ddof=1),
        "clipped": np.array(found.clipped),
        "sample_rate": np.array(reference.sample_rate),
        "count": np.array(len(reference)),
    }


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score]:
    """The six means. Raises ValueError where the sides are at different sample rates."""
    METRICS[0].require(generated)
    if generated.sample_rate != (rate := int(prepared["sample_rate"])):
        raise ValueError(
            f"v1/acoustics: the reference is at {rate} Hz and the generated set at {generated.sample_rate}"
        )
    found, n = measure(generated), len(generated)
    warnings = {"warnings": [f"{found.silent} of {n} clips are silent throughout"]} if found.silent else {}
    scores = []
    for i, metric in enumerate(METRICS):
        values = found.of_clips[:, i]
        value, influence = float(values.mean()), values - values.mean()
        interval, method = normal_interval(value, standard_error(influence)), "mean over clips, normal"
        details = {"target": float(prepared["mean"][i]), "target_standard_deviation": float(prepared["sd"][i])}
        details["standard_deviation"] = float(values.std(ddof=1))
        if metric.variant == "clipping":
            interval, method = proportion_interval(int(values.sum()), n), "Wilson's interval for a proportion"
            details |= {"timesteps": found.clipped, "target_timesteps": float(prepared["clipped"])}
        about = details | (warnings if metric.variant in ("loudness", "flatness") else {})
        counts = {"n_reference": int(prepared["count"]), "n_generated": n}
        scores.append(metric.score(value, interval, method, **counts, per_sample=influence, details=about))
    return scores

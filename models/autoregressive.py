"""What every autoregressive generator shares: codes as classes, training, exact likelihood, and sampling step by step.

A waveform is a sequence of 8-bit codes c_1 ... c_T, and the model gives p(c_t | c_1 ... c_{t-1}). A subclass has two forms
of that one function:

    logits(codes)   over whole sequences, for training and for the likelihood of given clips
    stepper(batch)  one timestep at a time, with whatever state it keeps, for sampling

Before the first timestep there is endless silence (code 128) or what else a model sets `before` to: that is the first
input, and what a receptive field reaches into.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.clips import ClipArray, Clips
from models.generators.base import Generator, Samples
from models.kept import Kept, contents
from models.layers.quantization import LEVELS, ZERO, Quantizer
from models.randomness import SampleRandom
from models.sampling_batch import state_bytes
from models.stepping import Drawing, PlainSteps, Steps
from models.training_config import TrainingConfig

Stepper = Callable[[Tensor], Tensor]  # codes (batch,) int64 of one timestep -> logits (batch, 256) of the next one
PIECE = 2**14  # timesteps of long samples that are drawn before they are handed on
TIMESTEPS_AT_ONCE = 2**16  # over which likelihoods are computed, to bound the memory of their logits


@dataclass(frozen=True, kw_only=True)
class AutoregressiveConfig(TrainingConfig):
    """Settings of every autoregressive generator."""

    quantization: str = "mu-law"
    "mu-law or linear, both with 8 bits."
    scale_per_clip: bool = False
    "Stretch every clip to the full range before it is quantized, as the SaShiMi release does; its loudness is then lost."
    train_on_padding: bool = True
    "Score the silence after a clip's end in training, so that samples learn to end; likelihoods never count it."
    margin: int = 0
    "Score at most so much silence after a training batch's longest clip, less as a rule; 0 = score clips to their end."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin < 0:
            raise ValueError(f"margin={self.margin} must not be negative; 0 scores clips to their end")


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(AutoregressiveConfig):
    """Settings of those that begin with an embedding of the code before, and end with a linear layer to the next one."""

    ordered_codes: bool = False
    "Begin with an embedding and an output in which neighbouring codes are alike."
    start_marker: bool = False
    "Let a code of its own stand for what is before a clip, so that its beginning cannot be taken for a pause."


class Autoregressive(Generator):
    """A generator of 8-bit codes, one timestep after the other."""

    @dataclass(frozen=True)
    class Sampling(Generator.Sampling):
        """How codes are drawn; the log-likelihood of a sample does not depend on it."""

        temperature: float = 1.0
        "Divides the logits: below 1, likelier codes get likelier still."
        top_p: float = 1.0
        "Draw only from the likeliest codes that together have at least this probability (Holtzman et al. 2020)."
        seconds: float = 0.0
        "Length of the samples; 0 = that of the clips. Longer ones go on where shorter ones end: they begin alike."

        def __post_init__(self) -> None:
            if not self.temperature > 0:
                raise ValueError(f"temperature={self.temperature} must be above 0")
            if not 0 < self.top_p <= 1:
                raise ValueError(f"top_p={self.top_p} must lie in (0, 1]")
            if not 0 <= self.seconds < math.inf:
                raise ValueError(f"seconds={self.seconds} is no length; 0 is that of the clips")

    config: AutoregressiveConfig
    continues: bool = True
    any_length: bool = True
    before: int = ZERO  # the code that stands for all that came before the first timestep

    def __init__(self, config: AutoregressiveConfig, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        self.quantizer = Quantizer(config.quantization, config.scale_per_clip)
        self.likelihood_space = self.quantizer.space
        self._engines: Kept[Drawing] = Kept()

    def logits(self, codes: Tensor) -> Tensor:
        """(batch, timesteps, 256) logits of p(c_t | c_1 ... c_{t-1}) for codes (batch, timesteps)."""
        raise NotImplementedError(f"{type(self).__name__} must define logits(codes)")

    def stepper(self, batch: int) -> Stepper:
        """A function with the state of `batch` new sequences; it is first called with the code `before`."""
        if type(self).steps is Autoregressive.steps:
            raise NotImplementedError(f"{type(self).__name__} must define stepper(batch), or steps(batch)")
        return self.steps(batch).stepper()

    def steps(self, batch: int, *, fused: bool = False) -> Steps:
        """The same in a form that the engine can compile (`models/stepping.py`): for models that are drawn from a lot.

        fused: in whatever form a compiler is best at
        """
        return PlainSteps(lambda: self.stepper(batch))

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> Tensor:
        """Mean cross-entropy of a code, in nats, up to `margin` timesteps at most after the end of the longest clip."""
        clips = self.shortened(clips, rng)
        codes = self.quantizer.encode_clips(clips)
        scored = torch.ones_like(codes, dtype=torch.bool) if self.config.train_on_padding else clips.mask()
        return cross_entropy(self.logits(codes), codes, scored)

    def loss_weight(self, valid: np.ndarray) -> int:
        """See `Objective`: the loss is a mean over timesteps, of which clips have equally many where padding counts."""
        return len(valid) if self.config.train_on_padding else int(valid.sum())

    def shortened(self, clips: Clips, rng: torch.Generator) -> Clips:
        """Training clips without most of the silence behind the longest of them, as `margin` says."""
        if not self.config.margin:
            return clips
        some = int(torch.rand((), generator=rng, device=rng.device).square() * self.config.margin)
        return Clips(clips.waveforms[:, : int(clips.valid.max()) + some], clips.valid, clips.labels)

    @torch.no_grad()
    def validation_loss(self, clips: Clips, rng: torch.Generator) -> Tensor:
        """Nats per valid timestep, over whole clips."""
        return -self.log_likelihood(clips).sum() / clips.valid.sum().cpu()

    @torch.no_grad()
    def log_likelihood(self, clips: Clips) -> Tensor:
        """(batch,) float64: the exact log-likelihood in nats of the codes of each clip's valid timesteps."""
        codes, mask, totals = self.quantizer.encode_clips(clips), clips.mask(), []
        rows = max(1, TIMESTEPS_AT_ONCE // codes.shape[1])
        for part, scored in zip(codes.split(rows), mask.split(rows), strict=True):
            longest = int(scored.sum(1).max())  # nothing depends on what follows
            part, scored = part[:, :longest], scored[:, :longest]
            # Flat: over a transposed view it takes three times as long.
            nats = -F.cross_entropy(self.logits(part).float().flatten(0, 1), part.flatten(), reduction="none")
            totals.append((nats.view_as(scored).double() * scored).sum(1))
        return torch.cat(totals)

    def unigram_entropy(self, clips: ClipArray) -> float:
        """Bits per valid timestep of a model that knows how frequent each code is, and nothing else: what is to be beaten."""
        counts = torch.zeros(LEVELS, dtype=torch.int64)
        for first in range(0, len(clips), 64):
            batch = clips.batch(range(first, min(first + 64, len(clips))))
            counts += torch.bincount(self.quantizer.encode_clips(batch)[batch.mask()], minlength=LEVELS)
        return float(torch.special.entr(counts / counts.sum()).sum() / math.log(2))

    @torch.no_grad()
    def sampling_bytes(self) -> int:
        """See `Generator.sampling_bytes`: the state of a sequence, and its uniforms, codes and nats, twice over."""
        return state_bytes(self.steps) + 48 * self.timesteps

    @torch.inference_mode()
    def continue_clips(self, clips: Clips, timesteps: int, rng: SampleRandom | None = None, **sampling: Any) -> Samples:
        """See `Generator.continue_clips`. Where clips are scaled, the whole clip decides about its prefix's codes, as in
        training, and about the level of what follows."""
        samples = self.sample(len(clips), rng, self.quantizer.encode_clips(clips)[:, :timesteps], **sampling)
        return replace(samples, waveforms=self.quantizer.at_level(samples.waveforms, clips))

    @torch.inference_mode()
    def stream_continued(
        self, clips: Clips, timesteps: int, rng: SampleRandom | None = None, **sampling: Any
    ) -> Iterator[Samples]:
        """`continue_clips`, piece by piece."""
        codes = self.quantizer.encode_clips(clips)[:, :timesteps]
        for piece in self.stream(len(clips), rng, codes, **sampling):
            yield replace(piece, waveforms=self.quantizer.at_level(piece.waveforms, clips))

    @torch.inference_mode()
    def sample(
        self, count: int, rng: SampleRandom | None = None, prefix: Tensor | None = None, **sampling: Any
    ) -> Samples:
        """Draw `count` samples of `timesteps` timesteps, or of `seconds`; see `Generator.sample`. A prefix is quantized, unless
        it is codes (int64) already, then continued, and its own timesteps do not count towards the log-likelihood."""
        return joined(self.stream(count, rng, prefix, **sampling))

    @torch.inference_mode()
    def stream(
        self, count: int, rng: SampleRandom | None = None, prefix: Tensor | None = None, **sampling: Any
    ) -> Iterator[Samples]:
        """`sample`, piece by piece in time: samples of clip length in one, those of `seconds` in pieces of `PIECE` timesteps,
        so that memory does not grow with their length."""
        settings = self.asked(count, prefix, sampling)
        timesteps = round(settings.seconds * self.sample_rate) or self.timesteps
        given = torch.empty(count, 0, dtype=torch.int64, device=self.device)
        if prefix is not None:
            if prefix.ndim != 2 or len(prefix) != count or prefix.shape[1] > timesteps:
                wanted = f"({count}, at most {timesteps})"
                raise ValueError(f"prefix must be waveforms of shape {wanted}, but has shape {tuple(prefix.shape)}")
            if prefix.shape[1]:
                prefix = prefix.to(self.device)
                given = self.quantizer.encode(prefix) if prefix.is_floating_point() else prefix
        with self.engine(count) as engine:
            piece = engine.whole_pieces(PIECE) if settings.seconds else timesteps
            uniforms = self.uniforms(rng or SampleRandom(0), count, timesteps, piece)
            for codes, log_likelihood in engine.stream(uniforms, given, settings.temperature, settings.top_p):
                yield Samples(self.quantizer.decode(codes).cpu(), log_likelihood, evaluations=codes.shape[1])

    @contextmanager
    def engine(self, count: int) -> Iterator[Drawing]:
        """What draws `count` samples. A frozen model keeps it for the next so many: to make it takes seconds, compiled."""
        compiled = self.compiled
        if compiled is None:
            # Of clip length, however long the draw: what a sample begins with does not depend on how it goes on.
            compiled = self.device.type == "cuda" or self.steps(1).pays(count, self.timesteps)
        weights = [*self.parameters(), *self.buffers()]
        if any(weight.requires_grad for weight in weights):
            yield Drawing(self, count, compiled)
            return
        how = count, compiled, torch.get_num_threads(), self.before, contents(weights)
        with self._engines.lent(weights, how, partial(Drawing, self, count, compiled)) as engine:
            yield engine

    def uniforms(self, rng: SampleRandom, count: int, timesteps: int, piece: int) -> Iterator[Tensor]:
        """(count, at most `piece`) on the device, `timesteps` in all: the same numbers however they are cut."""
        precision = torch.float32 if self.device.type == "mps" else torch.float64  # Metal has no float64
        for first in range(0, timesteps, piece):
            yield rng.uniform(count, min(piece, timesteps - first)).to(self.device, precision)


def joined(pieces: Iterable[Samples]) -> Samples:
    """Pieces of the same samples, one after the other in time, as one."""
    found = list(pieces)
    if len(found) == 1:
        return found[0]
    nats = [piece.log_likelihood for piece in found if piece.log_likelihood is not None]
    return Samples(
        torch.cat([piece.waveforms for piece in found], dim=1),
        torch.stack(nats).sum(0) if nats else None,
        evaluations=sum(piece.evaluations for piece in found),
        labels=found[0].labels,
    )


def cross_entropy(logits: Tensor, codes: Tensor, scored: Tensor) -> Tensor:
    """Mean nats over the scored (batch, timesteps) positions of codes, under logits (batch, timesteps, 256)."""
    targets = codes.masked_fill(~scored, -100)
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def shift_right(codes: Tensor, before: int = ZERO) -> Tensor:
    """What a model sees last before each timestep: `before`, then all codes (batch, timesteps) but the last one."""
    return F.pad(codes[:, :-1], (1, 0), value=before)

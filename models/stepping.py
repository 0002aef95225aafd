"""Autoregressive models, one timestep at a time: what a model says of its steps, and the one engine that runs them.

A model's `Steps` are a function `fast` that runs at every timestep, and whatever runs on slower clocks in between. State lies
in buffers of fixed shapes that steps overwrite. The engine, `Drawing`, puts the choice of a code and its likelihood behind
`fast`, so that a timestep is one call, and runs that

    plainly     operation by operation; the meaning of all other ways
    compiled    on a CPU: compiled ahead of time and kept on disk (`models/compiling.py`), where steps say so by whole periods
                on a GPU: compiled, and whole periods of the slower clocks recorded as one CUDA graph

Codes are drawn by inverting the distribution function at uniforms that were drawn beforehand, so that all three give the same
samples, but for uniforms that lie within rounding of the border between two codes.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from models.layers.quantization import LEVELS
from models.recording import Recording, in_periods, recorded, stepped

Run = Callable[..., Any]
T = TypeVar("T")


class RunsPlainly(UserWarning):
    """What should have been compiled could not be: everything is as it should be, but slower."""


class Build(Protocol):
    """Makes `function(weights, *tensors)` a function of the tensors alone; `examples` are tensors of their shapes."""

    def __call__(self, name: str, function: Run, weights: Any, *examples: Tensor) -> Run: ...


def plainly(name: str, function: Run, weights: Any, *examples: Tensor) -> Run:
    """The function as it is."""
    return lambda *tensors: function(weights, *tensors)


class Steps:
    """A model by timesteps, for a batch of sequences; new ones begin with `reset`.

    weights: tensors in tuples, lists and dicts, as `fast` takes them
    period:  timesteps after which the slower clocks are where they were
    by_period: whether a period is one call, which asks `before` at its first timestep alone, and then `due` for all of them
    """

    weights: Any = None
    period: int = 1
    by_period: bool = False

    def fast(self, weights: Any, codes: Tensor, *tensors: Tensor) -> Tensor:
        """(batch, 256) logits of the next code after `codes` (batch,) int64, with what `before` gave, or `due`. It may write
        into the tensors, and touches no others."""
        raise NotImplementedError(f"{type(self).__name__} must define fast(weights, codes, *tensors)")

    def before(self, t: int, codes: Tensor) -> tuple[Tensor, ...]:
        """Run whatever is due on slower clocks before timestep t, whose input is `codes`, and return what `fast` reads and
        writes then. From t = period on, it depends on t modulo the period alone."""
        return ()

    def due(self, weights: Any, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        """What `fast` gets at each timestep of a period that is one call, of which this is part; from what `before` gave."""
        raise NotImplementedError(f"{type(self).__name__} must define due(weights, *tensors)")

    def build(self, build: Build) -> None:
        """Let what runs on slower clocks be built as `fast` is."""

    def pays(self, count: int, timesteps: int) -> bool:
        """Whether compiling them for a CPU takes less time than it saves in drawing `count` sequences.

        It must not depend on how busy a machine is: compiled steps round differently, and a draw is to be repeatable.
        """
        return False

    def reset(self) -> None:
        """Begin new sequences: set all state to what it is before the first timestep."""
        raise NotImplementedError(f"{type(self).__name__} must define reset()")

    def stepper(self) -> Callable[[Tensor], Tensor]:
        """The function of codes (batch,) alone that gives logits (batch, 256), from now on; without gradients.

        Raises ValueError for steps that come by periods.
        """
        if self.by_period:
            raise ValueError(f"{type(self).__name__} has whole periods of {self.period} timesteps, not single ones")
        self.reset()
        clock = iter(range(2**62))
        return torch.no_grad()(lambda codes: self.fast(self.weights, codes, *self.before(next(clock), codes)))


class PlainSteps(Steps):
    """The steps of a model that only has a function from codes to logits, which is never compiled.

    stepper: gives that function for new sequences
    """

    def __init__(self, stepper: Callable[[], Callable[[Tensor], Tensor]]):
        self.of_new = stepper
        self.reset()

    def reset(self) -> None:
        self.step = self.of_new()

    def fast(self, weights: Any, codes: Tensor, *tensors: Tensor) -> Tensor:
        return self.step(codes)


class Drawing:
    """The engine for one model and one size of batch. It keeps its buffers, and draws one batch after the other.

    model:    an `Autoregressive`
    compiled: whether to compile; where that cannot be done there is a warning, and steps run plainly
    """

    def __init__(self, model: Any, batch: int, compiled: bool = False):
        self.model, self.batch, self.device = model, batch, model.device
        self.steps: Steps = model.steps(batch, fused=compiled)
        self.compiled = compiled and self.steps.weights is not None
        self._build: Build = plainly
        self._ticks: dict[tuple[float, float, int], Run] = {}
        self._recordings: dict[Run, Recording] = {}
        self._or_plainly(self._compile)

    @torch.inference_mode()
    def __call__(
        self, uniforms: Tensor, given: Tensor | None = None, temperature: float = 1.0, top_p: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Draw new sequences.

        uniforms: (batch, timesteps) in [0, 1); given: (batch, first timesteps) int64 to begin with
        Returns codes (batch, timesteps) int64 and the log-likelihood (batch,) float64 in nats of those drawn under the model
        itself: temperature and top_p change what is drawn, not what it is worth.
        """
        [drawn] = self.stream([uniforms], given, temperature, top_p)
        return drawn

    @torch.inference_mode()
    def stream(
        self, uniforms: Iterable[Tensor], given: Tensor | None = None, temperature: float = 1.0, top_p: float = 1.0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The same, piece by piece in time: every piece of uniforms gives its codes, and what these add to the likelihood.

        uniforms: (batch, timesteps of the piece) each; all but the last of a multiple of `whole_pieces` timesteps
        Raises ValueError for pieces of another shape.
        """
        first, codes, span = 0, self.start(), self.whole_pieces(1)
        for piece in uniforms:
            if len(piece) != self.batch:
                raise ValueError(f"uniforms have {len(piece)} rows, and this engine draws batches of {self.batch}")
            if first % span:
                raise ValueError(f"a piece begins at timestep {first}, which is no multiple of {span}")
            rows, prefix = [piece.t().contiguous()], 0
            if given is not None and given.shape[1]:
                prefix = min(piece.shape[1], max(0, given.shape[1] - first))
                forced = given.new_full((piece.shape[1], self.batch), -1)
                forced[:prefix] = given[:, first : first + prefix].t()
                rows.append(forced)
            found, worth = self._or_plainly(partial(self._piece, codes, first, rows, temperature, top_p), first)
            worth[:prefix] = 0
            first, codes = first + len(found), found[-1]
            yield found.t().contiguous(), worth.cpu().double().sum(0)

    def _piece(
        self, codes: Tensor, first: int, rows: list[Tensor], temperature: float, top_p: float
    ) -> tuple[Tensor, Tensor]:
        """Codes and nats of the timesteps from `first` on, (timesteps, batch); codes: (batch,) the input of the first one."""
        tick = self._tick(temperature, top_p, rows)  # the first time, it resets the steps
        if not first:
            self.steps.reset()
        if self.compiled and self.device.type == "cuda":
            if tick not in self._recordings:
                self._recordings[tick] = Recording(tick, self.steps, self.start(), rows)
            return self._recordings[tick].run(rows, first)
        if self.steps.by_period:
            return in_periods(tick, self.steps, codes, first, rows)
        drawn = list(stepped(tick, self.steps, codes, first, zip(*rows, strict=True)))
        found, worth = (torch.stack(part) for part in zip(*drawn, strict=True))
        return found, worth

    def whole_pieces(self, timesteps: int) -> int:
        """A piece of about so many timesteps after which clocks and recordings are where they were."""
        span = recorded(self.steps)
        return span * max(1, timesteps // span)

    def start(self) -> Tensor:
        """(batch,) the first input."""
        return torch.full((self.batch,), self.model.before, device=self.device)

    def _tick(self, temperature: float, top_p: float, rows: list[Tensor]) -> Run:
        """(codes, *rows, *what `Steps.before` gave) -> the next codes and their nats: see `timestep` and `period`."""
        key = (temperature, top_p, len(rows))
        if key in self._ticks:
            return self._ticks[key]

        steps, function = self.steps, timestep(self.steps, temperature, top_p, len(rows))
        steps.reset()
        shape = (steps.period, self.batch) if steps.by_period else (self.batch,)
        if steps.by_period:
            function = period(steps, function, len(rows))
        example = (self.start(), *(row.new_zeros(shape) for row in rows), *steps.before(0, self.start()))
        self._ticks[key] = self._build("timestep", function, steps.weights, *example)
        return self._ticks[key]

    def _compile(self) -> None:
        """Raises CannotCompile."""
        if self.compiled:
            from models.compiling import compiler

            self._build = compiler(self.device)
            self.steps.build(self._build)

    def _or_plainly(self, make: Callable[[], T], first: int = 0) -> T:
        """What `make` gives; where something cannot be compiled, what it gives with plain steps, after a warning. Those begin
        anew, and so must it: with timestep `first` = 0."""
        from models.compiling import CannotCompile

        try:
            return make()
        except CannotCompile as error:
            if first or not self.compiled:
                raise
            warnings.warn(f"{error}; samples are drawn without, which takes longer", RunsPlainly, stacklevel=5)
            self.compiled, self._build, self._ticks, self._recordings = False, plainly, {}, {}
            self.steps = self.model.steps(self.batch, fused=False)
        return make()


def timestep(steps: Steps, temperature: float, top_p: float, rows: int) -> Run:
    """(weights, codes, uniforms, [forced,] *what `fast` gets) -> the next codes and their nats, all (batch,).

    rows: 1, or 2 with forced, which are codes to take, and -1 where one is to be drawn
    """

    def tick(weights: Any, codes: Tensor, uniforms: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        forced, tensors = others[: rows - 1], others[rows - 1 :]
        log_p = steps.fast(weights, codes, *tensors).log_softmax(1)
        plain = temperature == 1.0 and top_p == 1.0
        drawn = invert(log_p if plain else sampling_law(log_p, temperature, top_p), uniforms)
        if forced:
            drawn = torch.where(forced[0] < 0, drawn, forced[0])
        return drawn, log_p.gather(1, drawn[:, None])[:, 0]

    return tick


def period(steps: Steps, tick: Run, rows: int) -> Run:
    """The same of all timesteps of a period: (weights, codes, rows (period, batch), *what `before` gave) -> (period, batch)."""

    def ticks(weights: Any, codes: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        row_by_row, found = zip(*(one.unbind() for one in others[:rows]), strict=True), []
        for row, tensors in zip(row_by_row, steps.due(weights, *others[rows:]), strict=True):
            codes, nats = tick(weights, codes, *row, *tensors)
            found.append((codes, nats))
        drawn, worth = (torch.stack(part) for part in zip(*found, strict=True))
        return drawn, worth

    return ticks


def invert(log_p: Tensor, uniforms: Tensor) -> Tensor:
    """(count,) the codes at which distribution functions reach the uniforms (count,); log_p: (count, 256), any offset."""
    reached = log_p.exp().cumsum(1, dtype=uniforms.dtype)
    codes = torch.searchsorted(reached, (uniforms * reached[:, -1])[:, None], right=True)
    return codes[:, 0].clamp_max(LEVELS - 1)


def sampling_law(log_p: Tensor, temperature: float, top_p: float) -> Tensor:
    """log_p (count, 256) restricted to its nucleus, then divided by the temperature; not normalized.

    As in the SaShiMi release, the nucleus is that of the untempered distribution.
    """
    if top_p < 1:
        ordered, order = log_p.sort(dim=1, descending=True, stable=True)
        before = ordered.exp().cumsum(1) - ordered.exp()
        log_p = log_p.masked_fill((before >= top_p).scatter(1, order, before >= top_p), -torch.inf)
    return log_p / temperature

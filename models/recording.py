"""Timesteps one after the other, by periods, and as one CUDA graph: what the engine in `stepping.py` runs."""

import gc
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from models.stepping import Steps

Run = Callable[..., Any]
RECORDED = 16  # timesteps in a CUDA graph, at least: enough that replaying it costs little beside them


def stepped(
    tick: Run, steps: "Steps", codes: Tensor, first: int, rows: Iterable[tuple[Tensor, ...]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Codes and nats, timestep by timestep from the `first` one on, whose input is `codes`."""
    for t, row in enumerate(rows, first):
        codes, nats = tick(codes, *row, *steps.before(t, codes))
        yield codes, nats


def in_periods(tick: Run, steps: "Steps", codes: Tensor, first: int, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The same for steps of which a period is one call: codes and nats (timesteps, batch), for all rows.

    first: a multiple of the period. What the last call draws beyond the rows is left out.
    """
    parts, count = [], len(rows[0])
    padded = [F.pad(row, (0, 0, 0, -count % steps.period)) for row in rows]
    row_by_row = zip(*(row.split(steps.period) for row in padded), strict=True)
    for t, of_period in zip(range(first, first + count, steps.period), row_by_row, strict=True):
        parts.append(tick(codes, *of_period, *steps.before(t, codes)))
        codes = parts[-1][0][-1]
    found, worth = (torch.cat(part)[:count] for part in zip(*parts, strict=True))
    return found, worth


def cuda_graph(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What the function does on the device, as one CUDA graph; it is not run."""
    gc.collect()  # an earlier engine, which refers to itself, would take its graph along in the middle of this one
    graph = torch.cuda.CUDAGraph()
    # PyTorch's own stream for this lies on whatever card was the current one when it was first needed.
    with torch.cuda.device(device), torch.cuda.graph(graph, stream=torch.cuda.Stream(device)):
        function()
    replay: Callable[[], None] = graph.replay
    return replay


def recorded(steps: "Steps") -> int:
    """How many timesteps a recording has: whole periods."""
    return steps.period * -(-RECORDED // steps.period)


class Recording:
    """A whole number of periods, recorded once and replayed for the next ones with what they need in its buffers.

    record: makes a function that repeats all that the given one does to memory, of a device
    """

    def __init__(self, tick: Run, steps: "Steps", start: Tensor, rows: list[Tensor], record: Run = cuda_graph):
        self.tick, self.steps, self.start, self.record = tick, steps, start, record
        self.span = recorded(steps)
        self.rows = [row.new_zeros(self.span, *row.shape[1:]) for row in rows]
        self.code = start.clone()
        self.out = [start.new_zeros(self.span, len(start)), torch.zeros(self.span, len(start), device=start.device)]
        self.replay: Callable[[], None] | None = None

    def _span(self, first: int) -> None:
        """Timesteps `first` to `first` + span, from buffers to buffers."""
        row_by_row = zip(*(row.unbind() for row in self.rows), strict=True)
        for i, results in enumerate(stepped(self.tick, self.steps, self.code, first, row_by_row)):
            for out, result in zip(self.out, results, strict=True):
                out[i].copy_(result)
        self.code.copy_(self.out[0][-1])

    def run(self, rows: list[Tensor], begin: int = 0) -> tuple[Tensor, Tensor]:
        """Codes and nats, (timesteps, batch), for all rows. The first two spans, by whose end the slowest clock has begun and
        everything is compiled, and what is left at the end run plainly. begin: the timestep of the first row, a multiple of the
        span, where the rows before it have been run"""
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        if not begin:
            self.code.copy_(self.start)
        whole = len(rows[0]) // self.span * self.span
        for first in range(0, whole, self.span):
            for buffer, row in zip(self.rows, rows, strict=True):
                buffer.copy_(row[first : first + self.span])
            if begin + first < 2 * self.span:
                self._span(begin + first)
            else:
                self.replay = self.replay or self.record(partial(self._span, begin + first), self.start.device)
                self.replay()
            for parts, out in zip(found, self.out, strict=True):
                parts.append(out.clone())
        rest = zip(*(row[whole:].unbind() for row in rows), strict=True)
        for results in stepped(self.tick, self.steps, self.code.clone(), begin + whole, rest):
            for parts, result in zip(found, results, strict=True):
                parts.append(result[None])
        codes, nats = (torch.cat(parts) for parts in found)
        return codes, nats

"""What a row of the benchmark's table is, what it is told, and what it gives back."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.roofline import Rates, Work

SAMPLE_RATE = 16000
SECOND = 16000  # timesteps of a clip


@dataclass
class Figure:
    """One measured number, with what it is held against.

    name:         which one of the row's, such as "batch 32"
    unit:         of all numbers here
    values:       as measured, one for each round; the median counts
    goal:         what must be reached, if anything
    reference:    what the code that Earshot replaces takes, measured on a machine of this class
    limit:        what `work` takes at the machine's measured rates
    work:         what was counted, see `Work`
    higher:       more is better
    beside:       the same of other ways, measured in turn with this one: name -> values
    note:         what a reader has to know
    """

    name: str
    unit: str
    values: list[float]
    goal: float | None = None
    reference: float | None = None
    limit: float | None = None
    work: dict[str, Any] | None = None
    higher: bool = False
    beside: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def best(self) -> float:
        return max(self.values) if self.higher else min(self.values)

    @property
    def of_goal(self) -> float | None:
        """Measured over what must be reached, or the inverse where more is better: up to 1 is reached."""
        return self._against(self.goal)

    @property
    def reached(self) -> bool | None:
        """Whether the goal is; None where there is none."""
        return None if self.of_goal is None else self.of_goal <= 1

    @property
    def distance(self) -> float | None:
        """Measured over the limit, or the inverse where more is better: how many times further away than it could be."""
        return self._against(self.limit)

    def _against(self, other: float | None) -> float | None:
        if not other:
            return None
        if self.higher:
            return other / self.median if self.median else math.inf
        return self.median / other


@dataclass(frozen=True)
class Setting:
    """What a row is told.

    device:  cpu or cuda
    quick:   run at toy size: to see that it runs
    cores:   the processor's cores that the row's process may use; empty: all
    threads: of every process that computes
    rates:   what the roofline measured at as many threads, or None
    scratch: an empty folder, removed afterwards
    """

    device: str
    quick: bool
    cores: tuple[int, ...]
    threads: int
    rates: Rates | None
    scratch: Path

    def pick(self, full: Any, quick: Any) -> Any:
        """The one or the other size."""
        return quick if self.quick else full

    @property
    def preset(self) -> str:
        return str(self.pick("paper", "smoke"))

    @property
    def card(self) -> bool:
        """Whether it is about a graphics card: sizes and goals are others there."""
        return self.device != "cpu"

    def of_processor(self, goal_and_reference: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
        """These, which are those of a processor; on a card there are none."""
        return (None, None) if self.card else goal_and_reference

    def plugin(self, kind: str, name: str) -> Any:
        """A generator or classifier; see `models/plugins.py`."""
        from models import plugins

        return plugins.find(kind, name)

    def generator(self, name: str) -> Any:
        """A generator with random weights, the same in every process."""
        import torch

        torch.manual_seed(0)
        plugin = self.plugin("generators", name)
        return plugin.cls(plugin.presets[self.preset], SAMPLE_RATE, SECOND).to(self.device)

    def classifier(self, name: str) -> Any:
        """A classifier with random weights, the same in every process, that is not trained any more."""
        import torch

        torch.manual_seed(0)
        plugin = self.plugin("classifiers", name)
        net = plugin.cls(plugin.presets[self.preset], SAMPLE_RATE, SECOND, [str(digit) for digit in range(10)])
        return net.to(self.device).eval().requires_grad_(False)

    def ways(self, function: Callable[[], object]) -> dict[str, Callable[[], object]]:
        """What is used, by the name of ""; on a graphics card beside it what torch.compile makes of it, to see if that pays."""
        if not self.card:
            return {"": function}
        import torch

        return {"": function, "torch.compile": torch.compile(function)}

    def wait(self) -> None:
        """Until the device has done what it was asked to do."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def figure(
        self, name: str, unit: str, seconds: Sequence[float], scale: float = 1.0, *, work: Work | None = None,
        goal: float | None = None, reference: float | None = None, beside: dict[str, list[float]] | None = None,
        note: str = "",
    ) -> Figure:  # fmt: skip
        """A figure of measured times; scale: units in a second. Goals are for the full size alone."""
        limit = None if work is None or self.rates is None else work.seconds(self.rates) * scale
        return Figure(
            name, unit, [scale * one for one in seconds], self.pick(goal, None), self.pick(reference, None), limit,
            None if work is None else work.to_json(), False,
            {other: [scale * one for one in times] for other, times in (beside or {}).items()}, note,
        )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of the table, measured in a process of its own.

    name: what it is asked for by; title: what it measures; place: in the table; run: the measurement
    cores, threads: see `Setting`; devices: where it can be measured
    exact: a missed goal is a wrong result, not a slow one
    """

    name: str
    title: str
    place: float
    run: Callable[[Setting], list[Figure]]
    cores: int = 1
    threads: int = 1
    devices: tuple[str, ...] = ("cpu",)
    exact: bool = False

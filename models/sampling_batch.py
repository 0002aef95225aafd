"""How many samples to draw at once: as many as memory holds, since the work of a batch grows more slowly than the batch."""

import contextlib
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from models.generators.base import Generator
from models.stepping import Steps

# Where a container sees the limits that it is under: of version 2, and of version 1.
CONTROL_GROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory"))
SHARE = 0.5  # of the memory that is free: what a sample takes is an estimate, and others come along
Drawn = TypeVar("Drawn")


def fitting(model: Generator, count: int, processes: int = 1) -> int:
    """At most `count`, at least 1. processes: how many of our kind share this machine's memory, which are drawing too"""
    return max(1, min(count, int(SHARE * free_bytes(model.device) / processes) // model.sampling_bytes()))


def free_bytes(device: torch.device) -> int:
    """Memory on the device that nobody uses, or that could be had at once."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration):  # not Linux: half of what is built in
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min([free, *(left for place in CONTROL_GROUPS if (left := left_in(place)) is not None)])


def left_in(place: Path) -> int | None:
    """What a container has left of the memory that it is given; None where there is no limit."""
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        with contextlib.suppress(OSError, ValueError):  # of another version; "max", which is no limit
            given = int((place / limit).read_text(encoding="ascii"))
            statistics = dict(line.split() for line in (place / "memory.stat").read_text(encoding="ascii").splitlines())
            files = int(statistics.get("inactive_file", 0))  # kept as long as nobody needs the memory
            return max(0, given - int((place / used).read_text(encoding="ascii")) + files)
    return None


def or_less(batch: int, draw: Callable[[int], Drawn]) -> tuple[int, Drawn]:
    """(size, draw(size)) for `batch`, or for the first of its halves, quarters ... that a graphics card has room for.

    Raises torch.OutOfMemoryError where one sample is too many.
    """
    while True:
        try:
            return batch, draw(batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        batch = -(-batch // 2)
        gc.collect()  # engines refer to themselves; outside of the handler, whose traceback holds on to tensors
        torch.cuda.empty_cache()


def state_bytes(steps: Callable[[int], Steps]) -> int:
    """Memory of one more sequence's state; steps: makes the `Steps` of a batch of so many."""

    def held(value: Any, seen: dict[int, Any]) -> int:
        if id(value) in seen:
            return 0
        seen[id(value)] = value
        if isinstance(value, Tensor):
            return value.numel() * value.element_size()
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        return sum(held(part, seen) for part in (*parts, *getattr(value, "__dict__", {}).values()))

    return held(steps(2), {}) - held(steps(1), {})

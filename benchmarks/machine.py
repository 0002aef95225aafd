"""What the measurements were taken on, and whether it was busy with something else. Nothing here needs Luigi or PyTorch."""

import importlib.metadata
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

from tasks import host

REPOSITORY = host.REPOSITORY
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "luigi", "soundfile")
BUSY = 0.05  # share of the processor that others may take before a measurement is marked


def describe() -> dict[str, Any]:
    """Provenance, as JSON values."""
    return {
        "date": now(),
        "git": host.git_state(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "processor": host.processor(),
        "cores": os.cpu_count(),
        "usable_cores": list(usable_cores()),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": load(),
    }


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def load() -> list[float]:
    """Processes that were ready to run, in the mean of the last 1, 5 and 15 minutes."""
    return [round(one, 2) for one in os.getloadavg()]


def headline(found: dict[str, Any]) -> list[str]:
    """`describe` for people; last, a warning if the machine is busy."""
    libraries = ", ".join(f"{name} {version}" for name, version in found["libraries"].items() if version)
    git = found["git"]
    commit = f"{(git['commit'] or 'no git')[:10]}{' with changes' if git['modified'] else ''}"
    lines = [
        f"{found['date']}  commit {commit}",
        f"{found['processor']}, {len(found['usable_cores'])} of {found['cores']} cores, {found['memory_gib']} GiB",
        f"Python {found['python']}, {libraries}",
        "load average " + " ".join(f"{one:.2f}" for one in found["load_average"]),
    ]
    if found["load_average"][0] > 0.5:
        lines.append("BUSY: other programs are at work or just were; expect figures above what the machine can do")
    return lines


def usable_cores() -> tuple[int, ...]:
    """One of each physical core that this process may run on first, then their second threads."""
    if not hasattr(os, "sched_getaffinity"):
        return tuple(range(os.cpu_count() or 1))
    cores = sorted(os.sched_getaffinity(0))
    seen: set[str] = set()
    first: list[int] = []
    second: list[int] = []
    for core in cores:
        try:
            name = f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"
            siblings = Path(name).read_text(encoding="utf-8").strip()
        except OSError:
            siblings = str(core)
        (second if siblings in seen else first).append(core)
        seen.add(siblings)
    return (*first, *second)


class Watch:
    """What shares of the processor, of all cores together, went to others since it was made.

    `steal`: to other virtual machines; `others`: to programs that this process did not start. Children count once they have
    been waited for. None where the system does not say.
    """

    def __init__(self) -> None:
        self.started, self.before, self.own = time.perf_counter(), _ticks(), _own_seconds()

    def shares(self) -> dict[str, float | None]:
        now, ticks = _ticks(), os.sysconf("SC_CLK_TCK")
        if self.before is None or now is None:
            return {"steal": None, "others": None}
        user, nice, system, _, _, irq, softirq, steal = (b - a for a, b in zip(self.before, now, strict=True))
        available = (time.perf_counter() - self.started) * (os.cpu_count() or 1)
        others = (user + nice + system + irq + softirq) / ticks - (_own_seconds() - self.own)
        return {"steal": round(steal / ticks / available, 4), "others": round(max(0.0, others) / available, 4)}


def was_busy(shares: dict[str, float | None]) -> bool:
    return sum(share or 0.0 for share in shares.values()) > BUSY


def _ticks() -> list[int] | None:
    """user, nice, system, idle, iowait, irq, softirq, steal, of all cores (Linux)."""
    try:
        first = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
    except OSError:
        return None
    return [int(word) for word in first.split()[1:9]]


def _own_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None

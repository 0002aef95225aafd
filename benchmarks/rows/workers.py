"""Two workers against one: each draws samples in a process of its own, pinned to a core of its own, on one thread.

One draws two shards one after the other, or two draw one each at the same time; the two ways take turns. How many times as
fast two are. Every worker is ready before the clock starts: what the start costs is the row of the cold start.
"""

import subprocess
import sys
from typing import Any

from benchmarks.machine import REPOSITORY
from benchmarks.rows.base import Figure, Row, Setting
from benchmarks.rows.sampling import NAMES
from benchmarks.timing import interleaved, pin

GOAL, BATCH = 1.8, 32


class Worker:
    """A process that draws a shard whenever it is asked to."""

    def __init__(self, model: str, preset: str, batch: int, timesteps: int, core: int):
        command = [sys.executable, "-m", __name__, model, preset, str(batch), str(timesteps), str(core)]
        self.process: Any = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self) -> None:
        self.process.stdin.write("draw\n")
        self.process.stdin.flush()

    def wait(self) -> None:
        """Until it has answered. Raises RuntimeError if it is gone."""
        if not self.process.stdout.readline():
            raise RuntimeError(f"a worker ended with status {self.process.wait()}")

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def work(model: str, preset: str, batch: int, timesteps: int, core: int) -> None:
    """What a worker does: draw once to be ready, and then once for every line on its input."""
    pin((core,))
    import torch

    from models import plugins
    from models.randomness import SampleRandom
    from models.stepping import Drawing

    torch.set_num_threads(1)
    torch.manual_seed(0)
    plugin = plugins.find("generators", model)
    drawing = Drawing(plugin.cls(plugin.presets[preset], 16000, timesteps).freeze(), batch, compiled=True)
    uniforms = SampleRandom(core).uniform(batch, timesteps)
    drawing(uniforms)
    print("ready", flush=True)
    for _ in sys.stdin:
        drawing(uniforms)
        print("drawn", flush=True)


def run(setting: Setting) -> list[Figure]:
    """For each model, how many times as fast two workers are."""
    return [of_model(model, setting) for model in setting.pick(tuple(NAMES), ("wavenet",))]


def of_model(model: str, setting: Setting) -> Figure:
    """See `run`."""
    batch, timesteps = setting.pick((BATCH, 320), (2, 32))
    cores = (setting.cores * 2)[:2] or (0, 1)
    workers = []
    for core in cores:  # one after the other: the second finds what the first one compiled
        workers.append(Worker(model, setting.preset, batch, timesteps, core))
        workers[-1].wait()

    def one() -> None:
        for _ in workers:
            workers[0].ask()
            workers[0].wait()

    def two() -> None:
        for worker in workers:
            worker.ask()
        for worker in workers:
            worker.wait()

    try:
        seconds = interleaved({"one": one, "two": two}, setting.pick(7, 2))
    finally:
        for worker in workers:
            worker.end()
    ratios = [alone / together for alone, together in zip(seconds["one"], seconds["two"], strict=True)]
    return Figure(
        f"{NAMES[model]}, batch {batch}", "x one worker", ratios, setting.pick(GOAL, None), limit=2.0, higher=True
    )


ROWS = [Row("workers", "two workers draw", 14, run, 2)]

if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], *(int(word) for word in sys.argv[3:]))

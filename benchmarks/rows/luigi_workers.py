"""Two workers against one as people ask for them: the whole command, `--workers 2` or `--workers 1`, that draws from a model.

All is there but the samples; what a shard costs beside its samples is in it: a process, Python, PyTorch, the model, Luigi's
turn, and at the end the table and a wav for every sample. `workers.py` has the same without that. Training has few steps: how
long a model draws does not depend on its weights.
"""

import shutil
import sys
from functools import partial
from pathlib import Path

from benchmarks.rows.base import Figure, Row, Setting
from benchmarks.rows.workers import GOAL
from benchmarks.timing import command, interleaved

MODEL, PRESET = "sashimi", "small"
SHARDS, SHARD = 2, 128  # as many as there are in a shard unless one asks for others


def run(setting: Setting) -> list[Figure]:
    """How many times as fast two workers are, and what each way takes."""
    workdir, shard = setting.scratch / "workdir", setting.pick(SHARD, 2)
    words = setting.pick(f"{MODEL} {PRESET} {MODEL}.max_steps=2", "noise smoke noise.bands=65").split()
    model = ["--model", words[0], "--preset", words[1], "--settings", f"corpus.clips_per_digit=16,{words[2]}"]
    config = setting.scratch / "luigi.cfg"
    config.write_text(f"[machine]\nworkdir = {workdir}\ndevice = cpu\nthreads = 1\nsampling_shard = {shard}\n")
    door = [sys.executable, "-m", "luigi", "--module", "pipeline.evaluate"]
    environment = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    environment["LUIGI_CONFIG_PATH"] = str(config)  # read after the repository's luigi.cfg
    command([*door, "TrainGenerator", *model], environment)

    def draw(workers: int) -> None:
        for folder in draws(workdir):
            shutil.rmtree(folder)
        asked = ["DrawSamples", *model, "--count", str(SHARDS * shard), "--workers", str(workers)]
        command([*door, *asked], environment)
        if not draws(workdir):
            raise RuntimeError("nothing was drawn")

    ways = {"one": partial(draw, 1), "two": partial(draw, 2)}
    seconds = interleaved(ways, setting.pick(3, 1), warm_up=0)  # each starts anew
    ratios = [alone / together for alone, together in zip(seconds["one"], seconds["two"], strict=True)]
    goal = setting.pick(GOAL, None)
    return [
        Figure(f"{SHARDS} shards of {shard}", "x one worker", ratios, goal, limit=float(SHARDS), higher=True),
        Figure("the command", "s", seconds["two"], beside={"one worker": seconds["one"]}),
    ]


def draws(workdir: Path) -> list[Path]:
    """The folders of finished draws."""
    return sorted(workdir.glob("*/*/*/draw-*"))


ROWS = [Row("luigi-workers", "two Luigi workers draw", 14.5, run, 2)]

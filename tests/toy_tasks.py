"""Tasks that are small enough to test what every ArtifactTask does: counting, copying, failing, taking long."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks.artifact import ArtifactTask, Progress
from tasks.generator import shard_size


class Count(ArtifactTask):
    """Writes the numbers below `upto` to a file, one at a time, and goes on where an earlier attempt stopped."""

    VERSION = 1
    stage = "clips"
    upto = luigi.IntParameter(default=3)
    pause = luigi.FloatParameter(default=0.0, significant=False)

    def place(self) -> Path:
        return Path("toy") / "1-count"

    def resolved(self) -> Mapping[str, Any]:
        return {"upto": self.upto}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        path = out / "numbers.txt"
        done = len(path.read_text().splitlines()) if path.exists() else 0
        resumed = done
        try:
            for number in range(done, self.upto):
                with open(path, "a") as file:
                    file.write(f"{number}\n")
                progress(number, self.upto, "counting")
                time.sleep(self.pause)
        except KeyboardInterrupt:
            time.sleep(3 * self.pause)  # as a training that finishes its step and saves its state
            print("saved")
            raise
        print(f"resumed at {resumed}")
        return {"count": self.upto}

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"counted to {metrics['count']}"


class Copy(ArtifactTask):
    """Copies the numbers."""

    VERSION = 1
    stage = "features"
    upto = luigi.IntParameter(default=3)
    pause = luigi.FloatParameter(default=0.0, significant=False)

    def place(self) -> Path:
        return Path("toy") / "2-copy"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"count": Count(upto=self.upto, pause=self.pause)}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        (out / "copy.txt").write_bytes((self.inputs()["count"].folder / "numbers.txt").read_bytes())
        (out / "threads.txt").write_text(os.environ["OMP_NUM_THREADS"])
        return {"shard": shard_size(300)}


class Sum(ArtifactTask):
    """The sum of the numbers: derived, so that it follows them by itself. Its checkpoints may differ between builds."""

    VERSION = 1
    stage = "report"
    derived = True
    unhashed = ("checkpoints/",)
    upto = luigi.IntParameter(default=3)

    def place(self) -> Path:
        return Path("toy") / "3-sum"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"count": Count(upto=self.upto)}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        numbers = (self.inputs()["count"].folder / "numbers.txt").read_text().split()
        return {"sum": sum(map(int, numbers))}


class Fill(ArtifactTask):
    """Fills the disk with so many bytes."""

    VERSION = 1
    stage = "download"
    size = luigi.IntParameter()

    def place(self) -> Path:
        return Path("toy") / "fill"

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        (out / "zeros").write_bytes(bytes(self.size))
        return {}


class Fail(ArtifactTask):
    """Fails with a message, or as a bug would, or by being killed."""

    VERSION = 1
    stage = "train"
    how = luigi.Parameter(default="message")

    def place(self) -> Path:
        return Path("toy") / f"fail-{self.how}"

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        print("about to fail")
        if self.how == "message":
            raise ValueError("there are no numbers; give some")
        if self.how == "bug":
            raise RuntimeError("unforeseen")
        os.kill(os.getpid(), 9)
        return {}


class Learn(ArtifactTask):
    """Trains a toy network with dropout and noise, which can be spread over processes.

    accumulate: micro-batches, of which it takes as many for the same result as a training has processes
    pause: seconds that a step takes at least; then: what happens to the second process in its fifth step
    """

    VERSION = 1
    stage = "train"
    uses_gpu = True
    spreads = True
    accumulate = luigi.IntParameter(default=1)
    batch_size = luigi.IntParameter(default=8)
    pause = luigi.FloatParameter(default=0.0, significant=False)
    then = luigi.Parameter(default="", significant=False)

    def place(self) -> Path:
        return Path("toy") / f"learn-{self.accumulate}-{self.batch_size}"

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from dataclasses import replace

        from tasks import machine, training
        from tests import test_torchrun, training_toys

        class Slow(test_torchrun.Noisy):
            config = replace(
                test_torchrun.CONFIG, accumulate=self.accumulate, batch_size=self.batch_size, steps=20, patience=0
            )

            def loss(slow, part: str, clips: Any, rng: Any) -> Any:  # noqa: N805
                time.sleep(self.pause)
                if clips.labels is not None and slow.training:
                    slow.calls = getattr(slow, "calls", 0) + 1
                    self.befall(slow.calls * machine.rank())
                return super().loss(part, clips, rng)

        train, validation = training_toys.random_clips(50), training_toys.random_clips(20, 1)
        metrics = training._fit(Slow(), train, validation, out, 3, progress)
        print(f"process {machine.rank()} is done")
        return metrics

    def befall(self, call: int) -> None:
        if call == 5 and self.then == "error":
            raise ValueError("the second process has had enough")
        if call == 5 and self.then == "kill":
            os.kill(os.getpid(), 9)

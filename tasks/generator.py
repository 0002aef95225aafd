"""What a trained generator does: MeasureLikelihood, DrawSamples and its shards. How it came to be: tasks/trained.py."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import descriptions, folders, machine
from tasks import settings as setting_tools
from tasks.artifact import ArtifactTask, Progress
from tasks.continuing import PREFIX_DEFAULTS, Prefix, PrefixParameters, check_continues, order
from tasks.corpus import PrepareClips
from tasks.errors import EarshotError
from tasks.imported import ImportSamples
from tasks.trained import TrainGenerator, UsingTask

__all__ = ["DrawSamples", "DrawShard", "ImportSamples", "MeasureLikelihood", "TrainGenerator"]

SECONDS = descriptions.SECONDS
SHARD = 128  # samples in a shard: what one process draws before it can be interrupted without loss
LARGEST = 5120  # of a shard on a GPU, which draws thousands in hardly more time than a hundred


class MeasureLikelihood(UsingTask):
    """The exact log-likelihood of every test clip, for models that have one."""

    VERSION = 1
    stage = "likelihood"
    uses_gpu = True

    def place(self) -> Path:
        return self.model_place() / "2-likelihood"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips), "train": self.trained()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import drawing

        return drawing.score_clips(self.inputs()["train"].folder, self.inputs()["clips"].folder, out, progress)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['bits_per_timestep']:.3f} bits per timestep ({metrics['likelihood_space']})"


class DrawTask(PrefixParameters, UsingTask):
    """What a draw and its shards share: the sampling settings, and which real clips are continued, if any."""

    def spaces(self) -> tuple[str, ...]:
        return (*super().spaces(), "sampling")

    def sampling_settings(self) -> dict[str, Any]:
        """Raises EarshotError where there is no such setting, or the model refuses it."""
        defaults = self.description()["sampling"]
        descriptions.check_any_length([self.model], self.settings)
        settings = setting_tools.resolve(defaults, self.settings, "sampling")
        if settings != defaults:
            descriptions.check_sampling(self.model, settings)
        # A draw of clip length is what it was before there were others.
        return {name: value for name, value in settings.items() if name != SECONDS or value}

    def long(self) -> int:
        """How many timesteps a sample has that is longer than a clip; 0: it is as long. Raises EarshotError for shorter."""
        config, seconds = self.corpus_config(), self.sampling_settings().get(SECONDS, 0.0)
        timesteps = round(seconds * config.sample_rate)
        if seconds and timesteps <= config.timesteps:
            raise EarshotError(
                f"sampling.{SECONDS}={seconds:g}: clips of this corpus have {config.timesteps / config.sample_rate:g} s, with "
                f"which samples are compared: give more, e.g. {2 * config.timesteps / config.sample_rate:g}, or leave it out"
            )
        return timesteps

    def prefix(self) -> Prefix | None:
        """What samples begin with. Raises EarshotError where it makes no sense, or the model cannot continue anything."""
        config = self.corpus_config()
        asked = (self.prefix_seconds, self.repeats, self.split)
        prefix = Prefix.asked(*asked, config.sample_rate, config.timesteps)
        if prefix:
            check_continues(self.model)
        return prefix

    def sampling_name(self) -> str:
        """`+prefix=0.25s+temperature=0.9`, or "" for plain sampling."""
        prefix = self.prefix()
        given = prefix.name(self.prefix_seconds) if prefix else ""
        return given + setting_tools.variant(self.description()["sampling"], self.sampling_settings())

    def resolved(self) -> Mapping[str, Any]:
        prefix = self.prefix()
        return self.sampling_settings() | ({"prefix": prefix.settings()} if prefix else {})

    def identity_parameters(self) -> dict[str, str]:
        """What a prefix comes to is in `resolved()`; draws without one are what they were before there were any."""
        return {name: text for name, text in super().identity_parameters().items() if name not in PREFIX_DEFAULTS}

    def inputs(self) -> Mapping[str, ArtifactTask]:
        train: dict[str, ArtifactTask] = {"train": self.trained()}
        return train | ({"clips": self.upstream(PrepareClips)} if self.prefix() else {})

    def finished_draws(self) -> Iterator[tuple[Path, int]]:
        """(folder, number of samples) of every finished draw from the same trained model with the same settings."""
        made_from = {name: folders.digest_of(task.folder) for name, task in self.inputs().items()}
        for folder in (machine.workdir() / self.model_place()).glob("draw-*/2-samples"):
            if not (folder / folders.MANIFEST).exists():
                continue
            config = folders.read_json(folder / folders.CONFIG)
            same = config["settings"] == dict(self.resolved()) and config["version"] == DrawSamples.VERSION
            if same and {name: entry["digest"] for name, entry in config["inputs"].items()} == made_from:
                yield folder, int(config["parameters"]["count"])


class DrawShard(DrawTask):
    """Samples `start` to `stop` of a draw; whichever worker or machine draws them, they are the same.

    draw: how many samples the draw has that asks for them; 0: nobody does.
    """

    VERSION = 1
    stage = "samples"
    uses_gpu = True
    start = luigi.IntParameter()
    stop = luigi.IntParameter()
    draw = luigi.IntParameter(default=0, significant=False)

    def place(self) -> Path:
        return self.model_place() / f"shards{self.sampling_name()}" / f"{self.start:06d}-{self.stop:06d}"

    def _complete(self) -> bool:
        """Also where a finished draw has absorbed it: after a training was made again, bit for bit, nothing is drawn anew.

        Raises StaleArtifact where the draw that asks is finished and refused, before the work rather than after it.
        """
        if not all(task.complete() for task in self.inputs().values()):
            return False
        if self.draw:
            self.upstream(DrawSamples, count=self.draw).complete()
        return any(count >= self.stop for _, count in self.finished_draws()) or super()._complete()

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import drawing

        inputs = {name: task.folder for name, task in self.inputs().items()}
        given = (inputs["clips"], prefix) if (prefix := self.prefix()) else None
        about = (inputs["train"], self.seed, self.start, self.stop, self.sampling_settings(), given)
        return drawing.draw(*about, out, progress, self.long())

    def expected_bytes(self) -> int:
        return 2 * (self.stop - self.start) * (self.long() or self.corpus_config().timesteps)


class DrawSamples(DrawTask):
    """`count` samples, sorted by their likelihood where the model has one: `samples.npy`, `samples.csv`, `wavs/`.

    With `--prefix-seconds S` each of them begins with S seconds of a real clip of `--split`, kept exactly, and every clip
    is continued `--repeats` times. What a smaller or larger finished draw already holds is taken from there; the rest is
    drawn in shards.
    """

    VERSION = 1
    stage = "samples"
    unhashed = ("drawing.json",)  # where its shards were drawn, and how long that took
    count = luigi.IntParameter(default=512, description="how many samples")

    def place(self) -> Path:
        self.long()
        return self.model_place() / f"draw-{self.count}{self.sampling_name()}" / "2-samples"

    def _complete(self) -> bool:
        if super()._complete():
            return True
        prefix, clips = self.prefix(), self.upstream(PrepareClips)
        if prefix and clips.complete():  # rather than after a training
            order(clips.folder, prefix, self.seed, self.count)
        return False

    def requires(self) -> Mapping[str, luigi.Task]:
        made = all(task.complete() for task in self.inputs().values())
        shards = self.shards() if made else self._all_shards()
        return {**self.inputs(), **{str(task.place()): task for task in shards}}

    def shards(self) -> list[DrawShard]:
        """The shards that are needed beside what another draw holds."""
        covered = self.covered()[1]
        return [task for task in self._all_shards() if task.stop > covered]

    def _all_shards(self) -> list[DrawShard]:
        edges = [*range(0, self.count, shard_size(self.count)), self.count]
        return [
            self.upstream(DrawShard, start=start, stop=stop, draw=self.count)  # type: ignore[misc]
            for start, stop in itertools.pairwise(edges)
        ]

    def covered(self) -> tuple[Path | None, int]:
        """(another finished draw from the same model with the same settings, how many of our samples it holds)."""
        best: tuple[Path | None, int] = (None, 0)
        for folder, count in self.finished_draws():
            if folder != self.folder:
                best = max(best, (folder, min(count, self.count)), key=lambda pair: pair[1])
        return best

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import drawing

        earlier, _ = self.covered()
        shards = [task.folder for task in self.shards()]
        drawing.record_shards(earlier, shards, self.count, out)
        window = self.corpus_config().timesteps if self.long() else 0
        return drawing.merge(earlier, shards, self.count, self.prefix(), out, progress, window)

    def clean_up(self) -> None:
        for task in self._all_shards():
            if task.folder.exists():
                folders.remove(task.folder)
            with contextlib.suppress(OSError):  # it is not empty, or gone
                task.folder.parent.rmdir()

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['samples']} samples"


def shard_size(count: int) -> int:
    """Into how many samples each a draw of `count` is cut. The samples do not depend on it.

    Raises EarshotError where luigi.cfg's `sampling_shard` is no number of samples.
    """
    asked, gpus = int(machine.setting("sampling_shard")), machine.gpus_of_run()
    if asked < 0:
        raise EarshotError(f"sampling_shard={asked} in luigi.cfg must not be negative; 0 leaves it to the machine")
    if asked or not gpus:
        return asked or SHARD
    return max(SHARD, min(LARGEST, -(-count // gpus)))

"""A generator's life: TrainGenerator, MeasureLikelihood, DrawSamples and its shards; ImportSamples for everybody else's."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import descriptions, folders, machine
from tasks import settings as setting_tools
from tasks.artifact import ArtifactTask, Progress
from tasks.corpus import CorpusTask, PrepareClips
from tasks.errors import EarshotError
from tasks.parameters import ModelParameter, check_name, model_name, preset_settings

SHARD = 128  # samples in a shard: what one process draws before it can be interrupted without loss


class GeneratorTask(CorpusTask):
    """What all tasks about a trained generator share."""

    model = ModelParameter(default="", description="a file in models/generators/, or path/to/mine.py:Mine")
    preset = luigi.Parameter(default="small", description="smoke, small, paper, or another preset of the model")
    seed = luigi.IntParameter(default=0, description="seed of the training and of the draw")

    def spaces(self) -> tuple[str, ...]:
        return ("corpus", model_name(self.model))

    def description(self) -> dict[str, Any]:
        """What the model's file says of itself."""
        return descriptions.of_model("generators", self.model)

    def model_settings(self) -> dict[str, Any]:
        return preset_settings("generators", self.model, self.preset, self.settings, model_name(self.model))[0]

    def model_place(self) -> Path:
        """`<corpus>/wavenet/small+layers=20-seed0`."""
        name = preset_settings("generators", self.model, self.preset, self.settings, model_name(self.model))[1]
        return self.corpus_place() / model_name(self.model) / f"{name}-seed{self.seed}"

    def identity_parameters(self) -> dict[str, str]:
        """A model from outside is known by its name and, in `resolved()`, by its source; not by where the file lies."""
        return super().identity_parameters() | {"model": model_name(self.model)}


class TrainGenerator(GeneratorTask):
    """A trained generator: `models.load(folder).sample(16)`."""

    VERSION = 1
    stage = "train"
    unhashed = ("tensorboard/", "checkpoints/")
    uses_gpu = True

    def place(self) -> Path:
        return self.model_place() / "1-train"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips)}

    def resolved(self) -> Mapping[str, Any]:
        return {"model_version": self.description()["version"], **self.model_settings()}

    @property
    def priority(self) -> int:  # type: ignore[override]
        """Luigi begins with the longest training: it decides when the benchmark ends."""
        return self.model_settings()["steps"]

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import training

        settings = self.model_settings()
        limits = {name: settings.pop(name) for name in setting_tools.LIMITS}
        clips = self.inputs()["clips"].folder
        return training.train_generator(self.model, settings, self.seed, limits, clips, out, progress)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"validation loss {metrics['best_validation_loss']:.4g} at step {metrics['best_step']}"


class MeasureLikelihood(GeneratorTask):
    """The exact log-likelihood of every test clip, for models that have one."""

    VERSION = 1
    stage = "likelihood"
    uses_gpu = True

    def place(self) -> Path:
        return self.model_place() / "2-likelihood"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips), "train": self.upstream(TrainGenerator)}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import drawing

        return drawing.score_clips(self.inputs()["train"].folder, self.inputs()["clips"].folder, out, progress)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['bits_per_timestep']:.3f} bits per timestep ({metrics['likelihood_space']})"


class DrawTask(GeneratorTask):
    """What a draw and its shards share: the sampling settings."""

    def spaces(self) -> tuple[str, ...]:
        return (*super().spaces(), "sampling")

    def sampling_settings(self) -> dict[str, Any]:
        return setting_tools.resolve(self.description()["sampling"], self.settings, "sampling")

    def sampling_name(self) -> str:
        """`+temperature=0.9`, or "" for plain sampling."""
        return setting_tools.variant(self.description()["sampling"], self.sampling_settings())

    def resolved(self) -> Mapping[str, Any]:
        return self.sampling_settings()

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"train": self.upstream(TrainGenerator)}

    def finished_draws(self) -> Iterator[tuple[Path, int]]:
        """(folder, number of samples) of every finished draw from the same trained model with the same settings."""
        trained = folders.digest_of(self.inputs()["train"].folder)
        for folder in (machine.workdir() / self.model_place()).glob("draw-*/2-samples"):
            if not (folder / folders.MANIFEST).exists():
                continue
            config = folders.read_json(folder / folders.CONFIG)
            same = config["settings"] == dict(self.resolved()) and config["version"] == DrawSamples.VERSION
            if same and config["inputs"]["train"]["digest"] == trained:
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
        if not self.inputs()["train"].complete():
            return False
        if self.draw:
            self.upstream(DrawSamples, count=self.draw).complete()
        return any(count >= self.stop for _, count in self.finished_draws()) or super()._complete()

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import drawing

        train, settings = self.inputs()["train"].folder, self.sampling_settings()
        return drawing.draw(train, self.seed, self.start, self.stop, settings, out, progress)

    def expected_bytes(self) -> int:
        return 2 * (self.stop - self.start) * self.corpus_config().timesteps


class DrawSamples(DrawTask):
    """`count` samples, sorted by their likelihood where the model has one: `samples.npy`, `samples.csv`, `wavs/`.

    What a smaller or larger finished draw already holds is taken from there; the rest is drawn in shards.
    """

    VERSION = 1
    stage = "samples"
    unhashed = ("drawing.json",)  # where its shards were drawn, and how long that took
    count = luigi.IntParameter(default=512, description="how many samples")

    def place(self) -> Path:
        return self.model_place() / f"draw-{self.count}{self.sampling_name()}" / "2-samples"

    def requires(self) -> Mapping[str, luigi.Task]:
        shards = self.shards() if self.inputs()["train"].complete() else self._all_shards()
        return {**self.inputs(), **{str(task.place()): task for task in shards}}

    def shards(self) -> list[DrawShard]:
        """The shards that are needed beside what another draw holds."""
        covered = self.covered()[1]
        return [task for task in self._all_shards() if task.stop > covered]

    def _all_shards(self) -> list[DrawShard]:
        edges = [*range(0, self.count, SHARD), self.count]
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
        return drawing.merge(earlier, shards, self.count, out, progress)

    def clean_up(self) -> None:
        for task in self._all_shards():
            if task.folder.exists():
                folders.remove(task.folder)
            with contextlib.suppress(OSError):  # it is not empty, or gone
                task.folder.parent.rmdir()

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['samples']} samples"


class ImportSamples(CorpusTask):
    """Samples from anywhere: a folder of wavs, or an array in a `.npy`, taken as they are."""

    VERSION = 1
    stage = "samples"
    name = luigi.Parameter(default="", description="what the imported samples are called in tables and paths")
    samples = luigi.Parameter(default="", significant=False, description="a folder of wavs, or a .npy")
    samples_rate = luigi.IntParameter(default=0, description="sample rate of a .npy, in Hz")

    def place(self) -> Path:
        check_name("--name", self.name, row=True)
        self._check_rate()
        return self.corpus_place() / "imported" / self.name / "2-samples"

    def resolved(self) -> Mapping[str, Any]:
        settings = self.corpus_settings()
        return {
            "sample_rate": settings["sample_rate"],
            "clip_seconds": settings["clip_seconds"],
            "resampler": settings["resampler"],
            "source": self._hash(),
        }

    def identity_parameters(self) -> dict[str, str]:
        """Where no source is given any more, the rate of the one that was imported counts."""
        parameters = super().identity_parameters()
        if not self.samples and (self.folder / folders.CONFIG).exists():
            parameters["samples_rate"] = folders.read_json(self.folder / folders.CONFIG)["parameters"]["samples_rate"]
        return parameters

    def _check_rate(self) -> None:
        array, rate = self.samples.endswith(".npy"), self.samples_rate
        if rate < 0 or (array and rate == 0):
            raise EarshotError(f"{self.samples}: give the sample rate of the .npy, e.g. --samples-rate 16000")
        if self.samples and rate and not array:
            raise EarshotError(
                f"--samples-rate is for a .npy; files like those in {self.samples} say their rate themselves: leave it out"
            )

    def _hash(self) -> str:
        """A hash of the samples' files; of those that were imported, where no source is given any more."""
        if self.samples:
            from tasks.importing import fingerprint

            return fingerprint(Path(self.samples).expanduser())
        if (self.folder / folders.CONFIG).exists():
            return folders.read_json(self.folder / folders.CONFIG)["settings"]["source"]
        raise EarshotError(f"nothing has been imported as {self.name!r} yet: give --samples path/to/wavs")

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import drawing

        return drawing.import_samples(Path(self.samples).expanduser(), self.samples_rate, self.corpus_config(), out)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['samples']} samples"

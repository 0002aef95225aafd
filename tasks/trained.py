"""How a trained generator comes to be: TrainGenerator, TakeCheckpoint of what it kept on its way, and what uses one: UsingTask.

Weights from elsewhere: ImportCheckpoint, in tasks/checkpoints.py.
"""

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import descriptions, folders, machine
from tasks import settings as setting_tools
from tasks.artifact import ArtifactTask, Progress
from tasks.checkpoints import DESCRIPTION, CheckpointParameter, ImportCheckpoint, checkpoint_name, kept_step
from tasks.corpus import CorpusTask, PrepareClips
from tasks.errors import EarshotError
from tasks.parameters import ModelParameter, model_name, preset_settings

KEPT = "kept"  # of a training: the weights along its way, as models/training_state.py names them


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

    def last_step(self) -> int:
        """Of the training, unless something ends it before."""
        settings = self.model_settings()
        return min(filter(None, (settings["steps"], settings["max_steps"])))

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
    unhashed = ("tensorboard/", "checkpoints/", f"{KEPT}/")
    uses_gpu = True
    spreads = True

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
        loss = metrics.get("validation_loss", metrics["best_validation_loss"])  # older ones kept the best only
        return f"validation loss {loss:.4g} at step {metrics.get('kept_step', metrics['best_step'])}"


class TakeCheckpoint(GeneratorTask):
    """The weights of one step of a training that kept them (`--keep-every`): `models.load(folder).sample(16)`."""

    VERSION = 1
    stage = "import"
    step = luigi.IntParameter(description="after how many steps")

    def place(self) -> Path:
        """`<corpus>/wavenet/small+step=500-seed0/1-checkpoint`."""
        name = self.model_place().name.removesuffix(f"-seed{self.seed}")
        return self.model_place().with_name(f"{name}+step={self.step}-seed{self.seed}") / "1-checkpoint"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"train": self.upstream(TrainGenerator)}

    def _complete(self) -> bool:
        """Raises EarshotError, before anything runs, where the training did not keep that step, or is not going to."""
        if super()._complete():
            return True
        train, every = self.inputs()["train"], int(machine.setting("keep_every"))
        if not train.complete():
            if not every or (self.step % every and self.step != self.last_step()):
                raise EarshotError(
                    f"the training {train.place()} would keep no weights of step {self.step}: {HOW_TO_KEEP}"
                )
        elif self.step not in kept_steps(train.folder):
            there = ", ".join(map(str, kept_steps(train.folder)))
            told = (
                f"of the steps {there} only"
                if there
                else f"of none. {HOW_TO_KEEP}; remove that folder, and train again"
            )
            raise EarshotError(f"the training {train.place()} has kept no weights of step {self.step}: {told}")
        return False

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from models import DESCRIPTION, WEIGHTS

        train = self.inputs()["train"].folder
        if self.step not in (kept := kept_steps(train)):
            raise ValueError(f"the training ended before step {self.step}, at {max(kept)}: run the same command again")
        shutil.copyfile(train / DESCRIPTION, out / DESCRIPTION)
        shutil.copyfile(kept[self.step], out / WEIGHTS)
        with open(train / "curve.csv", newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        with open(out / "curve.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [header, *(line for line in lines if int(line[header.index("step")]) <= self.step)]
            )
        return {"step": self.step, "parameters": folders.read_json(train / folders.METRICS)["parameters"]}

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['parameters']:,} parameters after {metrics['step']:,} steps"


HOW_TO_KEEP = "--keep-every 500 (with the luigi command: --machine-keep-every) keeps those of every 500 steps"


def kept_steps(train: Path) -> dict[int, Path]:
    """Step -> file, of the weights that a training has kept on its way, in the order of steps."""
    return {int(path.stem.rpartition("-")[2]): path for path in sorted((train / KEPT).glob("step-*.safetensors"))}


class UsingTask(GeneratorTask):
    """What all tasks share that use a generator, which was trained here, or elsewhere: then it is imported."""

    checkpoint = CheckpointParameter(
        default="",
        description=f"in place of a training, {DESCRIPTION}, or step:N, which it kept on its way (--keep-every)",
    )

    def trained(self) -> ArtifactTask:
        """Where the weights come from."""
        if step := kept_step(self.checkpoint):
            return self.upstream(TakeCheckpoint, step=step)
        return self.upstream(ImportCheckpoint if self.checkpoint else TrainGenerator)

    def model_place(self) -> Path:
        """Of an imported one `<corpus>/sashimi/checkpoint-sashimi_sc09-seed0`, the seed being that of the draw."""
        if not self.checkpoint:
            return super().model_place()
        taken = self.trained().place().parent
        return taken if kept_step(self.checkpoint) else taken.with_name(f"{taken.name}-seed{self.seed}")

    def identity_parameters(self) -> dict[str, str]:
        """An imported one is known by its name, and in `inputs` by its content, not by where the file lay."""
        parameters = super().identity_parameters()
        del parameters["checkpoint"]
        known_by = {"checkpoint": checkpoint_name(self.checkpoint)} if self.checkpoint else {}
        imported = {"preset": "paper"} if self.checkpoint and not kept_step(self.checkpoint) else {}
        return parameters | imported | known_by

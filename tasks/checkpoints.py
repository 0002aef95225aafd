"""Weights that were trained elsewhere: ImportCheckpoint, in place of a training, and ImportClassifier, in place of a judge's.

What comes in is known by its content (`settings.checkpoint` is the file's sha256), not by where it lay: once it is in, the
file may be gone, and another content under the same name is noticed. Nothing in the file is executed (models/unpickling.py).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import luigi

from tasks import corpora, descriptions, folders, machine
from tasks import settings as setting_tools
from tasks.artifact import ArtifactTask, Progress
from tasks.corpora.sc09 import DIGITS
from tasks.corpus import CorpusTask, PrepareClips
from tasks.errors import EarshotError, unknown
from tasks.parameters import ModelParameter, check_name, model_name
from tasks.releases import PREFIX, RELEASED_RATE, DownloadRelease
from tasks.releases import find as find_release

SUFFIXES = (".pt", ".pth", ".pkl", ".ckpt", ".bin", ".safetensors")
PRESET = "paper"
RESNEXT = "resnext"
STEP = "step:"
DESCRIPTION = "path/to/file.pt, or release:NAME with a name from tasks/releases.py"


class CheckpointParameter(luigi.Parameter[str]):
    """`path/to/file.pt`, `release:NAME` or, of a training that kept it, `step:N`; "" for none."""

    def normalize(self, value: str) -> str:
        if not value:
            return value
        if value.startswith(STEP):
            return f"{STEP}{kept_step(value)}"
        check_name("the checkpoint", checkpoint_name(value))
        if value.startswith(PREFIX):
            find_release(value.removeprefix(PREFIX))
            return value
        return os.path.abspath(os.path.expanduser(value))


class ClassifierParameter(luigi.Parameter[str]):
    """A preset of the classifier, or a checkpoint of one."""

    def normalize(self, value: str) -> str:
        return CheckpointParameter().normalize(value) if is_checkpoint(value) else value


def is_checkpoint(text: str) -> bool:
    """Whether a word that may be a preset names a checkpoint."""
    return text.startswith(PREFIX) or "/" in text or text.endswith(SUFFIXES)


def kept_step(given: str) -> int:
    """N of `step:N`; 0 where a checkpoint is something else. Raises EarshotError where N is no number of steps."""
    number = given.removeprefix(STEP)
    if number == given:
        return 0
    if not number.isdecimal() or not int(number):
        raise EarshotError(f"--checkpoint {given}: write step:N, N being after how many steps, e.g. step:500")
    return int(number)


def checkpoint_name(given: str) -> str:
    """What paths and rows call it: `sashimi_sc09`, of `release:sashimi_sc09` and of `path/to/sashimi_sc09.pt`."""
    if step := kept_step(given):
        return f"step-{step}"
    return given.removeprefix(PREFIX) if given.startswith(PREFIX) else Path(given).stem


class ImportTask(CorpusTask):
    """What both imports share. kind: the folder in models/ that the network is from."""

    kind: ClassVar[str]
    unhashed = ("source.json",)  # where it came from

    def given(self) -> str:
        """What was asked for: a path, or `release:NAME`."""
        raise NotImplementedError

    def network(self) -> str:
        """The network that the checkpoint should be of."""
        raise NotImplementedError

    def space(self) -> str:
        """The space of its settings."""
        return model_name(self.network())

    def spaces(self) -> tuple[str, ...]:
        return ("corpus", self.space())

    def name(self) -> str:
        """`checkpoint-sashimi_sc09`, and the settings that were given. Raises EarshotError where there is no such thing."""
        given = self.given()
        if not given:
            raise EarshotError(f"say what to import: {DESCRIPTION}")
        if given.startswith(PREFIX) and (release := find_release(given.removeprefix(PREFIX))).network != self.network():
            raise EarshotError(f"{given} is a checkpoint of {release.network}, not of {self.network() or 'no model'}")
        rate = self.corpus_config().sample_rate
        if given.startswith(PREFIX) and self.kind == "generators" and rate != RELEASED_RATE:
            raise EarshotError(
                f"{given} has learned audio at {RELEASED_RATE} Hz, and {self.corpus} is to be at {rate} Hz: leave out "
                "--sample-rate, or train a model at that rate"
            )
        paper, chosen = self._paper(), self.chosen()
        changed = setting_tools.variant(paper | dict.fromkeys(chosen), paper | chosen)
        return f"checkpoint-{checkpoint_name(given)}{changed}"

    def chosen(self) -> dict[str, Any]:
        """The settings that were given: they win over what the weights imply."""
        resolved = setting_tools.resolve(self._paper(), self.settings, self.space())
        given = setting_tools.in_space(self.settings, self.space())
        return {field: resolved[field] for field in (name.partition(".")[2] for name, _ in given)}

    def _paper(self) -> dict[str, Any]:
        presets = descriptions.of_model(self.kind, self.network())["presets"]
        if PRESET not in presets:
            raise EarshotError(unknown(f"preset of {self.network()}", PRESET, presets, "Checkpoints are put into it."))
        return presets[PRESET]

    def _download(self) -> DownloadRelease | None:
        """Who fetches it; nobody where it is a file, or is in and was not kept."""
        given = self.given()
        if not given.startswith(PREFIX):
            return None
        task = DownloadRelease(release=given.removeprefix(PREFIX))
        gone = self._imported() and not (task.folder / folders.MANIFEST).exists()
        return None if gone else task

    def _imported(self) -> bool:
        return (self.folder / folders.MANIFEST).exists()

    def inputs(self) -> Mapping[str, ArtifactTask]:
        download = self._download()
        return {"release": download} if download else {}

    def identity_inputs(self) -> Mapping[str, ArtifactTask]:
        return {name: task for name, task in self.inputs().items() if name != "release"}

    def identity_parameters(self) -> dict[str, str]:
        return {
            "corpus": self.corpus,
            "network": model_name(self.network()),
            "checkpoint": checkpoint_name(self.given()),
        }

    def resolved(self) -> Mapping[str, Any]:
        config = self.corpus_config()
        return {
            "model_version": descriptions.of_model(self.kind, self.network())["version"],
            "checkpoint": self.sha256(),
            "sample_rate": config.sample_rate,
            "timesteps": config.timesteps,
            "paper": self._paper(),
            "chosen": self.chosen(),
        }

    def _complete(self) -> bool:
        """Raises EarshotError for a file that is not there, and was not imported before."""
        if not self.given().startswith(PREFIX) and not Path(self.given()).is_file() and not self._imported():
            raise EarshotError(f"there is no checkpoint {self.given()}: give {DESCRIPTION}")
        return super()._complete()

    def file(self) -> Path:
        download = self._download()
        return download.path() if download else Path(self.given())

    def sha256(self) -> str:
        """Of the file; of what was imported, where there is no file any more."""
        if (file := self.file()).is_file():
            return folders.known_sha256(file)
        if not self._imported():
            raise EarshotError(f"there is no checkpoint {file} any more: it is gone since the run began")
        return folders.read_json(self.folder / folders.CONFIG)["settings"]["checkpoint"]

    def import_weights(self, out: Path, progress: Progress, *labels: Any) -> tuple[Any, dict[str, Any]]:
        """Write what `models.load` reads; (the network, what is to be said of it)."""
        import torch

        import models
        from models import plugins, published
        from models.checkpoints import save_weights

        torch.set_num_threads(machine.threads())
        file, config, plugin = self.file(), self.corpus_config(), plugins.find(self.kind, self.network())
        progress(0, 1, f"reading {file.name}")
        if (found := folders.sha256(file)) != folders.read_json(out / folders.CONFIG)["settings"]["checkpoint"]:
            raise ValueError(f"{file} has changed since the run began: run again")
        opened = published.open_checkpoint(file, plugin, config.sample_rate, config.timesteps, self.chosen(), *labels)
        network = opened.network
        models.save_description(out, network, plugin)
        save_weights(out / models.WEIGHTS, network.state_dict())
        folders.write_json(out / "source.json", {"checkpoint": self.given(), "file": str(file)})
        return network, {
            "parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
            "sha256": found,
            "bytes": file.stat().st_size,
            "tensors": opened.tensors,
            "container": opened.container,
            "layout": opened.layout,
            "implied": opened.implied,
        }


class ImportCheckpoint(ImportTask):
    """A generator with somebody else's weights, for the corpus's rate and length: `models.load(folder).sample(16)`.

    It is the model's `paper` preset, with what the weights imply, and with `--settings` on top.
    """

    VERSION = 1
    stage = "import"
    kind = "generators"
    model = ModelParameter(default="", description="a file in models/generators/")
    checkpoint = CheckpointParameter(default="", description=DESCRIPTION)

    def given(self) -> str:
        return self.checkpoint

    def network(self) -> str:
        if not self.model:
            raise EarshotError("say whose weights they are: --model sashimi")
        return self.model

    def place(self) -> Path:
        return self.corpus_place() / model_name(self.network()) / self.name() / "1-import"

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        network, told = self.import_weights(out, progress)
        (out / "curve.csv").write_text("step,train_loss,validation_loss\n", encoding="utf-8")  # nobody saw it learn
        return told | {"likelihood_space": network.likelihood_space}

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['layout']}, {metrics['parameters']:,} parameters"


class ImportClassifier(ImportTask):
    """A judge with somebody else's weights, assessed on the corpus's test split as one that was trained on it."""

    VERSION = 1
    stage = "classifier"
    kind = "classifiers"
    uses_gpu = True
    classifier = ClassifierParameter(default="", description=DESCRIPTION)

    def given(self) -> str:
        return self.classifier

    def network(self) -> str:
        return RESNEXT

    def space(self) -> str:
        return "classifier"

    def place(self) -> Path:
        return self.corpus_place() / "3-classifier" / self.name()

    def name(self) -> str:
        name, config, labels = super().name(), self.corpus_config(), corpora.find(self.corpus).cls.labels
        heard = (config.sample_rate, config.timesteps) == (16000, 16000)
        if not heard or (labels and labels != DIGITS):
            raise EarshotError(
                f"{self.given()} has learned one-second clips at 16000 Hz of {', '.join(DIGITS)}, in this order; "
                f"{self.corpus} has {config.timesteps} timesteps at {config.sample_rate} Hz"
                f"{' of ' + ', '.join(labels) if labels else ''}: train a classifier on it, e.g. --classifier small"
            )
        return name

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips), **super().inputs()}

    def identity_parameters(self) -> dict[str, str]:
        return super().identity_parameters() | {"classifier_seed": "none"}  # which the report shows

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        import json

        from models.assessment import assess
        from models.clips import load_split
        from tasks.training import device

        clips = self.inputs()["clips"].folder
        labels = json.loads((clips / "labels.json").read_text(encoding="utf-8"))
        if labels != list(DIGITS):
            raise ValueError(
                f"{self.given()} knows {', '.join(DIGITS)}, in this order, and the clips are of "
                f"{', '.join(labels) or 'no classes'}: train a classifier on them, e.g. --classifier small"
            )
        network, told = self.import_weights(out, progress, labels)
        return told | {"test": assess(network.to(device()).eval(), load_split(clips, "test"))}

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{100 * metrics['test']['accuracy']:.1f} % of unseen test clips right"

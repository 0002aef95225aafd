"""From samples to numbers to a leaderboard: CacheSampleFeatures, EvaluateSamples, EvaluateControls, CompareGenerators."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import descriptions, folders, machine
from tasks import settings as setting_tools
from tasks.artifact import ArtifactTask, Difference, Progress
from tasks.checkpoints import DESCRIPTION, CheckpointParameter
from tasks.classifier import CacheFeatures, ClassifierTask, PrepareReference
from tasks.continuing import PREFIX_DEFAULTS, PrefixParameters
from tasks.corpus import PrepareClips
from tasks.errors import EarshotError, unknown
from tasks.generator import DrawSamples, ImportSamples, MeasureLikelihood
from tasks.parameters import ModelParameter, model_name
from tasks.rows import broken
from tasks.settings import Settings

DEFAULT_COUNTS = {"smoke": 32, "small": 512}
PAPER_COUNT, PAPER_COUNT_WITH_LIKELIHOOD = (
    2048,
    10240,
)  # the latter: half to tune likelihood thresholds, half to measure


def default_count(model: str, preset: str, conditional: bool = False) -> int:
    """How many samples a row has unless `--count` says: enough for the preset's purpose, as many as the papers at `paper`.

    Rows of different counts share a leaderboard and are ranked apart, since the bias of FID, IS, mIS and AM depends on it.
    Continued clips are not chosen by their likelihood, and there are not so many to continue.
    """
    if preset in DEFAULT_COUNTS:
        return DEFAULT_COUNTS[preset]
    likely = descriptions.of_model("generators", model)["likelihood"] and not conditional
    return PAPER_COUNT_WITH_LIKELIHOOD if likely else PAPER_COUNT


class JudgedTask(PrefixParameters, ClassifierTask):
    """What all tasks about judged samples share: whose samples they are. A model of ours, or somebody's import."""

    model = ModelParameter(default="", description="a file in models/generators/, or path/to/mine.py:Mine")
    preset = luigi.Parameter(default="small", description="smoke, small, paper, or another preset of the model")
    seed = luigi.IntParameter(default=0, description="seed of the training and of the draw")
    count = luigi.IntParameter(default=0, description="how many samples; 0: what suits the preset")
    checkpoint = CheckpointParameter(default="", description=f"in place of a training, {DESCRIPTION}")
    name = luigi.Parameter(default="", description="imported samples: what they are called in tables and paths")
    samples = luigi.Parameter(
        default="", significant=False, description="imported samples: a folder of wavs, or a .npy"
    )
    samples_rate = luigi.IntParameter(default=0, description="imported samples: sample rate of a .npy, in Hz")

    def spaces(self) -> tuple[str, ...]:
        own = () if self.name else (model_name(self.model), "sampling")
        return (*super().spaces(), *own)

    def samples_task(self) -> DrawSamples | ImportSamples:
        """Where the samples come from. Raises EarshotError where it is not said, or said twice."""
        if self.name:
            if any(getattr(self, name) != default for name, default in PREFIX_DEFAULTS.items()):
                raise EarshotError("--prefix-seconds, --repeats and --split are for a --model: imports are as they are")
            if self.checkpoint:
                raise EarshotError("--checkpoint is for a --model; samples that are imported, --name, need none")
            return self.upstream(ImportSamples)  # type: ignore[return-value]
        if self.samples:
            raise EarshotError("--samples needs --name: what the imported samples are called in tables and paths")
        if not self.model:
            raise EarshotError("say what to evaluate: --model wavenet, or --samples path/to/wavs --name my-model")
        count = self.count or default_count(self.model, self.preset, bool(self.prefix_seconds))
        return self.upstream(DrawSamples, count=count)  # type: ignore[return-value]

    def draw_place(self) -> Path:
        """The folder around `2-samples`."""
        return self.samples_task().place().parent

    def identity_parameters(self) -> dict[str, str]:
        """A row is known by where its samples lie, not by how they were asked for."""
        return {"samples": self.samples_task().place().as_posix()}


class CacheSampleFeatures(JudgedTask):
    """What the classifier makes of every sample."""

    VERSION = 1
    stage = "features"
    uses_gpu = True

    def place(self) -> Path:
        return self.draw_place() / f"3-features-{self.classifier_name()}"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"samples": self.samples_task(), "classifier": self.classifier_task()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        import numpy as np

        from tasks import drawing, listening

        codes = np.load(self.inputs()["samples"].folder / drawing.SAMPLES, mmap_mode="r")
        return listening.cache(self.inputs()["classifier"].folder, {"samples": codes}, out, progress)


class EvaluateSamples(JudgedTask):
    """The scores of one set of samples: a model's draw (`--model wavenet`) or an import (`--samples DIR --name NAME`)."""

    VERSION = 1
    stage = "evaluation"

    def place(self) -> Path:
        return self.draw_place() / f"4-evaluation-{self.classifier_name()}"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        inputs: dict[str, ArtifactTask] = {
            "reference": self.upstream(PrepareReference),
            "samples": self.samples_task(),
            "features": self.upstream(CacheSampleFeatures),
        }
        conditional = bool(self.prefix_seconds)  # NLL is of the model, and stands in the row that nothing was given to
        if not self.name and not conditional and descriptions.of_model("generators", self.model)["likelihood"]:
            once = {"seed": 0} if self.checkpoint else {}  # the seed of the draw is nothing to an imported model
            inputs["likelihood"] = self.upstream(MeasureLikelihood, **once)
        return inputs

    def resolved(self) -> Mapping[str, Any]:
        return {"metrics": {metric["key"]: metric["version"] for metric in descriptions.of_metrics()}}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import measuring

        inputs = {name: task.folder for name, task in self.inputs().items()}
        return measuring.evaluate(inputs["reference"], inputs["features"], inputs.get("likelihood"), out, progress)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        names = {metric["key"]: metric for metric in descriptions.of_metrics() if metric["headline"]}
        shown = [(names[key], score["value"]) for key, score in metrics["scores"].items() if key in names]
        return ", ".join(f"{metric['name']} {value:.{metric['digits']}f}" for metric, value in shown)


class EvaluateControls(ClassifierTask):
    """The rows that make the others readable: held-out clips, silence, white noise."""

    VERSION = 1
    stage = "evaluation"
    uses_gpu = True
    count = luigi.IntParameter(default=512, description="how many clips in a row, as far as there are")

    def place(self) -> Path:
        return self.corpus_place() / "controls" / f"draw-{self.count}" / f"4-evaluation-{self.classifier_name()}"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {
            "clips": self.upstream(PrepareClips),
            "classifier": self.classifier_task(),
            "features": self.upstream(CacheFeatures),
            "reference": self.upstream(PrepareReference),
        }

    def resolved(self) -> Mapping[str, Any]:
        return {"metrics": {metric["key"]: metric["version"] for metric in descriptions.of_metrics()}}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import measuring

        clips, classifier, features, reference = (task.folder for task in self.inputs().values())
        return measuring.evaluate_controls(reference, clips, features, classifier, self.count, out, progress)


class CompareGenerators(PrefixParameters, ClassifierTask):
    """The leaderboard and the report, from every finished row of the corpus that was judged by this classifier.

    What is asked for here is only what must be there; rows that earlier runs left are shown as well. Derived: it rebuilds
    itself when a row appears or changes.
    """

    VERSION = 2
    stage = "report"
    derived = True
    unhashed = ("report/",)  # the page shows how long each stage took
    LINKS = ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "report")

    models = luigi.ListParameter(
        default=setting_tools.MODELS, significant=False, description="generators that must be in"
    )
    preset = luigi.Parameter(default="small", significant=False)
    seeds = luigi.ListParameter(default=(0,), significant=False)
    count = luigi.IntParameter(default=0, significant=False, description="samples in a row; 0: what suits the preset")
    checkpoint = CheckpointParameter(default="", significant=False, description="in place of the one model's training")

    def spaces(self) -> tuple[str, ...]:
        return (*super().spaces(), "sampling", *map(model_name, self.models))

    def place(self) -> Path:
        return self.corpus_place() / "6-leaderboard" / self.classifier_name()

    def inputs(self) -> Mapping[str, ArtifactTask]:
        inputs: dict[str, ArtifactTask] = {
            "clips": self.upstream(PrepareClips),
            "classifier": self.classifier_task(),
            "reference": self.upstream(PrepareReference),
        }
        if self.checkpoint and len(self.models) != 1:
            raise EarshotError(
                f"--checkpoint {self.checkpoint} is of one model, and the models are {', '.join(self.models)}: say which, "
                "e.g. --models sashimi. The leaderboard shows what earlier runs have finished as well"
            )
        given = bool(self.prefix_seconds)
        count = self.count or max((default_count(model, self.preset, given) for model in self.models), default=512)
        inputs["controls"] = self.upstream(EvaluateControls, count=count)
        for model in self.models:
            for seed in self.seeds:
                task = self.upstream(EvaluateSamples, model=model, seed=seed, settings=self._settings_of(model))
                inputs[str(task.place())] = task
        return inputs

    def _settings_of(self, model: str) -> Settings:
        """The settings without those of sampling that `model` does not have; some model must have each of them."""
        known = {name: descriptions.of_model("generators", name)["sampling"] for name in self.models}
        for name, _ in setting_tools.in_space(self.settings, "sampling"):
            if not any(name.partition(".")[2] in fields for fields in known.values()):
                choices = {field for fields in known.values() for field in fields}
                raise EarshotError(unknown("setting of sampling", name.partition(".")[2], choices))
        foreign = {f"sampling.{field}" for fields in known.values() for field in fields if field not in known[model]}
        return tuple((name, value) for name, value in self.settings if name not in foreign)

    def rows(self) -> tuple[list[Path], dict[str, str]]:
        """The finished evaluations that share our clips, classifier and code, requested now or not.

        And those that do not any more, by their path below the corpus's folder, with the reason.
        """
        corpus, reference = machine.workdir() / self.corpus_place(), self.upstream(PrepareReference)
        whole: list[Path] = []
        left_out: dict[str, str] = {}
        known: dict[Path, str] = {}
        pattern = f"4-evaluation-{self.classifier_name()}"
        for folder in sorted([*corpus.glob(f"*/*/draw-*/{pattern}"), *corpus.glob(f"*/*/{pattern}")]):
            if not (folder / folders.MANIFEST).exists():
                continue
            reason = broken(folder, known)
            if not reason:
                judge = folders.read_json(folder / folders.CONFIG)["inputs"]["reference"]["digest"]
                reason = "" if judge == folders.digest_of(reference.folder) else "judged against other real clips"
            if reason:
                left_out[folder.relative_to(corpus).as_posix()] = reason
            else:
                whole.append(folder)
        return whole, left_out

    def identity_parameters(self) -> dict[str, str]:
        """What is asked for does not matter, only what is there."""
        parameters = super().identity_parameters()
        return {name: text for name, text in parameters.items() if name not in PREFIX_DEFAULTS}

    def identity_inputs(self) -> Mapping[str, ArtifactTask]:
        return {name: task for name, task in self.inputs().items() if name in ("clips", "classifier", "reference")}

    def identity(self) -> dict[str, Any]:
        identity = super().identity()
        corpus = machine.workdir() / self.corpus_place()
        whole, left_out = self.rows()
        identity["rows"] = {folder.relative_to(corpus).as_posix(): folders.digest_of(folder) for folder in whole}
        identity["left_out"] = left_out
        return identity

    def differences(self) -> list[Difference]:
        missing = [name for name in self.LINKS if not (self.folder.parent.parent / name).exists()]
        return super().differences() + [Difference(f"link.{name}", None, name) for name in missing]

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import reporting

        corpus = machine.workdir() / self.corpus_place()
        inputs = {name: task.folder for name, task in self.inputs().items()}
        return reporting.compare(self.corpus, corpus, *self.rows(), inputs, out, progress)

    def clean_up(self) -> None:
        """Let `<corpus>/leaderboard.md` and the others lead to this leaderboard."""
        for name in self.LINKS:
            link, target = self.folder.parent.parent / name, str(Path(*self.folder.parts[-2:]) / name)
            if not (link.is_symlink() and os.readlink(link) == target):
                temporary = link.with_name(f".{name}.{os.getpid()}.tmp")
                temporary.symlink_to(target)
                os.replace(temporary, link)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        left_out = "; ".join(f"{path} ({reason})" for path, reason in metrics.get("left_out", {}).items())
        return f"{metrics['rows']} rows" + (f"; left out: {left_out}" if left_out else "")

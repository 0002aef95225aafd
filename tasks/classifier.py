"""The judge: TrainClassifier, or ImportClassifier. What it hears in real clips: CacheFeatures, PrepareReference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import descriptions
from tasks.artifact import ArtifactTask, Progress
from tasks.checkpoints import ClassifierParameter, ImportClassifier, is_checkpoint
from tasks.corpus import CorpusTask, PrepareClips
from tasks.parameters import preset_settings

CLASSIFIER = "resnext"
SPLITS = ("train", "validation", "test")


class ClassifierTask(CorpusTask):
    """What all tasks that listen with a classifier share."""

    classifier = ClassifierParameter(
        default="small", description="the classifier's preset, release:resnext, or path/to/resnext.pth"
    )
    classifier_seed = luigi.IntParameter(default=0, description="seed of the classifier's training")

    def spaces(self) -> tuple[str, ...]:
        return ("corpus", "classifier")

    def classifier_settings(self) -> dict[str, Any]:
        return preset_settings("classifiers", CLASSIFIER, self.classifier, self.settings, "classifier")[0]

    def classifier_task(self) -> CorpusTask:
        """Where it comes from: a training, or an import."""
        return self.upstream(ImportClassifier if is_checkpoint(self.classifier) else TrainClassifier)

    def classifier_name(self) -> str:
        """What paths call it: `small-seed0`, `small+width=32-seed0`, `checkpoint-resnext`."""
        if is_checkpoint(self.classifier):
            return self.classifier_task().place().name
        name = preset_settings("classifiers", CLASSIFIER, self.classifier, self.settings, "classifier")[1]
        return f"{name}-seed{self.classifier_seed}"

    def identity_parameters(self) -> dict[str, str]:
        """An imported one is known by its name, and in `inputs` by its content, not by where the file lay."""
        imported = {"classifier": self.classifier_name(), "classifier_seed": "0"}
        return super().identity_parameters() | (imported if is_checkpoint(self.classifier) else {})


class TrainClassifier(ClassifierTask):
    """A classifier trained on the corpus, with its confusion matrix and calibration on the test split."""

    VERSION = 1
    stage = "classifier"
    unhashed = ("tensorboard/", "checkpoints/")
    uses_gpu = True

    def place(self) -> Path:
        return self.corpus_place() / "3-classifier" / self.classifier_name()

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips)}

    def resolved(self) -> Mapping[str, Any]:
        version = descriptions.of_model("classifiers", CLASSIFIER)["version"]
        return {"classifier_version": version, **self.classifier_settings()}

    @property
    def priority(self) -> int:  # type: ignore[override]
        """As a generator's: the longest training first."""
        return self.classifier_settings()["steps"]

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import training

        clips, settings = self.inputs()["clips"].folder, self.classifier_settings()
        return training.train_classifier(CLASSIFIER, settings, self.classifier_seed, clips, out, progress)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{100 * metrics['test']['accuracy']:.1f} % of unseen test clips right"


class CacheFeatures(ClassifierTask):
    """What the classifier makes of every real clip: features and log-probabilities, an `.npz` for each split."""

    VERSION = 1
    stage = "features"
    uses_gpu = True

    def place(self) -> Path:
        return self.corpus_place() / "4-features" / self.classifier_name()

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips), "classifier": self.classifier_task()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from models.clips import load_split
        from tasks.listening import cache

        clips, classifier = (self.inputs()[name].folder for name in ("clips", "classifier"))
        codes = {split: load_split(clips, split).codes for split in SPLITS}
        return {"clips": cache(classifier, codes, out, progress)}


class PrepareReference(ClassifierTask):
    """What the metrics compute of the real clips alone, once for all models: an `.npz` for each metric family."""

    VERSION = 1
    stage = "reference"

    def place(self) -> Path:
        return self.corpus_place() / "5-reference" / self.classifier_name()

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips), "features": self.upstream(CacheFeatures)}

    def resolved(self) -> Mapping[str, Any]:
        return {"metrics": {metric["key"]: metric["version"] for metric in descriptions.of_metrics()}}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import measuring

        return measuring.prepare(self.inputs()["clips"].folder, self.inputs()["features"].folder, out, progress)

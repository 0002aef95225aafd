"""The judge: TrainClassifier, or ImportClassifier. What it hears in real clips: CacheFeatures, PrepareReference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import luigi

from models.features import Source
from tasks import descriptions, folders
from tasks import settings as setting_tools
from tasks.artifact import ArtifactTask, Progress
from tasks.checkpoints import ClassifierParameter, ImportClassifier, is_checkpoint
from tasks.corpus import CorpusTask, PrepareClips
from tasks.ears import DESCRIPTION, FeaturesParameter, find_ears, listening
from tasks.errors import EarshotError, unknown
from tasks.parameters import preset_settings
from tasks.settings import CLASSIFIER_FEATURES, INDEPENDENT

CLASSIFIER = "resnext"
SPLITS = ("train", "validation", "test")
# How a trained classifier listens: the settings `features.*`. Another precision gives other numbers, so it is another judge.
LISTENING = {"precision": "float32"}
PRECISIONS = ("float32", "bf16")


class ClassifierTask(CorpusTask):
    """What all tasks that listen with a classifier share."""

    classifier = ClassifierParameter(
        default="small", description="the classifier's preset, release:resnext, or path/to/resnext.pth"
    )
    classifier_seed = luigi.IntParameter(default=0, description="seed of the classifier's training")

    def spaces(self) -> tuple[str, ...]:
        return ("corpus", "classifier", "features")

    def classifier_settings(self) -> dict[str, Any]:
        return preset_settings("classifiers", CLASSIFIER, self.classifier, self.settings, "classifier")[0]

    def classifier_task(self) -> CorpusTask:
        """Where it comes from: a training, or an import."""
        return self.upstream(ImportClassifier if is_checkpoint(self.classifier) else TrainClassifier)

    def listening_settings(self) -> dict[str, Any]:
        """How it listens. Raises EarshotError for a precision that there is not."""
        resolved = setting_tools.resolve(LISTENING, self.settings, "features")
        if resolved["precision"] not in PRECISIONS:
            raise EarshotError(unknown("features.precision", resolved["precision"], PRECISIONS))
        return resolved

    def check_classes(self, wanted: str) -> None:
        """Raise EarshotError where the corpus has no classes. wanted: what needs them, as it was asked for"""
        if not self.has_classes():
            raise EarshotError(
                f"{wanted} needs a classifier, and the recordings of {self.corpus_place()} have no labels to train one on: "
                f"leave it out, and independent ears judge (--features {INDEPENDENT})"
            )

    def classifier_name(self) -> str:
        """What paths call it as a judge: as it was trained, and `+precision=bf16` where it listens otherwise than usual."""
        return self.trained_name() + setting_tools.variant(LISTENING, self.listening_settings())

    def trained_name(self) -> str:
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
    spreads = True

    def spaces(self) -> tuple[str, ...]:
        return ("corpus", "classifier")

    def place(self) -> Path:
        return self.corpus_place() / "3-classifier" / self.trained_name()

    def inputs(self) -> Mapping[str, ArtifactTask]:
        self.check_classes("TrainClassifier")
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


class HearingTask(ClassifierTask):
    """What all tasks share that listen, or use what was heard: with the classifier, or with ears that are not its own.

    Where it is not the classifier, nothing of it is in their paths, inputs and identities.
    Of a corpus without classes there is no classifier, and every pair of ears may be the judge (tasks/ears.py).
    """

    features = FeaturesParameter(default=(CLASSIFIER_FEATURES,), description=DESCRIPTION)

    def listeners(self) -> tuple[str, ...]:
        """Those who listen, of whom was asked for; the first one's features they are."""
        return listening(self.features, self.has_classes())

    @property
    def ears(self) -> Source | None:
        """Whose features they are: the first listener's. None for the classifier's."""
        return find_ears(self.listeners()[0])

    @property
    def judging(self) -> bool:
        """Whether these ears measure everything: waveforms and likelihoods too, which are the same whoever listens."""
        return self.ears is None or not self.has_classes()

    def spaces(self) -> tuple[str, ...]:
        of_classifier = () if self.ears is None else ("classifier", "features")
        return tuple(space for space in super().spaces() if space not in of_classifier)

    def with_own_settings(self) -> Self:
        own: dict[str, Any] = {"features": self.listeners()[:1]}
        if self.ears is not None:
            own |= {"classifier": "small", "classifier_seed": 0}
        return super().with_own_settings().clone(**own)

    def ears_name(self) -> str:
        """What paths call them: `small-seed0`, as the classifier, or `melproj`."""
        return self.classifier_name() if self.ears is None else self.ears.name

    def listener(self) -> Mapping[str, ArtifactTask]:
        """The classifier, as an input; other ears are no artifacts."""
        return {"classifier": self.classifier_task()} if self.ears is None else {}

    def listen(self, sample_rate: int) -> Any:
        """Inside a stage: what `listening.cache` listens with."""
        from tasks import listening

        if self.ears is None:
            return listening.by_classifier(self.classifier_task().folder, self.listening_settings()["precision"])
        return listening.by_ears(self.ears, sample_rate)

    def judge(self) -> dict[str, str]:
        """What a number rests on beside the samples: where any of it differs, two numbers cannot be compared."""
        clips, features = self.upstream(PrepareClips), self.upstream(CacheFeatures)
        listener = self.classifier_task() if self.ears is None else features
        digests = {"clips": folders.digest_of(clips.folder), "classifier_digest": folders.digest_of(listener.folder)}
        return {"corpus": self.corpus_place().as_posix(), "classifier": self.ears_name(), **digests}

    def heard_by(self) -> dict[str, str]:
        """What a task's identity says of its ears: where they are the classifier's, which is an input, only what is unusual."""
        if self.ears is not None:
            return {"features": self.ears.name}
        return {name: value for name, value in self.listening_settings().items() if value != LISTENING[name]}

    def identity_parameters(self) -> dict[str, str]:
        parameters = super().identity_parameters()
        out = ("features",) if self.ears is None else ("features", "classifier", "classifier_seed")
        return {name: text for name, text in parameters.items() if name not in out} | self.heard_by()

    def metric_versions(self) -> dict[str, int]:
        """Of all metrics that apply: of ears beside the classifier's, of those that need nothing but features; of a corpus
        without classes, of those that need none."""
        known = descriptions.of_metrics()
        if self.ears is not None:
            known = [m for m in known if (not m["needs_classes"] if self.judging else descriptions.hears(m))]
        return {metric["key"]: metric["version"] for metric in known}


def check_judge(board: Any) -> None:
    """Raise EarshotError where nobody could be the judge of a leaderboard (CompareGenerators), or something is asked of a
    classifier that there is not."""
    if not board.has_classes():
        settings = [name for name, _ in board.settings if name.startswith(("classifier.", "features."))]
        asked = [f"--set {name}" for name in settings] + ["--save-probabilities"] * board.save_probabilities
        asked += [f"--classifier {board.classifier}"] * is_checkpoint(board.classifier)
        asked += [f"--features {CLASSIFIER_FEATURES}"] * (board.features == (CLASSIFIER_FEATURES,))
        for words in asked:
            board.check_classes(words)
    elif CLASSIFIER_FEATURES not in board.features:
        raise EarshotError(
            f"--features {','.join(board.features)}: the rows of a leaderboard are its classifier's, and other features "
            f"stand beside it: {','.join((CLASSIFIER_FEATURES, *board.features))}"
        )


class FeaturesTask(HearingTask):
    """What the tasks share that listen to clips and keep what they heard."""

    def resolved(self) -> Mapping[str, Any]:
        """The version of the ears, and the sha256 of their weights; those that were used, where the files are gone."""
        source, config = self.ears, self.folder / folders.CONFIG
        if source is None:
            return {}
        if source.missing() and config.exists():
            return folders.read_json(config)["settings"]
        weights = folders.known_sha256(source.weights) if source.weights else None
        return {"features_version": source.version, "weights": weights}

    def _complete(self) -> bool:
        """Raises EarshotError, before anything runs, for ears whose files are not on this machine."""
        if self.ears is not None and not (self.folder / folders.MANIFEST).exists() and (problem := self.ears.missing()):
            raise EarshotError(problem)
        return super()._complete()


class CacheFeatures(FeaturesTask):
    """What the classifier makes of every real clip, features and log-probabilities, an `.npz` for each split.

    Of other ears (`--features melproj`) it is features alone.
    """

    VERSION = 1
    stage = "features"
    uses_gpu = True

    def place(self) -> Path:
        return self.corpus_place() / "4-features" / self.ears_name()

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips), **self.listener()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from models.clips import load_split
        from tasks.listening import cache
        from tasks.training import clip_format

        clips = self.inputs()["clips"].folder
        codes = {split: load_split(clips, split).codes for split in SPLITS}
        return {"clips": cache(self.listen(clip_format(clips)[0]), codes, out, progress)}


class PrepareReference(HearingTask):
    """What the metrics compute of the real clips alone, once for all models: an `.npz` for each metric family."""

    VERSION = 2
    stage = "reference"

    def place(self) -> Path:
        return self.corpus_place() / "5-reference" / self.ears_name()

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips), "features": self.upstream(CacheFeatures)}

    def resolved(self) -> Mapping[str, Any]:
        return {"metrics": self.metric_versions()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import measuring

        clips, features = (self.inputs()[name].folder for name in ("clips", "features"))
        return measuring.prepare(clips, features, out, progress, waveforms=self.judging)

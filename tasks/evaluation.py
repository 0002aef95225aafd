"""From samples to numbers to a leaderboard: CacheSampleFeatures, EvaluateSamples, CompareGenerators."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import descriptions, folders, machine
from tasks import settings as setting_tools
from tasks.artifact import ArtifactTask, Difference, Progress
from tasks.chains import broken
from tasks.checkpoints import CheckpointParameter, kept_step
from tasks.classifier import CacheFeatures, FeaturesTask, HearingTask, PrepareReference, check_judge
from tasks.continuing import PREFIX_DEFAULTS, PrefixParameters
from tasks.controls import EvaluateControls, EvaluateSplits
from tasks.corpus import PrepareClips
from tasks.ears import DESCRIPTION as FEATURES_DESCRIPTION
from tasks.ears import FeaturesParameter
from tasks.errors import EarshotError, unknown
from tasks.external import ExportProbabilities, SaveProbabilities
from tasks.generator import ImportSamples, MeasureLikelihood
from tasks.judged import JudgedTask, default_count
from tasks.parameters import model_name
from tasks.rows import curves, heard_by_others, scored_elsewhere, tunings
from tasks.sample_sets import DESCRIPTION as SETS
from tasks.sample_sets import SampleSetsParameter, is_array
from tasks.settings import CLASSIFIER_FEATURES, FEATURES, Settings

DEFAULT_CONTROLS = 512  # clips in a control row where no row of models says how many


class CacheSampleFeatures(FeaturesTask, JudgedTask):
    """What the classifier makes of every sample; other ears, where `--features` names them first."""

    VERSION = 1
    stage = "features"
    uses_gpu = True

    def place(self) -> Path:
        return self.draw_place() / f"3-features-{self.ears_name()}"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"samples": self.samples_task(), **self.listener()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import drawing, listening

        samples = self.inputs()["samples"].folder
        codes, _ = drawing.measured(samples)
        rate = folders.read_json(samples / folders.METRICS)["sample_rate"]
        return listening.cache(self.listen(rate), {"samples": codes}, out, progress)


class EvaluateSamples(JudgedTask):
    """The scores of one set of samples: a model's draw (`--model wavenet`) or an import (`--samples DIR --name NAME`).

    It is an artifact of the first that `features` names; the same of the others is made with it.
    """

    VERSION = 2
    stage = "evaluation"
    features = FeaturesParameter(default=FEATURES, description=FEATURES_DESCRIPTION)
    save_probabilities = SaveProbabilities()

    def place(self) -> Path:
        return self.draw_place() / f"4-evaluation-{self.ears_name()}"

    def others(self) -> list[JudgedTask]:
        """The same samples, by the other features, and their probabilities: wanted as well, and no inputs."""
        saved = [self.upstream(ExportProbabilities)] if self.save_probabilities and self.judging else []
        return [*(self.clone(features=(name,)).with_own_settings() for name in self.listeners()[1:]), *saved]

    def requires(self) -> Mapping[str, luigi.Task]:
        return {**self.inputs(), **{str(other.place()): other for other in self.others()}}

    def _complete(self) -> bool:
        return super()._complete() and all(other.complete() for other in self.others())

    def inputs(self) -> Mapping[str, ArtifactTask]:
        inputs: dict[str, ArtifactTask] = {
            "reference": self.upstream(PrepareReference),
            "samples": self.samples_task(),
            "features": self.upstream(CacheSampleFeatures),
        }
        conditional = bool(self.prefix_seconds)  # NLL is of the model, and stands in the row that nothing was given to
        if not self.judging or self.name or conditional:
            return inputs
        if descriptions.of_model("generators", self.model)["likelihood"]:
            imported = self.checkpoint and not kept_step(self.checkpoint)
            once = {"seed": 0} if imported else {}  # the seed of the draw is nothing to an imported model
            inputs["likelihood"] = self.upstream(MeasureLikelihood, **once)
        return inputs

    def resolved(self) -> Mapping[str, Any]:
        return {"metrics": self.metric_versions()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import measuring

        inputs = {name: task.folder for name, task in self.inputs().items()}
        reference, samples, features = (inputs[name] for name in ("reference", "samples", "features"))
        about = (reference, samples, features, inputs.get("likelihood"))
        told = measuring.evaluate(*about, out, progress, waveforms=self.judging)
        return told | {"judge": self.judge()}

    def headline(self, metrics: Mapping[str, Any]) -> str:
        ears = "" if self.judging or self.ears is None else self.ears.name
        described = descriptions.of_metrics((ears,) if ears else ())
        names = {metric["key"]: metric for metric in described if metric["headline"]}
        scores = {f"{key}@{ears}" if ears else key: score for key, score in metrics["scores"].items()}
        shown = [(names[key], score["value"]) for key, score in scores.items() if key in names]
        return ", ".join(f"{metric['name']} {value:.{metric['digits']}f}" for metric, value in shown)


class CompareGenerators(PrefixParameters, HearingTask):
    """The leaderboard and the report, from every finished row of the corpus that was judged by this classifier.

    Where the corpus has no classes, by the first ears. What others heard in the same samples stands in the same row. What is
    asked for here is only what must be there; rows that earlier runs left are shown as well. Derived: it rebuilds itself when
    a row appears or changes.
    """

    VERSION = 4
    stage = "report"
    derived = True
    unhashed = ("report/",)  # the page shows how long each stage took
    LINKS = (*(f"leaderboard{end}" for end in (".md", ".csv", ".json", ".tex", "-all.tex")), "report")

    models = luigi.ListParameter(
        default=setting_tools.MODELS, significant=False, description="generators that must be in"
    )
    preset = luigi.Parameter(default="small", significant=False)
    seeds = luigi.ListParameter(default=(0,), significant=False)
    count = luigi.IntParameter(default=0, significant=False, description="samples in a row; 0: what suits the preset")
    checkpoint = CheckpointParameter(default="", significant=False, description="in place of the one model's training")
    features = FeaturesParameter(default=FEATURES, description=FEATURES_DESCRIPTION)
    sample_sets = SampleSetsParameter(default=(), significant=False, description=f"imports that must be in: {SETS}")
    samples_rate = luigi.IntParameter(default=0, significant=False, description="of a .npy among them, in Hz")
    save_probabilities = SaveProbabilities()

    def spaces(self) -> tuple[str, ...]:
        return (*super().spaces(), "sampling", *map(model_name, self.models))

    def place(self) -> Path:
        return self.corpus_place() / "6-leaderboard" / self.ears_name()

    def listeners(self) -> tuple[str, ...]:
        """The judge, whose rows these are, comes first."""
        return tuple(sorted(super().listeners(), key=lambda name: name != CLASSIFIER_FEATURES))

    def inputs(self) -> Mapping[str, ArtifactTask]:
        check_judge(self)
        judge, *others = ((name,) for name in self.listeners())
        inputs: dict[str, ArtifactTask] = {
            "clips": self.upstream(PrepareClips),
            **(self.listener() or {"features": self.upstream(CacheFeatures, features=judge)}),
            "reference": self.reference(),
        }
        if self.checkpoint and len(self.models) != 1:
            raise EarshotError(
                f"--checkpoint {self.checkpoint} is of one model, and the models are {', '.join(self.models)}: say which, "
                "e.g. --models sashimi. The leaderboard shows what earlier runs have finished as well"
            )
        count = self.controls_count()
        inputs["controls"] = self.upstream(EvaluateControls, count=count, features=judge)
        inputs["splits"] = self.upstream(EvaluateSplits, features=judge)
        tasks: list[ArtifactTask] = []
        for features in (judge, *others):
            if features != judge:
                tasks.append(self.upstream(EvaluateControls, count=count, features=features))
                tasks.append(self.upstream(EvaluateSplits, features=features))
            for model in self.models:
                about: dict[str, Any] = {"model": model, "settings": self._settings_of(model), "features": features}
                about |= {"save_probabilities": False}  # which are inputs of ours
                tasks += [self.upstream(EvaluateSamples, seed=seed, samples_rate=0, **about) for seed in self.seeds]
            tasks += [self._imported(name, path, features) for name, path in self.sample_sets]
        if self.save_probabilities:
            judged = [task for task in tasks if isinstance(task, EvaluateSamples) and task.ears is None]
            tasks += [task.upstream(ExportProbabilities) for task in judged]
        return inputs | {str(task.place()): task for task in tasks}

    def _imported(self, name: str, path: str, features: tuple[str, ...]) -> "EvaluateSamples":
        """The row of somebody else's samples; what is said of models does not concern it."""
        asked: dict[str, Any] = {"checkpoint": "", "count": 0, "save_probabilities": False}
        asked |= {"samples_rate": self.samples_rate if is_array(path) else 0}
        task = self.upstream(EvaluateSamples, name=name, samples=path, features=features, **asked, **PREFIX_DEFAULTS)
        return task  # type: ignore[return-value]

    def controls_count(self) -> int:
        """As many clips as there are samples in a model's row; without models, as in most of the imports."""
        given = bool(self.prefix_seconds)
        counts = [default_count(model, self.preset, given) for model in self.models]
        if not counts and not self.count:
            sets = [self._imported(*one, self.listeners()[:1]).samples_task() for one in self.sample_sets]
            known = [task.known_count() for task in sets if isinstance(task, ImportSamples)]
            most = Counter(filter(None, known)).most_common(1)
            return most[0][0] if most else DEFAULT_CONTROLS
        return self.count or max(counts)

    def reference(self) -> ArtifactTask:
        """The real clips as the judge hears them."""
        return self.upstream(PrepareReference, features=self.listeners()[:1])

    def _settings_of(self, model: str) -> Settings:
        """The settings without those of sampling that `model` does not have; some model must have each of them."""
        known = {name: descriptions.of_model("generators", name)["sampling"] for name in self.models}
        descriptions.check_any_length(self.models, self.settings)
        for name, _ in setting_tools.in_space(self.settings, "sampling"):
            if not any(name.partition(".")[2] in fields for fields in known.values()):
                choices = {field for fields in known.values() for field in fields}
                raise EarshotError(unknown("setting of sampling", name.partition(".")[2], choices))
        foreign = {f"sampling.{field}" for fields in known.values() for field in fields if field not in known[model]}
        return tuple((name, value) for name, value in self.settings if name not in foreign)

    def rows(self) -> tuple[list[Path], dict[str, str]]:
        """The finished evaluations that share our clips, classifier and code, requested now or not; and what other ears
        heard in the same samples.

        And those that do not any more, by their path below the corpus's folder, with the reason.
        """
        corpus, reference = machine.workdir() / self.corpus_place(), self.reference()
        whole: list[Path] = []
        left_out: dict[str, str] = {}
        known: dict[Path, str] = {}
        pattern = f"4-evaluation-{self.ears_name()}"
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
        for folder in [other for row in whole for other in (*heard_by_others(row), *scored_elsewhere(row))]:
            if reason := broken(folder, known):
                left_out[folder.relative_to(corpus).as_posix()] = reason
            else:
                whole.append(folder)
        return whole, left_out

    def curves(self) -> list[Path]:
        """What EvaluateCheckpoints has left of trainings on this corpus, by our judge."""
        return curves(machine.workdir() / self.corpus_place(), self.ears_name())

    def identity_parameters(self) -> dict[str, str]:
        """What is asked for does not matter, only what is there."""
        parameters = super().identity_parameters()
        return {name: text for name, text in parameters.items() if name not in PREFIX_DEFAULTS}

    def identity_inputs(self) -> Mapping[str, ArtifactTask]:
        ours = ("clips", "classifier", "features", "reference")
        return {name: task for name, task in self.inputs().items() if name in ours}

    def identity(self) -> dict[str, Any]:
        identity = super().identity()
        corpus = machine.workdir() / self.corpus_place()
        whole, left_out = self.rows()
        ours = [folder for folder in whole if folder.name.endswith(self.ears_name())]
        beside = {"curves": self.curves(), "thresholds": [tuned for folder in ours for tuned in tunings(folder)]}
        for name, found in {"rows": whole, **{name: found for name, found in beside.items() if found}}.items():
            identity[name] = {folder.relative_to(corpus).as_posix(): folders.digest_of(folder) for folder in found}
        return identity | {"left_out": left_out}

    def differences(self) -> list[Difference]:
        missing = [name for name in self.LINKS if not (self.folder.parent.parent / name).exists()]
        return super().differences() + [Difference(f"link.{name}", None, name) for name in missing]

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import reporting

        corpus = machine.workdir() / self.corpus_place()
        inputs = {name: task.folder for name, task in self.inputs().items()}
        return reporting.compare(self.corpus, corpus, *self.rows(), inputs, out, progress, self.curves())

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

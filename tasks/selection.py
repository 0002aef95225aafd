"""Many checkpoints of one training: how a metric goes over its steps, and which one is the best. EvaluateCheckpoints.

Each of them draws samples that are used for nothing else (JudgeCheckpoint) and are measured against the validation split
(PrepareValidation): what is chosen here is then reported by other samples, against the train split, as every row is.
"""

import glob
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import descriptions, folders, machine
from tasks.artifact import ArtifactTask, Progress
from tasks.checkpoints import STEP, CheckpointParameter, checkpoint_name
from tasks.choosing import Judged
from tasks.classifier import CacheFeatures, HearingTask
from tasks.corpora.base import natural_key
from tasks.corpus import PrepareClips
from tasks.errors import EarshotError, unknown
from tasks.generator import DrawSamples
from tasks.parameters import ModelParameter, check_name, model_name
from tasks.trained import HOW_TO_KEEP, TrainGenerator, kept_steps

COUNTS = {"smoke": 32, "small": 256}
PAPER_COUNT = 2048
RESULT = "result"  # what the training itself has kept: its 1-train


class CheckpointsParameter(luigi.Parameter[tuple[str, ...]]):
    """`run/*.pt`, or `["run/a.pt", "run/b.pt"]` <-> their absolute paths, in the natural order of their names."""

    def parse(self, text: str) -> tuple[str, ...]:
        try:
            return self._expanded(json.loads(text) if text.startswith("[") else filter(None, [text]))
        except ValueError:
            raise EarshotError(f"cannot read {text}: write 'run/*.pt', or '[\"run/a.pt\", \"run/b.pt\"]'") from None

    def serialize(self, value: Iterable[str]) -> str:
        return json.dumps(list(value))

    def normalize(self, value: str | Iterable[str]) -> tuple[str, ...]:
        return self.parse(value) if isinstance(value, str) else self._expanded(value)

    def _expanded(self, words: Iterable[str]) -> tuple[str, ...]:
        found: list[str] = []
        for word in words:
            path = os.path.abspath(os.path.expanduser(word))
            fitting = [path] if Path(path).exists() or not glob.has_magic(path) else glob.glob(path, recursive=True)
            if not fitting:
                raise EarshotError(f"--checkpoints {word}: no file is called like that")
            found += sorted(fitting, key=natural_key)
        names = Counter(map(checkpoint_name, dict.fromkeys(found)))
        if twice := [name for name, count in names.items() if count > 1]:
            raise EarshotError(
                f"--checkpoints: {names[twice[0]]} files are called {twice[0]!r}; give them names of their own"
            )
        return tuple(CheckpointParameter().normalize(path) for path in dict.fromkeys(found))


class PrepareValidation(HearingTask):
    """The validation split as the reference by which checkpoints are chosen."""

    VERSION = 1
    stage = "reference"

    def place(self) -> Path:
        return self.corpus_place() / "5-reference" / f"{self.ears_name()}-validation"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips), "features": self.upstream(CacheFeatures)}

    def resolved(self) -> Mapping[str, Any]:
        return {"metrics": self.metric_versions()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import measuring

        clips, features = (self.inputs()[name].folder for name in ("clips", "features"))
        splits = ("validation",)
        return measuring.prepare(clips, features, out, progress, splits=splits, waveforms=self.judging)


class CheckpointTask(HearingTask):
    """What a checkpoint's judgement and the curve over all of them share: the training, and how many samples each draws."""

    stage = "evaluation"
    model = ModelParameter(default="", description="a file in models/generators/, or path/to/mine.py:Mine")
    preset = luigi.Parameter(default="small", description="smoke, small, paper, or another preset of the model")
    seed = luigi.IntParameter(default=0, description="seed of the training and of the draws")
    count = luigi.IntParameter(
        default=0, description="how many samples each checkpoint draws; 0: what suits the preset"
    )

    def spaces(self) -> tuple[str, ...]:
        return (*super().spaces(), model_name(self.model), "sampling")

    def samples(self) -> int:
        return self.count or COUNTS.get(self.preset, PAPER_COUNT)

    def draw(self, checkpoint: str) -> DrawSamples:
        """Who knows where a checkpoint's weights and draws lie, and its sampling settings; nobody asks it to draw."""
        if not self.model:
            raise EarshotError("say whose checkpoints they are: --model wavenet")
        return self.upstream(DrawSamples, checkpoint=checkpoint, count=self.samples())  # type: ignore[return-value]

    def selection(self, checkpoint: str) -> Path:
        """`<corpus>/wavenet/small+step=500-seed0/selection-256`."""
        draw = self.draw(checkpoint)
        return draw.model_place() / f"selection-{self.samples()}{draw.sampling_name()}"


class JudgeCheckpoint(CheckpointTask):
    """The scores of one checkpoint on samples that only this choice sees, against the validation split."""

    VERSION = 1
    uses_gpu = True
    checkpoint = CheckpointParameter(default="", description="step:N, a file, or nothing for the training's result")

    def place(self) -> Path:
        return self.selection(self.checkpoint) / f"4-validation-{self.ears_name()}"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {
            "train": self.draw(self.checkpoint).trained(),
            "reference": self.upstream(PrepareValidation),
            "clips": self.upstream(PrepareClips),
            **self.listener(),
        }

    def identity_parameters(self) -> dict[str, str]:
        """It is known by where its weights lie, and `inputs` by which they are."""
        asked = {"samples": str(self.samples()), "seed": str(self.seed)}
        return {"of": self.selection(self.checkpoint).as_posix(), **asked, **self.heard_by()}

    def resolved(self) -> Mapping[str, Any]:
        return {"metrics": self.metric_versions(), "sampling": self.draw(self.checkpoint).sampling_settings()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import choosing
        from tasks.training import clip_format

        train, reference, clips = (self.inputs()[name].folder for name in ("train", "reference", "clips"))
        settings, listen = self.draw(self.checkpoint).sampling_settings(), self.listen(clip_format(clips)[0])
        drawn = (train, self.seed, self.samples(), settings)
        return choosing.judge(*drawn, reference, clips, listen, out, progress, waveforms=self.judging)


class EvaluateCheckpoints(CheckpointTask):
    """Every metric over the steps of a training, and its best checkpoint by one of them: curve.json, curve.csv, curve.md.

    `--model wavenet` looks at what a training kept on its way (`--machine-keep-every 500`), and at its result;
    `--checkpoints 'run/*.pt'` at files from elsewhere. Derived: another criterion, or one more checkpoint, makes it again.
    """

    VERSION = 1
    derived = True
    checkpoints = CheckpointsParameter(
        default=(), significant=False, description="files, as 'run/*.pt'; none: those that our own training has kept"
    )
    criterion = luigi.Parameter(default="v1/fid", description="the metric by which the best one is chosen")
    name = luigi.Parameter(default="", description="what paths call these files (their folder's name)")

    def place(self) -> Path:
        if not self.checkpoints:
            return self.selection("") / f"5-curve-{self.ears_name()}"
        folder = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(self.checkpoints[0]).parent.name).strip("-._")
        called = self.name or folder or "run"
        check_name("--name", called)
        first = self.selection(self.checkpoints[0])
        return first.parents[1] / f"checkpoints-{called}-seed{self.seed}" / first.name / f"5-curve-{self.ears_name()}"

    def candidates(self) -> list[tuple[str, int, str]]:
        """(name, step, what `--checkpoint` takes) of each; of a training that is not done, those that it is going to keep.

        Of files, the step is the last number in their names, where all have one and no two the same; else their place.
        """
        if self.checkpoints:
            names = [checkpoint_name(path) for path in self.checkpoints]
            numbers = [int(found[-1]) for name in names if (found := re.findall(r"\d+", name))]
            steps = numbers if len(set(numbers)) == len(names) else range(1, len(names) + 1)
            return sorted(zip(names, steps, self.checkpoints, strict=True), key=lambda one: one[1])
        train: TrainGenerator = self.draw("").trained()  # type: ignore[assignment]
        if (train.folder / folders.MANIFEST).exists():
            steps, metrics = list(kept_steps(train.folder)), folders.read_json(train.folder / folders.METRICS)
            if not steps:
                raise EarshotError(
                    f"{train.place()} has kept no weights on its way. {HOW_TO_KEEP}: remove that folder, and train again; on a "
                    "CPU the same comes out, bit for bit, so that nothing that was made from it is lost"
                )
            last = metrics.get("kept_step", metrics["best_step"])  # older ones kept the best only
            taken = [(f"step {step}", step, f"{STEP}{step}") for step in steps if step != last]
            return sorted([*taken, (f"{RESULT} (step {last})", last, "")], key=lambda one: one[1])
        every, end = int(machine.setting("keep_every")), train.last_step()
        if not every:
            raise EarshotError(
                f"{train.place()} is not trained yet, and would keep no weights on its way: {HOW_TO_KEEP}"
            )
        steps = sorted({*range(every, end, every), end})
        return [*((f"step {step}", step, f"{STEP}{step}") for step in steps), (RESULT, end, "")]

    def judged(self) -> dict[str, JudgeCheckpoint]:
        """By the name of each checkpoint."""
        return {
            name: self.upstream(JudgeCheckpoint, checkpoint=checkpoint)  # type: ignore[misc]
            for name, _, checkpoint in self.candidates()
        }

    def inputs(self) -> Mapping[str, ArtifactTask]:
        self.criterion_metric()
        return self.judged()

    def criterion_metric(self) -> dict[str, Any]:
        """What the metric says of itself. Raises EarshotError for one that no checkpoint can be chosen by."""
        known = {metric["key"]: metric for metric in descriptions.of_metrics()}
        classes = self.has_classes()
        possible = {key: m for key, m in known.items() if _can_choose(m) and (classes or not m["needs_classes"])}
        if self.criterion not in possible:
            reason = (
                "" if self.criterion not in known else " It cannot be asked of samples and the validation split alone."
            )
            raise EarshotError(unknown("criterion", self.criterion, possible) + reason)
        return possible[self.criterion]

    def identity_parameters(self) -> dict[str, str]:
        return {"of": self.place().as_posix(), "criterion": self.criterion, **self.heard_by()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import choosing

        tasks = self.judged()
        judged = [
            Judged(name, step, self._command(checkpoint), tasks[name].folder)
            for name, step, checkpoint in self.candidates()
        ]
        about = {
            "title": f"{self.model} over training: {self.place().parent.parent.name}",
            "samples": self.samples(),
            "first_sample": choosing.FIRST,
            "seed": self.seed,
            "reference": "validation",
        }
        return choosing.curve(judged, self.criterion_metric(), about, out)

    def _command(self, checkpoint: str) -> str:
        """What puts that checkpoint on the leaderboard."""
        words = ["python", "-m", f"pipeline.{self.corpus}", "--models", self.model, "--preset", self.preset]
        words += ["--classifier", self.classifier] if self.has_classes() else []
        words += ["--seed", str(self.seed)] if self.seed else []
        words += ["--checkpoint", checkpoint] if checkpoint else []
        words += [word for name, value in self.settings for word in ("--set", f"{name}={value}")]
        return shlex.join(words)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        best, tied = metrics["best"], metrics["tied"]
        beside = f", not told apart from {', '.join(tied)}" if tied else ""
        return f"{best['name']} has the best {metrics['criterion']} of {metrics['checkpoints']}: {best['value']:.4g}{beside}"


def _can_choose(metric: Mapping[str, Any]) -> bool:
    """Whether it says which of two sets is better, from samples and reference clips alone."""
    asked = [*metric["needs"], *metric["needs_reference"]]
    return metric["better"] in ("lower", "higher") and not any(need.startswith("held_out") for need in asked)

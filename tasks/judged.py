"""Whose samples are judged, and how many: what the tasks of tasks/evaluation.py share."""

from pathlib import Path

import luigi

from tasks import descriptions
from tasks.checkpoints import DESCRIPTION, CheckpointParameter
from tasks.classifier import HearingTask
from tasks.continuing import PREFIX_DEFAULTS, PrefixParameters
from tasks.errors import EarshotError
from tasks.generator import DrawSamples, ImportSamples
from tasks.parameters import ModelParameter, model_name

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


class JudgedTask(PrefixParameters, HearingTask):
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
        return {"samples": self.samples_task().place().as_posix(), **self.heard_by()}

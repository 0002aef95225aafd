"""The rows that make the others readable: EvaluateControls, of as many clips as a model's row, and EvaluateSplits, of all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks.artifact import ArtifactTask, Progress
from tasks.classifier import CacheFeatures, HearingTask, PrepareReference
from tasks.corpus import PrepareClips


class ControlTask(HearingTask):
    """What both share: the corpus's own clips, as they were heard, against its train split."""

    stage = "evaluation"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {
            "clips": self.upstream(PrepareClips),
            **self.listener(),
            "features": self.upstream(CacheFeatures),
            "reference": self.upstream(PrepareReference),
        }

    def resolved(self) -> Mapping[str, Any]:
        return {"metrics": self.metric_versions()}


class EvaluateControls(ControlTask):
    """Held-out clips, silence and white noise; and the traps: a copied, a repeated and a half-collapsed set.

    A generator of noise and one of copies: whoever reads the leaderboard sees what the metrics make of them.
    """

    VERSION = 2
    uses_gpu = True
    count = luigi.IntParameter(default=512, description="how many clips in a row, as far as there are")

    def place(self) -> Path:
        return self.corpus_place() / "controls" / f"draw-{self.count}" / f"4-evaluation-{self.ears_name()}"

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import measuring
        from tasks.training import clip_format

        clips, features, reference = (self.inputs()[name].folder for name in ("clips", "features", "reference"))
        listen = self.listen(clip_format(clips)[0])
        heard = (reference, clips, features, listen, self.count)
        told = measuring.evaluate_controls(*heard, out, progress, waveforms=self.judging)
        return told | {"judge": self.judge()}


class EvaluateSplits(ControlTask):
    """All clips of the train split, and all of the test split, as if a generator had drawn them: once per corpus and judge."""

    VERSION = 1

    def place(self) -> Path:
        return self.corpus_place() / "controls" / "splits" / f"4-evaluation-{self.ears_name()}"

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import measuring

        clips, features, reference = (self.inputs()[name].folder for name in ("clips", "features", "reference"))
        told = measuring.evaluate_splits(reference, clips, features, out, progress, waveforms=self.judging)
        return told | {"judge": self.judge()}

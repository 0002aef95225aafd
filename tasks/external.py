"""What goes out to other programs and comes back from them: ExportProbabilities, ImportScores."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import drawing, folders
from tasks.artifact import ArtifactTask, Progress
from tasks.errors import EarshotError
from tasks.judged import JudgedTask
from tasks.parameters import model_name
from tasks.rows import EXTERNAL

VALUES = "values.csv"  # of every sample


class SaveProbabilities(luigi.BoolParameter):
    """`--save-probabilities`: whether ExportProbabilities is wanted as well. It changes nothing else."""

    def __init__(self) -> None:
        words = "save the class probabilities of all samples, in the layout of the SaShiMi release"
        explicit = luigi.BoolParameter.EXPLICIT_PARSING  # as the front doors hand it on: with a value
        super().__init__(default=False, significant=False, parsing=explicit, description=words)


class ImportScores(JudgedTask):
    """Numbers that VERSA gave each sample, as columns `versa/...` of their row: `--model wavenet --versa scores.jsonl`.

    Which row it is about is said as for EvaluateSamples: by a model, or by the name of an import (`--name my-model`). The file
    is known by its content; once it is in, it may be gone.
    """

    VERSION = 1
    stage = "evaluation"
    versa = luigi.Parameter(default="", significant=False, description="VERSA's JSONL about these very samples")

    def place(self) -> Path:
        return self.draw_place() / EXTERNAL

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"samples": self.samples_task()}

    def resolved(self) -> Mapping[str, Any]:
        return {"sha256": self._sha256()}

    def _sha256(self) -> str:
        """Of the file; of the one that was imported, where none is given any more."""
        if self.versa:
            if not (file := Path(self.versa).expanduser()).is_file():
                raise EarshotError(f"--versa {self.versa}: there is no such file")
            return folders.known_sha256(file)
        if (config := self.folder / folders.CONFIG).exists():
            return folders.read_json(config)["settings"]["sha256"]
        raise EarshotError("nothing has been imported here yet: give --versa path/to/scores.jsonl")

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from evaluation import external

        samples, file = self.inputs()["samples"].folder, Path(self.versa).expanduser()
        with open(samples / drawing.TABLE, newline="", encoding="utf-8") as table:
            names = [line["name"] for line in csv.DictReader(table)]
        with open(file, encoding="utf-8") as lines:
            try:
                imported = external.read_versa(lines, names)
                scores = external.scores(imported, folders.sha256(file))
            except ValueError as error:
                raise ValueError(f"{file} is refused: {error}") from None
        with open(out / VALUES, "w", newline="", encoding="utf-8") as values:
            writer = csv.writer(values)
            writer.writerow(["name", *imported.values])
            writer.writerows(zip(names, *(map(repr, column) for column in imported.values.values()), strict=True))
        return {"scores": scores, "not_applicable": {}, "samples": len(names), "text": list(imported.text)}

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return ", ".join(f"{key.partition('/')[2]} {score['value']:.3g}" for key, score in metrics["scores"].items())


class ExportProbabilities(JudgedTask):
    """What the classifier takes each sample for, as the SaShiMi release saves it: float32 softmax outputs (n, classes).

    `<count>-<name>-resnext-probs.npy`, in the order of the samples: what its `prepare_sc09.py` and `pipeline.recompute` read.
    """

    VERSION = 1
    stage = "evaluation"

    def place(self) -> Path:
        self.check_classes("ExportProbabilities, or --save-probabilities,")
        return self.draw_place() / f"4-probabilities-{self.classifier_name()}"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        from tasks.evaluation import CacheSampleFeatures

        return {"features": self.upstream(CacheSampleFeatures)}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        import numpy as np

        from tasks import listening

        heard = listening.read(self.inputs()["features"].folder, "samples")["log_probabilities"]
        probabilities = np.exp(heard).astype(np.float32)
        file = f"{len(probabilities)}-{self.name or model_name(self.model)}-resnext-probs.npy"
        np.save(out / file, probabilities)
        return {"file": file, "samples": len(probabilities), "classes": probabilities.shape[1]}

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return metrics["file"]

"""ImportSamples: somebody else's samples as one finished folder in the layout of our own draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import folders
from tasks.artifact import Progress
from tasks.corpus import CorpusTask
from tasks.errors import EarshotError
from tasks.parameters import check_name


class ImportSamples(CorpusTask):
    """Samples from anywhere: a folder of wavs, or an array in a `.npy`, taken as they are."""

    VERSION = 1
    stage = "samples"
    name = luigi.Parameter(default="", description="what the imported samples are called in tables and paths")
    samples = luigi.Parameter(default="", significant=False, description="a folder of wavs, or a .npy")
    samples_rate = luigi.IntParameter(default=0, description="sample rate of a .npy, in Hz")

    def place(self) -> Path:
        check_name("--name", self.name, row=True)
        self._check_rate()
        return self.corpus_place() / "imported" / self.name / "2-samples"

    def resolved(self) -> Mapping[str, Any]:
        settings = self.corpus_settings()
        return {
            "sample_rate": settings["sample_rate"],
            "clip_seconds": settings["clip_seconds"],
            "resampler": settings["resampler"],
            "source": self._hash(),
        }

    def identity_parameters(self) -> dict[str, str]:
        """Where no source is given any more, the rate of the one that was imported counts."""
        parameters = super().identity_parameters()
        if not self.samples and (self.folder / folders.CONFIG).exists():
            parameters["samples_rate"] = folders.read_json(self.folder / folders.CONFIG)["parameters"]["samples_rate"]
        return parameters

    def _check_rate(self) -> None:
        array, rate = self.samples.endswith(".npy"), self.samples_rate
        if rate < 0 or (array and rate == 0):
            raise EarshotError(f"{self.samples}: give the sample rate of the .npy, e.g. --samples-rate 16000")
        if self.samples and rate and not array:
            raise EarshotError(
                f"--samples-rate is for a .npy; files like those in {self.samples} say their rate themselves: leave it out"
            )

    def _hash(self) -> str:
        """A hash of the samples' files; of those that were imported, where no source is given any more."""
        if self.samples:
            from tasks.importing import fingerprint

            return fingerprint(Path(self.samples).expanduser())
        if (self.folder / folders.CONFIG).exists():
            return folders.read_json(self.folder / folders.CONFIG)["settings"]["source"]
        raise EarshotError(f"nothing has been imported as {self.name!r} yet: give --samples path/to/wavs")

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import drawing

        return drawing.import_samples(Path(self.samples).expanduser(), self.samples_rate, self.corpus_config(), out)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['samples']} samples"

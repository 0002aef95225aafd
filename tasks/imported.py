"""ImportSamples: somebody else's samples as one finished folder in the layout of our own draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import folders
from tasks.artifact import ArtifactTask, Progress
from tasks.corpus import CorpusTask
from tasks.errors import EarshotError
from tasks.parameters import check_name
from tasks.releases import PREFIX, SAMPLE_SETS, DownloadRelease, find, samples_in


class ImportSamples(CorpusTask):
    """Samples from anywhere: a folder of wavs, a zip of one, or an array in a `.npy`, taken as they are.

    `--samples release:2048-wavegan` fetches published ones first.
    """

    VERSION = 1
    stage = "samples"
    name = luigi.Parameter(default="", description="what the imported samples are called in tables and paths")
    samples = luigi.Parameter(
        default="", significant=False, description="a folder of wavs, a .zip, a .npy, or release:NAME"
    )
    samples_rate = luigi.IntParameter(default=0, description="sample rate of a .npy, in Hz")

    def place(self) -> Path:
        check_name("--name", self.name, row=True)
        self._check_rate()
        return self.corpus_place() / "imported" / self.name / "2-samples"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        """Who fetches them; nobody where they lie here, or are in and were not kept."""
        if not self.samples.startswith(PREFIX):
            return {}
        name = self.samples.removeprefix(PREFIX)
        find(name, SAMPLE_SETS)
        task = DownloadRelease(release=name)
        gone = (self.folder / folders.MANIFEST).exists() and not (task.folder / folders.MANIFEST).exists()
        return {} if gone else {"release": task}

    def identity_inputs(self) -> Mapping[str, ArtifactTask]:
        """None: they are known by their content, in `settings.source`, wherever they came from."""
        return {}

    def source(self) -> Path | None:
        """What to import; None where it is no more, or was never given."""
        if release := self.inputs().get("release"):
            return release.path()  # type: ignore[attr-defined]
        return None if not self.samples or self.samples.startswith(PREFIX) else Path(self.samples).expanduser()

    def _complete(self) -> bool:
        """Raises EarshotError, before anything runs, where there is nothing to import."""
        if not self.inputs() and not (self.folder / folders.MANIFEST).exists():
            from tasks.importing import count_files

            try:
                if source := self.source():
                    count_files(source)
            except ValueError as error:
                raise EarshotError(str(error)) from None
        return super()._complete()

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
        if source := self.source():
            from tasks.importing import fingerprint

            return fingerprint(source)
        if (self.folder / folders.CONFIG).exists():
            return folders.read_json(self.folder / folders.CONFIG)["settings"]["source"]
        raise EarshotError(f"nothing has been imported as {self.name!r} yet: give --samples path/to/wavs")

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import drawing

        source = self.source()
        assert source is not None, self.samples
        return drawing.import_samples(source, self.samples_rate, self.corpus_config(), out, progress)

    def known_count(self) -> int:
        """How many samples there are, as far as that is known before they are read; 0 for those in a `.npy`."""
        if (self.folder / folders.MANIFEST).exists():
            return int(folders.read_json(self.folder / folders.METRICS)["samples"])
        if self.samples.startswith(PREFIX):
            return samples_in(self.samples.removeprefix(PREFIX))
        from tasks.importing import count_files

        source = self.source()
        return count_files(source) if source else 0

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['samples']} samples"

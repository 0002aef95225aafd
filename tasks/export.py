"""ExportClips: the clips for people who train elsewhere, with a loader to paste there."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import console
from tasks.artifact import ArtifactTask, Progress
from tasks.corpus import CorpusTask, PrepareClips
from tasks.errors import EarshotError, unknown
from tasks.loaders import LOADERS, to_paste


class FormatParameter(luigi.Parameter[str]):
    """tfrecord, npz, webdataset or wav."""

    def normalize(self, value: str) -> str:
        if value not in LOADERS:
            raise EarshotError(unknown("export format", value, LOADERS))
        return value


class ExportClips(CorpusTask):
    """All clips as shards: `train-00000-of-00003.npz` and so on, `spec.json` (what is in them) and `loader.py`.

    Splits, lengths, rate and 16-bit values are those of 2-clips, so that what is trained elsewhere can be judged here
    (`--samples`). Waveforms are never rescaled.
    """

    VERSION = 1
    stage = "export"
    format = FormatParameter(default="npz", description=f"one of {', '.join(LOADERS)}")
    shard_mb = luigi.FloatParameter(default=100.0, description="megabytes of audio in a shard")

    def place(self) -> Path:
        if not self.shard_mb > 0:
            raise EarshotError(f"--shard-mb {self.shard_mb:g}: a shard needs room, such as 100")
        return self.corpus_place() / "exports" / f"{self.format}-{self.shard_mb:g}mb"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"clips": self.upstream(PrepareClips)}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import exporting

        return exporting.export(self.inputs()["clips"].folder, self.format, self.shard_mb, out, progress)

    def run(self) -> None:
        super().run()
        if console.FAILURES not in os.environ:  # the luigi command runs it; the front door ends with these words itself
            print(self.told())

    def told(self) -> str:
        """The loader, ready to paste, and where everything lies."""
        return f"{to_paste(self.format, str(self.folder))}\nShards: {self.folder}"

    def expected_bytes(self) -> int:
        return self.upstream(PrepareClips).expected_bytes()

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{sum(metrics['clips'].values())} clips in {metrics['shards']} shards, {metrics['bytes'] / 1e6:.1f} MB"

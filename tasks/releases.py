"""Published weights, samples and classifier outputs by name; and DownloadRelease.

    --checkpoint release:sashimi_sc09     --classifier release:resnext     --samples release:2048-wavegan
    python -m pipeline.recompute release:cache

    *_sc09, *_youtubemix, resnext     the SaShiMi release (https://huggingface.co/krandiash/sashimi-release)
    10240-*, 2048-*                   its samples, under the names that its README gives the folders; those of the
                                      autoregressive models are in the order of their likelihood
    cache                             what its classifier made of the real clips and of the samples
    diffwave_*                        its diffusion models (https://github.com/albertfgu/diffwave-sashimi): a sha256 of each is
                                      published, since they lie in Git LFS
    rf5_*                             trained again by M. Baas (https://github.com/RF5/DiffWave-unconditional)

Where no sha256 is published, the one of the first download is noted in the workdir, in `releases/<name>.sha256`, and a later
download must bring the same. HF_ENDPOINT names a mirror of the Hugging Face Hub, as it does for the Hub's own client.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import luigi

from tasks import folders, hub, machine
from tasks.artifact import ArtifactTask, Progress
from tasks.errors import EarshotError, unknown

PREFIX = "release:"
RELEASED_RATE = 16000  # Hz, of all that the models below have learned


@dataclass(frozen=True)
class Release:
    """network: the file in models/ that it is of, or "samples", "cache"; sha256: "" where none is published.

    size: in bytes, at least about.
    """

    network: str
    url: str
    size: int
    sha256: str = ""

    @property
    def file(self) -> str:
        return PurePosixPath(self.url).name


_SASHIMI = f"{hub.HUB}/krandiash/sashimi-release/resolve/main"
_COMMIT = "cb7dace66bba1567dc585dfe4617bf712254d63a"
_LFS = f"https://media.githubusercontent.com/media/albertfgu/diffwave-sashimi/{_COMMIT}/exp"
_WAVENET = "wnet_h{}_T200_betaT0.02_uncond/checkpoint"
_UNET = "unet_{}_pool_2_expand2_ff2_T200_betaT0.02_uncond/checkpoint"
_RF5 = "https://github.com/RF5/DiffWave-unconditional/releases/download"

RELEASES = {
    "resnext": Release("resnext", f"{_SASHIMI}/sc09_classifier/resnext.pth", 138_000_000),
    "sashimi_sc09": Release("sashimi", f"{_SASHIMI}/checkpoints/sashimi_sc09.pt", 20_500_000),
    "sashimi_sc09_unet": Release("sashimi", f"{_SASHIMI}/checkpoints/sashimi_sc09_unet.pt", 28_000_000),
    "sashimi_youtubemix": Release("sashimi", f"{_SASHIMI}/checkpoints/sashimi_youtubemix.pt", 27_400_000),
    "samplernn_sc09": Release("samplernn", f"{_SASHIMI}/checkpoints/samplernn_sc09.pt", 140_000_000),
    "samplernn_youtubemix": Release("samplernn", f"{_SASHIMI}/checkpoints/samplernn_youtubemix.pt", 140_000_000),
    "wavenet_sc09": Release("wavenet", f"{_SASHIMI}/checkpoints/wavenet_sc09.pt", 17_000_000),
    "wavenet_youtubemix": Release("wavenet", f"{_SASHIMI}/checkpoints/wavenet_youtubemix.pt", 17_000_000),
    "diffwave_sc09_500k": Release(
        "diffwave", f"{_LFS}/{_WAVENET.format('256_d36')}/500000.pkl", 288_731_351,
        "07497675168e0322cca7ec4e9c65dedd0bcc74e7fe6040c017682ce93e32775f",
    ),
    "diffwave_sc09_1000k": Release(
        "diffwave", f"{_LFS}/{_WAVENET.format('256_d36')}/1000000.pkl", 96_451_975,
        "f34b9bcca4970572775fff15dbccda09f7ec8d56befe113620e1ad25eee416e1",
    ),
    "diffwave_small_sc09_500k": Release(
        "diffwave", f"{_LFS}/{_WAVENET.format('128_d30')}/500000.pkl", 82_128_093,
        "4d0d84bb1576c67b4c6e61bf28eddeb4ebbcef28f7fe773797e4f2eacb762114",
    ),
    "diffwave_sashimi_sc09_500k": Release(
        "diffwave_sashimi", f"{_LFS}/{_UNET.format('d128_n6')}/500000.pkl", 280_228_709,
        "21fea30b3bbfdbb88f9c517d2ff3dccdffaecc5fac86151cf1ff550221ca1726",
    ),
    "diffwave_sashimi_sc09_800k": Release(
        "diffwave_sashimi", f"{_LFS}/{_UNET.format('d128_n6')}/800000.pkl", 280_228_709,
        "53f80d98662d5bb0fe3c3984a6df94680bb7de4378a43bd0a4c0600e2fd42fcd",
    ),
    "diffwave_sashimi_small_sc09_500k": Release(
        "diffwave_sashimi", f"{_LFS}/{_UNET.format('d64_n6')}/500000.pkl", 94_397_413,
        "f00d7a56fa7b81fd3bf8c7d5d1f91bed49679afbdb31d26b5069decc40191f6a",
    ),
    "rf5_diffwave_sc09_1000k": Release("diffwave", f"{_RF5}/v0.1/diffwave_sc09_1M_steps.pt", 96_000_000),
    "rf5_diffwave_sashimi_sc09_500k": Release("diffwave_sashimi", f"{_RF5}/v0.2/sashimi_sc09_500k_steps.pt", 94_000_000),
    "rf5_diffwave_sashimi_sc09_800k": Release("diffwave_sashimi", f"{_RF5}/v0.2/sashimi_sc09_800k_steps.pt", 94_000_000),
}  # fmt: skip
SAMPLES, CACHE = "samples", "cache"
_SETS = {
    10240: ("sashimi-8-glu", "samplernn-3", "wavenet-1024"),
    2048: ("diffwave-500k", "diffwave-1m", "diffwave-small-500k", "sashimi-diffwave-500k", "sashimi-diffwave-800k",
           "sashimi-diffwave-small-500k", "sashimi-diffwave-small-uni-500k", "wavegan"),
}  # fmt: skip
SAMPLE_SETS = {
    name: Release(SAMPLES, f"{_SASHIMI}/samples/sc09/{name}.zip", 32_000 * count)
    for count, models in _SETS.items()
    for name in (f"{count}-{model}" for model in models)
}
CACHES = {CACHE: Release(CACHE, f"{_SASHIMI}/sc09_classifier/cache.zip", 81_300_000)}


def find(name: str, among: Mapping[str, Release] | None = None) -> Release:
    """The release of that name, among those of weights unless others are given.

    Raises EarshotError that lists the names where there is none.
    """
    known = RELEASES if among is None else among
    if name not in known:
        raise EarshotError(unknown("release", name, known, "A file of your own: its path in place of release:NAME"))
    return known[name]


def samples_in(name: str) -> int:
    """How many samples a published set has: its name begins with it. Raises EarshotError where there is no such set."""
    find(name, SAMPLE_SETS)
    return int(name.partition("-")[0])


class DownloadRelease(ArtifactTask):
    """A published file, as it comes: nothing of it is read here. `--release sashimi_sc09`."""

    VERSION = 1
    stage = "release"
    unhashed = ("source.json",)  # which mirror it came from
    release = luigi.Parameter(description="its name in tasks/releases.py")

    def published(self) -> Release:
        """What is known of it. Raises EarshotError where there is no such release."""
        return find(self.release, RELEASES | SAMPLE_SETS | CACHES)

    def place(self) -> Path:
        self.published()
        return Path("releases") / self.release

    def resolved(self) -> Mapping[str, Any]:
        return {"file": self.published().file, "published_sha256": self.published().sha256 or None}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import download

        release = self.published()
        file, url = out / release.file, hub.mirrored(release.url)
        download.fetch(url, file, release.sha256 or None, progress)
        found = folders.sha256(file)
        if not release.sha256:
            try:
                hub.pin(machine.workdir() / "releases" / f"{self.release}.sha256", release.file, found)
            except ValueError as error:
                file.unlink()
                raise download.DownloadError(f"{url} is refused: {error}") from None
        folders.write_json(out / "source.json", {"url": url})
        return {"sha256": found, "bytes": file.stat().st_size, "published_sha256": bool(release.sha256)}

    def path(self) -> Path:
        """Where the file lies once it is here."""
        return self.folder / self.published().file

    def expected_bytes(self) -> int:
        return self.published().size

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['bytes']:,} bytes, sha256 {metrics['sha256'][:12]}"

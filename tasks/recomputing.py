"""What `python -m pipeline.recompute` does: the release's numbers, from classifier outputs that are here or fetched by name."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tasks import folders
from tasks.errors import EarshotError
from tasks.releases import CACHES, PREFIX, DownloadRelease, find

SampleFiles = tuple[Path, Path | None]
"""Class probabilities of a set of samples, and their activations, if there are any: two .npy."""


def recompute(given: str, samples: Mapping[str, SampleFiles], thresholded: Sequence[str], json: Path | None) -> None:
    """Print a table, each set of clips as soon as it is ready; and write every number to `json`.

    Raises EarshotError or ValueError for files that are missing, or are no such arrays; and, before anything is computed,
    where `json` has no folder to be in.
    """
    if json is not None and (json.is_dir() or not json.parent.is_dir()):
        told = "is a folder" if json.is_dir() else f"there is no folder {json.parent}"
        raise EarshotError(f"--json {json}: {told}")
    from evaluation import release_cache

    rows: list[release_cache.Row] = []
    with cache_folder(given) as folder:
        cache = release_cache.read(folder, samples)
        for row in release_cache.recompute(cache, thresholded):
            if not rows:
                print(release_cache.head())
            print("\n".join(release_cache.lines(row)), flush=True)
            rows.append(row)
    if json is not None:
        folders.write_json(json, release_cache.to_json(cache, rows))


@contextmanager
def cache_folder(given: str) -> Iterator[Path]:
    """The folder of classifier outputs that was asked for: a path, or `release:cache`, which is fetched and unpacked.

    Raises EarshotError or ValueError where it cannot be fetched.
    """
    if not given.startswith(PREFIX):
        yield Path(given).expanduser()
        return
    from tasks import download, supervisor

    name = given.removeprefix(PREFIX)
    find(name, CACHES)
    task = DownloadRelease(release=name)
    if not task.complete():
        supervisor.build(task)
    with tempfile.TemporaryDirectory(prefix="earshot-cache-") as scratch:
        folder = Path(scratch) / "unpacked"
        download.extract(task.path(), folder, _is_array, lambda done, total, text: None)
        inside = {file.parent for file in folder.rglob("train_*.npy")}
        if len(inside) != 1:
            raise EarshotError(f"{task.path()} is not the cache that was published: it holds no train_probs.npy")
        yield inside.pop()


def _is_array(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".npy" and not any(part.startswith((".", "__")) for part in path.parts)  # such as __MACOSX/

"""The processes that decode recordings and write their rows of `clips.npy`: which row is whose is known before they start."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import groupby, islice
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import audio, folders
from tasks.corpora.base import Recording

if TYPE_CHECKING:
    import numpy as np

CHUNK = 128  # recordings per unit of work; all stretches of one file are one unit, however many they are


@dataclass(frozen=True)
class Prepared:
    """What became of one recording. reason: why it was rejected, or "". squares: the sum of its squared codes.

    quiet: left out, since nothing in it is as loud as was asked for.
    """

    row: int
    reason: str = ""
    valid: int = 0
    cut: bool = False
    clipped: int = 0
    peak: int = 0
    squares: int = 0
    quiet: bool = False


@dataclass(frozen=True)
class Job:
    """How recordings below `root` become rows of the file `clips`; silence_db as in `Corpus.silence_db`."""

    root: Path
    clips: Path
    sample_rate: int
    timesteps: int
    resampler: str
    silence_db: float | None = None


def prepare_all(recordings: Sequence[Recording], job: Job, workers: int) -> Iterator[list[Prepared]]:
    """The results of all recordings, some at a time, in any order."""
    chunks = _chunks(recordings)
    if workers <= 1 or len(chunks) == 1:
        worker = _Worker(job)
        for first, chunk in chunks:
            results = worker.prepare(first, chunk)
            while some := list(islice(results, CHUNK)):
                yield some
        return
    # Spawned, not forked: the caller may have threads. Not multiprocessing.Pool: it hangs when a worker is killed.
    pool = ProcessPoolExecutor(min(workers, len(chunks)), get_context("spawn"), _start_worker, (job,))
    try:
        for future in as_completed([pool.submit(_prepare_chunk, first, chunk) for first, chunk in chunks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(recordings: Sequence[Recording]) -> list[tuple[int, Sequence[Recording]]]:
    """(number of the first, recordings) of each unit of work."""
    edges = [0]
    for row, recording in enumerate(recordings):
        together = recording.window is not None and recording.path == recordings[row - 1].path
        if row - edges[-1] >= CHUNK and not together:
            edges.append(row)
    return [(first, recordings[first:end]) for first, end in zip(edges, [*edges[1:], len(recordings)], strict=True)]


class _Worker:
    """Decodes recordings into rows of `clips`."""

    def __init__(self, job: Job):
        import numpy as np

        self.job = job
        self.before = np.load(job.clips, mmap_mode="r").offset
        # Written and not mapped: the pages of a map count as memory of this process until the disk has them.
        self.file = os.open(job.clips, os.O_RDWR)
        self._checked = ""

    def __del__(self) -> None:
        os.close(self.file)

    def prepare(self, first: int, chunk: Sequence[Recording]) -> Iterator[Prepared]:
        """Recording i of the chunk becomes row first + i."""
        for (path, windowed), group in groupby(
            enumerate(chunk, first), key=lambda each: (each[1].path, each[1].window is not None)
        ):
            members = list(group)
            self._check(self.job.root / path, members[0][1])
            heard = self._windows(path, members) if windowed else self._each(members)
            for (row, _), result in zip(members, heard, strict=True):
                yield (
                    Prepared(row, reason=str(result))
                    if isinstance(result, audio.AudioError)
                    else self._keep(row, result)
                )

    def _each(self, members: Sequence[tuple[int, Recording]]) -> Iterator[audio.Fitted | audio.AudioError]:
        """Recordings that stand for themselves."""
        job = self.job
        for _, recording in members:
            path = job.root / recording.path
            try:
                heard = audio.read(path, recording.start, recording.frames, job.timesteps / job.sample_rate)
                waveform = audio.resample(audio.mono(heard.waveform), heard.rate, job.sample_rate, job.resampler)
                clip = audio.fit(waveform, job.timesteps)
                if clip.valid == 0:
                    raise audio.AudioError(f"empty: {heard.total} frames at {heard.rate} Hz are less than one timestep")
                yield clip
            except audio.AudioError as error:
                yield error

    def _windows(
        self, path: str, members: Sequence[tuple[int, Recording]]
    ) -> Iterator[audio.Fitted | audio.AudioError]:
        """Stretches of one file."""
        job = self.job
        wanted = [recording.window for _, recording in members if recording.window is not None]
        for heard in audio.windows(job.root / path, wanted, job.timesteps, job.sample_rate, job.resampler):
            yield heard if isinstance(heard, audio.AudioError) else audio.fit(heard, job.timesteps)

    def _keep(self, row: int, clip: audio.Fitted) -> Prepared:
        import numpy as np

        wide = clip.codes.astype(np.int64)
        result = Prepared(row, "", clip.valid, clip.cut, clip.clipped, int(np.abs(wide).max()), int(wide @ wide))
        threshold = self.job.silence_db
        if threshold is not None and audio.loudest_db(clip.codes[: clip.valid], self.job.sample_rate) <= threshold:
            return replace(result, quiet=True)
        write_row(self.file, self.before, row, clip.codes)
        return result

    def _check(self, path: Path, recording: Recording) -> None:
        """Compare a file that lies outside `_workdir` with what it was when it was listed."""
        if recording.sha256 is None or recording.path == self._checked:
            return
        if not path.is_file():
            raise ValueError(f"{path} is gone since the corpus was listed; put it back, or list the corpus again")
        if folders.sha256(path) != recording.sha256:
            raise ValueError(f"{path} has changed since the corpus was listed; restore it, or list the corpus again")
        self._checked = recording.path


def write_row(file: int, before: int, row: int, codes: np.ndarray) -> None:
    """Write one clip at its place in an open `.npy`, whose header has `before` bytes."""
    content, place = memoryview(codes.tobytes()), before + row * codes.nbytes
    while content:
        written = os.pwrite(file, content, place)
        content, place = content[written:], place + written


_worker: _Worker


def _start_worker(job: Job) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent answers it
    threading.Thread(target=_follow_parent, daemon=True).start()
    _worker = _Worker(job)


def _follow_parent() -> None:
    """End with the parent, which may be killed: a worker would wait for its next chunk for ever."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _prepare_chunk(first: int, chunk: Sequence[Recording]) -> list[Prepared]:
    return list(_worker.prepare(first, chunk))

"""Recordings to clips: one memory-mapped file of 16-bit waveforms of equal length, and a table of what they are.

Several processes decode, and each writes its rows of `clips.npy` itself; which row a recording gets is known before, so
the result does not depend on how many there are. Memory use is constant.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

from tasks import audio, folders
from tasks.corpora.base import SPLITS, Corpus, Progress, Recording, natural_key

CHUNK = 128  # recordings per unit of work
MOST_REJECTED = 0.01
CLIP_COLUMNS = ("index", "source", "window", "label", "speaker", "split", "offset", "valid")


@dataclass(frozen=True)
class Prepared:
    """What became of one recording. reason: why it was rejected, or "". squares: the sum of its squared codes."""

    row: int
    reason: str = ""
    valid: int = 0
    cut: bool = False
    clipped: int = 0
    peak: int = 0
    squares: int = 0


def prepare_clips(
    corpus: Corpus, config: Any, source: Path, out: Path, workers: int, progress: Progress
) -> dict[str, Any]:
    """Write `clips.npy`, `clips.csv`, `labels.json` and `rejected.csv` from a corpus' download, `source`; returns metrics.

    clips.npy: (n, timesteps) int16, the splits one after the other: train, validation, test.
    clips.csv: index (row of clips.npy), source (file), window (0 for the first clip of that file, then 1, ...), label,
    speaker, split, offset (the clip's first frame in the file, at the file's own rate), valid (timesteps that are audio).
    labels.json: the classes in order, [] where the corpus has none. rejected.csv: source, reason.

    Raises ValueError where a split stays empty, labels are incomplete, more than 1 % of the recordings are rejected, a
    file is not the one that was listed, or the disk is too small.
    """
    recordings = sorted(corpus.recordings(config, source), key=lambda recording: SPLITS.index(recording.split))
    if not recordings:
        raise ValueError(f"{source} holds no recordings")
    labels = _labels(corpus, recordings)
    out.mkdir(parents=True, exist_ok=True)
    clips = out / "clips.npy"
    _allocate(clips, len(recordings), config.timesteps)

    prepared: list[Prepared] = [Prepared(row) for row in range(len(recordings))]
    done = 0
    for results in _prepare_all(recordings, corpus.root(config, source), config, clips, workers):
        for result in results:
            prepared[result.row] = result
        done += len(results)
        progress(done, len(recordings), f"{done} of {len(recordings)} clips")

    rejected = [result for result in prepared if result.reason]
    kept = [result for result in prepared if not result.reason]
    with open(out / "rejected.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("source", "reason"))
        table.writerows((recordings[result.row].path, result.reason) for result in rejected)
    if len(rejected) > MOST_REJECTED * len(recordings):
        first = "; ".join(f"{recordings[result.row].path} ({result.reason})" for result in rejected[:3])
        raise ValueError(
            f"{len(rejected)} of {len(recordings)} recordings cannot be used, more than 1 %: {first}"
            f"{'; ...' if len(rejected) > 3 else ''}. All are in {out / 'rejected.csv'}: repair or remove them"
        )
    if rejected:
        _compact(clips, [result.row for result in kept])
    _write_table(out / "clips.csv", recordings, kept)
    (out / "labels.json").write_text(json.dumps(labels) + "\n", encoding="utf-8")
    return _metrics(recordings, kept, rejected, labels, config)


def _prepare_all(
    recordings: Sequence[Recording], root: Path, config: Any, clips: Path, workers: int
) -> Iterator[list[Prepared]]:
    """The results of all recordings, chunk by chunk, in any order."""
    chunks = [(first, recordings[first : first + CHUNK]) for first in range(0, len(recordings), CHUNK)]
    settings = (root, clips, config.sample_rate, config.timesteps, config.resampler)
    if workers <= 1 or len(chunks) == 1:
        worker = _Worker(*settings)
        for first, chunk in chunks:
            yield worker.prepare(first, chunk)
        return
    # Spawned, not forked: the caller may have threads. Not multiprocessing.Pool: it hangs when a worker is killed.
    pool = ProcessPoolExecutor(min(workers, len(chunks)), get_context("spawn"), _start_worker, settings)
    try:
        for future in as_completed([pool.submit(_prepare_chunk, first, chunk) for first, chunk in chunks]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker:
    """Decodes recordings into rows of the memory-mapped `clips`."""

    def __init__(self, root: Path, clips: Path, sample_rate: int, timesteps: int, resampler: str):
        import numpy as np

        self.root, self.sample_rate, self.timesteps, self.resampler = root, sample_rate, timesteps, resampler
        self.codes = np.load(clips, mmap_mode="r+")
        self._checked = ""

    def prepare(self, first: int, chunk: Sequence[Recording]) -> list[Prepared]:
        """Recording i of the chunk becomes row first + i."""
        return [self._prepare(first + position, recording) for position, recording in enumerate(chunk)]

    def _prepare(self, row: int, recording: Recording) -> Prepared:
        import numpy as np

        path = self.root / recording.path
        self._check(path, recording)
        try:
            heard = audio.read(path, recording.start, recording.frames, self.timesteps / self.sample_rate)
            waveform = audio.resample(audio.mono(heard.waveform), heard.rate, self.sample_rate, self.resampler)
            clip = audio.fit(waveform, self.timesteps)
            if clip.valid == 0:
                raise audio.AudioError(f"empty: {heard.total} frames at {heard.rate} Hz are less than one timestep")
        except audio.AudioError as error:
            return Prepared(row, reason=str(error))
        self.codes[row] = clip.codes
        wide = clip.codes.astype(np.int64)
        return Prepared(row, "", clip.valid, clip.cut, clip.clipped, int(np.abs(wide).max()), int(wide @ wide))

    def _check(self, path: Path, recording: Recording) -> None:
        """Compare a file that lies outside `_workdir` with what it was when it was listed."""
        if recording.sha256 is None or recording.path == self._checked:
            return
        if not path.is_file():
            raise ValueError(f"{path} is gone since the corpus was listed; put it back, or list the corpus again")
        if folders.sha256(path) != recording.sha256:
            raise ValueError(f"{path} has changed since the corpus was listed; restore it, or list the corpus again")
        self._checked = recording.path


_worker: _Worker


def _start_worker(*settings: Any) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent answers it
    threading.Thread(target=_follow_parent, daemon=True).start()
    _worker = _Worker(*settings)


def _follow_parent() -> None:
    """End with the parent, which may be killed: a worker would wait for its next chunk for ever."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _prepare_chunk(first: int, chunk: Sequence[Recording]) -> list[Prepared]:
    return _worker.prepare(first, chunk)


def _allocate(path: Path, count: int, timesteps: int) -> None:
    """A new (count, timesteps) int16 array on disk.

    Its space is taken at once: a page of a memory map that finds no room on the disk kills the process, without a word.
    """
    import numpy as np

    path.unlink(missing_ok=True)  # not reused: workers of a killed attempt may still hold the old file
    np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=(count, timesteps)).flush()
    size = path.stat().st_size
    try:
        with open(path, "r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif shutil.disk_usage(path.parent).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        path.unlink()
        if error.errno != errno.ENOSPC:
            raise
        raise ValueError(
            f"{count} clips need {size / 1e6:.0f} MB in {path.parent}, where {shutil.disk_usage(path.parent).free / 1e6:.0f} "
            "MB are free: make room, put --workdir on another disk, or take fewer clips"
        ) from error


def _compact(clips: Path, rows: list[int]) -> None:
    """Keep only these rows of the file."""
    import numpy as np

    codes = np.load(clips, mmap_mode="r")
    scratch = clips.with_suffix(".tmp")
    _allocate(scratch, len(rows), codes.shape[1])
    compact = np.load(scratch, mmap_mode="r+")
    for first in range(0, len(rows), CHUNK):
        compact[first : first + CHUNK] = codes[rows[first : first + CHUNK]]
    compact.flush()
    os.replace(scratch, clips)


def _labels(corpus: Corpus, recordings: Sequence[Recording]) -> list[str]:
    """The classes, in order; [] where nothing is labelled."""
    found = {recording.label for recording in recordings}
    if found == {None}:
        return []
    if None in found:
        bare = [recording.path for recording in recordings if recording.label is None]
        raise ValueError(f"{len(bare)} of {len(recordings)} recordings have no label, e.g. {', '.join(bare[:3])}")
    known = {label for label in found if label is not None}
    if corpus.labels:
        strange = known - set(corpus.labels)
        if strange:
            raise ValueError(f"labels {sorted(strange)} are none of this corpus': {', '.join(corpus.labels)}")
        return list(corpus.labels)
    return sorted(known, key=natural_key)


def _write_table(path: Path, recordings: Sequence[Recording], kept: Sequence[Prepared]) -> None:
    windows: Counter[str] = Counter()
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(CLIP_COLUMNS)
        for index, result in enumerate(kept):
            recording = recordings[result.row]
            what = (recording.label or "", recording.speaker or "", recording.split)
            place = (index, recording.path, windows[recording.path])
            table.writerow((*place, *what, recording.start, result.valid))
            windows[recording.path] += 1


def _metrics(
    recordings: Sequence[Recording],
    kept: Sequence[Prepared],
    rejected: Sequence[Prepared],
    labels: list[str],
    config: Any,
) -> dict[str, Any]:
    splits = Counter(recordings[result.row].split for result in kept)
    empty = [split for split in SPLITS if not splits[split]]
    if empty:
        raise ValueError(
            f"the corpus has no clips in the split {' and '.join(empty)} (of {len(recordings)} recordings): "
            "training, validation and test each need some"
        )
    by_label = Counter((recordings[result.row].split, recordings[result.row].label) for result in kept)
    valid = sum(result.valid for result in kept)
    return {
        "clips": {split: splits[split] for split in SPLITS},
        "recordings": len(recordings),
        "labels": {split: {label: by_label[split, label] for label in labels} for split in SPLITS},
        "speakers": {
            split: len({recordings[r.row].speaker for r in kept if recordings[r.row].split == split} - {None})
            for split in SPLITS
        },
        "rejected": len(rejected),
        "padded": sum(result.valid < config.timesteps for result in kept),
        "cut": sum(result.cut for result in kept),
        "clipped_timesteps": sum(result.clipped for result in kept),
        "silent": sum(result.peak == 0 for result in kept),
        "sample_rate": config.sample_rate,
        "timesteps": config.timesteps,
        "mean_valid": valid / len(kept),
        "seconds": valid / config.sample_rate,
        "peak": max(result.peak for result in kept) / audio.FULL_SCALE,
        "rms": (sum(result.squares for result in kept) / valid) ** 0.5 / audio.FULL_SCALE,
    }

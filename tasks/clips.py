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
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks import audio, scaling, taken
from tasks.corpora.base import SPLITS, Corpus, Progress, Recording, natural_key
from tasks.preparing import Job, Prepared, prepare_all, write_row

CLIP_COLUMNS = ("index", "source", "window", "label", "speaker", "split", "offset", "valid")


def prepare_clips(
    corpus: Corpus, config: Any, source: Path, out: Path, workers: int, progress: Progress
) -> dict[str, Any]:
    """Write `clips.npy`, `clips.csv`, `labels.json` and `rejected.csv` from a corpus' download, `source`; returns metrics.

    clips.npy: (n, timesteps) int16, the splits one after the other: train, validation, test.
    clips.csv: index (row of clips.npy), source (file), window (0 for the first clip of that file, then 1, ...), label,
    speaker, split, offset (the clip's first frame in the file, at the file's own rate), valid (timesteps that are audio).
    labels.json: the classes in order, [] where the corpus has none. rejected.csv: source, reason.

    Raises ValueError where a split stays empty, labels are incomplete, more recordings are rejected than the corpus allows
    (1 % as a rule), a file is not the one that was listed, or the disk is too small.
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
    root, silence_db = corpus.root(config, source), corpus.silence_db(config)
    job = Job(root, clips, config.sample_rate, config.timesteps, config.resampler, silence_db)
    for results in prepare_all(recordings, job, workers):
        for result in results:
            prepared[result.row] = result
        done += len(results)
        progress(done, len(recordings), f"{done} of {len(recordings)} clips")

    kept = [result for result in prepared if not result.reason and not result.quiet]
    failed = [(recordings[result.row].path, result.reason) for result in prepared if result.reason]
    refused = corpus.rejected(config, source) + failed
    with open(out / "rejected.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("source", "reason"))
        table.writerows(dict.fromkeys(refused))
    if len(failed) > corpus.most_rejected * len(recordings):
        first = "; ".join(f"{path} ({reason})" for path, reason in list(dict.fromkeys(failed))[:3])
        raise ValueError(
            f"{len(failed)} of {len(recordings)} recordings cannot be used, more than {corpus.most_rejected:.0%}: {first}"
            f"{'; ...' if len(set(failed)) > 3 else ''}. All are in {out / 'rejected.csv'}: repair or remove them"
        )
    if len(kept) < len(prepared):
        _compact(clips, [result.row for result in kept])
    _write_table(out / "clips.csv", recordings, kept)
    (out / "labels.json").write_text(json.dumps(labels) + "\n", encoding="utf-8")
    quiet, gain = len(prepared) - len(kept) - len(failed), 1.0
    if corpus.rescales(config) and (training := [each.peak for each in kept if recordings[each.row].split == "train"]):
        kept, gain = scaling.to_full_scale(clips, kept, max(training))
    metrics = _metrics(recordings, kept, quiet, labels, config) | {"gain": gain}
    metrics["rejected"] = len(failed)
    metrics |= taken.account(recordings, kept, refused, metrics, corpus.left_out(config, source), silence_db)
    print("\n".join(metrics["account"]))
    return metrics


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

    timesteps, before = (header := np.load(clips, mmap_mode="r")).shape[1], header.offset
    scratch = clips.with_suffix(".tmp")
    _allocate(scratch, len(rows), timesteps)
    start = np.load(scratch, mmap_mode="r").offset
    with open(clips, "rb") as old, open(scratch, "r+b") as new:
        for position, row in enumerate(rows):
            codes = np.frombuffer(os.pread(old.fileno(), 2 * timesteps, before + row * 2 * timesteps), np.int16)
            write_row(new.fileno(), start, position, codes)
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
            window = windows[recording.path] if recording.window is None else recording.window
            table.writerow((index, recording.path, window, *what, recording.start, result.valid))
            windows[recording.path] += 1


def _metrics(
    recordings: Sequence[Recording],
    kept: Sequence[Prepared],
    quiet: int,
    labels: list[str],
    config: Any,
) -> dict[str, Any]:
    splits = Counter(recordings[result.row].split for result in kept)
    empty = [split for split in SPLITS if not splits[split]]
    if empty:
        raise ValueError(
            f"the corpus has no clips in the split {' and '.join(empty)} (of {len(recordings)} recordings"
            f"{f', {quiet} of which are silent' if quiet else ''}): training, validation and test each need some"
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
        "quiet": quiet,
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

"""Inside the stages that draw and collect samples, and that ask a generator for the likelihood of real clips."""

import csv
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import folders, machine, streaming
from tasks.artifact import Progress
from tasks.continuing import Prefix, columns, file_name, order, prefix_metrics
from tasks.errors import warnings_told
from tasks.training import clip_format, device

if TYPE_CHECKING:
    import numpy as np

LIKELIHOOD_BATCH = 16
SAMPLES, TABLE, WAVS = "samples.npy", "samples.csv", "wavs"
COLUMNS = ("row", "draw_index", "log_likelihood_nats", "seconds", "sample_rate", "name")
WINDOW = "window"  # of samples that are longer than clips: how many of the last timesteps are compared with these
LABEL = "label"  # the class that a sample was asked for, by its place in the clips' labels.json
RECORD = "drawing.json"  # which shard was drawn where, and how long it took: as provenance.json, not of the digest


def draw(
    train: Path,
    seed: int,
    start: int,
    stop: int,
    settings: dict[str, Any],
    given: tuple[Path, Prefix] | None,
    out: Path,
    progress: Progress,
    timesteps: int = 0,
) -> dict[str, Any]:
    """Samples `start` to `stop`, as `samples.npy` and `samples.csv` in the order of their index.

    The noise of sample i is a function of (seed, i), so that shards and batches of any size give the same samples.
    timesteps: how long samples are that are longer than clips, which go to disk piece by piece; 0: as long as clips
    given: a folder of PrepareClips, and what is continued of its clips; the timesteps of a prefix are the clip's own 16 bits
    """
    import numpy as np
    import torch

    import models
    from models.clips import load_split
    from models.generators.base import Samples
    from models.randomness import SampleRandom
    from models.sampling_batch import fitting, or_less
    from models.stepping import RunsPlainly

    torch.set_num_threads(machine.threads())
    model = models.load(train, device())
    model.compiled = {"auto": None, "always": True, "never": False}[machine.setting("compiled")]
    sharing = machine.at_once() if model.device.type == "cpu" else 1  # a card belongs to one stage
    batch = int(machine.setting("sampling_batch")) or fitting(model, stop - start, sharing)
    folders.remember(out, sampling_batch=batch)
    prefix = given[1] if given else None
    clips = load_split(given[0], given[1].split) if given else None
    chosen = order(*given, seed, stop) if given else []
    length = timesteps or model.timesteps
    kept = streaming.Rows.new(out / SAMPLES, stop - start, length)

    def some(first: int, count: int) -> Samples:
        """Samples first to first + count, whose waveforms go into their rows."""
        random = SampleRandom(seed, first)
        if not (prefix and clips):
            return streaming.keep(model.stream(count, random, **settings), first - start, kept)
        rows = [chosen[i // prefix.repeats].row for i in range(first, first + count)]
        asked = clips.batch(rows, model.device)
        drawn = streaming.keep(model.stream_continued(asked, prefix.timesteps, random, **settings), first - start, kept)
        # what the model made of the prefix has gone through its own quantization
        kept.write(first - start, 0, clips.codes[rows, : prefix.timesteps])
        return drawn

    found, first = [], start
    # a shard's log is removed with the shard
    with warnings_told(RunsPlainly, getattr(progress, "note", print)):
        while first < stop:
            progress(first - start, stop - start, "samples")
            batch, drawn = or_less(min(batch, stop - first), partial(some, first))
            found.append(drawn)
            first += batch
    nats = [drawn.log_likelihood.cpu().numpy() for drawn in found if drawn.log_likelihood is not None]
    labels = [label for drawn in found if drawn.labels is not None for label in drawn.labels.tolist()]
    likelihood = np.concatenate(nats) if nats else None
    more: dict[str, list[Any]] = {LABEL: labels} if labels else {}
    if prefix:
        more |= columns(chosen, prefix, range(start, stop))
    _write(out, length, np.arange(start, stop), likelihood, model.sample_rate, more=more)
    evaluations = found[-1].evaluations
    about = {"evaluations": evaluations, "class_conditional": bool(getattr(model, "class_conditional", labels))}
    return {"samples": stop - start, "start": start, "stop": stop} | about


def merge(
    earlier: Path | None,
    shards: Sequence[Path],
    count: int,
    prefix: Prefix | None,
    out: Path,
    progress: Progress,
    window: int = 0,
) -> dict[str, Any]:
    """One draw from shards and from what an earlier draw holds, in order of ascending likelihood, with a wav for each.

    Where the model has no likelihood the order is that of the draw. prefix: what the samples continue; window: of samples that
    are longer than clips, how many of their last timesteps are compared with clips; 0: they are as long as clips
    """
    import numpy as np

    parts = [_read(folder) for folder in ([earlier] if earlier else []) + list(shards)]
    index, timesteps = np.concatenate([p.index for p in parts]), parts[0].codes.shape[1]
    nats = np.concatenate([p.nats for p in parts])
    rows = np.unique(index, return_index=True)[1]  # of a sample that is there twice, the earlier draw's
    rows = rows[index[rows] < count]
    if len(rows) != count:
        raise RuntimeError(f"the shards hold {len(rows)} different samples instead of {count}")
    likely = not np.isnan(nats[rows]).any()
    if likely:
        rows = rows[np.argsort(nats[rows], kind="stable")]
    rate = parts[0].rate
    more = {name: [text for p in parts for text in p.more[name]] for name in parts[0].more}
    chosen = {name: [texts[row] for row in rows] for name, texts in more.items()}
    names = _write(out, timesteps, index[rows], nats[rows] if likely else None, rate, more=chosen)
    (out / WAVS).mkdir(exist_ok=True)
    if window:
        files = [(streaming.Rows(p.file), row) for p in parts for row in range(len(p.index))]
        sound = streaming.merge([files[row] for row in rows], names, rate, out / SAMPLES, out, progress)
    else:
        sound = _merge_clips(np.concatenate([p.codes for p in parts])[rows], names, rate, out, progress)
    told = [folders.read_json(folder / folders.METRICS) for folder in ([earlier] if earlier else []) + list(shards)]
    classes = any(about.get("class_conditional") for about in told)
    return {
        "samples": count,
        "reused": 0 if earlier is None else int((parts[0].index < count).sum()),
        "sample_rate": rate,
        "timesteps": timesteps,
        **({WINDOW: window} if window else {}),
        "order": "ascending log-likelihood" if likely else "as drawn",
        "mean_log_likelihood_nats": float(nats[rows].mean()) if likely else None,
        **sound,
        # A draw that was finished before these were recorded does not tell.
        "evaluations": next((number for about in told if (number := about.get("evaluations")) is not None), None),
        "class_conditional": classes,
        "conditional": "class" if classes else None,
        **(prefix_metrics(prefix, chosen, rate) if prefix else {}),
    }


def _merge_clips(codes: "np.ndarray", names: Sequence[str], rate: int, out: Path, progress: Progress) -> dict[str, Any]:
    """What `streaming.merge` does, of samples that are as long as clips, all at once."""
    import numpy as np
    import soundfile

    np.save(out / SAMPLES, codes)
    for number, (waveform, name) in enumerate(zip(codes, names, strict=True)):
        progress(number, len(codes), "wavs")
        soundfile.write(out / name, waveform, rate, subtype="PCM_16")
    sound = codes.astype(np.float32) / 32768
    return {"root_mean_square": float(np.sqrt(np.mean(np.square(sound)))), "peak": float(np.abs(sound).max())}


def measured(samples: Path) -> tuple["np.ndarray", "np.ndarray | None"]:
    """(n, timesteps) int16, memory-mapped: what of samples is compared with clips, and the whole of those that are longer."""
    import numpy as np

    codes, window = np.load(samples / SAMPLES, mmap_mode="r"), folders.read_json(samples / folders.METRICS).get(WINDOW)
    return (codes[:, -window:], codes) if window else (codes, None)


def record_shards(earlier: Path | None, shards: Sequence[Path], count: int, out: Path) -> None:
    """Keep of the shards' provenance what is worth knowing once they are gone, and of an earlier draw's what was taken."""
    drawn: list[dict[str, Any]] = []
    if earlier is not None and (earlier / RECORD).exists():
        drawn += [entry for entry in folders.read_json(earlier / RECORD)["shards"] if entry["start"] < count]
    for shard in shards:
        span, made = folders.read_json(shard / folders.METRICS), folders.read_json(shard / folders.PROVENANCE)
        about = {name: made.get(name) for name in ("seconds", "host", "device", "threads")}
        drawn.append({"start": span["start"], "stop": span["stop"], **about})
    seconds = round(sum(entry["seconds"] for entry in drawn), 3)
    folders.write_json(out / RECORD, {"shards": drawn, "seconds_in_all": seconds})


def import_samples(path: Path, samples_rate: int, config: Any, out: Path, progress: Progress) -> dict[str, Any]:
    """Somebody else's samples in the layout of our own: resampled and padded or cut where needed, never renormalized."""
    import numpy as np

    from tasks.importing import read_samples, unpack

    scratch = out / "unpacked"
    place = unpack(path, scratch, progress) if path.suffix == ".zip" else path
    imported = read_samples(place, config.sample_rate, config.timesteps, samples_rate or None, config.resampler)
    if scratch.exists():
        shutil.rmtree(scratch)
    np.save(out / SAMPLES, imported.codes)
    _write(out, imported.codes.shape[1], np.arange(len(imported.codes)), None, config.sample_rate, imported.names)
    return {
        **imported.metrics,
        "sample_rate": config.sample_rate,
        "timesteps": config.timesteps,
        "order": "natural order of the names",
    }


def score_clips(train: Path, clips: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """The model's log-likelihood of every test clip, over its valid timesteps: `likelihood.csv`."""
    import numpy as np
    import torch

    import models
    from models.clips import load_split

    torch.set_num_threads(machine.threads())
    where = device()
    model, test = models.load(train, where), load_split(clips, "test")
    nats = np.empty(len(test))
    by_length = np.argsort(test.valid, kind="stable")  # little padding in a batch
    for first in range(0, len(test), LIKELIHOOD_BATCH):
        progress(first, len(test), "test clips")
        rows = by_length[first : first + LIKELIHOOD_BATCH]
        nats[rows] = model.log_likelihood(test.batch(rows, where)).cpu().numpy()
    with open(out / "likelihood.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "log_likelihood_nats", "timesteps"])
        writer.writerows((i, repr(float(n)), int(t)) for i, (n, t) in enumerate(zip(nats, test.valid, strict=True)))
    return {
        "clips": len(test),
        "timesteps": int(test.valid.sum()),
        "bits_per_timestep": float(-nats.sum() / test.valid.sum() / math.log(2)),
        "likelihood_space": model.likelihood_space,
        "unigram_entropy": float(model.unigram_entropy(load_split(clips, "train"))),
        "sample_rate": clip_format(clips)[0],
    }


def _write(
    out: Path,
    timesteps: int,
    index: "np.ndarray",
    nats: "np.ndarray | None",
    rate: int,
    names: Sequence[str] | None = None,
    more: Mapping[str, Sequence[Any]] | None = None,
) -> list[str]:
    """One line about each row of `samples.npy` (int16, samples x timesteps) in `samples.csv`; the rows' names.

    more: further columns
    """
    seconds, more = timesteps / rate, more or {}
    named = [names[row] if names else f"{WAVS}/{file_name(row, more)}" for row in range(len(index))]
    with open(out / TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *more])
        for row, i in enumerate(index):
            likelihood = "" if nats is None else repr(float(nats[row]))
            further = [values[row] for values in more.values()]
            writer.writerow([row, int(i), likelihood, seconds, rate, named[row], *further])
    return named


@dataclass(frozen=True)
class _Part:
    """What a draw has written: the file of its codes, these, memory-mapped, draw indices, nats or NaN, sample rate in Hz, and
    further columns as they stand there."""

    file: Path
    codes: "np.ndarray"
    index: "np.ndarray"
    nats: "np.ndarray"
    rate: int
    more: dict[str, list[str]]


def _read(folder: Path) -> _Part:
    import numpy as np

    with open(folder / TABLE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    nats = np.array([float(row["log_likelihood_nats"] or "nan") for row in rows])
    index = np.array([int(row["draw_index"]) for row in rows])
    more = {name: [row[name] for row in rows] for name in rows[0] if name not in COLUMNS}
    codes = np.load(folder / SAMPLES, mmap_mode="r")
    return _Part(folder / SAMPLES, codes, index, nats, int(rows[0]["sample_rate"]), more)

"""Inside the stages that draw and collect samples, and that ask a generator for the likelihood of real clips."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import folders, machine
from tasks.artifact import Progress
from tasks.training import clip_format, device

if TYPE_CHECKING:
    import numpy as np

LIKELIHOOD_BATCH = 16
SAMPLES, TABLE, WAVS = "samples.npy", "samples.csv", "wavs"
RECORD = "drawing.json"  # which shard was drawn where, and how long it took: as provenance.json, not of the digest


def draw(
    train: Path, seed: int, start: int, stop: int, settings: dict[str, Any], out: Path, progress: Progress
) -> dict[str, Any]:
    """Samples `start` to `stop`, as `samples.npy` and `samples.csv` in the order of their index.

    The noise of sample i is a function of (seed, i), so that shards and batches of any size give the same samples.
    """
    import numpy as np
    import torch

    import models
    from models.clips import to_int16
    from models.randomness import SampleRandom

    torch.set_num_threads(machine.threads())
    model = models.load(train, device())
    batch = int(machine.setting("sampling_batch")) or stop - start
    codes, nats = [], []
    for first in range(start, stop, batch):
        progress(first - start, stop - start, "samples")
        samples = model.sample(min(batch, stop - first), SampleRandom(seed, first), **settings)
        codes.append(to_int16(samples.waveforms.cpu().numpy()))
        nats.append(None if samples.log_likelihood is None else samples.log_likelihood.cpu().numpy())
    likelihood = None if nats[0] is None else np.concatenate([n for n in nats if n is not None])
    _write(out, np.concatenate(codes), np.arange(start, stop), likelihood, model.sample_rate)
    return {"samples": stop - start, "start": start, "stop": stop}


def merge(earlier: Path | None, shards: Sequence[Path], count: int, out: Path, progress: Progress) -> dict[str, Any]:
    """One draw from shards and from what an earlier draw holds, in order of ascending likelihood, with a wav for each.

    Where the model has no likelihood the order is that of the draw.
    """
    import numpy as np
    import soundfile

    parts = [_read(folder) for folder in ([earlier] if earlier else []) + list(shards)]
    codes, index = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    nats = np.concatenate([p[2] for p in parts])
    rows = np.unique(index, return_index=True)[1]  # of a sample that is there twice, the earlier draw's
    rows = rows[index[rows] < count]
    if len(rows) != count:
        raise RuntimeError(f"the shards hold {len(rows)} different samples instead of {count}")
    likely = not np.isnan(nats[rows]).any()
    if likely:
        rows = rows[np.argsort(nats[rows], kind="stable")]
    rate = parts[0][3]
    _write(out, codes[rows], index[rows], nats[rows] if likely else None, rate)
    (out / WAVS).mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        progress(number, count, "wavs")
        soundfile.write(out / WAVS / f"sample_{number:05d}.wav", codes[row], rate, subtype="PCM_16")
    sound = codes[rows].astype(np.float32) / 32768
    return {
        "samples": count,
        "reused": 0 if earlier is None else int((parts[0][1] < count).sum()),
        "sample_rate": rate,
        "timesteps": codes.shape[1],
        "order": "ascending log-likelihood" if likely else "as drawn",
        "mean_log_likelihood_nats": float(nats[rows].mean()) if likely else None,
        "root_mean_square": float(np.sqrt(np.mean(np.square(sound)))),
        "peak": float(np.abs(sound).max()),
    }


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


def import_samples(path: Path, samples_rate: int, config: Any, out: Path) -> dict[str, Any]:
    """Somebody else's samples in the layout of our own: resampled and padded or cut where needed, never renormalized."""
    import numpy as np

    from tasks.importing import read_samples

    imported = read_samples(path, config.sample_rate, config.timesteps, samples_rate or None, config.resampler)
    _write(out, imported.codes, np.arange(len(imported.codes)), None, config.sample_rate, imported.names)
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
    codes: "np.ndarray",
    index: "np.ndarray",
    nats: "np.ndarray | None",
    rate: int,
    names: Sequence[str] | None = None,
) -> None:
    """`samples.npy` (int16, samples x timesteps) and one line about each of its rows in `samples.csv`."""
    import numpy as np

    np.save(out / SAMPLES, codes)
    seconds = codes.shape[1] / rate
    with open(out / TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "draw_index", "log_likelihood_nats", "seconds", "sample_rate", "name"])
        for row, i in enumerate(index):
            likelihood = "" if nats is None else repr(float(nats[row]))
            name = names[row] if names else f"{WAVS}/sample_{row:05d}.wav"
            writer.writerow([row, int(i), likelihood, seconds, rate, name])


def _read(folder: Path) -> "tuple[np.ndarray, np.ndarray, np.ndarray, int]":
    """(codes, draw indices, nats or NaN, sample rate) of a folder written by `_write`."""
    import numpy as np

    with open(folder / TABLE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    nats = np.array([float(row["log_likelihood_nats"] or "nan") for row in rows])
    index = np.array([int(row["draw_index"]) for row in rows])
    return np.load(folder / SAMPLES), index, nats, int(rows[0]["sample_rate"])

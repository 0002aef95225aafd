"""Spoken digits: the ten English digits in a few hundred synthetic voices, made on the spot.

The open-source speech synthesizer eSpeak NG, embedded by the package espeakng-loader, says "zero" to "nine" in each of
its 104 voice variants with seven English accents, five pitches and three speaking rates: real, labelled, varied input
for the whole chain, without a download. Mono, 22,050 Hz, some 0.2 to 1 s per clip.

Every variant speaks in a process of its own, its words in a fixed order, because the engine remembers what it said
before; so the corpus is the same, byte for byte, whatever the number of workers and after a resume. Variants, not
clips, are dealt out to the splits: the accents and pitches of one variant share a timbre, and variants that sound almost
the same (`TWINS`) stay together. Of the nine English accents the Shavian one (it reads another alphabet) and New York
(many of its digits are those of en-US, bit for bit) are left out.

Licence: synthesized on your machine; eSpeak NG, which speaks, is GPL-3.0-or-later.
Citation: eSpeak NG text-to-speech (Jonathan Duddington; Reece H. Dunn and contributors), version 1.52.
Homepage: https://github.com/espeak-ng/espeak-ng
"""

import csv
import hashlib
import json
import subprocess
import sys
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from tasks.corpora.base import SPLITS, Corpus, CorpusConfig, Progress, Recording

VERSION = 1

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en", "en-029", "en-GB-scotland", "en-GB-x-gbclan", "en-GB-x-gbcwmd", "en-GB-x-rp", "en-US")
PITCHES = (20, 35, 50, 65, 80)
RATES = (140, 170, 200)  # words per minute
SETTINGS = tuple((accent, pitch, rate) for accent in ACCENTS for pitch in PITCHES for rate in RATES)

# Variants linked by spectra less than 4 dB apart (root mean square over 32 bands and all frames of three words, at equal
# loudness; 14 dB is usual): "klatt6" is "adam" at 0.4 dB. In two splits, they would make unseen voices known ones.
TWINS = (
    ("adam", "benjamin", "caleb", "edward2", "klatt6", "mike2", "Reed"),
    ("Diogo", "Henrique", "Hugo", "michel", "miguel"),
    ("edward", "klatt3", "klatt4", "klatt5"),
    ("steph", "steph2", "steph3"),
    ("aunty", "linda"),
    ("fast", "m6"),
    ("Gene", "Gene2"),
    ("gustave", "Michael"),
    ("klatt", "klatt2"),
    ("rob", "robert"),
    ("robosoft2", "robosoft3"),
    ("robosoft4", "robosoft5"),
)
WAV_HEADER = 44  # bytes

BYTES_PER_RECORDING = 16_500  # on the average: 0.37 s at 22,050 Hz

CHILD = Path(__file__).with_name("_espeak.py")


@dataclass(frozen=True)
class Config(CorpusConfig):
    clips_per_digit: int = 416
    """Clips of each digit in all splits together: 3/4 train, 1/8 validation, 1/8 test (416: four per voice variant;
    4154: 31,160 for training, the size of SC09)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clips_per_digit < 8:
            raise ValueError(f"corpus.clips_per_digit={self.clips_per_digit} leaves splits empty; take at least 8")


class Utterance(NamedTuple):
    """What is said, and how: a file of espeak's lang/gmw, pitch (0 to 99, 50 is normal), words per minute, digit."""

    accent: str
    pitch: int
    rate: int
    label: str


class SpokenDigits(Corpus):
    labels = DIGITS
    download_settings = ("clips_per_digit",)

    def download(
        self, config: Config, folder: Path, source: Path | None, progress: Progress, workers: int
    ) -> dict[str, Any]:
        """Synthesize `folder/recordings/<variant>.wav` and `.csv`; variants that are finished are kept."""
        if source is not None:
            raise ValueError("spoken_digits is synthesized: leave out --source, or use the corpus `folder` with it")
        library, data = _espeak_paths()
        splits = deal_variants(sorted(path.name for path in Path(data, "voices", "!v").iterdir() if path.is_file()))
        plan = plan_utterances(config.clips_per_digit, splits)
        recordings = folder / "recordings"
        recordings.mkdir(parents=True, exist_ok=True)
        for leftover in recordings.iterdir():
            if leftover.suffix == ".tmp" or leftover.stem not in plan:
                leftover.unlink()
        _write_variants(folder / "variants.csv", {variant: splits[variant] for variant in plan})
        missing = [variant for variant in plan if not _finished(recordings, variant, plan[variant])]

        def synthesize(variant: str) -> int:
            job = {"library": library, "data": data, "variant": variant, "stem": str(recordings / variant)}
            child = subprocess.run(
                [sys.executable, "-I", "-S", str(CHILD)],
                input=json.dumps({**job, "utterances": plan[variant]}),
                capture_output=True,
                text=True,
                encoding="utf-8",
            )
            if child.returncode != 0:
                raise ValueError(f"synthesis of the voice variant {variant!r} failed: {child.stderr.strip()}")
            return len(plan[variant])

        total = sum(map(len, plan.values()))
        done = total - sum(len(plan[variant]) for variant in missing)
        with ThreadPoolExecutor(max(1, workers)) as pool:
            try:
                for future in as_completed([pool.submit(synthesize, variant) for variant in missing]):
                    done += future.result()
                    progress(done, total, f"{done} of {total} digits spoken")
            finally:
                pool.shutdown(cancel_futures=True)
        lengths = [_frames_and_rate(recordings / f"{variant}.wav") for variant in plan]
        return {
            "recordings": total,
            "variants": len(plan),
            "seconds": round(sum(frames / rate for frames, rate in lengths), 3),
            "sample_rate": lengths[0][1],
            "espeakng_loader": metadata.version("espeakng-loader"),
        }

    def expected_size(self, config: Config) -> tuple[int, int]:
        return 10 * config.clips_per_digit * BYTES_PER_RECORDING, 10 * config.clips_per_digit

    def recordings(self, config: Config, folder: Path) -> Iterator[Recording]:
        """One per utterance, variant by variant."""
        with open(folder / "variants.csv", newline="", encoding="utf-8") as file:
            splits = {row["variant"]: row["split"] for row in csv.DictReader(file)}
        for variant, split in splits.items():
            with open(folder / "recordings" / f"{variant}.csv", newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    yield Recording(
                        path=f"recordings/{variant}.wav",
                        label=row["label"],
                        speaker=variant,
                        split=split,
                        start=int(row["start"]),
                        frames=int(row["frames"]),
                    )


def deal_variants(variants: list[str]) -> dict[str, str]:
    """The split of every voice variant: in the order of a hash, 1/8 test, 1/8 validation, the rest train.

    Twins stay together, and more than two of them in training: 13 test voices should be 13 voices.
    """
    twin_of = {variant: twins[0] for twins in TWINS for variant in twins}
    groups: dict[str, list[str]] = {}
    for variant in variants:
        groups.setdefault(twin_of.get(variant, variant), []).append(variant)
    room = {"test": max(1, len(variants) // 8), "validation": max(1, len(variants) // 8), "train": len(variants)}
    splits: dict[str, str] = {}
    for name in sorted(groups, key=partial(_shuffle, "variant")):
        size = len(groups[name])
        split = next(split for split, left in room.items() if left >= size and (size <= 2 or split == "train"))
        room[split] -= size
        splits.update(dict.fromkeys(groups[name], split))
    return dict(sorted(splits.items()))


def plan_utterances(clips_per_digit: int, splits: dict[str, str]) -> dict[str, list[Utterance]]:
    """What every variant says, in the order in which it says it; variants with nothing to say are left out.

    The clips of a digit are spread evenly over the variants of a split. Which settings a variant uses for a digit
    follows from a hash, so that a larger corpus says all that a smaller one says.
    """
    plan: dict[str, list[Utterance]] = {variant: [] for variant in splits}
    eighth = round(clips_per_digit / 8)
    counts = {"train": clips_per_digit - 2 * eighth, "validation": eighth, "test": eighth}
    for split in SPLITS:
        members = [variant for variant in splits if splits[variant] == split]
        if counts[split] > len(members) * len(SETTINGS):
            most = 8 * len(SETTINGS) * min(list(splits.values()).count(name) for name in ("validation", "test"))
            raise ValueError(
                f"corpus.clips_per_digit={clips_per_digit} is more than the voices can say differently; at most {most}"
            )
        for digit in DIGITS:
            members.sort(key=partial(_shuffle, "digit", digit))
            for rank, variant in enumerate(members):
                share = counts[split] // len(members) + (rank < counts[split] % len(members))
                settings = sorted(SETTINGS, key=lambda setting: _shuffle("setting", variant, digit, *setting))
                plan[variant] += [Utterance(*setting, digit) for setting in settings[:share]]
    order = {accent: position for position, accent in enumerate(ACCENTS)}
    for said in plan.values():
        said.sort(key=lambda each: (order[each.accent], each.pitch, each.rate, DIGITS.index(each.label)))
    return {variant: said for variant, said in plan.items() if said}


def _shuffle(*words: str | int) -> bytes:
    """A sort key in no order that means anything, the same on every machine and in every version of Python."""
    return hashlib.sha256("/".join(map(str, ("spoken_digits", *words))).encode()).digest()


def _espeak_paths() -> tuple[str, str]:
    """Paths of libespeak-ng and its data; ValueError where the package that carries them is missing."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise ValueError(
            "spoken_digits needs the speech synthesizer of the package espeakng-loader: "
            f"{sys.executable} -m pip install espeakng-loader"
        ) from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def _write_variants(path: Path, splits: dict[str, str]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("variant", "split"))
        table.writerows(splits.items())


def _finished(recordings: Path, variant: str, said: list[Utterance]) -> bool:
    """Whether a previous attempt left both files of a variant, complete and for this plan."""
    try:
        with open(recordings / f"{variant}.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        frames, _rate = _frames_and_rate(recordings / f"{variant}.wav")
        size = (recordings / f"{variant}.wav").stat().st_size
    except (FileNotFoundError, EOFError, wave.Error):
        return False
    found = [Utterance(row["accent"], int(row["pitch"]), int(row["rate"]), row["label"]) for row in rows]
    end = int(rows[-1]["start"]) + int(rows[-1]["frames"]) if rows else 0
    return found == said and frames == end and size == WAV_HEADER + 2 * frames


def _frames_and_rate(path: Path) -> tuple[int, int]:
    with wave.open(str(path), "rb") as wav:
        return wav.getnframes(), wav.getframerate()

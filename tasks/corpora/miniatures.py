"""Miniatures: short pieces by rule for two synthetic instruments, a plucked and a struck one, made on the spot.

A program composes them (a walk through the chords of a key, an accompaniment, a melody) and a program plays them (a
string after Karplus and Strong; damped partials, much like a piano's): real input to the music path, in seconds and
without a download, and not music that anybody played. Key, mode, meter, tempo, figure, dynamics and instrument differ
from piece to piece. Mono, 24 kHz, some 14 s a piece, a quarter of an hour in all.

A piece follows from its number alone, bit for bit on every machine; of eight, one is for validation and one for the
test, and no clip crosses a piece. There are no labels.

Licence: synthesized on your machine by this file and its neighbours `_score.py` and `_tones.py`.
Citation: Kevin Karplus and Alex Strong. Digital Synthesis of Plucked-String and Drum Timbres. Computer Music Journal
  7(2), 1983.
Homepage: none.
"""

import csv
import os
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.corpora import _score, _windows
from tasks.corpora.base import Corpus, CorpusConfig, Progress, Recording

VERSION = 1

RATE = 24000  # Hz, as in _tones.py
BYTES_PER_PIECE = 700_000
SECONDS_PER_PIECE = 14.4


@dataclass(frozen=True)
class Config(CorpusConfig):
    pieces: int = 64
    """How many; a larger corpus holds the smaller ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pieces < 8:
            raise ValueError(f"corpus.pieces={self.pieces} leaves splits empty; take at least 8")


class Miniatures(Corpus):
    download_settings = ("pieces",)

    def download(
        self, config: Config, folder: Path, source: Path | None, progress: Progress, workers: int
    ) -> dict[str, Any]:
        """Synthesize `folder/recordings/<number>.wav` and `pieces.csv`; pieces that are finished are kept."""
        if source is not None:
            raise ValueError("miniatures are synthesized: leave out --source, or use the corpus `folder` with it")
        recordings = folder / "recordings"
        recordings.mkdir(parents=True, exist_ok=True)
        rows = []
        for number in range(config.pieces):
            piece, path = _score.compose(number), recordings / f"{number:04d}.wav"
            if not path.exists():
                _play(piece, path)
            rows.append(
                (path.name, split_of(number), piece.instrument, piece.key, piece.beats_per_minute, piece.figure)
            )
            progress(number + 1, config.pieces, f"{number + 1} of {config.pieces} pieces played")
        kept = {row[0] for row in rows}
        for path in recordings.iterdir():
            if path.name not in kept:  # of a killed attempt
                path.unlink()
        with open(folder / "pieces.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("path", "split", "instrument", "key", "beats_per_minute", "figure"))
            table.writerows(rows)
        frames = sum(_frames(recordings / name) for name in kept)
        return {"recordings": len(kept), "seconds": round(frames / RATE, 3), "sample_rate": RATE}

    def expected_size(self, config: Config) -> tuple[int, int]:
        return config.pieces * BYTES_PER_PIECE, round(config.pieces * SECONDS_PER_PIECE / config.clip_seconds)

    def recordings(self, config: Config, folder: Path) -> Iterator[Recording]:
        """Piece by piece, from its beginning to its end."""
        for whole, frames in _pieces(folder):
            yield from _windows.cut(whole, frames, RATE, config)

    def left_out(self, config: Config, folder: Path) -> dict[str, float]:
        rest = sum(_windows.count(frames, RATE, config)[1] for _, frames in _pieces(folder))
        return {"at the ends of pieces": round(rest / config.sample_rate, 3)}


def split_of(number: int) -> str:
    """Where a piece belongs: both instruments are in every split."""
    return {6: "validation", 7: "test", 13: "validation", 14: "test"}.get(number % 16, "train")


def _pieces(folder: Path) -> Iterator[tuple[Recording, int]]:
    with open(folder / "pieces.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            path = f"recordings/{row['path']}"
            yield Recording(path, None, None, row["split"]), _frames(folder / path)


def _play(piece: _score.Piece, path: Path) -> None:
    """Write one wav; where it is, it is complete."""
    from tasks.corpora import _tones

    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    with open(scratch, "wb") as raw, wave.open(raw, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        wav.writeframes(_tones.render(piece).astype("<i2").tobytes())
    os.replace(scratch, path)


def _frames(path: Path) -> int:
    with wave.open(str(path), "rb") as wav:
        return wav.getnframes()

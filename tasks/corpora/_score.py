"""Short pieces as lists of notes, composed by rule: a walk through the chords of a key, an accompaniment, and a melody above.

A piece follows from its number alone. Its dice are the random numbers of Python's `random.Random(text).random()`, which the
language keeps the same in every version.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
KEYS = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
# From each degree of the scale (0 is the tonic), where harmony may go next.
NEXT = {0: (3, 4, 5, 1, 3, 4), 1: (4, 4, 3), 3: (4, 0, 1, 4), 4: (0, 0, 5), 5: (3, 1, 3)}
# Of each bar of four or three beats: where notes of the chord are played, and which (0 is the root, 3 its octave).
FIGURES = {
    4: {
        "blocks": ((0, (0, 1, 2)), (2, (0, 1, 2))),
        "broken": ((0, (0,)), (0.5, (1,)), (1, (2,)), (1.5, (3,)), (2, (2,)), (2.5, (1,)), (3, (2,)), (3.5, (1,))),
        "alberti": tuple((half / 2, ((0, 2, 1, 2)[half % 4],)) for half in range(8)),
        "bass": ((0, (0,)), (1, (1, 2)), (2, (0,)), (3, (1, 2))),
    },
    3: {
        "blocks": ((0, (0, 1, 2)),),
        "broken": ((0, (0,)), (0.5, (1,)), (1, (2,)), (1.5, (3,)), (2, (2,)), (2.5, (1,))),
        "waltz": ((0, (0,)), (1, (1, 2)), (2, (1, 2))),
    },
}
RHYTHMS = {
    4: ((1, 1, 1, 1), (2, 1, 1), (1, 1, 2), (0.5, 0.5, 1, 2), (1.5, 0.5, 1, 1), (3, 1), (0.5, 0.5, 0.5, 0.5, 1, 1)),
    3: ((1, 1, 1), (2, 1), (0.5, 0.5, 1, 1), (1.5, 0.5, 1), (3,)),
}
SECONDS = 12.0  # of a piece before its last chord, about
RINGING = 2.5  # seconds of the last chord
BEAT = 60 / 132, 60 / 66  # seconds, the shortest and the longest


@dataclass(frozen=True)
class Note:
    """start, seconds: when it is struck and how long it is held; pitch: MIDI number; velocity: 0 to 1."""

    start: float
    seconds: float
    pitch: int
    velocity: float


@dataclass(frozen=True)
class Piece:
    """instrument: "plucked" or "struck"; the rest is for people."""

    notes: tuple[Note, ...]
    seconds: float
    instrument: str
    key: str
    beats_per_minute: int
    figure: str


class Dice:
    """Random choices that follow from a text."""

    def __init__(self, text: str):
        self._random = random.Random(text)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self._random.random()

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(len(choices) * self._random.random())]


def compose(number: int) -> Piece:
    """Piece number 0, 1, ...; odd ones are for the other instrument."""
    dice = Dice(f"miniatures/{number}")
    tonic, mode, beats = 46 + int(dice.between(0, 12)), dice.pick(tuple(SCALES)), dice.pick((4, 4, 3))
    beat, figure = dice.between(*BEAT), dice.pick(tuple(FIGURES[beats]))
    loud, bars = dice.between(0.35, 0.6), max(4, round(SECONDS / (beats * beat)))
    notes: list[Note] = []
    degree, step, now = 0, 9, 0.0  # step: of the melody, in the scale, from the tonic of the accompaniment on
    for bar in range(bars):
        level = loud + 0.3 * (1 - abs(2 * bar / bars - 1)) + dice.between(-0.05, 0.05)  # louder to the middle
        slow = beat * (1.15 if bar == bars - 1 else 1.0)
        chord = [_pitch(tonic, mode, degree + third) for third in (0, 2, 4, 7)]
        for at, members in FIGURES[beats][figure]:
            start = now + at * slow + dice.between(0, 0.012)
            notes += [Note(start, 1.5 * slow, chord[member], 0.7 * level) for member in members]
        at = 0.0
        for length in dice.pick(RHYTHMS[beats]):
            if at == int(at):  # on a beat: a note of the chord, the closest one
                step = min((s for s in range(5, 15) if (s - degree) % 7 in (0, 2, 4)), key=lambda s: abs(s - step))
            start = now + at * slow + dice.between(0, 0.012)
            notes.append(Note(start, length * slow, _pitch(tonic, mode, step), level + dice.between(-0.08, 0.08)))
            step = min(14, max(5, step + dice.pick((-2, -1, -1, 1, 1, 2))))
            at += length
        now += beats * slow
        degree = 4 if bar == bars - 2 else dice.pick(NEXT[degree])
    notes += [Note(now, RINGING, _pitch(tonic, mode, step), loud) for step in (-7, 0, 2, 4, 7)]
    key = f"{KEYS[tonic % 12]} {mode}"
    return Piece(tuple(notes), now + RINGING, ("plucked", "struck")[number % 2], key, round(60 / beat), figure)


def _pitch(tonic: int, mode: str, step: int) -> int:
    """The MIDI number of a step of the scale; seven steps are an octave."""
    return tonic + 12 * (step // 7) + SCALES[mode][step % 7]

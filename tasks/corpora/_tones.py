"""Tones of two instruments, and pieces of music made of them, the same to the last bit on every machine.

Plucked: a string after Karplus and Strong (1983), a delay line that starts with noise and hears itself, a little duller
each time around. Theirs averages two neighbours; here three weights put the delay between two timesteps, so that it is
in tune, and damp as much whatever the pitch.
Struck: damped partials, slightly stretched, as of a stiff string; the higher, the weaker and the shorter.

Only additions, multiplications, divisions and square roots of float64 are used, element by element, which IEEE 754
defines to the last bit: no sine, exponential or sum of a library, which differ between processors.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

from tasks.corpora._score import Note, Piece

if TYPE_CHECKING:
    import numpy as np

RATE = 24000
MIDDLE_A, MIDDLE_A_PITCH = 440.0, 69
SEMITONES = (
    1.0, 1.0594630943592953, 1.122462048309373, 1.189207115002721, 1.2599210498948732, 1.3348398541700344,
    1.4142135623730951, 1.4983070768766815, 1.5874010519681994, 1.681792830507429, 1.7817974362806785, 1.8877486253633868,
)  # fmt: skip
PI = 3.141592653589793
PARTIALS = 14
ATTACK, RELEASE = 0.003, 0.06  # seconds
HIGHEST = 0.42 * RATE
FULL_SCALE = 32767


def render(piece: Piece) -> np.ndarray:
    """(frames,) int16 at `RATE` Hz; how far a piece reaches towards full scale depends on its loudest note."""
    import numpy as np

    frames = round(piece.seconds * RATE)
    mixed, known = np.zeros(frames), {}
    for note in piece.notes:
        velocity = min(0.95, max(0.1, round(note.velocity * 8) / 8))  # eight dynamics, which the tones are made for
        key = (note.pitch, velocity, round(note.seconds * RATE))
        if key not in known:
            known[key] = tone(piece.instrument, note, velocity)
        heard, start = known[key], round(note.start * RATE)
        end = min(frames, start + len(heard))
        mixed[start:end] += heard[: end - start] * note.velocity
    loudest = float(np.abs(mixed).max())
    level = 0.5 + 0.45 * max(note.velocity for note in piece.notes)
    return np.rint(mixed * (min(0.98, level) * FULL_SCALE / loudest)).astype(np.int16)


def tone(instrument: str, note: Note, velocity: float) -> np.ndarray:
    """(frames,) float64 with a peak of 1: a note that is held for its time, and then damped."""
    import numpy as np

    octave, semitone = divmod(note.pitch - MIDDLE_A_PITCH, 12)
    hertz = MIDDLE_A * SEMITONES[semitone] * 2.0**octave
    count = round((note.seconds + RELEASE) * RATE)
    heard = plucked(hertz, count, velocity) if instrument == "plucked" else struck(hertz, count, velocity)
    attack, release = round(ATTACK * RATE), round(RELEASE * RATE)
    heard[:attack] *= np.arange(attack) / attack
    heard[-release:] *= np.arange(release)[::-1] / release
    return heard / np.abs(heard).max()


def plucked(hertz: float, count: int, velocity: float) -> np.ndarray:
    """A string; the harder it is plucked, the brighter."""
    import numpy as np

    period = RATE / hertz
    N = int(period - 0.5)
    d = period - N  # in [0.5, 1.5): the weights' delay is d, and their spread 1/4
    w2 = (d - 0.5) * (d - 0.5) / 2
    w1 = d - 2 * w2
    g = 1 - period / (RATE * 2.5)  # the fundamental is down to 37 % after 2.5 s
    weights = g * (1 - w1 - w2), g * w1, g * w2
    length = N + 2
    digest = hashlib.shake_128(f"string/{hertz:.6f}/{velocity:.3f}".encode()).digest(2 * length)
    noise = np.frombuffer(digest, "<i2").astype(np.int64)
    burst = (noise - int(noise.sum()) // length) / 32768
    for _ in range(round((1 - velocity) * 8)):
        burst = (burst + np.roll(burst, 1)) / 2
    burst = burst - np.roll(burst, length // 5)  # where the finger was, a fifth of the string from its end
    offset = math.fsum(_around(burst, N, weights, N).tolist()) / N  # a string at rest is in the middle
    return _around(burst - offset, N, weights, count)


def _around(burst: np.ndarray, N: int, weights: tuple[float, float, float], count: int) -> np.ndarray:
    """`count` frames of what comes after `burst`: y_n = w0 y_(n-N) + w1 y_(n-N-1) + w2 y_(n-N-2), N of them at once."""
    import numpy as np

    w0, w1, w2 = weights
    length = len(burst)
    y = np.concatenate([burst, np.zeros(count)])
    for start in range(length, len(y), N):
        end = min(start + N, len(y))
        y[start:end] = (
            w0 * y[start - N : end - N] + w1 * y[start - N - 1 : end - N - 1] + w2 * y[start - N - 2 : end - N - 2]
        )
    return y[length:]


def struck(hertz: float, count: int, velocity: float) -> np.ndarray:
    """A stiff string under a hammer; the harder it is struck, the more of its partials are heard."""
    import numpy as np

    stiffness, brightness = 0.0004, 0.45 + 0.35 * velocity
    ring = 1.8 * math.sqrt(220 / hertz)  # seconds
    heard, weight = np.zeros(count), 1.0
    for k in range(1, PARTIALS + 1):
        partial = k * hertz * math.sqrt(1 + stiffness * k * k)
        if partial > HIGHEST:
            break
        _, hammer = turn(PI * k / 7.3)  # it strikes at that fraction of the string
        heard += weight * abs(hammer) * damped(2 * PI * partial / RATE, 1 - (1 + 0.4 * (k - 1)) / (ring * RATE), count)
        weight *= brightness
    return heard


def damped(angle: float, decay: float, count: int) -> np.ndarray:
    """decay^n sin(angle n) for n = 0 ... count - 1: all powers of one complex number, by doubling what is known."""
    import numpy as np

    c, s = turn(angle)
    c, s = decay * c, decay * s
    real, imaginary = np.ones(1), np.zeros(1)
    while len(real) < count:
        further = real * c - imaginary * s, imaginary * c + real * s
        real, imaginary = np.concatenate([real, further[0]]), np.concatenate([imaginary, further[1]])
        c, s = c * c - s * s, 2 * c * s
    return imaginary[:count]


def turn(angle: float) -> tuple[float, float]:
    """(cos, sin) of a positive angle, by their series for a 256th of it, doubled eight times."""
    x = angle / 256
    cos = sin = 0.0
    term = 1.0
    for order in range(12):
        cos, sin = (cos + term, sin) if order % 2 == 0 else (cos, sin + term)
        term *= x / (order + 1) * (-1 if order % 2 else 1)
    for _ in range(8):
        cos, sin = cos * cos - sin * sin, 2 * cos * sin
    return cos, sin

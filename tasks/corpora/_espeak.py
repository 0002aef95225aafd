"""The child process that lets eSpeak NG speak: one voice variant, one list of words, one wav file.

Run by path, with nothing but the standard library: `python -I -S _espeak.py < job.json`, where the job holds
    library, data   paths of libespeak-ng and of its data
    variant         file name of a voice variant, e.g. "f3" or "Mr serious"
    stem            writes `<stem>.wav`, all utterances one after the other, and `<stem>.csv`, where each one lies
    utterances      [[accent, pitch, rate, word], ...], spoken in this order
It prints nothing; where it fails it says why on stderr and exits with 1.

The engine keeps state from one utterance to the next: the same word comes out differently after another one, even after
the engine is initialized again. So one process speaks one variant's whole list, and its order is part of the result.
Breath and whisper are noise, whose generator the engine seeds from the clock: it is seeded anew here.
"""

import csv
import ctypes
import json
import os
import sys
import wave
from array import array
from pathlib import Path
from typing import Any

# The names and values below are those of espeak-ng's speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2  # no thread of its own; AUDIO_OUTPUT_RETRIEVAL waits 20 ms per word for one
INITIALIZE_DONT_EXIT = 0x8000
CHARS_UTF8 = 1
POS_CHARACTER = 1
RATE, PITCH = 1, 3

SEED = 1  # any fixed one
SILENCE = 1000  # what lies below peak / SILENCE (-60 dB) at either end is cut off
COLUMNS = ("start", "frames", "accent", "pitch", "rate", "label")
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """eSpeak NG with one voice variant. `sample_rate`: of what it says, in Hz. Raises ValueError where it cannot."""

    def __init__(self, library: str, data: str, variant: str):
        self.variant, self._accent = variant, ""
        self._espeak = ctypes.CDLL(library)
        self._heard = bytearray()
        self._callback = CALLBACK(self._hear)  # kept: ctypes does not hold a reference to it
        self.sample_rate: int = self._espeak.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), INITIALIZE_DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise ValueError(f"eSpeak NG cannot read its data in {data} (espeak_Initialize: {self.sample_rate})")
        # Initializing seeds the breath and whisper noise from the clock.
        self._check("a random seed", self._espeak.espeak_ng_SetRandSeed(ctypes.c_long(SEED)))
        # An unknown variant is no error to espeak_SetVoiceByName: it would speak with the plain voice.
        if not Path(data, "voices", "!v", variant).is_file():
            raise ValueError(f"eSpeak NG has no voice variant {variant!r} in {data}/voices/!v")
        self._espeak.espeak_SetSynthCallback(self._callback)

    def _hear(self, samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._heard += ctypes.string_at(samples, 2 * count)
        return 0

    def say(self, accent: str, pitch: int, rate: int, word: str) -> "array[int]":
        """The word as int16 samples, without the silence around it. accent: a file of lang/gmw, e.g. "en-US"."""
        if accent != self._accent:
            self._check(f"voice gmw/{accent}", self._espeak.espeak_SetVoiceByName(self._voice(accent)))
            self._accent = accent
        self._check(f"pitch {pitch}", self._espeak.espeak_SetParameter(PITCH, pitch, 0))
        self._check(f"rate {rate}", self._espeak.espeak_SetParameter(RATE, rate, 0))
        self._heard.clear()
        text = word.encode()
        status = self._espeak.espeak_Synth(text, len(text) + 1, 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
        self._check(f"the word {word!r}", status)
        self._check(f"the word {word!r}", self._espeak.espeak_Synchronize())
        return self._trim(array("h", bytes(self._heard)), f"{word!r} with {accent}+{self.variant}")

    def _voice(self, accent: str) -> bytes:
        return f"gmw/{accent}+{self.variant}".encode()

    @staticmethod
    def _trim(samples: "array[int]", what: str) -> "array[int]":
        peak = max(max(samples, default=0), -min(samples, default=0))
        if peak == 0:
            raise ValueError(f"eSpeak NG said nothing for {what}")
        first = next(i for i, sample in enumerate(samples) if abs(sample) * SILENCE > peak)
        last = next(i for i in reversed(range(len(samples))) if abs(samples[i]) * SILENCE > peak)
        return samples[first : last + 1]

    def _check(self, what: str, status: int) -> None:
        if status != 0:
            raise ValueError(f"eSpeak NG refuses {what} for the variant {self.variant!r} (status {status})")


def speak(job: dict[str, Any]) -> None:
    """Write the two files of a job, each at once, the wav last: where it is, both are complete."""
    speaker = Speaker(job["library"], job["data"], job["variant"])
    rows, audio = [], array("h")
    for accent, pitch, rate, word in job["utterances"]:
        samples = speaker.say(accent, pitch, rate, word)
        rows.append((len(audio), len(samples), accent, pitch, rate, word))
        audio.extend(samples)
    if sys.byteorder == "big":
        audio.byteswap()

    scratch = f"{job['stem']}.{os.getpid()}.tmp"
    with open(scratch, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(rows)
    os.replace(scratch, f"{job['stem']}.csv")
    with open(scratch, "wb") as raw, wave.open(raw, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(speaker.sample_rate)
        wav.writeframes(audio.tobytes())
    os.replace(scratch, f"{job['stem']}.wav")


if __name__ == "__main__":
    try:
        speak(json.load(sys.stdin))
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")

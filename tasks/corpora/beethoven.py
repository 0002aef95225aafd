"""Beethoven: the piano sonatas, as SampleRNN and SaShiMi were trained on them.

Recordings from the Internet Archive, in 4,328 files of 8 seconds, mono, 16 kHz: some nine and a half hours. The splits
are those of the SaShiMi release, by file: the first 88 % in natural order, then 6 and 6 %. A clip is a file: 128,000
timesteps. The published models hear linear codes of 8 bits, and so do ours at this corpus' front door.

Licence: not stated by the release; the recordings are of several performers, from the Internet Archive.
Citation: Soroush Mehri et al. SampleRNN: An Unconditional End-to-End Neural Audio Generation Model. ICLR 2017. Splits:
  Karan Goel et al. It's Raw! Audio Generation with State-Space Models. ICML 2022.
Homepage: https://huggingface.co/datasets/krandiash/beethoven
"""

from dataclasses import dataclass

from tasks.corpora._release_music import MusicConfig, ReleaseMusic

VERSION = 1


@dataclass(frozen=True)
class Config(MusicConfig):
    clip_seconds: float = 8.0
    """128,000 timesteps at 16 kHz."""


class Beethoven(ReleaseMusic):
    archive, size, files, seconds = "beethoven", 1_100_000_000, 4328, 8.0
    quantization = "linear"

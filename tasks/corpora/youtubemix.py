"""YouTubeMix: four hours of piano music from one video, as SaShiMi was trained on it.

Mono, 16 kHz, in 240 files of one minute. The splits are those of the SaShiMi release, by file: the first 88 % in
natural order are for training, then 6 and 6 %. A minute holds seven clips of 131,072 timesteps (8.192 s); the rest of
it is dropped, as in the release. The published models hear mu-law codes of 8 bits.

Licence: not stated by the release; the music is of the video https://www.youtube.com/watch?v=EhO_MrRfftU.
Citation: DeepSound project. SampleRNN in PyTorch (2017). Splits: Karan Goel et al. It's Raw! Audio Generation with
  State-Space Models. ICML 2022.
Homepage: https://huggingface.co/datasets/krandiash/youtubemix
"""

from dataclasses import dataclass

from tasks.corpora._release_music import MusicConfig, ReleaseMusic

VERSION = 1


@dataclass(frozen=True)
class Config(MusicConfig):
    clip_seconds: float = 8.192
    """131,072 timesteps at 16 kHz."""


class YouTubeMix(ReleaseMusic):
    archive, size, files, seconds = "youtubemix", 440_000_000, 240, 60.0
    quantization = "mu-law"

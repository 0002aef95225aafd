"""Self-supervised speech models as ears: wav2vec 2.0 (Baevski et al. 2020), HuBERT (Hsu et al. 2021), WavLM (Chen et al. 2022).

Source: torchaudio's bundles, with the weights that their authors published. A clip's features are the mean over time of the
last transformer layer's output, as in FAD toolkits.

Differs from torchaudio: weights are read from a file and never downloaded, and nothing in the file is executed.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from models.features.base import Ears
from models.torchaudio_compat import torchaudio
from models.unpickling import read_checkpoint

VERSION = 1
SHORTEST = 400  # timesteps: what the convolutions at the bottom look at


class Pretrained(Ears):
    """bundle: its name in torchaudio.pipelines; weights: the file of its state_dict."""

    batch = 16

    def __init__(self, name: str, bundle: str, weights: Path, device: str = "cpu"):
        """Raises ValueError where the file holds something else."""
        about = getattr(torchaudio.pipelines, bundle)
        build = torchaudio.models.wavlm_model if about._model_type == "WavLM" else torchaudio.models.wav2vec2_model
        self.name, self.device = name, device
        self.sample_rate, self.dimensions = int(about.sample_rate), int(about._params["encoder_embed_dim"])
        self.normalize = bool(about._normalize_waveform)
        model = build(**about._params)
        try:
            model.load_state_dict(read_checkpoint(weights).tensors)
        except RuntimeError as error:
            raise ValueError(f"{weights} does not hold the weights of {name}: {error}") from error
        self.model = model.to(device).eval().requires_grad_(False)

    def listen(self, waveforms: np.ndarray) -> np.ndarray:
        """(n, timesteps) float32 -> (n, dimensions) float32."""
        if waveforms.shape[1] < SHORTEST:
            raise ValueError(
                f"{self.name} hears clips of {SHORTEST} timesteps or more at {self.sample_rate} Hz, not {waveforms.shape[1]}"
            )
        with torch.inference_mode():
            sound = torch.from_numpy(np.ascontiguousarray(waveforms)).to(self.device)
            if self.normalize:
                sound = F.layer_norm(sound, sound.shape[1:])
            layers, _ = self.model.extract_features(sound)
            heard: np.ndarray = layers[-1].mean(dim=1).float().cpu().numpy()
        return heard

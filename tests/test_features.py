"""Ears that are not the classifier's: HEAR's naive baseline against its own numbers, pretrained models, HEAR modules."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models import features
from models.features import PRETRAINED, find, names
from models.features.base import Ears, resample
from models.features.melproj import MelProj, frames
from models.torchaudio_compat import torchaudio
from tests import reference

RATE = 16000
MODULE = '''"""Toy ears."""
import torch

class Model(torch.nn.Module):
    sample_rate, scene_embedding_size, timestamp_embedding_size = 8000, 2, 2

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

def load_model(model_file_path=""):
    return Model(float(open(model_file_path).read()) if model_file_path else 1.0)

def get_scene_embeddings(audio, model):
    return torch.stack([audio.mean(dim=1), audio.square().mean(dim=1)], 1) * model.scale
'''


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3000, (5, RATE)).astype(np.int16)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


# --- melproj ---------------------------------------------------------------------------------------------------------


def test_the_full_baseline() -> None:
    arrays, ears = reference.load("hear_baseline").arrays, MelProj()
    scene = ears.scene(arrays["in_audio"])
    assert scene.shape == (4, 4096)
    np.testing.assert_allclose(scene[:, :64], arrays["out_full_scene_first64"], rtol=1e-5, atol=1e-4)
    means = np.stack([scene.mean(axis=1), scene.std(axis=1, ddof=1)], axis=1)
    np.testing.assert_allclose(means, arrays["out_full_scene_mean_std"], rtol=1e-5, atol=1e-4)
    found, centres = ears.timestamps(arrays["in_audio"])
    np.testing.assert_allclose(found[..., :16], arrays["out_full_timestamp_first16"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(centres, arrays["out_full_timestamps"][0], atol=1e-3)
    assert np.array_equal(ears.projection[:8, :8], arrays["out_full_projection_corner"])


def test_a_smaller_baseline() -> None:
    fixture = reference.load("hear_baseline")
    arrays, config = fixture.arrays, fixture.config["config"]
    ears = MelProj(config["n_mels"], config["n_fft"], config["size"])
    assert np.array_equal(ears.projection, arrays["out_projection"])
    np.testing.assert_allclose(ears.filters, arrays["out_mel_scale"], atol=1e-8)
    np.testing.assert_allclose(ears.window, arrays["out_window"], atol=1e-6)
    np.testing.assert_allclose(ears.scene(arrays["in_audio"]), arrays["out_scene"], rtol=1e-5, atol=1e-4)
    for hop, name in ((50.0, ""), (config["hop"], "_hop")):
        found, centres = ears.timestamps(arrays["in_audio"], hop)
        np.testing.assert_allclose(found, arrays[f"out_timestamp{name}"], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(centres, arrays[f"out_timestamps{name}"][0], atol=1e-3)
    cut, centres = frames(arrays["in_audio"][:2, :5000], config["frame"], config["hop"], 44100)
    assert np.array_equal(cut, arrays["out_frames"])
    np.testing.assert_allclose(centres, arrays["out_frame_timestamps"][0], atol=1e-3)


def test_the_projection_is_torchs_of_seed_0() -> None:
    drawn = torch.rand(256, 4096, generator=torch.Generator().manual_seed(0)) / 256**0.5
    assert np.array_equal(MelProj().projection, drawn.numpy())


def test_the_coordinates_keep_the_baselines_inner_products() -> None:
    waveforms = np.random.default_rng(1).normal(0, 0.1, (6, 22050)).astype(np.float32)
    ears = MelProj()
    scene, listened = ears.scene(waveforms), ears.listen(waveforms)
    assert listened.shape == (6, ears.dimensions) == (6, 256)
    np.testing.assert_allclose(listened @ listened.T, scene @ scene.T / 4096, rtol=1e-10)


def test_melproj_hears_every_clip_alone_and_again_the_same(codes: np.ndarray, tmp_path: Path) -> None:
    ears = find("melproj").load()
    whole = ears.embed(codes, RATE)
    assert (whole.dtype, whole.shape) == (np.float32, (5, 256))
    np.save(tmp_path / "codes.npy", codes)
    assert np.array_equal(find("melproj").load().embed(np.load(tmp_path / "codes.npy", mmap_mode="r"), RATE), whole)
    for i in range(5):
        np.testing.assert_allclose(ears.embed(codes[i : i + 1], RATE)[0], whole[i], rtol=1e-6)
    silent = ears.embed(np.zeros((2, RATE), np.int16), RATE)
    assert np.isfinite(silent).all()
    assert np.array_equal(silent[0], silent[1])


def test_a_sound_at_another_rate_is_nearly_the_same_sound() -> None:
    """Where it has no energy, a resampled sound may differ in the rounding of its bits only."""
    time = np.arange(2 * 44100) / 44100
    sound = (8000 * np.sin(2 * np.pi * 440 * time) * np.sin(2 * np.pi * 1.5 * time)).astype(np.float32)[None] / 32768
    ears = MelProj()
    lower = resample(resample(sound, 44100, RATE), RATE, 44100)
    distance = np.linalg.norm(ears.listen(sound) - ears.listen(lower))
    assert distance < 0.05 * np.linalg.norm(ears.listen(sound) - ears.listen(np.zeros_like(sound)))


def test_melproj_needs_no_torch() -> None:
    code = "import sys, numpy\nfrom models import features\n"
    code += "features.find('melproj').load().embed(numpy.zeros((2, 800), numpy.int16), 8000)\n"
    code += "assert 'torch' not in sys.modules and features.find('melproj').version >= 1"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


# --- what all ears share -----------------------------------------------------------------------------------------------


class Deaf(Ears):
    """Hears what it is told to."""

    name, sample_rate, dimensions, batch = "deaf", RATE, 2, 2

    def __init__(self, answer: np.ndarray):
        self.answer = answer

    def listen(self, waveforms: np.ndarray) -> np.ndarray:
        assert (waveforms.dtype, abs(waveforms).max() <= 1) == (np.float32, True)
        return self.answer[: len(waveforms)]


def test_codes_of_another_kind_and_answers_of_another_shape_are_errors(codes: np.ndarray) -> None:
    ears = Deaf(np.zeros((2, 2)))
    told: list[int] = []
    assert not ears.embed(codes, RATE, lambda done, total, text: told.append(done)).any()
    assert told == [2, 4, 5]
    with pytest.raises(ValueError, match="int16 codes"):
        ears.embed(codes.astype(np.float32), RATE)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), not \(2, 2\)"):
        Deaf(np.zeros((2, 3))).embed(codes, RATE)
    with pytest.raises(ValueError, match="not finite for 2 of 5 clips; the first is clip 1"):
        Deaf(np.array([[0, 0], [0, np.nan]])).embed(codes, RATE)


def test_names_are_found_and_wrong_ones_explained() -> None:
    assert names()[0] == "melproj"
    assert {"wav2vec2-base", "hubert-base", "wavlm-base"} <= set(names())
    assert not {"base", "hear", "pretrained"} & set(names())
    with pytest.raises(ValueError, match=r"unknown features 'melpro'\. Did you mean melproj\?.*path/to/module\.py"):
        find("melpro")
    assert find("melproj").version == 1
    assert find("wavlm-base").version == 1


# --- pretrained --------------------------------------------------------------------------------------------------------


def test_the_table_is_torchaudios() -> None:
    for name, (bundle, file) in PRETRAINED.items():
        about = getattr(torchaudio.pipelines, bundle)
        assert about._path == file, name
        assert about._model_type in ("Wav2Vec2", "WavLM")


def test_absent_weights_are_named_with_the_way_to_get_them(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = find("wavlm-base")
    assert source.weights == hub / "wavlm_base.pth" == Path(torch.hub.get_dir()) / "checkpoints" / "wavlm_base.pth"
    with pytest.raises(ValueError, match="not on this machine") as error:
        source.load()
    for text in (str(hub / "wavlm_base.pth"), "https://download.pytorch.org/torchaudio/models/wavlm_base.pth", "curl"):
        assert text in str(error.value)
    assert not hub.exists(), "nothing is downloaded, and nothing prepared for it"
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert find("hubert-base").weights == Path("/elsewhere/torch/hub/checkpoints/hubert_fairseq_base_ls960.pth")
    assert str(find("hubert-base").weights).startswith(torch.hub.get_dir())


@pytest.mark.parametrize("name", ["wav2vec2-base", "wavlm-large"])
def test_weights_that_are_there_are_heard_with(name: str, hub: Path, codes: np.ndarray, monkeypatch) -> None:
    """A model of the same kind, made small: torchaudio's own is what it must equal."""
    bundle = getattr(torchaudio.pipelines, PRETRAINED[name][0])
    small = {
        "extractor_conv_layer_config": [(8, 10, 5), (8, 3, 2), (8, 3, 2), (8, 3, 2), (8, 3, 2), (8, 2, 2), (8, 2, 2)],
        "encoder_embed_dim": 16, "encoder_pos_conv_kernel": 4, "encoder_pos_conv_groups": 2, "encoder_num_layers": 2,
        "encoder_num_heads": 2, "encoder_ff_interm_features": 16,
    }  # fmt: skip
    tiny = dataclasses.replace(bundle, _params=bundle._params | small)
    monkeypatch.setattr(torchaudio.pipelines, PRETRAINED[name][0], tiny)
    build = torchaudio.models.wavlm_model if name.startswith("wavlm") else torchaudio.models.wav2vec2_model
    torch.manual_seed(0)
    hub.mkdir(parents=True)
    torch.save(build(**tiny._params).state_dict(), hub / PRETRAINED[name][1])

    found = find(name).load().embed(codes, RATE)
    assert (found.dtype, found.shape) == (np.float32, (5, 16))
    with torch.inference_mode():
        layers, _ = tiny.get_model().extract_features(torch.from_numpy(codes[:1] / np.float32(32768)))
    np.testing.assert_allclose(found[0], layers[-1].mean(dim=1)[0].numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="400 timesteps or more"):
        find(name).load().embed(codes[:, :200], RATE)

    torch.save({"other": torch.zeros(3)}, hub / PRETRAINED[name][1])
    with pytest.raises(ValueError, match=f"does not hold the weights of {name}"):
        find(name).load()


# --- modules with the HEAR interface -----------------------------------------------------------------------------------


def test_a_hear_module_is_found_by_its_path(tmp_path: Path, codes: np.ndarray) -> None:
    module, weights = tmp_path / "toy.py", tmp_path / "scale.txt"
    module.write_text(MODULE)
    weights.write_text("3.0")
    plain, scaled = find(str(module)), find(f"{module}:{weights}")
    assert (plain.name, scaled.name) == ("hear-toy", "hear-toy-scale")
    ours = plain.load().embed(codes, RATE)
    assert ours.shape == (5, 2)
    np.testing.assert_allclose(scaled.load().embed(codes, RATE), 3 * ours, rtol=1e-6)
    lower = resample(codes / np.float32(32768), RATE, 8000)
    np.testing.assert_allclose(ours[:, 1], np.square(lower).mean(axis=1), rtol=1e-5)
    before = plain.version
    module.write_text(MODULE + "\n# other\n")
    assert str(before).startswith("1+sha256:")
    assert plain.version != before


def test_what_a_hear_module_lacks_is_named(tmp_path: Path) -> None:
    module = tmp_path / "toy.py"
    with pytest.raises(ValueError, match=r"there is no module .*toy\.py"):
        find(str(module)).load()
    module.write_text(MODULE)
    with pytest.raises(ValueError, match=r"there are no weights .*gone\.pt"):
        find(f"{module}:{tmp_path}/gone.pt").load()
    module.write_text("def load_model(path=''):\n    return object()\n")
    with pytest.raises(ValueError, match="has no get_scene_embeddings"):
        find(str(module)).load()
    module.write_text(module.read_text() + "def get_scene_embeddings(audio, model):\n    return audio\n")
    with pytest.raises(ValueError, match="must have sample_rate, a whole number"):
        find(str(module)).load()


def test_every_file_in_the_folder_keeps_to_the_contract(codes: np.ndarray) -> None:
    for name in names():
        if name in PRETRAINED:
            continue
        source = find(name)
        assert source.version >= 1, name  # type: ignore[operator]
        ears = source.load()
        heard = ears.embed(codes, RATE)
        assert (heard.dtype, heard.shape) == (np.float32, (5, ears.dimensions))
        assert ears.name == name
    assert (Path(features.__file__).parent / "melproj.py").is_file()

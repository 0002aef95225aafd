"""A corpus's background noise becomes clips, and reaches the classifier's augmentation."""

from pathlib import Path

import numpy as np
import soundfile

from tasks.background import prepare_background
from tasks.corpora.base import CorpusConfig
from tasks.corpora.sc09 import SC09, Config


def test_noise_is_cut_end_to_end(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(-9000, 9000, 3500).astype(np.int16)
    soundfile.write(tmp_path / "noise.wav", codes, 1000, subtype="PCM_16")
    count = prepare_background([tmp_path / "noise.wav"], CorpusConfig(sample_rate=1000), tmp_path / "background.npy")
    assert count == 3
    assert np.array_equal(np.load(tmp_path / "background.npy").ravel(), codes[:3000])


def test_noise_takes_the_corpus_resampler(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).uniform(-0.3, 0.3, 8000), 4000)
    found = []
    for resampler in ("soxr", "resampy"):
        config = CorpusConfig(sample_rate=1000, resampler=resampler)
        assert prepare_background([tmp_path / "noise.wav"], config, tmp_path / f"{resampler}.npy") == 2
        found.append(np.load(tmp_path / f"{resampler}.npy"))
    assert not np.array_equal(*found)


def test_sc09_names_its_noise_in_order(tmp_path: Path) -> None:
    noise = tmp_path / "recordings" / "_background_noise_"
    noise.mkdir(parents=True)
    for name in ("b.wav", "a.wav", "README.md"):
        (noise / name).touch()
    assert [path.name for path in SC09().background(Config(), tmp_path)] == ["a.wav", "b.wav"]


def test_the_classifier_hears_it(tmp_path: Path) -> None:
    from tasks.training import train_classifier

    rng = np.random.default_rng(0)
    clips = rng.integers(-9000, 9000, (24, 16000)).astype(np.int16)
    np.save(tmp_path / "clips.npy", clips)
    np.save(tmp_path / "background.npy", clips[:5])
    rows = [f"{i},x,0,{'ab'[i % 2]},,{('train', 'validation', 'test')[i // 8]},0,16000" for i in range(24)]
    (tmp_path / "clips.csv").write_text("index,source,window,label,speaker,split,offset,valid\n" + "\n".join(rows))
    (tmp_path / "labels.json").write_text('["a", "b"]')
    (tmp_path / "metrics.json").write_text('{"sample_rate": 16000, "timesteps": 16000}')
    weights = []
    for number, name in enumerate(("with", "without")):
        if number:
            (tmp_path / "background.npy").unlink()
        settings = {"depth": 11, "cardinality": 1, "base_width": 4, "width": 4, "widen_factor": 1, "steps": 2}
        settings |= {"batch_size": 8, "augment_probability": 1.0, "validate_every": 2}
        train_classifier("resnext", settings, 0, tmp_path, tmp_path / name, lambda *_: None)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] != weights[1]

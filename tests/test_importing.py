"""Samples from elsewhere: every form that people have them in, and everything that is wrong with some."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.importing import count_files, fingerprint, read_samples

RATE, T = 8000, 800
RNG = np.random.default_rng(0)
WAVES = RNG.uniform(-0.5, 0.5, (3, T))
CODES = np.rint(WAVES * 32768).astype(np.int16)


def write(folder: Path, **files: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, wave in files.items():
        soundfile.write(folder / f"{name}.wav", wave, RATE, subtype="PCM_16" if wave.dtype == np.int16 else "FLOAT")
    return folder


def test_pcm_wavs_come_in_bit_for_bit_in_natural_order(tmp_path: Path) -> None:
    write(tmp_path / "a", sample10=CODES[2], sample9=CODES[1], sample1=CODES[0])
    (tmp_path / "a" / "readme.txt").write_text("not a sample")
    imported = read_samples(tmp_path / "a", RATE, T, None)
    assert imported.names == ["sample1.wav", "sample9.wav", "sample10.wav"]
    assert imported.codes.dtype == np.int16
    assert np.array_equal(imported.codes, CODES)
    assert imported.valid.tolist() == [T, T, T]
    assert imported.metrics["resampled"] == imported.metrics["clipped_samples"] == imported.metrics["padded"] == 0


def test_float_wavs_are_rounded_and_never_scaled(tmp_path: Path) -> None:
    quiet = (WAVES[0] / 1000).astype(np.float32)
    imported = read_samples(write(tmp_path / "a", quiet=quiet), RATE, T, None)
    assert np.array_equal(imported.codes[0], np.rint(quiet.astype(np.float64) * 32768))


def test_short_is_padded_and_long_is_cut(tmp_path: Path) -> None:
    long = np.concatenate([CODES[1], CODES[2]])
    imported = read_samples(write(tmp_path / "a", a=CODES[0][:300], b=long), RATE, T, None)
    assert imported.valid.tolist() == [300, T]
    assert np.array_equal(imported.codes[0, :300], CODES[0, :300])
    assert not imported.codes[0, 300:].any()
    assert np.array_equal(imported.codes[1], CODES[1])
    assert (imported.metrics["padded"], imported.metrics["cut"]) == (1, 1)


def test_another_rate_is_resampled(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * T) / (2 * RATE)) * 0.5
    soundfile.write(tmp_path / "tone.wav", tone, 2 * RATE, subtype="FLOAT")
    imported = read_samples(tmp_path, RATE, T, None)
    expected = np.sin(2 * np.pi * 440 * np.arange(T) / RATE) * 0.5
    assert imported.valid.tolist() == [T]
    assert np.abs(imported.codes[0] / 32768 - expected)[50:-50].max() < 1e-3
    assert imported.metrics["resampled"] == 1


def test_the_resampler_is_the_one_asked_for(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", np.tile(WAVES[0], 2), 2 * RATE, subtype="FLOAT")
    codes = [read_samples(tmp_path, RATE, T, None, resampler).codes for resampler in ("soxr", "resampy")]
    assert not np.array_equal(*codes)
    assert np.array_equal(codes[0], read_samples(tmp_path, RATE, T, None).codes)


def test_what_is_too_loud_is_clipped_and_counted(tmp_path: Path) -> None:
    loud = np.full(T, 0.25, np.float32)
    loud[[3, 5, 7]] = 1.5, -2.0, 1.0  # 1.0 itself is inside
    imported = read_samples(write(tmp_path / "a", loud=loud, fine=CODES[0]), RATE, T, None)
    assert imported.codes[1, [3, 5, 7, 9]].tolist() == [32767, -32768, 32767, 8192]
    assert (imported.metrics["clipped_samples"], imported.metrics["clipped_timesteps"]) == (1, 2)


@pytest.mark.parametrize("shape", [(3, T), (3, T, 1), (3, 1, T)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_arrays_of_every_form_are_the_same_samples(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    array = CODES if dtype is np.int16 else (CODES / 32768).astype(dtype)
    np.save(tmp_path / "samples.npy", array.reshape(shape))
    imported = read_samples(tmp_path / "samples.npy", RATE, T, RATE)
    assert np.array_equal(imported.codes, CODES)
    assert imported.names == ["row 0", "row 1", "row 2"]


def test_an_array_at_another_rate_and_length(tmp_path: Path) -> None:
    np.save(tmp_path / "samples.npy", np.zeros((2, 16384), np.float32))
    imported = read_samples(tmp_path / "samples.npy", RATE, 16000, 16000)
    assert imported.valid.tolist() == [8192, 8192]


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "a",
        good=CODES[0],
        stereo=np.stack([CODES[0], CODES[1]], axis=1),
        nan=np.array([0.1, np.nan, np.inf], np.float32),
        empty=np.zeros(0, np.int16),
    )
    (folder / "text.wav").write_text("this is no audio")
    with pytest.raises(ValueError, match=r"4 of 5 samples") as caught:
        read_samples(folder, RATE, T, None)
    for reason in (
        r"stereo.wav (2 channels, where mono is expected)",
        "nan.wav (2 values are NaN or infinite)",
        "empty.wav (empty",
        "text.wav (unreadable",
    ):
        assert reason in str(caught.value)


def test_many_refusals_stay_readable(tmp_path: Path) -> None:
    array = np.full((100, T), np.nan, np.float32)
    array[0] = 0
    np.save(tmp_path / "samples.npy", array)
    with pytest.raises(ValueError, match=r"99 of 100 samples.*row 1 .*; \.\.\.") as caught:
        read_samples(tmp_path / "samples.npy", RATE, T, RATE)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(T), "shape"),
        (np.zeros((3, T, 2)), "shape"),
        (np.zeros((0, T)), "shape"),
        (np.zeros((3, T), np.int32), "int32"),
        (np.zeros((3, T), complex), "complex"),
        (np.array([None, "pickled"]), r"samples\.npy is no \.npy array$"),
    ],
)
def test_arrays_that_are_no_samples(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "samples.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=reason):
        read_samples(tmp_path / "samples.npy", RATE, T, RATE)


def test_rates_belong_to_arrays_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "samples.npy", WAVES)
    for absent in (None, 0):
        with pytest.raises(ValueError, match="--samples-rate 16000"):
            read_samples(tmp_path / "samples.npy", RATE, T, absent)
    with pytest.raises(ValueError, match="leave it out"):
        read_samples(write(tmp_path / "a", a=CODES[0]), RATE, T, RATE)


def test_places_without_samples(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_samples(tmp_path / "nowhere", RATE, T, None)
    with pytest.raises(ValueError, match="it is empty"):
        read_samples(tmp_path, RATE, T, None)
    (tmp_path / "sub").mkdir()
    with pytest.raises(ValueError, match=r"it holds sub"):
        read_samples(tmp_path, RATE, T, None)
    (tmp_path / "file.txt").touch()
    with pytest.raises(ValueError, match="neither a folder"):
        read_samples(tmp_path / "file.txt", RATE, T, None)


def test_the_fingerprint_knows_names_and_content(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", a=CODES[0], b=CODES[1]), write(tmp_path / "two", a=CODES[0], b=CODES[1])
    assert fingerprint(one) == fingerprint(two)
    (two / "b.wav").rename(two / "c.wav")
    assert fingerprint(one) != fingerprint(two)
    np.save(tmp_path / "x.npy", CODES)
    np.save(tmp_path / "y.npy", CODES)
    assert fingerprint(tmp_path / "x.npy") == fingerprint(tmp_path / "y.npy")
    np.save(tmp_path / "y.npy", CODES[::-1])
    assert fingerprint(tmp_path / "x.npy") != fingerprint(tmp_path / "y.npy")


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["a/1.wav", "b/2.wav"], "audio files in 2 folders (a, b): unpack it, and give one of them"),
        (["a/readme.txt", "__MACOSX/a/1.wav"], "there is no wav, flac or ogg file"),
        (None, "is no zip archive"),
    ],
)
def test_a_zip_is_looked_into_before_anything_runs(tmp_path: Path, names: list[str] | None, complaint: str) -> None:
    archive = tmp_path / "samples.zip"
    archive.write_text("not a zip")
    if names is not None:
        with zipfile.ZipFile(archive, "w") as opened:
            for name in names:
                opened.writestr(name, b"")
    with pytest.raises(ValueError) as refused:
        count_files(archive)
    assert complaint in str(refused.value)
    with zipfile.ZipFile(archive, "w") as opened:
        for name in ("a/1.wav", "a/2.flac", "__MACOSX/a/1.wav"):
            opened.writestr(name, b"")
    assert count_files(archive) == 2

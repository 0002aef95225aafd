"""Samples longer than clips: drawn in pieces, the same however they are cut, on disk as they come, compared by their end."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from models import autoregressive
from models.clips import Clips
from models.randomness import SampleRandom
from models.stepping import Drawing, Recording
from tasks import drawing, folders, listening, measuring, playing, streaming
from tasks.continuing import Prefix
from tasks.errors import EarshotError
from tasks.evaluation import CompareGenerators
from tasks.generator import DrawSamples, DrawShard
from tasks.rows import _long
from tests import toy_runs
from tests.test_conditional import GIVEN, RATE, TIMESTEPS, TINY, clips, elsewhere, save, table
from tests.test_stepping import NETS, net_of

__all__ = ["clips", "elsewhere"]  # fixtures

LONG = 1000  # timesteps, two and a half clips
SECONDS = LONG / RATE
CORPUS = {"corpus": "sc09", "preset": "smoke"}


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so short that every draw here has several."""
    monkeypatch.setattr(autoregressive, "PIECE", 64)
    monkeypatch.setattr(streaming, "STRETCH", 300)


# --- models -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_long_samples_begin_as_short_ones_and_do_not_depend_on_pieces(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = net_of(name)
    seconds = 200 / net.sample_rate
    short, whole = net.sample(2), net.sample(2, seconds=seconds)
    assert whole.waveforms.shape == (2, 200)
    assert torch.equal(whole.waveforms[:, : net.timesteps], short.waveforms)
    assert whole.evaluations == 200
    monkeypatch.setattr(autoregressive, "PIECE", 64)
    found = list(net.stream(2, seconds=seconds))
    assert len(found) == 4
    assert torch.equal(torch.cat([piece.waveforms for piece in found], dim=1), whole.waveforms)
    assert whole.log_likelihood is not None
    nats = sum(piece.log_likelihood for piece in found if piece.log_likelihood is not None)
    torch.testing.assert_close(nats, whole.log_likelihood)
    if name == "wavenet":  # whose likelihood is not bound to a length
        codes = net.quantizer.encode(whole.waveforms)
        logits = net.logits(codes).log_softmax(2).gather(2, codes[..., None])[..., 0]
        torch.testing.assert_close(logits.double().sum(1), whole.log_likelihood, rtol=1e-4, atol=1e-3)


def test_a_prefix_may_be_longer_than_a_piece(pieces: None) -> None:
    net = net_of("wavenet")
    given = Clips.of(0.5 * torch.sin(torch.arange(75) / 3)[None].repeat(2, 1))
    parts = list(net.stream_continued(given, 70, SampleRandom(1), seconds=200 / net.sample_rate))
    assert len(parts) == 4
    whole = torch.cat([part.waveforms for part in parts], dim=1)
    assert torch.equal(whole[:, :70], net.quantizer.decode(net.quantizer.encode_clips(given))[:, :70])
    assert parts[0].log_likelihood is not None
    assert torch.equal(parts[0].log_likelihood, torch.zeros(2, dtype=torch.float64))
    assert torch.equal(whole[:, :75], net.continue_clips(given, 70, SampleRandom(1)).waveforms)


def test_a_recording_goes_on_where_it_was() -> None:
    """What a GPU replays, with nothing recorded: two pieces are one draw."""
    net = net_of("samplernn")
    engine = Drawing(net, 2)
    uniforms = torch.rand(2, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected, _ = engine(uniforms)
    piece = engine.whole_pieces(64)
    assert piece % engine.steps.period == 0
    rows = uniforms.t().contiguous()
    tick = engine._tick(1.0, 1.0, [rows])
    engine.steps.reset()
    recording = Recording(tick, engine.steps, engine.start(), [rows], lambda f, _: f)
    found = [recording.run([rows[first : first + piece]], first)[0] for first in range(0, 200, piece)]
    assert torch.equal(torch.cat(found).t(), expected)


def test_a_length_that_is_none_is_refused() -> None:
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="is no length"):
            net_of("wavenet").sample(1, seconds=seconds)


# --- files ------------------------------------------------------------------------------------------------------------------


def test_rows_are_written_and_read_by_stretches(tmp_path: Path, pieces: None) -> None:
    codes = np.random.default_rng(0).integers(-32768, 32768, (3, LONG)).astype(np.int16)
    (tmp_path / "a.npy").write_text("left by a killed attempt")
    rows = streaming.Rows.new(tmp_path / "a.npy", 3, LONG)
    rows.write(0, 0, codes[:, :700])
    rows.write(1, 700, codes[1:, 700:])
    rows.write(0, 700, codes[:1, 700:])
    np.save(tmp_path / "b.npy", codes)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    stretches = list(streaming.Rows(tmp_path / "b.npy").read(1))
    assert [len(stretch) for stretch in stretches] == [300, 300, 300, 100]
    assert np.array_equal(np.concatenate(stretches), codes[1])
    np.save(tmp_path / "c.npy", codes.astype(np.float32))
    with pytest.raises(ValueError, match="not int16"):
        streaming.Rows(tmp_path / "c.npy")


def draw_long(
    out: Path,
    train: Path,
    spans: list[tuple[int, int]],
    batch: int = 0,
    given: tuple[Path, Prefix] | None = None,
) -> Path:
    shards = []
    with toy_runs.settings(sampling_batch=batch, device="cpu"):
        for start, stop in spans:
            shard = out.with_name(f"{out.name}-{start}")
            shard.mkdir(parents=True, exist_ok=True)
            told = drawing.draw(train, 3, start, stop, {"seconds": SECONDS}, given, shard, lambda *_: None, LONG)
            folders.write_json(shard / folders.METRICS, told)
            shards.append(shard)
    out.mkdir()
    prefix = given[1] if given else None
    told = drawing.merge(None, shards, spans[-1][1], prefix, out, lambda *_: None, TIMESTEPS)
    folders.write_json(out / folders.METRICS, told)
    return out


@pytest.fixture
def train(tmp_path: Path) -> Path:
    (tmp_path / "1-train").mkdir()
    return save(tmp_path / "1-train", "wavenet", TINY)


def test_a_long_draw_does_not_depend_on_shards_batches_or_a_killed_attempt(
    tmp_path: Path, train: Path, pieces: None
) -> None:
    whole = draw_long(tmp_path / "whole", train, [(0, 5)])
    (tmp_path / "parts-0").mkdir()
    np.save(tmp_path / "parts-0" / drawing.SAMPLES, np.ones((7, 3), np.int16))  # what was there when it was killed
    parts = draw_long(tmp_path / "parts", train, [(0, 3), (3, 5)], batch=2)
    codes = np.load(whole / drawing.SAMPLES)
    assert codes.shape == (5, LONG)
    assert np.array_equal(codes, np.load(parts / drawing.SAMPLES))
    told = folders.read_json(whole / folders.METRICS)
    assert (told["timesteps"], told["window"], told["evaluations"]) == (LONG, TIMESTEPS, LONG)
    assert told["peak"] == np.abs(codes.astype(int)).max() / 32768
    assert told["root_mean_square"] == pytest.approx(np.sqrt(np.mean((codes / 32768) ** 2)), rel=1e-9)
    lines = table(whole)
    assert {float(line["seconds"]) for line in lines} == {SECONDS}
    for row, line in enumerate(lines):
        heard, rate = soundfile.read(whole / line["name"], dtype="int16")
        assert rate == RATE
        assert np.array_equal(heard, codes[row])
    nats = [float(line["log_likelihood_nats"]) for line in lines]
    assert nats == sorted(nats)


def test_long_samples_continue_clips(tmp_path: Path, train: Path, clips: Path, pieces: None) -> None:
    out = draw_long(tmp_path / "whole", train, [(0, 4)], batch=3, given=(clips, Prefix(GIVEN)))
    codes = np.load(out / drawing.SAMPLES)
    real = np.load(clips / "clips.npy")
    for row, line in enumerate(table(out)):
        assert np.array_equal(codes[row, :GIVEN], real[int(line["clip"]), :GIVEN])


GROWTH = """
import resource, sys
from pathlib import Path
from models import autoregressive
from tasks import drawing
autoregressive.PIECE = 2048
train, out, timesteps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
out.mkdir()
nothing = lambda *_: None
drawing.draw(train, 0, 0, 32, {"seconds": timesteps / 16000}, None, out, nothing, timesteps)
(out / "metrics.json").write_text("{}")
(out / "merged").mkdir()
drawing.merge(None, [out], 32, None, out / "merged", nothing, 400)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path: Path, train: Path) -> None:
    """Eight times as long; uniforms, codes and waveforms of all of it at once would be some sixty megabytes more."""
    peaks = []
    for timesteps in (8_000, 64_000):
        words = [sys.executable, "-c", GROWTH, str(train), str(tmp_path / str(timesteps)), str(timesteps)]
        answer = subprocess.run(
            words, cwd=toy_runs.REPOSITORY, env=toy_runs.ENVIRONMENT, capture_output=True, text=True
        )
        assert answer.returncode == 0, answer.stderr
        peaks.append(int(answer.stdout) / 1024)
    assert peaks[1] < peaks[0] + 20, f"peak memory in MiB: {peaks}"


# --- tasks ------------------------------------------------------------------------------------------------------------------


def test_the_length_is_a_setting_of_the_draw_and_shows_in_its_path() -> None:
    plain = DrawSamples(**CORPUS, model="wavenet", count=4)
    long = DrawSamples(**CORPUS, model="wavenet", count=4, settings="sampling.seconds=2")
    assert "seconds" not in plain.resolved()  # it is what it was before there was such a setting
    assert (plain.long(), long.long()) == (0, 32000)
    assert long.resolved()["seconds"] == 2.0
    assert long.place().parent.name == "draw-4+seconds=2.0"
    assert (
        DrawShard(**CORPUS, model="wavenet", start=0, stop=4, settings="sampling.seconds=2").expected_bytes() == 256000
    )


@pytest.mark.parametrize(
    ("seconds", "told"), [("0.5", "clips of this corpus have 1 s"), ("1", "e.g. 2"), ("-3", "is no length")]
)
def test_a_draw_is_at_least_as_long_as_what_it_is_compared_with(seconds: str, told: str) -> None:
    with pytest.raises(EarshotError, match=told):
        DrawSamples(**CORPUS, model="wavenet", count=4, settings=f"sampling.seconds={seconds}").place()


def test_models_of_one_length_are_refused_with_those_of_any() -> None:
    one = "makes all timesteps of a clip at once.*samplernn, sashimi, wavenet"
    with pytest.raises(EarshotError, match=f"sampling.seconds=2: wavegan {one}"):
        DrawSamples(**CORPUS, model="wavegan", count=4, settings="sampling.seconds=2").place()
    with pytest.raises(EarshotError, match=one):
        CompareGenerators(**CORPUS, models=("noise", "wavegan"), settings="sampling.seconds=2").inputs()
    beside = CompareGenerators(**CORPUS, models=("wavenet", "noise"), settings="sampling.seconds=2", count=4)
    draws = {path.parts[3] for path in (Path(name) for name in beside.inputs()) if "draw-" in str(path)}
    assert {"draw-4", "draw-4+seconds=2.0"} <= draws


# --- what is measured -------------------------------------------------------------------------------------------------------


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Three samples of two and a half clips, and what some ears heard in them."""
    folder, rng = tmp_path / "2-samples", np.random.default_rng(0)
    folder.mkdir()
    np.save(folder / drawing.SAMPLES, rng.integers(-9000, 9000, (3, LONG)).astype(np.int16))
    drawing._write(folder, LONG, np.arange(3), None, RATE)
    folders.write_json(folder / folders.METRICS, {"sample_rate": RATE, "timesteps": LONG, "window": TIMESTEPS})
    (folder / "heard").mkdir()
    np.savez(folder / "heard" / "samples.npz", features=rng.normal(size=(3, 5)))
    return folder


def test_the_end_is_compared_and_noise_is_looked_for_everywhere(samples: Path) -> None:
    codes = np.load(samples / drawing.SAMPLES)
    end, whole = drawing.measured(samples)
    assert np.array_equal(end, codes[:, -TIMESTEPS:])
    assert whole is not None
    assert np.array_equal(whole, codes)
    arrays = measuring.heard_samples(samples, samples / "heard", waveforms=True)
    assert np.array_equal(arrays["waveforms"], end)
    assert np.array_equal(arrays["whole"], codes)
    assert listening.read(samples / "heard", "samples").keys() == {"features"}


def test_the_row_says_so_and_the_page_plays_the_whole(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = folders.read_json(samples / folders.METRICS)
    assert _long(told)["note"].startswith("Samples of 0.0625 s: their last 0.025 s are compared")
    assert _long({name: value for name, value in told.items() if name != "window"}) == {}

    class Corpus:
        rate, labels = RATE, ()

    places = {"samples": samples, "features": samples / "heard"}
    monkeypatch.setattr(playing, "is_control", lambda evaluation: False)
    monkeypatch.setattr(playing, "made_from", lambda evaluation, name: places[name])
    shown = playing.Samples("theirs", samples, Corpus())  # type: ignore[arg-type]
    assert len(shown.clip(0)["codes"]) == LONG
    assert len(shown.clip(0, brief=True)["codes"]) == TIMESTEPS

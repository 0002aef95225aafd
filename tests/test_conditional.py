"""Samples that are given something: which clips are continued, that their beginnings stay, and that every table says so.

One run at `smoke` through a front door is shared by the tests at the end of this file.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import models
from models import generators
from models.checkpoints import save_weights
from models.clips import Clips
from models.generators.wavenet import Config, WaveNet
from models.randomness import SampleRandom
from pipeline import command, plan
from pipeline.options import parse
from tasks import drawing, folders
from tasks.continuing import Prefix, condition, order
from tasks.errors import EarshotError
from tasks.evaluation import EvaluateSamples, default_count
from tasks.generator import DrawSamples, DrawShard
from tasks.rows import rows
from tests import toy_runs
from tests.test_rows import CORPUS as FAKE_CORPUS
from tests.test_rows import DRAW, EVALUATION
from tests.test_rows import workdir as fake_workdir

__all__ = ["fake_workdir"]  # a fixture

TIMESTEPS, RATE, GIVEN = 400, 16000, 120
TINY: dict[str, Any] = {"blocks": 1, "layers": 4, "residual_channels": 8, "skip_channels": 16, "end_channels": 12}
SPLITS = {"train": 6, "validation": 5, "test": 9}
SHORT = 14  # the index of a test clip that ends before the prefix does


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path) -> Iterator[None]:
    """Tasks of these tests have folders of their own."""
    with toy_runs.settings(workdir=tmp_path / "workdir"):
        yield


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder as PrepareClips leaves it: 20 clips of quiet, uneven noise, one of the test clips too short to continue."""
    folder = tmp_path / "2-clips"
    folder.mkdir()
    rng = np.random.default_rng(0)
    codes = (500 + rng.normal(0, 1500, (20, TIMESTEPS))).clip(-9000, 9000).astype(np.int16)
    names = [split for split, count in SPLITS.items() for _ in range(count)]
    valid = [GIVEN - 1 if index == SHORT else TIMESTEPS - index for index in range(20)]
    for index, end in enumerate(valid):
        codes[index, end:] = 0
    np.save(folder / "clips.npy", codes)
    lines = [f"{i},take_{i}.wav,ab"[: -1 if i % 2 else None] + f",{names[i]},{valid[i]}" for i in range(20)]
    (folder / "clips.csv").write_text("\n".join(["index,source,label,split,valid", *lines]) + "\n")
    folders.write_json(folder / "labels.json", ["a", "ab"])
    folders.write_json(folder / folders.MANIFEST, {"digest": str(tmp_path)})
    return folder


def save(folder: Path, spec: str, settings: dict[str, Any]) -> Path:
    """An untrained generator, as a training leaves it."""
    plugin = generators.find(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = plugin.cls(plugin.config(settings), RATE, TIMESTEPS)
    models.save_description(folder, model, plugin)
    save_weights(folder / models.WEIGHTS, model.state_dict())
    return folder


def draw(
    out: Path, train: Path, spans: list[tuple[int, int]], given: tuple[Path, Prefix] | None = None, batch: int = 0
) -> Path:
    """A draw of `spans[-1][1]` samples in these shards."""
    shards = []
    with toy_runs.settings(sampling_batch=batch, device="cpu"):
        for start, stop in spans:
            shard = out.with_name(f"{out.name}-{start}")
            shard.mkdir(parents=True)
            metrics = drawing.draw(train, 3, start, stop, {}, given, shard, lambda *_: None)
            folders.write_json(shard / folders.METRICS, metrics)
            shards.append(shard)
        return merged(out, None, shards, spans[-1][1], given[1] if given else None)


def merged(out: Path, earlier: Path | None, shards: list[Path], count: int, prefix: Prefix | None = None) -> Path:
    out.mkdir()
    folders.write_json(out / folders.METRICS, drawing.merge(earlier, shards, count, prefix, out, lambda *_: None))
    return out


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / drawing.TABLE, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def alike(some: list[dict[str, str]], others: list[dict[str, str]]) -> bool:
    """Whether two tables say the same, but for what products of other sizes round differently."""
    key = "log_likelihood_nats"
    same = [{**line, key: ""} for line in some] == [{**line, key: ""} for line in others]
    nats, other_nats = ([float(line[key]) for line in lines] for lines in (some, others))
    return same and np.allclose(nats, other_nats, rtol=1e-6)


def test_every_sample_continues_another_clip_in_an_order_of_the_seeds(clips: Path) -> None:
    eight = order(clips, Prefix(GIVEN), 0, 8)
    numbers = [clip.number for clip in eight]
    assert len(set(numbers)) == 8
    assert set(numbers) == set(range(11, 20)) - {SHORT}
    assert order(clips, Prefix(GIVEN), 0, 3) == eight[:3]
    assert order(clips, Prefix(GIVEN, repeats=2), 0, 5) == eight[:3]
    assert order(clips, Prefix(GIVEN), 1, 8) != eight
    assert [clip.row for clip in eight] == [number - 11 for number in numbers]
    assert eight[0].source == f"take_{numbers[0]}.wav"
    assert {clip.number for clip in order(clips, Prefix(GIVEN, split="validation"), 0, 5)} == set(range(6, 11))
    shorter = order(clips, Prefix(GIVEN - 1), 0, 9)
    assert [clip for clip in shorter if clip.number != SHORT] == eight, (
        "the short one joins, the others keep their order"
    )


def test_too_few_clips_are_told_with_both_numbers(clips: Path) -> None:
    with pytest.raises(
        ValueError, match=r"19 samples with --repeats 2 continue 10 different clips, but .* has 8"
    ) as told:
        order(clips, Prefix(GIVEN, repeats=2), 0, 19)
    assert "--count 16 or fewer, --repeats 3 or more" in str(told.value)
    assert len(order(clips, Prefix(GIVEN, repeats=3), 0, 19)) == 7
    with pytest.raises(ValueError, match="the split test has 0 whose audio"):
        order(clips, Prefix(TIMESTEPS), 0, 1)


def test_a_prefix_stays_bit_for_bit_whatever_the_shards_and_the_batch(clips: Path, tmp_path: Path) -> None:
    train, given = save(tmp_path / "train", "wavenet", TINY), (clips, Prefix(GIVEN, repeats=2))
    whole = draw(tmp_path / "whole", train, [(0, 6)], given)
    again = draw(tmp_path / "again", train, [(0, 1), (1, 4), (4, 6)], given, batch=2)
    assert alike(table(whole), table(again))
    codes, lines, real = np.load(whole / "samples.npy"), table(whole), np.load(clips / "clips.npy")
    assert np.array_equal(codes, np.load(again / "samples.npy"))
    chosen = order(clips, Prefix(GIVEN, repeats=2), 3, 6)
    for row, line in enumerate(lines):
        number, index = int(line["clip"]), int(line["draw_index"])
        assert number == chosen[index // 2].number
        assert (line["repeat"], line["prefix_timesteps"]) == (str(index % 2), str(GIVEN))
        assert line["source"] == f"take_{number}.wav"
        assert np.array_equal(codes[row, :GIVEN], real[number, :GIVEN])
        assert line["name"] == f"wavs/continued_{row:05d}_clip_{number:06d}_repeat_{index % 2}.wav"
        assert np.array_equal(soundfile.read(whole / line["name"], dtype="int16")[0], codes[row])
    assert len(np.unique(codes[:, GIVEN:], axis=0)) == 6, "repeats have noise of their own"
    metrics = folders.read_json(whole / folders.METRICS)
    assert {name: metrics[name] for name in ("conditional", "prefix_timesteps", "repeats", "split", "clips")} == {
        "conditional": "prefix", "prefix_timesteps": GIVEN, "repeats": 2, "split": "test", "clips": 3,
    }  # fmt: skip
    assert metrics["evaluations"] == TIMESTEPS
    assert condition(metrics) == "0.0075 s prefix, 2 repeats"


def test_the_stored_likelihood_is_of_what_was_drawn(clips: Path, tmp_path: Path) -> None:
    train, given = save(tmp_path / "train", "wavenet", TINY), (clips, Prefix(GIVEN))
    folder, model = draw(tmp_path / "draw", train, [(0, 3)], given), models.load(train)
    for row, line in enumerate(table(folder)):
        waveform = torch.from_numpy(np.load(folder / "samples.npy")[row : row + 1]).float() / 32768
        all_of_it, prefix = (float(model.log_likelihood(Clips.of(part))) for part in (waveform, waveform[:, :GIVEN]))
        assert float(line["log_likelihood_nats"]) == pytest.approx(all_of_it - prefix, abs=1e-2)


def test_a_model_of_scaled_clips_goes_on_at_the_clips_level(clips: Path) -> None:
    torch.manual_seed(0)
    net = WaveNet(Config(**TINY, scale_per_clip=True), RATE, TIMESTEPS).freeze()
    real = torch.from_numpy(np.load(clips / "clips.npy")[[0, 3]]).float() / 32768
    some = Clips(real, torch.tensor([TIMESTEPS, TIMESTEPS - 3]))
    samples = net.continue_clips(some, GIVEN, SampleRandom(0))
    low, high = real.amin(1, keepdim=True), real.amax(1, keepdim=True)
    off = (samples.waveforms - real)[:, :GIVEN].abs() / (high - low)
    assert off.max() < 0.025, "as far as a step of mu-law at full scale"
    assert (samples.waveforms >= low).all()
    assert (samples.waveforms <= high + 1e-5).all()
    codes = net.quantizer.encode_clips(some)
    unscaled = net.sample(2, SampleRandom(0), prefix=codes[:, :GIVEN]).waveforms
    assert torch.allclose(samples.waveforms, low + (unscaled + 1) / 2 * (high - low), atol=1e-5)


@pytest.mark.parametrize("name", generators.names())
def test_what_a_generator_says_it_can_continue_is_true(name: str) -> None:
    plugin = generators.find(name)
    torch.manual_seed(0)
    model = plugin.cls(plugin.presets["smoke"], RATE, 97).freeze()
    waveforms = torch.rand(2, 97) - 0.5
    if not model.continues:
        with pytest.raises(ValueError, match="prefix"):
            model.sample(2, SampleRandom(0), prefix=waveforms[:, :30])
        return
    continued = model.continue_clips(Clips.of(waveforms), 30, SampleRandom(0))
    assert (continued.waveforms - waveforms)[:, :30].abs().max() < 0.03
    assert continued.log_likelihood is not None
    other = model.continue_clips(Clips.of(-waveforms), 30, SampleRandom(0))
    assert not torch.equal(continued.waveforms[:, 30:], other.waveforms[:, 30:])


LABELLED = '''
"""Tones that are told which class to be."""
from dataclasses import dataclass
import torch
from models.generators.base import Generator, Samples
from models.training_config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Nothing more."""


class Told(Generator):
    """Two classes in turn."""
    class_conditional = True

    @dataclass(frozen=True)
    class Sampling(Generator.Sampling):
        steps: int = 4
        sampler: str = "euler"

        def __post_init__(self):
            if self.sampler not in ("euler", "heun"):
                raise ValueError(f"unknown sampler {self.sampler!r}. Available: euler, heun")

    def __init__(self, config, sample_rate, timesteps):
        super().__init__(config, sample_rate, timesteps)
        self.gain = torch.nn.Parameter(torch.ones(()))

    def sample(self, count, rng=None, prefix=None, **sampling):
        steps = self.settings(sampling).steps
        labels = torch.tensor([(rng.first + i) % 2 for i in range(count)])
        waves = torch.rand(count, self.timesteps, generator=torch.Generator().manual_seed(rng.first)) - 0.5
        return Samples(waves * self.gain, evaluations=steps, labels=labels)
'''


@pytest.fixture
def told(tmp_path: Path) -> str:
    """A class-conditional generator in a file of its own."""
    (tmp_path / "told.py").write_text(LABELLED)
    return f"{tmp_path / 'told.py'}:Told"


def test_classes_that_were_asked_for_are_recorded(told: str, tmp_path: Path) -> None:
    folder = draw(tmp_path / "draw", save(tmp_path / "train", told, {}), [(0, 3), (3, 5)])
    assert [line["label"] for line in table(folder)] == ["0", "1", "0", "1", "0"]
    assert "clip" not in table(folder)[0]
    metrics = folders.read_json(folder / folders.METRICS)
    assert (metrics["evaluations"], metrics["class_conditional"], metrics["conditional"]) == (4, True, "class")
    assert condition(metrics) == "class"
    fewer = merged(tmp_path / "fewer", folder, [], 4)
    assert [line["label"] for line in table(fewer)] == ["0", "1", "0", "1"]
    assert folders.read_json(fewer / folders.METRICS)["evaluations"] == 4


def test_a_draw_from_before_all_this_can_be_taken_from(tmp_path: Path) -> None:
    train = save(tmp_path / "train", "noise", {})
    old = draw(tmp_path / "old", train, [(0, 4)])
    about = folders.read_json(old / folders.METRICS)
    new = ("evaluations", "class_conditional", "conditional")
    folders.write_json(old / folders.METRICS, {name: about[name] for name in about if name not in new})
    assert folders.read_json(merged(tmp_path / "a", old, [], 3) / folders.METRICS)["evaluations"] is None
    shard = tmp_path / "more"
    shard.mkdir()
    made = drawing.draw(train, 3, 0, 5, {}, None, shard, lambda *_: None)
    folders.write_json(shard / folders.METRICS, made)
    assert folders.read_json(merged(tmp_path / "b", old, [shard], 5) / folders.METRICS)["evaluations"] == 0
    assert table(old)[0].keys() == dict.fromkeys(drawing.COLUMNS).keys()
    assert condition(folders.read_json(old / folders.METRICS)) == ""


def test_a_row_is_marked_and_has_no_likelihood_of_its_own(fake_workdir: Path) -> None:
    given = {"conditional": "prefix", "prefix_seconds": 0.25, "repeats": 2, "split": "validation", "evaluations": 16000}
    [plain] = rows(fake_workdir / FAKE_CORPUS, [fake_workdir / EVALUATION])
    assert (plain["nfe"], plain["conditional"]) == (None, "")
    metrics = fake_workdir / DRAW / "2-samples" / folders.METRICS
    folders.write_json(metrics, folders.read_json(metrics) | given)
    to = fake_workdir / f"{DRAW}+prefix=0.25s+repeats=2+split=validation+temperature=0.9"
    (fake_workdir / DRAW).rename(to)
    config = to / "4-evaluation-toy" / folders.CONFIG
    content = config.read_text().replace("draw-64/", f"{to.name}/")
    config.write_text(content)
    evaluation = folders.read_json(to / "4-evaluation-toy" / folders.METRICS)
    folders.write_json(
        to / "4-evaluation-toy" / folders.METRICS, evaluation | {"not_applicable": {"v1/nll": "x", "v1/is": "y"}}
    )
    [row] = rows(fake_workdir / FAKE_CORPUS, [to / "4-evaluation-toy"])
    assert row["name"] == "wavenet/small+layers=4/+prefix=0.25s+repeats=2+split=validation+temperature=0.9"
    assert row["title"] == "wavenet small+layers=4 +temperature=0.9"
    assert row["conditional"] == "0.25 s prefix, 2 repeats, validation split"
    assert row["nfe"] == 16000
    assert row["reasons"]["v1/nll"].startswith("it is the model's")
    assert row["reasons"]["v1/is"] == "y"


def test_a_draw_of_nothing_given_is_what_it_was() -> None:
    task = DrawSamples(model="wavenet", preset="smoke", count=64)
    assert set(task.identity_parameters()) == {"corpus", "model", "preset", "seed", "count"}
    assert dict(task.resolved()) == {"temperature": 1.0, "top_p": 1.0}
    assert list(task.inputs()) == ["train"]
    assert task.place().as_posix().endswith("wavenet/smoke-seed0/draw-64/2-samples")
    shard = DrawShard(model="wavenet", preset="smoke", start=0, stop=64)
    assert set(shard.identity_parameters()) == {"corpus", "model", "preset", "seed", "start", "stop"}


def test_a_prefix_is_part_of_the_path_and_of_the_identity() -> None:
    asked = {"prefix_seconds": 0.25, "repeats": 2, "split": "validation"}
    task = DrawSamples(model="wavenet", preset="smoke", count=64, **asked, settings="sampling.temperature=0.9")
    assert task.place().parent.name == "draw-64+prefix=0.25s+repeats=2+split=validation+temperature=0.9"
    assert task.resolved()["prefix"] == {"timesteps": 4000, "repeats": 2, "split": "validation"}
    assert "prefix_seconds" not in task.identity_parameters()
    assert set(task.inputs()) == {"train", "clips"}
    plain = DrawSamples(model="wavenet", preset="smoke", count=64, prefix_seconds=0.1)
    assert plain.place().parent.name == "draw-64+prefix=0.1s"
    judged = EvaluateSamples(model="wavenet", preset="smoke", count=64, **asked)
    assert "likelihood" not in judged.inputs()
    assert "likelihood" in EvaluateSamples(model="wavenet", preset="smoke", count=64).inputs()
    assert (default_count("wavenet", "paper"), default_count("wavenet", "paper", conditional=True)) == (10240, 2048)


WRONG = {
    "too long": ("--models wavenet --prefix-seconds 1", ["16000 of the 16000 timesteps", "less than the clip's 1 s"]),
    "too short": ("--models wavenet --prefix-seconds 0.00001", ["is 0 of the 16000 timesteps"]),
    "no number": ("--models wavenet --prefix-seconds nan", ["--prefix-seconds nan"]),
    "no memory": ("--models wavenet,noise --prefix-seconds 0.1", ["noise cannot continue a clip", "wavenet"]),
    "temperature": (
        "--models wavenet --set sampling.temperature=0",
        ["settings of wavenet", "temperature=0.0 must be"],
    ),
    "top p": (
        "--models noise,wavenet --set sampling.top_p=1.5",
        ["settings of wavenet", "top_p=1.5 must lie in (0, 1]"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_told_before_anything_runs(case: str, tmp_path: Path) -> None:
    words, expected = WRONG[case]
    with toy_runs.settings(workdir=tmp_path / "workdir"), pytest.raises(EarshotError) as refused:
        plan.steps(command.benchmark(parse("spoken_digits", ["--preset", "smoke", *words.split()])))
    for text in expected:
        assert text in str(refused.value)


@pytest.mark.parametrize(
    "words", ["--repeats 2", "--split train", "--prefix-seconds 0", "--split tset --prefix-seconds 1"]
)
def test_flags_that_contradict_each_other_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse("spoken_digits", words.split())
    assert refused.value.code == 2
    assert words.split()[0] in capsys.readouterr().err


def test_luigis_parameters_are_checked_too() -> None:
    with pytest.raises(EarshotError, match="Did you mean test"):
        DrawSamples(model="wavenet", split="tset")
    with pytest.raises(EarshotError, match="give --prefix-seconds"):
        EvaluateSamples(model="wavenet", preset="smoke", repeats=3).place()
    with pytest.raises(EarshotError, match="imports are as they are"):
        EvaluateSamples(name="mine", samples="x", prefix_seconds=0.1).place()


def test_sampling_settings_are_for_the_models_that_have_them_and_are_checked_by_them(told: str, tmp_path: Path) -> None:
    def places(*words: str) -> list[str]:
        flags = ["--preset", "smoke", "--models", f"{told},noise", *words]
        found = plan.steps(command.benchmark(parse("spoken_digits", flags)))
        return [step.task.place().as_posix() for step in found if isinstance(step.task, DrawSamples)]

    with toy_runs.settings(workdir=tmp_path / "workdir"):
        assert [Path(place).parent.name for place in places("--set", "sampling.steps=2")] == [
            "draw-32+steps=2",
            "draw-32",
        ]
        with pytest.raises(
            EarshotError, match=r"sampling settings of .*Told make no sense: unknown sampler 'foo'. Available"
        ):
            places("--set", "sampling.sampler=foo")
        with pytest.raises(EarshotError, match=r"unknown setting of sampling 'step'. Did you mean steps\?"):
            places("--set", "sampling.step=2")


DOOR = [sys.executable, "-m", "pipeline.spoken_digits", "--preset", "smoke", "--count", "8"]
SHORTER = ("corpus.clips_per_digit=16", "corpus.clip_seconds=0.3")
CORPUS = "spoken-digits+clip_seconds=0.3+clips_per_digit=16"
ASKED = ["--prefix-seconds", "0.1", "--repeats", "2", "--split", "validation", "--set", "sampling.temperature=0.9"]


def door(workdir: Path, *words: str) -> str:
    short = [word for setting in SHORTER for word in ("--set", setting)]
    line = [*DOOR, *short, "--workdir", str(workdir), *words]
    answer = subprocess.run(line, cwd=toy_runs.REPOSITORY, env=toy_runs.ENVIRONMENT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus's folder in which WaveNet and noise were drawn from plainly, and then WaveNet continued clips."""
    place = tmp_path_factory.mktemp("finished")
    door(place, "--models", "wavenet,noise")
    shown = door(place, "--models", "wavenet", *ASKED)
    assert "wavenet smoke" in shown
    assert " (conditional) " in shown
    assert "── 8 samples (conditional: 0.1 s prefix, 2 repeats, validation split) ─" in shown
    return place / CORPUS


CONTINUED = "draw-8+prefix=0.1s+repeats=2+split=validation+temperature=0.9"


def test_a_run_continues_clips_of_its_split(finished: Path) -> None:
    samples = finished / "wavenet" / "smoke-seed0" / CONTINUED / "2-samples"
    codes, lines, real = np.load(samples / "samples.npy"), table(samples), np.load(finished / "2-clips" / "clips.npy")
    with open(finished / "2-clips" / "clips.csv", newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    assert len({line["clip"] for line in lines}) == 4
    for row, line in enumerate(lines):
        assert np.array_equal(codes[row, :1600], real[int(line["clip"]), :1600])
        assert listed[int(line["clip"])]["split"] == "validation"
        assert listed[int(line["clip"])]["source"] == line["source"]
    nats = [float(line["log_likelihood_nats"]) for line in lines]
    assert nats == sorted(nats)
    config = folders.read_json(samples / folders.CONFIG)
    assert config["settings"] == {
        "temperature": 0.9, "top_p": 1.0, "prefix": {"timesteps": 1600, "repeats": 2, "split": "validation"},
    }  # fmt: skip


def test_the_likelihood_of_a_tempered_draw_is_the_models_own(finished: Path) -> None:
    samples = finished / "wavenet" / "smoke-seed0" / CONTINUED / "2-samples"
    model = models.load(finished / "wavenet" / "smoke-seed0" / "1-train")
    waveforms = torch.from_numpy(np.load(samples / "samples.npy")).float() / 32768
    nats = model.log_likelihood(Clips.of(waveforms)) - model.log_likelihood(Clips.of(waveforms[:, :1600]))
    assert nats.tolist() == pytest.approx([float(line["log_likelihood_nats"]) for line in table(samples)], rel=1e-4)


def test_the_luigi_command_finds_the_same_draw(finished: Path) -> None:
    line = [sys.executable, "-m", "luigi", "--module", "pipeline.evaluate", "DrawSamples", "--model", "wavenet"]
    line += ["--preset", "smoke", "--count", "8", *ASKED[:6], "--settings", ",".join([*SHORTER, ASKED[-1]])]
    line += ["--machine-workdir", str(finished.parent)]
    answer = subprocess.run(line, cwd=toy_runs.REPOSITORY, env=toy_runs.ENVIRONMENT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "1 complete ones were encountered" in answer.stderr


def test_shards_of_a_trained_wavenet_may_be_of_any_size(finished: Path, tmp_path: Path) -> None:
    train, given = finished / "wavenet" / "smoke-seed0" / "1-train", (finished / "2-clips", Prefix(1600, 2))
    whole = draw(tmp_path / "whole", train, [(0, 5)], given)
    again = draw(tmp_path / "again", train, [(0, 3), (3, 5)], given)
    assert np.array_equal(np.load(whole / "samples.npy"), np.load(again / "samples.npy"))
    assert alike(table(whole), table(again))


def test_conditional_rows_are_ranked_apart_and_marked_in_every_table(finished: Path) -> None:
    mark = "conditional: 0.1 s prefix, 2 repeats, validation split"
    page = {row["name"]: row for row in json.loads((finished / "leaderboard.json").read_text())["rows"]}
    plain, given = page["wavenet/smoke"], page["wavenet/smoke/" + CONTINUED.removeprefix("draw-8")]
    assert (plain["conditional"], given["conditional"]) == ("", mark.partition(": ")[2])
    assert given["scores"]["v1/fid"]["rank"] == [1, 1]
    assert given["scores"]["v1/fid"]["tied"] == []
    assert "wavenet/smoke" not in plain["scores"]["v1/fid"]["tied"]
    assert plain["scores"]["v1/nll"]["value"] > 0
    assert given["scores"]["v1/nll"]["value"] is None
    assert "it is the model's" in given["scores"]["v1/nll"]["reason"]
    assert (plain["nfe"], page["noise/smoke"]["nfe"], page["held-out"]["nfe"]) == (4800, 0, None)
    with open(finished / "leaderboard.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    told = {line["row"]: (line["conditional"], line["nfe"]) for line in lines}
    assert told[given["name"]] == (given["conditional"], "4800")
    assert told["held-out"] == ("", "")
    assert {line["trained"] for line in lines if line["row"].startswith("wavenet")} == {"wavenet/smoke-seed0/1-train"}
    text = (finished / "leaderboard.md").read_text()
    assert f"## Models, 8 samples ({mark})" in text
    assert f"wavenet smoke +temperature=0.9 ({mark})" in text
    assert "| NFE " in text
    assert "Conditional rows are ranked apart" in text


def test_the_report_marks_rows_players_and_provenance(finished: Path) -> None:
    page = (finished / "report" / "index.html").read_text()
    mark = "conditional: 0.1 s prefix, 2 repeats, validation split"
    assert f'<span class="tag given">{mark}</span>' in page
    assert f"<h3>wavenet smoke +temperature=0.9 ({mark})</h3>" in page
    assert page.count(f"({mark})") >= 10  # the divider, the interval's plot, every number, histogram, provenance
    assert "The first 0.1 s of each are real: samples continue 4 clips of the validation split, 2 of each." in page
    assert ">NFE</button>" in page
    assert "--prefix-seconds 0.1 --repeats 2 --split validation --set corpus" in page
    assert "repeat 1" in page


@pytest.mark.parametrize("name", ["wavenet", "noise"])
def test_a_trained_generator_is_three_lines_of_python(finished: Path, name: str) -> None:
    folder = finished / name / "smoke-seed0" / "1-train"
    samples = models.load(folder).sample(16)
    assert samples.waveforms.shape == (16, 4800)
    drawn = np.load(finished / name / "smoke-seed0" / "draw-8" / "2-samples" / "samples.npy")
    first = [int(line["draw_index"]) for line in table(finished / name / "smoke-seed0" / "draw-8" / "2-samples")].index(
        0
    )
    assert np.abs(samples.waveforms[0].numpy() * 32768 - drawn[first]).max() < 1, "the same as the benchmark's"

"""What a leaderboard row is called, whether the chain behind it is whole, and the command that makes it again."""

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from luigi.task_register import Register

from pipeline.options import parse
from tasks import drawing, folders, machine, provenance
from tasks.chains import broken, chain
from tasks.classifier import ClassifierTask
from tasks.commands import command
from tasks.evaluation import CacheSampleFeatures, CompareGenerators
from tasks.rows import _of_shown_counts, _tell_apart, rows
from tests import toy_runs, toy_tasks

CORPUS = "spoken-digits"
DRAW = f"{CORPUS}/wavenet/small+layers=4-seed1/draw-64"
EVALUATION = f"{DRAW}/4-evaluation-toy"
CHAIN = {  # what is made of what, in order
    f"{CORPUS}/2-clips": ("PrepareClips", {}),
    f"{CORPUS}/5-reference/toy": ("PrepareReference", {"clips": f"{CORPUS}/2-clips"}),
    f"{CORPUS}/wavenet/small+layers=4-seed1/1-train": ("TrainGenerator", {"clips": f"{CORPUS}/2-clips"}),
    f"{DRAW}/2-samples": ("DrawSamples", {"train": f"{CORPUS}/wavenet/small+layers=4-seed1/1-train"}),
    f"{DRAW}/3-features-toy": ("CacheSampleFeatures", {"samples": f"{DRAW}/2-samples"}),
    EVALUATION: (
        "EvaluateSamples",
        {
            "reference": f"{CORPUS}/5-reference/toy",
            "samples": f"{DRAW}/2-samples",
            "features": f"{DRAW}/3-features-toy",
        },
    ),
}
ASKED = {"model": "wavenet", "preset": "small", "seed": "1", "count": "64"}
REQUEST = ASKED | {
    "corpus": "spoken_digits", "settings": "corpus.clip_seconds=0.5,wavenet.layers=4", "classifier": "smoke",
    "classifier_seed": "0", "count": "0", "name": "", "samples_rate": "0",
}  # fmt: skip


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    """A workdir with one finished row, made of text files."""
    with toy_runs.settings(workdir=tmp_path):
        for place in CHAIN:
            make(place)
        yield tmp_path


def make(place: str, content: str = "", request: Mapping[str, str] = REQUEST) -> None:
    """The artifact at `place`, from what is there of its inputs; another `content` is another digest."""
    task, inputs = CHAIN[place]
    folder = machine.workdir() / place
    building = folders.partial(folder)
    building.mkdir(parents=True)
    links = {
        name: {"artifact": path, "digest": folders.digest_of(machine.workdir() / path)} for name, path in inputs.items()
    }
    version = Register.get_task_cls(task).VERSION
    config = {"task": task, "version": version, "parameters": dict(ASKED), "settings": {}, "inputs": links}
    metrics: dict[str, Any] = {"parameters": 7, "samples": 64, "scores": {}, "not_applicable": {}, "content": content}
    record = {"seconds": 2.0, "git": {"commit": "c0ffee", "modified": True}}
    record["request"] = {"module": "tasks.evaluation", "task": task, "parameters": dict(request)}
    for name, value in ((folders.CONFIG, config), (folders.METRICS, metrics), (folders.PROVENANCE, record)):
        folders.write_json(building / name, value)
    if task == "DrawSamples":
        folders.write_json(building / drawing.RECORD, {"shards": [], "seconds_in_all": 40.0})
    folders.publish(building, folder, (drawing.RECORD,))


def found(workdir: Path) -> dict[str, Any]:
    [row] = rows(workdir / CORPUS, [workdir / EVALUATION])
    return row


def row(name: str, draw: str | None) -> dict[str, object]:
    return {"name": name, "title": name, "draw": draw}


def test_rows_of_several_draws_are_told_apart_by_their_size() -> None:
    entries = [row("wavenet/small", "draw-512"), row("held-out", "draw-32"), row("held-out", "draw-40")]
    _tell_apart(entries)
    assert [entry["name"] for entry in entries] == ["wavenet/small", "held-out/32", "held-out/40"]


def test_controls_are_shown_at_the_counts_that_some_row_has_and_traps_at_the_largest() -> None:
    def control(name: str, asked: int, size: int = 0, role: str = "") -> dict[str, Any]:
        about = {"kind": "control", "draw": f"draw-{asked}", "count": size or asked, "role": role}
        return {"name": f"{name}-{asked}", **about}

    controls = [
        control(name, n, role=role) for name, role in (("held-out", ""), ("copies", "trap")) for n in (32, 40, 60)
    ]
    large = [control("held-out", 512, size=100), control("copies", 512, size=100, role="trap")]
    split = {"name": "test-split", "kind": "control", "draw": "splits", "count": 77, "role": "dataset"}
    table = [*controls, *large, split]
    models = [
        {"name": kind, "kind": kind, "draw": None, "count": n} for kind, n in (("measured", 32), ("imported", 60))
    ]

    def names(rows_of: list[dict[str, Any]]) -> list[str]:
        return [row["name"] for row in rows_of if row["kind"] == "control"]

    assert names(_of_shown_counts([*models, *table])) == ["held-out-32", "held-out-60", "copies-60", "test-split"]
    more = {"name": "more", "kind": "measured", "draw": "draw-512", "count": 512}
    shown = names(_of_shown_counts([*models, more, *table]))
    assert shown == ["held-out-32", "held-out-60", "held-out-512", "copies-512", "test-split"]
    assert _of_shown_counts(table) == table  # controls alone


def test_seeds_of_one_draw_share_a_name() -> None:
    entries = [row("wavenet/small", "draw-512"), row("wavenet/small", "draw-512"), row("mine", None)]
    _tell_apart(entries)
    assert [entry["name"] for entry in entries] == ["wavenet/small", "wavenet/small", "mine"]


def test_a_row_says_what_was_trained_and_asked_for(workdir: Path) -> None:
    entry = found(workdir)
    assert entry["name"] == "wavenet/small+layers=4"
    assert (entry["model"], entry["preset"], entry["parameters"]) == ("wavenet", "small", 7)
    assert entry["runs"][0]["seed"] == 1


def test_the_chain_names_every_link_with_its_time(workdir: Path) -> None:
    links = chain(workdir / CORPUS, [workdir / EVALUATION])
    assert [link["stage"] for link in links] == [task for task, _ in CHAIN.values()]
    assert {link["stage"]: link["seconds"] for link in links}["DrawSamples"] == 42.0  # its shards, and merging them
    assert all(link["modified"] for link in links)


def test_a_whole_chain_is_whole(workdir: Path) -> None:
    assert broken(workdir / EVALUATION) == ""


TRAIN = f"{CORPUS}/wavenet/small+layers=4-seed1/1-train"


def make_again(workdir: Path, place: str) -> None:
    shutil.rmtree(workdir / place)
    make(place, "other bytes")


@pytest.mark.parametrize("place", list(CHAIN)[:-1])
def test_a_link_that_was_made_again_or_is_gone_breaks_the_chain(workdir: Path, place: str) -> None:
    make_again(workdir, place)
    assert f"{place} was made again, with another result" in broken(workdir / EVALUATION)
    with pytest.raises(ValueError, match="was made again"):
        chain(workdir / CORPUS, [workdir / EVALUATION])
    shutil.rmtree(workdir / place)
    assert f"{place} is missing" in broken(workdir / EVALUATION)


def test_a_link_made_again_alike_does_not_break_the_chain(workdir: Path) -> None:
    shutil.rmtree(workdir / TRAIN)
    make(TRAIN)
    assert broken(workdir / EVALUATION) == ""


def test_code_that_has_changed_since_breaks_the_chain(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CacheSampleFeatures, "VERSION", 2)
    assert "was made by version 1 of CacheSampleFeatures; today's is 2" in broken(workdir / EVALUATION)


def test_a_task_that_is_no_more_and_files_that_are_none_break_the_chain(workdir: Path) -> None:
    config = workdir / DRAW / "2-samples" / folders.CONFIG
    content = folders.read_json(config)
    folders.write_json(config, content | {"task": "DrawWithPencil"})
    assert "DrawWithPencil, a task that is no more" in broken(workdir / EVALUATION)
    config.write_text("{")
    assert "2-samples cannot be read" in broken(workdir / EVALUATION)


@pytest.fixture
def board(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> CompareGenerators:
    """The leaderboard of the fake row; nobody asks a model what it is."""
    monkeypatch.setattr(ClassifierTask, "classifier_name", lambda self: "toy")
    monkeypatch.setattr(CompareGenerators, "inputs", lambda self: {})
    return CompareGenerators(models=())


def test_the_leaderboard_leaves_out_what_is_broken_and_says_so(board: CompareGenerators, workdir: Path) -> None:
    assert board.rows() == ([workdir / EVALUATION], {})
    before = board.identity()
    make_again(workdir, TRAIN)
    whole, left_out = board.rows()
    [(path, reason)] = left_out.items()
    assert (whole, path) == ([], EVALUATION.removeprefix(f"{CORPUS}/"))
    assert board.identity() != before
    assert board.identity()["left_out"] == left_out
    headline = board.headline({"rows": 5, "left_out": left_out})
    assert headline == f"5 rows; left out: {path} ({reason})"
    assert board.headline({"rows": 5, "left_out": {}}) == "5 rows"


def test_a_row_judged_against_another_reference_is_left_out(board: CompareGenerators, workdir: Path) -> None:
    make_again(workdir, f"{CORPUS}/5-reference/toy")
    assert "5-reference/toy was made again" in next(iter(board.rows()[1].values()))


def asked(workdir: Path, **changes: str) -> str:
    """The command of the fake row, had it been asked for with these changes."""
    shutil.rmtree(workdir / EVALUATION)
    make(EVALUATION, request=REQUEST | changes)
    return command(found(workdir), workdir / CORPUS)


def test_the_command_of_a_row_asks_for_what_was_asked_for(workdir: Path) -> None:
    words = shlex.split(command(found(workdir), workdir / CORPUS))
    assert words[:3] == ["python", "-m", "pipeline.spoken_digits"]
    options = parse("spoken_digits", words[3:])
    assert (options.models, options.preset, options.classifier) == (["wavenet"], "small", "smoke")
    assert (options.seeds, options.count, options.luigi) == ([1], 64, [])
    assert options.assignments == ["corpus.clip_seconds=0.5", "wavenet.layers=4"]


def test_the_command_quotes_names_a_source_and_an_outside_model(workdir: Path) -> None:
    text = asked(workdir, corpus="folder", settings="corpus.name=my $(voice)", model="/some where/mine.py:Mine")
    assert "--source PATH" in text
    assert "'/some where/mine.py:Mine'" in text
    assert "'corpus.name=my $(voice)'" in text
    inside = asked(workdir, model=f"{machine.REPOSITORY}/examples/mine.py:Mine")
    assert "--models examples/mine.py:Mine" in inside


def test_the_command_of_several_seeds_and_of_another_classifier_seed(workdir: Path) -> None:
    entry = found(workdir)
    entry["runs"] = entry["runs"] * 2
    assert command(entry, workdir / CORPUS).count("--seed 1") == 2
    words = shlex.split(asked(workdir, classifier_seed="3"))
    assert words[:4] == ["luigi", "--module", "pipeline.evaluate", "RunBenchmark"]
    assert words[words.index("--classifier-seed") + 1] == "3"
    assert words[words.index("--seeds") + 1] == "[1]"


def test_the_command_of_continued_clips(workdir: Path) -> None:
    assert "--prefix" not in command(found(workdir), workdir / CORPUS), "a request from before there were any"
    words = shlex.split(asked(workdir, prefix_seconds="0.25", repeats="2", split="test"))
    options = parse("spoken_digits", words[3:])
    assert options.prefix == {"prefix_seconds": 0.25, "repeats": 2}
    assert "--prefix" not in asked(workdir, prefix_seconds="0.0", repeats="1", split="test")


def test_the_command_of_an_imported_checkpoint(workdir: Path) -> None:
    assert "--checkpoint release:sashimi_sc09" in asked(workdir, checkpoint="release:sashimi_sc09")
    assert "--checkpoint PATH/mine.pt" in asked(workdir, checkpoint="/some/where/mine.pt")
    assert "--checkpoint" not in asked(workdir, checkpoint="")


def test_the_command_of_an_import_and_of_a_control(workdir: Path) -> None:
    text = asked(workdir, name="theirs", samples_rate="8000", settings="corpus.sample_rate=8000")
    assert text.startswith("luigi --module pipeline.evaluate EvaluateSamples --corpus spoken_digits")
    assert text.endswith("--settings corpus.sample_rate=8000 --classifier smoke --classifier-seed 0"
                         " --samples PATH --name theirs --samples-rate 8000")  # fmt: skip
    assert command({"kind": "control"}, workdir) == ""


def test_a_draw_remembers_its_shards_and_those_that_it_took_over(tmp_path: Path) -> None:
    def shard(start: int, stop: int) -> Path:
        folder = tmp_path / f"{start}-{stop}"
        folder.mkdir()
        folders.write_json(folder / folders.METRICS, {"samples": stop - start, "start": start, "stop": stop})
        record = {"seconds": 10.0, "host": "h", "device": "cpu", "threads": 1, "git": None}
        folders.write_json(folder / folders.PROVENANCE, record)
        return folder

    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    drawing.record_shards(None, [shard(0, 128), shard(128, 256)], 256, first)
    drawing.record_shards(first, [], 100, second)
    one, two = (folders.read_json(folder / drawing.RECORD) for folder in (first, second))
    assert one["seconds_in_all"] == 20.0
    assert one["shards"][1] == {"start": 128, "stop": 256, "seconds": 10.0, "host": "h", "device": "cpu", "threads": 1}
    assert [entry["start"] for entry in two["shards"]] == [0]


def test_provenance_keeps_the_command_that_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["/opt/bin/python", "-m", "pipeline.sc09", "--set", "corpus.name=my voice"]
    monkeypatch.setattr(sys, "orig_argv", typed)
    with toy_runs.settings(workdir=tmp_path):
        record = folders.read_json(toy_runs.build(toy_tasks.Count()) / folders.PROVENANCE)
    assert record["command"] == "python -m pipeline.sc09 --set 'corpus.name=my voice'"
    monkeypatch.setattr(sys, "orig_argv", ["python", "x" * 5000])
    assert len(provenance.command()) == provenance.LONGEST_COMMAND

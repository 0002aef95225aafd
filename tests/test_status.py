"""`python -m pipeline.status`: every state an artifact can be in, in words."""

import subprocess
import sys
import time

import pytest

from tasks import console, folders, inspection, machine
from tests import toy_runs
from tests.toy_tasks import Copy, Count, Fail, Sum


@pytest.fixture(autouse=True)
def workdir(tmp_path):
    with toy_runs.settings(workdir=tmp_path / "work", device="cpu", stale="refuse"):
        yield machine.workdir()


def count(upto=3):
    return toy_runs.publish(Count(upto=upto), {"numbers.txt": "1\n"}, {"count": upto})


def state(folder):
    entry = inspection.inspect(folder, machine.workdir())
    return entry.state, entry.remark


def unfinished(task, **files):
    building = folders.partial(task.folder)
    building.mkdir(parents=True)
    for name, value in files.items():
        folders.write_json(building / f"{name}.json", value)
    return building


def test_an_absent_or_empty_workdir_says_how_to_start(workdir):
    for _ in range(2):
        assert inspection.show(workdir) == (
            f"Nothing in {workdir} yet. To start: python -m pipeline.spoken_digits --workers 2"
        )
        workdir.mkdir(exist_ok=True)


def test_a_finished_artifact_shows_its_headline_and_size(workdir):
    folder = count()
    entry = inspection.inspect(folder, workdir)
    assert (entry.state, entry.remark) == ("done", "counted to 3")
    assert entry.size == sum(p.stat().st_size for p in folder.iterdir() if p.name != "manifest.json")
    assert time.time() - entry.changed < 60


def test_a_running_stage_shows_how_far_it_is_and_who_builds_it():
    building = unfinished(Count(), progress={"done": 2, "total": 5, "text": "counting"})
    with folders.lock(building, "count"):
        found, remark = state(building)
    assert found == "running"
    assert remark.startswith("2/5 counting; process ")
    assert state(building)[0] == "died"


def test_a_dead_stage_shows_why():
    assert state(unfinished(Fail(how="bug"), died={"error": "it broke\nbadly", "status": 1})) == ("died", "it broke")
    assert state(unfinished(Count()))[1].startswith("killed: nobody builds it any more")
    stopped = unfinished(Copy())
    (stopped / "log.txt").write_text("one\n12:00 stopped in order; the same command continues from here\n")
    assert state(stopped)[0] == "stopped"


def test_a_stale_folder_shows_the_field_and_what_to_do(monkeypatch):
    count()
    toy_runs.publish(Copy(), {"copy.txt": "1\n"})
    monkeypatch.setattr(Copy, "VERSION", 2)
    assert state(Copy().folder) == ("stale", "version: was 1, is now 2; --stale rebuild=features")
    assert state(Count().folder)[0] == "done"


def test_a_derived_folder_that_no_longer_matches_rebuilds_by_itself(monkeypatch):
    count()
    toy_runs.publish(Sum(), {}, {"sum": 3})
    assert state(Sum().folder)[0] == "done"
    monkeypatch.setattr(Sum, "VERSION", 2)
    assert state(Sum().folder) == ("outdated", "rebuilds by itself: version: was 1, is now 2")


def test_what_cannot_be_compared_says_why(workdir):
    toy_runs.publish(Fail(), {})
    count()
    toy_runs.publish(Copy(), {})
    folders.move_aside(Count().folder, workdir)
    assert state(Copy().folder) == ("unclear", "its input toy/1-count is missing")
    record = dict(folders.read_json(Fail().folder / "provenance.json"))
    for name, broken in {
        "no such task": {"task": "NoSuchTask"},
        "no such module": {"module": "tests.nowhere"},
        "no such value": {"task": "Count", "parameters": {"upto": "x"}},
        "no request": None,
    }.items():
        asked = {} if broken is None else {"request": record["request"] | broken}
        folders.write_json(Fail().folder / "provenance.json", {"seconds": 1.0} | asked)
        found, remark = state(Fail().folder)
        assert found == "unclear", name
        assert remark


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"digest": "x"}'])
def test_a_damaged_folder_is_called_damaged(content):
    manifest = count() / "manifest.json"
    manifest.unlink() if content is None else manifest.write_text(content)
    found, remark = state(manifest.parent)
    assert found == "damaged"
    assert "pipeline.verify" in remark


def test_the_table_groups_by_corpus_and_counts(workdir):
    count()
    unfinished(Fail())
    other = workdir / "other" / "wavenet" / "small-seed0"
    for draw in ("draw-512", "draw-32"):
        (other / draw / "2-samples").mkdir(parents=True)
        (other / draw / "2-samples" / "config.json").write_text("{}")
    folders.move_aside(count_again(workdir), workdir)
    text = inspection.show(workdir)
    lines = [line.split() for line in text.splitlines()]
    assert [line[:2] for line in lines if line and line[0] in ("done", "died", "damaged", "other", "toy")] == [
        ["other"],
        ["damaged", "wavenet/small-seed0/draw-32/2-samples"],
        ["damaged", "wavenet/small-seed0/draw-512/2-samples"],
        ["toy"],
        ["done", "1-count"],
        ["died", "fail-message.partial"],
    ]
    assert "2 damaged, 1 done, 1 died" in text
    assert "Superseded: " in text


def count_again(workdir):
    (workdir / "toy/old").mkdir()
    (workdir / "toy/old/config.json").write_text("{}")
    return workdir / "toy/old"


def test_a_workdir_that_is_a_link_inside_one_is_looked_into_once(workdir, tmp_path):
    count()
    (workdir / "toy").rename(tmp_path / "elsewhere")
    (workdir / "toy").symlink_to(tmp_path / "elsewhere")
    (workdir / "toy" / "again").symlink_to(workdir / "toy")
    assert [entry.place.as_posix() for entry in inspection.survey(workdir)["toy"]] == ["toy/1-count"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (86399, "23 h"), (200000, "2 d")]
)
def test_ages_are_short(seconds, text):
    assert inspection.spell_age(seconds) == text


def test_the_command_is_quick_and_imports_nothing_heavy(workdir):
    count()
    heavy = "{'torch', 'numpy', 'scipy', 'pandas', 'soundfile', 'matplotlib'} & {*sys.modules}"
    code = f"import sys; from pipeline import status; status.main(sys.argv[1:]); print({heavy})"
    done = toy_runs.run([sys.executable, "-c", code, "--workdir", str(workdir)])
    assert (done.returncode, done.stderr) == (0, "")
    assert "done      1-count" in done.stdout
    assert done.stdout.endswith("set()\n")


def test_the_command_works_from_any_directory(workdir, tmp_path):
    count()
    words = [sys.executable, "-m", "pipeline.status", "--workdir", "work"]
    done = subprocess.run(words, cwd=tmp_path, env=toy_runs.ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, "counted to 3" in done.stdout) == (0, True), done.stderr
    assert console.spell_bytes(0) == "0 B"

"""What every ArtifactTask promises: identity, refusal of what is stale, resumption, one builder, honest endings."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tasks import folders, machine, verification
from tasks.artifact import differences, read_task, stages_to_rebuild
from tasks.corpus import PrepareClips
from tasks.errors import AlreadyRunning, EarshotError, StageFailed, StaleArtifact
from tasks.generator import DrawSamples, DrawShard, ImportSamples
from tests import toy_runs
from tests.toy_tasks import Copy, Count, Fail, Fill, Sum


@pytest.fixture(autouse=True)
def workdir(tmp_path):
    with toy_runs.settings(workdir=tmp_path / "work", device="cpu", stale="refuse"):
        yield machine.workdir()


def numbers(upto):
    return "".join(f"{number}\n" for number in range(upto))


def count(upto=3):
    return toy_runs.publish(Count(upto=upto), {"numbers.txt": numbers(upto)}, {"count": upto})


def copy(upto=3):
    return toy_runs.publish(Copy(upto=upto), {"copy.txt": numbers(upto)})


# -- identity --------------------------------------------------------------------------------------------------------------


def test_a_chain_is_built_and_each_identity_holds_the_digests_of_its_inputs():
    folder = toy_runs.build(Copy())
    identity = folders.read_json(folder / "config.json")
    assert identity["inputs"]["count"] == {"artifact": "toy/1-count", "digest": folders.digest_of(Count().folder)}
    assert identity["task"] == "Copy"
    assert identity["version"] == 1
    assert (folder / "copy.txt").read_text() == numbers(3)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.json", "manifest.json", "provenance.json", "log.txt", "copy.txt", "threads.txt",
    }  # fmt: skip
    assert read_task(folder) == Copy()
    assert not verification.check(folder).problems


def test_where_and_how_fast_is_no_part_of_identity():
    count()
    assert Count(pause=5.0).complete()
    assert "pause" not in str(folders.read_json(Count().folder / "config.json"))


def test_a_stale_folder_is_refused_with_the_field_and_both_values():
    count(upto=3)
    with pytest.raises(StaleArtifact) as refusal:
        Count(upto=4).complete()
    message = str(refusal.value)
    assert "settings.upto: was 3, is now 4" in message
    assert "--stale rebuild=clips" in message
    assert "toy/1-count" in message
    assert (Count().folder / "numbers.txt").read_text() == numbers(3)


def test_a_new_version_of_the_code_makes_a_folder_stale(monkeypatch):
    count()
    monkeypatch.setattr(Count, "VERSION", 2)
    with pytest.raises(StaleArtifact, match="version: was 1, is now 2"):
        Count().complete()


def test_a_change_far_upstream_is_noticed_by_name():
    count()
    copy()
    (Count().folder / "numbers.txt").write_text("changed\n")
    folders.move_aside(Count().folder, machine.workdir())
    toy_runs.publish(Count(), {"numbers.txt": "changed\n"})
    with pytest.raises(StaleArtifact, match=r"inputs\.count\.digest: was"):
        Copy().complete()


def test_a_rebuild_with_the_same_bytes_changes_nothing_downstream():
    before = toy_runs.build(Count())
    digest = folders.digest_of(before)
    copy()
    folders.move_aside(before, machine.workdir())
    assert not Copy().complete()
    toy_runs.build(Count())
    assert folders.digest_of(Count().folder) == digest
    assert Copy().complete()


def test_rebuilding_is_scoped_by_stage_and_keeps_the_old(workdir):
    count(upto=3)
    copy(upto=3)
    with toy_runs.settings(stale="rebuild=clips"):
        toy_runs.build(Count(upto=4))
        with pytest.raises(StaleArtifact, match="--stale rebuild=features"):
            Copy(upto=4).complete()
    old = list((workdir / ".superseded" / "toy").iterdir())
    assert [(folder.name[:8], (folder / "numbers.txt").read_text()) for folder in old] == [("1-count.", numbers(3))]
    with toy_runs.settings(stale="rebuild=clips,features"):
        assert not Copy(upto=4).complete()
        assert Count(upto=4).complete()


@pytest.mark.parametrize("text", ["rebuild", "rebuild=", "overwrite", "rebuild=nothing"])
def test_what_to_rebuild_must_make_sense(text):
    with toy_runs.settings(stale=text), pytest.raises(EarshotError, match=r"rebuild=STAGE|unknown stage 'nothing'"):
        stages_to_rebuild()


def test_what_is_derived_follows_by_itself_and_leaves_nothing_behind(workdir):
    count(upto=3)
    toy_runs.publish(Sum(upto=3), {}, {"sum": 3})
    folders.move_aside(Count().folder, workdir)
    count(upto=5)
    assert not Sum(upto=5).complete()
    toy_runs.build(Sum(upto=5))
    assert folders.read_json(Sum().folder / "metrics.json") == {"sum": 10}
    assert not list((workdir / ".superseded" / "toy").glob("3-sum*"))


def test_differences_are_leaves_and_an_absent_one_is_none():
    old, new = {"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"b": 1, "c": [1, 3]}, "e": None}
    assert [str(d) for d in differences(old, new)] == ["a.c: was [1,2], is now [1,3]", "d: was 1, is now null"]


# -- in a stage's own process ------------------------------------------------------------------------------------------------


def test_a_resumed_stage_uses_the_threads_of_its_first_attempt():
    count()
    building = folders.partial(Copy().folder)
    building.mkdir()
    folders.write_json(building / folders.ATTEMPT, {"threads": 3, "sampling_batch": 0})
    with toy_runs.settings(threads=1):
        assert (toy_runs.build(Copy()) / "threads.txt").read_text() == "3"


def test_an_attempt_with_other_settings_is_not_resumed(workdir):
    building = folders.partial(Count().folder)
    building.mkdir(parents=True)
    folders.write_json(building / folders.CONFIG, Count(upto=9).identity())
    (building / "numbers.txt").write_text("from another task\n")
    assert (toy_runs.build(Count()) / "numbers.txt").read_text() == numbers(3)
    assert len(list((workdir / ".superseded/toy").glob("1-count.partial.*"))) == 1


@pytest.mark.parametrize(
    ("how", "message", "trace"),
    [
        ("message", "there are no numbers; give some", "ValueError: there are no numbers"),
        ("bug", "RuntimeError: unforeseen", "RuntimeError: unforeseen"),
        ("kill", "the stage was killed by SIGKILL", ""),
    ],
)
def test_a_failure_is_a_message_for_people_and_a_traceback_in_the_log(how, message, trace):
    with pytest.raises(StageFailed, match=message) as failure:
        toy_runs.build(Fail(how=how))
    building = folders.partial(Fail(how=how).folder)
    log = (building / "log.txt").read_text()
    assert "about to fail" in log
    assert trace in log
    assert ("Traceback" in log) == (how != "kill")
    assert "Traceback" not in str(failure.value)
    assert message in folders.read_json(building / folders.DIED)["error"]
    assert not Fail(how=how).folder.exists()


def test_a_file_system_that_takes_no_more_is_told_plainly():
    task = Fill(size=1000)
    building = folders.partial(task.folder)
    building.mkdir(parents=True)
    (building / "zeros").symlink_to("/dev/full")
    with pytest.raises(StageFailed, match="No space left on device"):
        toy_runs.build(task)
    assert not task.folder.exists()
    (building / "zeros").unlink()
    assert (toy_runs.build(task) / "zeros").read_bytes() == bytes(1000)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    except FileNotFoundError:
        pytest.skip("a small disk needs the mount command")
    if done.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_loses_nothing_and_the_run_goes_on_once_there_is_room(small_disk):
    command = toy_runs.door_command(small_disk / "work", "Fill", size=1_000_000)
    full = toy_runs.run(command)
    assert full.returncode == 30
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr
    assert not (small_disk / "work/toy/fill").exists()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert toy_runs.run(command).returncode == 0
    assert (small_disk / "work/toy/fill/zeros").stat().st_size == 1_000_000


# -- a run's exit status -----------------------------------------------------------------------------------------------------


def test_a_finished_run_says_so_and_a_rerun_does_nothing(workdir):
    command = toy_runs.door_command(workdir, "Copy")
    for _ in range(2):
        done = toy_runs.run(command)
        assert (done.returncode, done.stdout) == (0, "the end\n")
        made = (Copy().folder / folders.MANIFEST).stat().st_mtime_ns
    assert done.stderr == ""
    assert (Copy().folder / folders.MANIFEST).stat().st_mtime_ns == made


def test_stale_and_failed_runs_exit_with_their_status_and_no_traceback(workdir):
    count(upto=3)
    stale = toy_runs.run(toy_runs.door_command(workdir, "Copy", upto=4))
    assert (stale.returncode, "settings.upto: was 3, is now 4" in stale.stderr) == (3, True)
    failed = toy_runs.run(toy_runs.door_command(workdir, "Fail", how="message"))
    assert (failed.returncode, "there are no numbers; give some" in failed.stderr) == (30, True)
    assert "Traceback" not in stale.stderr + failed.stderr
    assert failed.stderr.count("there are no numbers") == 1


def test_luigis_own_command_refuses_what_is_stale_as_well(workdir):
    count(upto=3)
    stale = toy_runs.run(toy_runs.luigi_command(workdir, "Copy", "--upto", "4"))
    assert stale.returncode == 35
    assert "settings.upto: was 3, is now 4" in stale.stderr
    assert "Traceback" not in stale.stderr
    rebuilt = toy_runs.run(
        toy_runs.luigi_command(workdir, "Copy", "--upto", "4", "--machine-stale", "rebuild=clips", "--workers", "2")
    )
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert (Copy().folder / "copy.txt").read_text() == numbers(4)


def test_what_turns_out_to_be_stale_on_the_way_leaves_no_litter(workdir):
    count(upto=3)
    copy(upto=3)
    ended = toy_runs.run(toy_runs.door_command(workdir, "Copy", "--stale", "rebuild=clips", upto=4))
    assert ended.returncode == 3
    assert "inputs.count.digest: was" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("inputs.count.digest: was") == 1
    assert not folders.partial(Copy().folder).exists()


# -- being killed ------------------------------------------------------------------------------------------------------------


def counted(workdir):
    path = workdir / "toy/1-count.partial/numbers.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def resume(workdir, command):
    """Run again, at once, and see that it went on from where the first attempt was."""
    done = toy_runs.run(command)
    assert done.returncode == 0, done.stderr
    folder = workdir / "toy/1-count"
    assert (folder / "numbers.txt").read_text() == numbers(20)
    assert not verification.check(folder).problems
    assert "resumed at 0\n" not in (folder / "log.txt").read_text()
    assert not toy_runs.stages(workdir)
    assert sorted(path.name for path in (workdir / "toy").iterdir()) == ["1-count", "2-copy"]
    return folder


@pytest.mark.parametrize(("victim", "workers"), [("everything", "2"), ("luigi", "1"), ("luigi", "2"), ("stage", "1")])
def test_after_kill_9_the_same_command_goes_on(workdir, victim, workers):
    process = toy_runs.start(toy_runs.door_command(workdir, "Copy", "--workers", workers, upto=20, pause=0.15))
    toy_runs.wait_until(lambda: counted(workdir) >= 3, "the first numbers")
    if victim == "everything":
        toy_runs.kill_group(process)
    elif victim == "luigi":
        process.kill()
    else:
        for pid in toy_runs.stages(workdir):
            os.kill(pid, signal.SIGKILL)
    output = process.communicate(timeout=30)[0]
    assert not (workdir / "toy/1-count").exists()
    if victim == "stage":
        assert process.returncode == 30
        assert "killed by SIGKILL" in output
    folder = resume(workdir, toy_runs.door_command(workdir, "Copy", "--workers", workers, upto=20))
    assert folders.digest_of(folder) == folders.read_json(Copy().folder / "config.json")["inputs"]["count"]["digest"]


@pytest.mark.parametrize(
    ("whom", "workers", "signum"),
    [
        ("door", "1", signal.SIGTERM),
        ("door", "2", signal.SIGTERM),
        ("group", "2", signal.SIGTERM),
        ("group", "2", signal.SIGINT),
    ],
)
def test_sigterm_and_ctrl_c_stop_in_order(workdir, whom, workers, signum):
    process = toy_runs.start(toy_runs.door_command(workdir, "Copy", "--workers", workers, upto=20, pause=0.15))
    toy_runs.wait_until(lambda: counted(workdir) >= 3, "the first numbers")
    if whom == "door":
        process.send_signal(signum)
    else:
        os.killpg(process.pid, signum)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 128 + signum, output
    assert "Traceback" not in output
    assert "the same command goes on from here" in output
    assert not toy_runs.stages(workdir)
    log = (workdir / "toy/1-count.partial/log.txt").read_text()
    assert "\nsaved\n" in log
    assert log.endswith("stopped in order; the same command continues from here\n")
    if (whom, workers) == ("door", "2"):
        resume(workdir, toy_runs.door_command(workdir, "Copy", "--workers", workers, upto=20))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_ends_luigis_own_command_as_a_signal_does(workdir, workers):
    flags = ["--workers", workers, "--upto", "20", "--pause", "0.15"]
    process = toy_runs.start(toy_runs.luigi_command(workdir, "Count", *flags))
    toy_runs.wait_until(lambda: counted(workdir) >= 2, "the first numbers")
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    toy_runs.wait_until(lambda: not toy_runs.stages(workdir), "the stage's end")
    assert "stopped in order" in (workdir / "toy/1-count.partial/log.txt").read_text()


def test_nothing_half_written_ever_counts_as_done(workdir):
    command = toy_runs.door_command(workdir, "Copy", upto=4, pause=0.05)
    chance = random.Random(0)
    for _ in range(5):
        process = toy_runs.start(command)
        time.sleep(chance.uniform(0.3, 1.5))
        toy_runs.kill_group(process)
        for task in (Count(upto=4), Copy(upto=4)):
            assert not task.folder.exists() or not verification.check(task.folder).problems
    done = toy_runs.run(command)
    assert done.returncode == 0, done.stderr
    assert (Copy().folder / "copy.txt").read_text() == numbers(4)
    assert not any(verification.check(task.folder).problems for task in (Count(upto=4), Copy(upto=4)))


# -- one builder -------------------------------------------------------------------------------------------------------------


def test_two_runs_at_once_build_once(workdir):
    command = toy_runs.door_command(workdir, "Copy", "--workers", "2", upto=10, pause=0.1)
    both = [toy_runs.start(command) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert (Count().folder / "log.txt").read_text().count("Count -> toy/1-count") == 1
    assert (Count().folder / "numbers.txt").read_text() == numbers(10)
    assert not (workdir / "toy/1-count.partial").exists()
    assert not (workdir / ".superseded").exists()


def test_who_comes_second_and_does_not_wait_exits_as_already_running(workdir):
    with folders.lock(folders.partial(Count().folder), "toy/1-count"):
        second = toy_runs.run(toy_runs.door_command(workdir, "Count", patience=0.1))
    assert second.returncode == 10
    assert f"toy/1-count is being built right now by process {os.getpid()}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_lock_is_free_again_once_its_holder_is_gone(tmp_path):
    building = tmp_path / "x.partial"
    with folders.lock(building, "x"):
        assert str(os.getpid()) in folders.locked_by(building)
        with pytest.raises(AlreadyRunning, match="Wait for it"), folders.lock(building, "x", patience=0.0):
            pass
    assert folders.locked_by(building) == ""
    with folders.lock(building, "x", patience=0.0):
        pass


# -- draws -------------------------------------------------------------------------------------------------------------------


def test_a_shard_that_a_finished_draw_holds_is_not_drawn_again(workdir, monkeypatch):
    about = {"version": 1, "presets": {"smoke": {}}, "sampling": {"temperature": 1.0}, "likelihood": False}
    monkeypatch.setattr("tasks.descriptions.of_model", lambda kind, spec: about)
    monkeypatch.setattr("tasks.descriptions.check_sampling", lambda spec, sampling: None)
    draw = DrawSamples(model="noise", preset="smoke", count=256)
    train = draw.inputs()["train"]
    for task in (train.inputs()["clips"].inputs()["download"], train.inputs()["clips"], train, draw):
        toy_runs.publish(task, {"payload": task.task_family})
    shard, beyond = (draw.clone(DrawShard, start=start, stop=start + 128) for start in (128, 256))
    assert draw.complete()
    assert shard.complete()
    assert not beyond.complete()
    assert not draw.clone(DrawShard, start=128, stop=256, settings="sampling.temperature=0.9").complete()
    folders.move_aside(train.folder, workdir)
    assert not shard.complete()
    toy_runs.publish(train, {"payload": train.task_family})
    assert shard.complete()
    folders.move_aside(train.folder, workdir)
    toy_runs.publish(train, {"payload": "another training"})
    assert not shard.complete()


def test_nothing_is_drawn_for_a_draw_that_is_stale(workdir, monkeypatch):
    about = {"version": 1, "presets": {"smoke": {}}, "sampling": {}, "likelihood": False}
    monkeypatch.setattr("tasks.descriptions.of_model", lambda kind, spec: about)
    monkeypatch.setattr("tasks.descriptions.check_sampling", lambda spec, sampling: None)
    draw = DrawSamples(model="noise", preset="smoke", count=256)
    train = draw.inputs()["train"]
    for task in (train.inputs()["clips"].inputs()["download"], train.inputs()["clips"], train):
        toy_runs.publish(task, {"payload": task.task_family})
    shards = draw.shards()
    for shard in shards:
        toy_runs.publish(shard, {"payload": str(shard.start)})
    toy_runs.publish(draw, {"payload": "drawn"})
    draw.clean_up()
    assert not shards[0].folder.parent.exists()
    folders.move_aside(train.folder, workdir)
    planned = [task for task in draw.requires().values() if isinstance(task, DrawShard)]
    assert not any(task.complete() for task in planned)
    toy_runs.publish(train, {"payload": "another training"})
    for task in planned:
        with pytest.raises(StaleArtifact, match=r"inputs\.train\.digest: was") as refusal:
            task.complete()
        assert refusal.value.place == str(draw.place())
    with toy_runs.settings(stale="rebuild=samples"):
        assert not any(task.complete() for task in planned)
    assert not any(task.complete() for task in draw.clone(count=384).shards())


def test_a_folder_once_listed_needs_no_source(tmp_path):
    task = PrepareClips(corpus="folder", settings="corpus.name=birds")
    with pytest.raises(ValueError, match="give --source"):
        task.check_corpus()
    birds = tmp_path / "birds"
    for path in (birds / label / f"{n}.wav" for label in "ab" for n in range(3)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with toy_runs.settings(source=birds):
        task.check_corpus()
        toy_runs.publish(task.inputs()["download"], {"index.csv": ""})
    task.check_corpus()
    assert task.inputs()["download"].complete()


def test_an_import_is_found_again_without_its_source(tmp_path):
    import numpy as np

    np.save(tmp_path / "theirs.npy", np.zeros((2, 800), np.float32))
    asked = {"corpus": "spoken_digits", "name": "theirs"}
    given = ImportSamples(**asked, samples=str(tmp_path / "theirs.npy"), samples_rate=8000)
    toy_runs.publish(given, {"payload": "theirs"})
    assert given.complete()
    assert ImportSamples(**asked).complete()
    with pytest.raises(StaleArtifact, match="samples_rate: was"):
        ImportSamples(**asked, samples=str(tmp_path / "theirs.npy"), samples_rate=16000).complete()


@pytest.mark.parametrize(
    ("name", "samples", "rate", "message"),
    [
        ("..", "", 0, "cannot name a folder: write letters"),
        ("a/b", "", 0, "cannot name a folder"),
        ("Held-Out", "", 0, "what tables call a row of their own"),
        ("real", "", 0, "take another"),
        ("", "", 0, "cannot name a folder"),
        ("theirs", "x.npy", 0, "--samples-rate 16000"),
        ("theirs", "wavs", 8000, "leave it out"),
    ],
)
def test_an_import_that_makes_no_sense_is_refused_at_once(name, samples, rate, message):
    with pytest.raises(EarshotError, match=message):
        ImportSamples(name=name, samples=samples, samples_rate=rate).complete()


def test_places_say_what_they_are():
    assert Count().folder == machine.workdir() / "toy/1-count"
    assert folders.partial(Path("a/b")) == Path("a/b.partial")

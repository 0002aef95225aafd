"""Trainings that the pipeline spreads over processes: two on CPU cores end as one does, or are stopped, or die, together."""

import os
import signal
import subprocess
import sys
import threading

import luigi
import pytest

from pipeline import command
from pipeline.options import parse
from tasks import folders, machine, verification
from tasks.classifier import TrainClassifier
from tasks.corpus import PrepareClips
from tasks.errors import EarshotError, StageFailed
from tasks.generator import TrainGenerator
from tests import toy_runs
from tests.test_torchrun import assert_same
from tests.toy_tasks import Count, Learn


@pytest.fixture(autouse=True)
def workdir(tmp_path):
    with toy_runs.settings(workdir=tmp_path / "work", device="cpu", stale="refuse", processes=2):
        yield machine.workdir()


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Four graphics cards, as far as anybody looks without CUDA, and nobody else's."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config, before = luigi.configuration.get_config(), luigi.configuration.get_config().getintdict("resources")
    config.remove_section("resources")
    with toy_runs.settings(device="auto"):
        yield
    config.remove_section("resources")
    for name, value in before.items():
        config.set("resources", name, str(value))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted training in two processes."""
    folder = tmp_path_factory.mktemp("whole")
    with toy_runs.settings(workdir=folder, device="cpu", stale="refuse", processes=2):
        return toy_runs.build(Learn())


def build(task, processes):
    with toy_runs.settings(processes=processes):
        return toy_runs.build(task)


def door(workdir, **parameters):
    """The command that trains the toy, of which luigi.cfg says that it is spread."""
    return toy_runs.door_command(workdir, "Learn", "--device", "cpu", "--machine-processes", "2", **parameters)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def family(workdir):
    """The processes that train in `workdir`, and those that started them."""
    return toy_runs.stages(workdir, "tasks.stage", "tasks.ranks")


# -- the same result ---------------------------------------------------------------------------------------------------------


def test_two_processes_learn_what_one_does_with_two_micro_batches(whole):
    two, one = whole, build(Learn(accumulate=2), 1)
    assert_same(two, one)
    assert [folders.read_json(folder / "provenance.json")["processes"] for folder in (two, one)] == [2, 1]
    assert not verification.check(two).problems
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    log = (two / "log.txt").read_text()
    assert log.count("Learn -> toy/learn-1-8") == 2
    assert "process 0 is done" in log
    assert "process 1 is done" not in log, "it is silent by then"


def test_other_stages_have_one_process():
    folder = toy_runs.build(Count())
    assert folders.read_json(folder / "provenance.json")["processes"] == 1


@pytest.mark.slow
def test_a_generator_and_a_classifier_in_two_processes(workdir):
    settings = "corpus.clips_per_digit=16,corpus.clip_seconds=0.25,wavenet.steps=12,classifier.steps=12"
    generator = TrainGenerator(corpus="spoken_digits", model="wavenet", preset="smoke", settings=settings)
    classifier = TrainClassifier(corpus="spoken_digits", classifier="smoke", settings=settings)
    one = generator.clone(settings=f"{settings},wavenet.accumulate=2")
    assert_same(toy_runs.build(generator), build(one, 1))
    metrics = folders.read_json(toy_runs.build(classifier) / "metrics.json")
    assert metrics["steps"] == 12
    assert 0 <= metrics["test"]["accuracy"] <= 1
    assert not verification.check(classifier.folder).problems


# -- being stopped, and dying ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whom", ["door", pytest.param("group", marks=pytest.mark.slow)])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(workdir, whole, whom):
    process = toy_runs.start(door(workdir, pause=0.2))
    building = folders.partial(Learn().folder)
    toy_runs.wait_until((building / "checkpoints/last.pt").exists, "a checkpoint")
    process.send_signal(signal.SIGTERM) if whom == "door" else os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + (signal.SIGTERM if whom == "door" else signal.SIGINT), output
    assert "Traceback" not in output
    log = (building / "log.txt").read_text()
    assert "Traceback" not in log
    assert log.endswith("stopped in order; the same command continues from here\n")
    assert not family(workdir)
    assert weights(build(Learn(), 1)) == weights(whole), "the number of processes is the attempt's"
    assert folders.read_json(Learn().folder / "provenance.json")["processes"] == 2


@pytest.mark.slow
def test_one_process_that_is_asked_to_stop_stops_all(workdir):
    process = toy_runs.start(door(workdir, pause=0.2))
    toy_runs.wait_until((folders.partial(Learn().folder) / "checkpoints/last.pt").exists, "a checkpoint")
    os.kill(toy_runs.stages(workdir)[-1], signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert "FAILED" not in output
    assert (folders.partial(Learn().folder) / "log.txt").read_text().endswith("continues from here\n")
    assert not family(workdir)


def test_kill_9_of_the_supervisor_leaves_no_process_behind(workdir):
    process = toy_runs.start(door(workdir, pause=0.2))
    building = folders.partial(Learn().folder)
    toy_runs.wait_until((building / "checkpoints/last.pt").exists, "a checkpoint")
    assert len(family(workdir)) == 3
    process.kill()
    process.communicate(timeout=30)
    toy_runs.wait_until(lambda: not family(workdir), "the end of all", 10)
    toy_runs.wait_until(lambda: not folders.locked_by(building), "the end of its lock", 10)


@pytest.mark.slow
def test_who_starts_the_processes_and_is_killed_takes_them_along(workdir):
    process = toy_runs.start(door(workdir, pause=0.2))
    toy_runs.wait_until((folders.partial(Learn().folder) / "checkpoints/last.pt").exists, "a checkpoint")
    (launcher,) = set(family(workdir)) - set(toy_runs.stages(workdir))
    os.kill(launcher, signal.SIGKILL)
    assert "the stage was killed by SIGKILL" in process.communicate(timeout=30)[0]
    toy_runs.wait_until(lambda: not family(workdir), "the end of all", 10)


@pytest.mark.parametrize(
    ("then", "message"),
    [
        ("error", "the second process has had enough"),
        pytest.param("kill", "the stage was killed by SIGKILL; this is what running out", marks=pytest.mark.slow),
    ],
)
def test_what_ends_one_process_is_told_and_ends_the_others(workdir, then, message):
    with pytest.raises(StageFailed, match=f"^{message}") as failure:
        toy_runs.build(Learn(then=then))
    assert "ChildFailedError" not in str(failure.value)
    assert not family(workdir)


def test_a_batch_that_cannot_be_shared_is_told():
    with pytest.raises(StageFailed, match="batch_size=9 cannot be shared by 2 processes"):
        toy_runs.build(Learn(batch_size=9))


# -- graphics cards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -1])
def test_no_processes_make_no_sense(count):
    with toy_runs.settings(processes=count):
        with pytest.raises(EarshotError, match=f"processes={count} in luigi.cfg must be"):
            Learn().complete()
        with pytest.raises(EarshotError, match="at least 1"):
            command.benchmark(parse("spoken_digits", ["--preset", "smoke", "--models", "noise"]))


def test_more_processes_than_graphics_cards_are_refused_before_anything_runs(gpus):
    with toy_runs.settings(processes=4):
        assert not Learn().complete()
    with toy_runs.settings(processes=5):
        with pytest.raises(EarshotError, match="stages may use 4 here; set 1 to 4, or spread it over CPU cores"):
            Learn().complete()
        with toy_runs.settings(device="cpu"):
            assert not Learn().complete()
        toy_runs.publish(Learn(), {})
        assert Learn().complete(), "what is finished can be used everywhere"


def test_an_attempt_waits_for_no_cards_that_are_not_there(gpus, monkeypatch):
    building = folders.partial(Learn().folder)
    building.mkdir(parents=True)
    folders.write_json(building / folders.CONFIG, Learn().identity())
    folders.write_json(building / folders.ATTEMPT, {"threads": 1, "processes": 5})
    with pytest.raises(StageFailed, match=r"it began with 5 processes, .* and 4 are visible here"):
        toy_runs.build(Learn())


def test_cards_are_leased_all_or_none(gpus):
    with machine.lease_gpus(1) as one:
        assert one == "0"
        with machine.lease_gpus(2) as two:
            assert two == "1,2"
            got, held = threading.Event(), []

            def wait() -> None:
                with machine.lease_gpus(2) as names:
                    held.append(names)
                    got.set()

            waiting = threading.Thread(target=wait)
            waiting.start()
            assert not got.wait(1.5)
            with machine.lease_gpus(1) as last:
                assert last == "3", "who waits for two holds none"
        waiting.join(10)
        assert held == ["1,2"]


def test_without_cards_nothing_is_leased():
    with machine.lease_gpus(2) as names:
        assert names == ""


def test_what_luigi_counts(gpus):
    config = luigi.configuration.get_config()
    before = config.get("core", "local_scheduler", "false")
    try:
        config.set("core", "local_scheduler", "true")
        machine.limit_gpus()
        assert config.getintdict("resources") == {"gpu": 4}
        assert (Learn().resources, Count().resources) == ({"gpu": 2}, {})
        assert PrepareClips().resources == {}
        config.set("resources", "gpu", "2")  # as luigi.cfg may say
        machine.limit_gpus()
        assert config.getintdict("resources") == {"gpu": 2}
        with toy_runs.settings(processes=3), pytest.raises(EarshotError, match="stages may use 2 here"):
            Learn().complete()
        with toy_runs.settings(device="cpu"):
            assert Learn().resources == {}
        config.set("core", "local_scheduler", "false")
        assert Learn().resources == {}
    finally:
        config.set("core", "local_scheduler", before)


SCHEDULERS = """
import sys
from luigi import interface, scheduler
def tell(self, *args, **how):
    made(self, *args, **how)
    print("resources:", self._resources)
    sys.exit(0)
made, scheduler.Scheduler.__init__ = scheduler.Scheduler.__init__, tell
"""


@pytest.mark.parametrize("door", ["luigi", "python -m"])
def test_the_local_scheduler_knows_of_all_cards(door, workdir):
    if door == "luigi":
        words = ["--module", "pipeline.evaluate", "EvaluateSamples", "--model", "noise", "--local-scheduler"]
        code = f"{SCHEDULERS}\ninterface.run({words!r})"
    else:
        words = ["--models", "noise", "--preset", "smoke", "--workdir", str(workdir)]
        code = f"{SCHEDULERS}\nfrom pipeline import command\ncommand.main('spoken_digits', {words!r})"
    environment = {**toy_runs.ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "0,1,2"}
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=toy_runs.REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "resources: {'gpu': 3}" in told.stdout, told.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [(["--scheduler-host", "elsewhere"], "128 False"), (["--machine-sampling-shard=1024"], "1024 True")],
)
def test_machines_of_a_cluster_cut_draws_alike(flags, told):
    code = f"""
from pipeline import command, options
command.configure(options.parse("sc09", {flags!r}))
from tasks import generator, machine
print(generator.shard_size(4096), machine.schedules_alone())
"""
    for gpus in ("", "0,1"):
        environment = {**toy_runs.ENVIRONMENT, "CUDA_VISIBLE_DEVICES": gpus}
        words = [sys.executable, "-c", code]
        assert subprocess.check_output(words, env=environment, cwd=toy_runs.REPOSITORY, text=True) == f"{told}\n"

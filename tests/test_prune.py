"""`python -m pipeline.prune`: what it lists, what it removes, and all that it leaves alone."""

import os
import time

import pytest

from pipeline import prune
from tasks import console, folders, machine, pruning, verification
from tests import toy_runs
from tests.toy_tasks import Copy, Count, Sum


@pytest.fixture(autouse=True)
def workdir(tmp_path):
    with toy_runs.settings(workdir=tmp_path / "work", device="cpu", stale="refuse"):
        yield machine.workdir()


def count():
    return toy_runs.publish(Count(), {"numbers.txt": "0\n"}, {"count": 1})


def command(capsys, workdir, *words):
    assert prune.main(["--workdir", str(workdir), *words]) == 0
    return capsys.readouterr().out


def listed(workdir):
    return {(found.group, found.path.relative_to(workdir).as_posix()) for found in pruning.find(workdir)}


def everything(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def fake(folder, config, payload="payload"):
    """A finished artifact with a config of our own."""
    building = folders.partial(folder)
    building.mkdir(parents=True)
    folders.write_json(building / "config.json", config)
    (building / "samples.npy").write_text(payload)
    folders.publish(building, folder)
    return folder


def test_a_tidy_workdir_has_nothing_to_prune(capsys, workdir):
    count()
    before = everything(workdir)
    assert command(capsys, workdir, "--yes") == f"{workdir}: nothing to prune.\n"
    assert everything(workdir) == before
    assert command(capsys, workdir / "nowhere", "--yes") == f"{workdir / 'nowhere'}: nothing to prune.\n"


def test_superseded_folders_are_listed_with_their_size_and_removed_only_on_yes(capsys, workdir):
    size = sum(path.stat().st_size for path in count().iterdir())
    aside = folders.move_aside(Count().folder, workdir)
    count()
    text = command(capsys, workdir)
    assert f"{aside.relative_to(workdir)}" in text
    assert f"{console.spell_bytes(size)} in all. Nothing was removed; --yes removes it." in text
    assert aside.exists()
    assert f"{console.spell_bytes(size)} removed." in command(capsys, workdir, "--yes")
    assert not (workdir / ".superseded").exists()
    assert Count().complete()


def test_dead_attempts_go_and_running_or_stopped_ones_stay(capsys, workdir):
    died, running, stopped = (folders.partial(workdir / "toy" / name) for name in ("a", "b", "c"))
    for building in (died, running, stopped):
        building.mkdir(parents=True)
        (building / "log.txt").write_text("12:00 stopped in order; the same command continues from here\n")
    folders.write_json(died / "died.json", {"error": "it broke"})
    with folders.lock(running, "b"):
        (running / "log.txt").write_text("12:00 at work\n")
        assert listed(workdir) == {("died", "toy/a.partial")}
        text = command(capsys, workdir, "--yes")
    assert "a.partial  it broke" in text
    assert "starts these stages over" in text
    assert sorted(path.name for path in (workdir / "toy").iterdir()) == ["b.partial", "c.partial"]
    assert not (workdir / ".superseded").exists()


def test_what_somebody_starts_on_in_the_meantime_stays(workdir):
    building = folders.partial(Count().folder)
    building.mkdir(parents=True)
    (found,) = pruning.find(workdir)
    with folders.lock(building, "count"), pytest.raises(folders.AlreadyRunning):
        pruning.remove(found, workdir)
    assert building.exists()


@pytest.fixture
def model(workdir):
    """A trained model with a finished draw of 256 and shards around it."""
    model = workdir / "digits/wavenet/small-seed0"
    fake(model / "1-train", {"task": "TrainGenerator"})
    train = {"digest": folders.digest_of(model / "1-train")}
    draw = {"task": "DrawSamples", "settings": {}, "parameters": {"count": "256"}, "inputs": {"train": train}}
    fake(model / "draw-256/2-samples", draw)
    for start in range(0, 512, 128):
        shard(model, "shards", start, train["digest"], {})
    return model


def shard(model, name, start, digest, settings):
    parameters = {"start": str(start), "stop": str(start + 128)}
    inputs = {"train": {"digest": digest}}
    config = {"task": "DrawShard", "settings": settings, "parameters": parameters, "inputs": inputs}
    return fake(model / name / f"{start:06d}-{start + 128:06d}", config)


def test_only_shards_that_a_finished_draw_holds_go(capsys, workdir, model):
    digest = folders.digest_of(model / "1-train")
    shard(model, "shards+temperature=0.9", 0, digest, {"temperature": 0.9})
    gone = shard(model, "shards+temperature=0.8", 0, "of an earlier training", {"temperature": 0.8})
    base = "digits/wavenet/small-seed0"
    assert listed(workdir) == {
        ("shards", f"{base}/shards/000000-000128"),
        ("shards", f"{base}/shards/000128-000256"),
        ("shards", gone.relative_to(workdir).as_posix()),
    }
    text = command(capsys, workdir, "--yes")
    assert "draw-256 holds these samples" in text
    assert sorted(path.name for path in model.glob("shards*/*")) == ["000000-000128", "000256-000384", "000384-000512"]
    assert not gone.parent.exists()
    assert (model / "draw-256/2-samples/samples.npy").exists()


def test_shards_stay_while_somebody_draws(workdir, model):
    with folders.lock(folders.partial(model / "draw-512/2-samples"), "draw"):
        assert listed(workdir) == set()


def test_all_checkpoints_but_the_last_and_the_best_go_and_the_artifact_stays_the_same(capsys, workdir):
    count()
    files = {f"checkpoints/{name}": name for name in ("last.pt", "best.pt", "step-100.pt", "best.pt.tmp")}
    folder = toy_runs.publish(Sum(), {**files, "model.bin": "weights"}, {"sum": 0})
    digest = folders.digest_of(folder)
    assert {path for _, path in listed(workdir)} == {
        "toy/3-sum/checkpoints/best.pt.tmp", "toy/3-sum/checkpoints/step-100.pt",
    }  # fmt: skip
    command(capsys, workdir, "--yes")
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.pt", "last.pt"]
    assert folders.digest_of(folder) == digest
    assert Sum().complete()
    assert verification.check(folder).problems == []
    record = folders.read_json(folder / "manifest.json")["pruned"]["checkpoints/step-100.pt"]
    assert (record["size"], record["in_digest"]) == (11, False)
    assert listed(workdir) == set()


def test_a_crash_between_manifest_and_removal_leaves_a_whole_artifact(workdir, monkeypatch):
    count()
    folder = toy_runs.publish(Sum(), {"checkpoints/step-100.pt": "state"}, {"sum": 0})
    (found,) = pruning.find(workdir)

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        pruning.remove(found, workdir)
    monkeypatch.undo()
    assert (folder / "checkpoints/step-100.pt").exists()
    assert verification.check(folder).problems == []
    assert listed(workdir) == {("checkpoints", "toy/3-sum/checkpoints/step-100.pt")}
    pruning.remove(found, workdir)
    assert verification.check(folder).problems == []
    assert listed(workdir) == set()


def test_checkpoints_that_are_part_of_the_digest_stay(workdir):
    toy_runs.publish(Count(), {"checkpoints/step-100.pt": "payload"}, {"count": 1})
    assert listed(workdir) == set()


def test_old_notes_and_half_written_files_go(workdir):
    notes = workdir / ".cache/descriptions"
    notes.mkdir(parents=True)
    now = time.time()
    ages = {"generators-wavenet-aaaa.json": 50, "generators-wavenet-bbbb.json": 5, "generators-wavenet-cccc.json": 20,
            "generators-noise-dddd.json": 90, ".x.json.1.tmp": 4000, ".y.json.2.tmp": 5}  # fmt: skip
    for name, age in ages.items():
        (notes / name).write_text("{}")
        os.utime(notes / name, (now - age, now - age))
    assert {path.rpartition("/")[2] for _, path in listed(workdir)} == {
        "generators-wavenet-aaaa.json", "generators-wavenet-cccc.json", ".x.json.1.tmp",
    }  # fmt: skip


def test_compiled_code_goes_a_month_after_its_last_use(workdir):
    code = workdir / ".compiled/earshot"
    code.mkdir(parents=True)
    for name, days in {"timestep-aaaa.pt2": 31, "timestep-bbbb.pt2": 29}.items():
        (code / name).write_text("code")
        os.utime(code / name, (time.time() - days * 86400,) * 2)
    assert listed(workdir) == {("compiled", ".compiled/earshot/timestep-aaaa.pt2")}


def test_what_was_half_removed_is_found_again(workdir):
    hidden = workdir / "toy/.1-count.77.removed"
    hidden.mkdir(parents=True)
    (workdir / "toy/.mine").mkdir()
    assert listed(workdir) == {("superseded", "toy/.1-count.77.removed")}


def test_nothing_outside_the_workdir_is_touched(capsys, workdir, tmp_path):
    outside = tmp_path / "outside"
    precious = {"a.20260101-000000/x", "b.partial/x", "checkpoints/step-1.pt", "kept.json-a.json"}
    for name in precious:
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_text("precious")
    before = everything(outside)
    count()
    (workdir / ".superseded/toy").mkdir(parents=True)
    for link in (".superseded/toy/a.20260101-000000", "linked", "toy/linked", "toy/b.partial", ".cache", ".compiled"):
        (workdir / link).symlink_to(outside)
    (workdir / "toy/1-count/checkpoints").symlink_to(outside / "checkpoints")
    command(capsys, workdir, "--yes")
    assert everything(outside) == before
    assert (workdir / "linked").is_symlink()


def test_the_copy_of_a_count_is_untouched_by_it_all(capsys, workdir):
    count()
    folder = toy_runs.publish(Copy(), {"copy.txt": "0\n"})
    folders.move_aside(folder, workdir)
    toy_runs.publish(Copy(), {"copy.txt": "0\n"})
    before = everything(workdir / "toy")
    command(capsys, workdir, "--yes")
    assert everything(workdir / "toy") == before
    assert Copy().complete()

"""`python -m pipeline.verify`: every kind of damage is named, and what is repaired is rebuilt."""

import hashlib
import json
import sys

import pytest

from pipeline import verify
from tasks import folders, machine, verification
from tests import toy_runs
from tests.toy_tasks import Copy, Count, Sum


@pytest.fixture(autouse=True)
def workdir(tmp_path):
    with toy_runs.settings(workdir=tmp_path / "work", device="cpu", stale="refuse"):
        yield machine.workdir()


@pytest.fixture
def artifact():
    return toy_runs.publish(Count(), {"numbers.txt": "0\n1\n2\n", "wavs/a.wav": "sound"}, {"count": 3})


def problems(folder):
    return verification.check(folder).problems


def command(capsys, workdir, *words):
    """(exit status, lines printed)"""
    status = verify.main(["--workdir", str(workdir), *map(str, words)])
    return status, capsys.readouterr().out.splitlines()


def test_what_is_whole_is_called_whole(capsys, workdir, artifact):
    files = [path for path in artifact.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    status, lines = command(capsys, workdir)
    assert status == 0
    assert lines == [
        f"1 artifacts, {len(files)} files, {size / 1000:.1f} kB checked: all is as it was when it was finished."
    ]


NAMES = ("numbers.txt", "wavs/a.wav", "config.json", "metrics.json", "log.txt", "provenance.json")


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_named_when_it_is_truncated_changed_or_gone(artifact, name):
    path = artifact / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert problems(artifact) == [(name, f"has {len(whole) - 1} bytes instead of {len(whole)}")]
    path.write_bytes(whole[:-1] + b"?")
    assert problems(artifact) == [(name, "has another content (sha256)")]
    path.unlink()
    assert problems(artifact) == [(name, "is missing")]
    path.symlink_to("nowhere")
    assert problems(artifact) == [(name, "is a broken link")]
    path.unlink()
    path.mkdir()
    assert [found for found, _ in problems(artifact)] == [name]


def test_extra_files_are_named_and_a_left_lock_is_not(artifact):
    (artifact / ".lock").touch()
    assert problems(artifact) == []
    (artifact / "wavs/b.wav").touch()
    (artifact / "notes").mkdir()
    (artifact / "notes/.hidden").touch()
    assert problems(artifact) == [("notes/.hidden", "is not in the manifest"), ("wavs/b.wav", "is not in the manifest")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "is missing"),
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "is not a manifest"),
        ('{"digest": 1, "files": {}}', "is not a manifest"),
        ('{"digest": "x", "files": {"a": {"size": 1}}}', "is not a manifest"),
        ('{"digest": "x", "files": {"../a": {"size": 1, "sha256": "x"}}}', "is not a manifest"),
    ],
)
def test_a_manifest_that_is_none_is_named(artifact, content, problem):
    path = artifact / "manifest.json"
    path.unlink() if content is None else path.write_text(content)
    ((name, found),) = problems(artifact)
    assert (name, problem in found) == ("manifest.json", True)


def test_a_manifest_that_was_adapted_to_a_forgery_is_found(artifact):
    (artifact / "numbers.txt").write_text("9\n9\n9\n")
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["files"]["numbers.txt"]["sha256"] = hashlib.sha256(b"9\n9\n9\n").hexdigest()
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    assert problems(artifact) == [("manifest.json", "its digest is not that of its list of files")]
    del manifest["files"]["log.txt"]
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    assert ("log.txt", "is not listed in the manifest") in problems(artifact)


def test_unfinished_folders_are_mentioned_and_no_error(capsys, workdir, artifact):
    building = folders.partial(Copy().folder)
    with folders.lock(building, "copy"):
        status, lines = command(capsys, workdir)
    assert (status, len(lines)) == (0, 2)
    assert lines[0].startswith("toy/2-copy.partial: not finished, not checked (running: process ")


def test_links_that_lead_nowhere_are_named(capsys, workdir, artifact):
    (workdir / "toy/leaderboard.md").symlink_to("3-sum/leaderboard.md")
    (workdir / "toy/good").symlink_to("1-count")
    status, lines = command(capsys, workdir)
    assert status == 1
    assert lines[0].startswith("toy/leaderboard.md leads nowhere: 3-sum/leaderboard.md is not there")
    assert lines[-1].endswith("0 damaged, 1 broken links.")


def test_only_what_is_asked_for_is_checked(capsys, workdir, artifact):
    other = toy_runs.publish(Copy(), {"copy.txt": "1\n"})
    (other / "copy.txt").unlink()
    assert command(capsys, workdir)[0] == 1
    assert command(capsys, workdir, artifact)[0] == 0
    assert command(capsys, workdir, artifact / "wavs" / "a.wav", artifact)[1][-1].startswith("1 artifacts")
    assert command(capsys, workdir, other, artifact)[1][0] == "toy/2-copy/copy.txt is missing"
    assert command(capsys, workdir, workdir / "nowhere")[0] == 2
    (workdir / "toy/readme").touch()
    assert command(capsys, workdir, workdir / "toy/readme")[0] == 2


def test_a_workdir_that_is_not_there_is_no_workdir_in_order(capsys, workdir):
    assert verify.main(["--workdir", str(workdir)]) == 2
    assert f"there is no folder {workdir}" in capsys.readouterr().err


def test_an_empty_workdir_is_in_order(capsys, workdir):
    workdir.mkdir()
    assert command(capsys, workdir) == (
        0,
        ["0 artifacts, 0 files, 0 B checked: all is as it was when it was finished."],
    )


def test_repair_moves_what_is_damaged_and_the_next_run_makes_it_again(capsys, workdir):
    toy_runs.build(Copy())
    digest = folders.digest_of(Count().folder)
    (Count().folder / "numbers.txt").write_text("0\n")
    assert command(capsys, workdir)[0] == 1
    assert Count().complete()
    status, lines = command(capsys, workdir, "--repair")
    assert status == 1
    assert lines[0] == "toy/1-count/numbers.txt has 2 bytes instead of 6"
    assert "moved to .superseded/toy/1-count." in lines[1]
    assert command(capsys, workdir)[0] == 0
    assert not Copy().complete()
    toy_runs.build(Copy())
    assert folders.digest_of(Count().folder) == digest
    assert command(capsys, workdir)[0] == 0


def test_repair_takes_only_extra_files_out_of_what_is_whole(capsys, workdir, artifact):
    (artifact / "wavs/b.wav").write_text("mine")
    status, lines = command(capsys, workdir, "--repair")
    assert status == 1
    assert "the files that do not belong to it moved to .superseded/toy/1-count." in lines[1]
    assert Count().complete()
    assert problems(artifact) == []
    assert [path.read_text() for path in workdir.glob(".superseded/toy/1-count.*/wavs/b.wav")] == ["mine"]


def test_what_is_being_built_again_is_skipped(capsys, workdir, artifact):
    (artifact / "numbers.txt").unlink()
    with folders.lock(folders.partial(artifact), "count"):
        status, lines = command(capsys, workdir, "--repair")
    assert status == 0
    assert any("toy/1-count: skipped, it is being built again by process" in line for line in lines)
    assert artifact.exists()


def test_what_lies_elsewhere_is_checked_and_never_moved(capsys, workdir, artifact, tmp_path):
    copy = tmp_path / "copy"
    artifact.rename(copy)
    assert command(capsys, workdir, copy)[0] == 0
    (copy / "numbers.txt").unlink()
    status, lines = command(capsys, workdir, copy, "--repair")
    assert (status, copy.exists()) == (1, True)
    assert "say --workdir" in lines[1]


def test_files_outside_the_digest_are_checked_as_well():
    toy_runs.publish(Count(), {"numbers.txt": "0\n"}, {"count": 1})
    folder = toy_runs.publish(Sum(), {"checkpoints/last.pt": "state"}, {"sum": 0})
    assert problems(folder) == []
    (folder / "checkpoints/last.pt").write_text("State")
    assert problems(folder) == [("checkpoints/last.pt", "has another content (sha256)")]


def test_the_command_imports_nothing_heavy(workdir, artifact):
    code = "import sys; from pipeline import verify; s = verify.main(sys.argv[1:]); print('torch' in sys.modules, s)"
    done = toy_runs.run([sys.executable, "-c", code, "--workdir", str(workdir)])
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "False 0")

"""What a hostile machine, or a hasty person, does to a run: closed pipes, odd places, damaged inputs, names that lead away."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks import audio, folders, machine
from tasks.corpora import folder as folder_module
from tasks.corpora import sc09 as sc09_module
from tasks.errors import EarshotError, StageFailed, in_words
from tasks.generator import ImportSamples
from tests import toy_runs
from tests.toy_tasks import Copy, Count

STATUS = f"{sys.executable} -m pipeline.status --workdir"


@pytest.fixture(autouse=True)
def workdir(tmp_path):
    with toy_runs.settings(workdir=tmp_path / "work", device="cpu", stale="refuse"):
        yield machine.workdir()


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", line], cwd=toy_runs.REPOSITORY, env=toy_runs.ENVIRONMENT | variables, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip


# -- where the output goes ---------------------------------------------------------------------------------------------------


def test_a_reader_that_had_enough_is_no_traceback(workdir):
    ended = shell(f"set -o pipefail; {STATUS} {workdir} | true")
    assert (ended.returncode, ended.stderr) == (141, "")


def test_closed_streams_do_not_stop_a_run(workdir):
    words = " ".join(f"'{word}'" for word in toy_runs.door_command(workdir, "Copy", upto=3)[3:])
    (workdir.parent / "door.py").write_text(toy_runs.DOOR)
    ended = shell(f"{sys.executable} {workdir.parent}/door.py {words} <&- >&- 2>&-")
    assert ended.returncode == 0
    assert (Copy(upto=3).folder / "copy.txt").read_text() == "0\n1\n2\n"


def test_an_encoding_that_lacks_a_sign_is_no_traceback(workdir):
    workdir.mkdir()
    ended = shell(f"{STATUS} {workdir}/Ünï", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0
    assert "?n?" in ended.stdout


# -- places that cannot be written to ----------------------------------------------------------------------------------------


def test_a_workdir_that_is_a_file_is_a_message(workdir):
    workdir.write_text("")
    ended = toy_runs.run(toy_runs.door_command(workdir, "Count", upto=3))
    assert ended.returncode == 30
    assert "NotADirectoryError" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_empty_workdir_flag_does_not_mean_the_current_folder():
    ended = shell(f"{sys.executable} -m pipeline.spoken_digits --workdir ''")
    assert ended.returncode == 2
    assert "--workdir: it is empty" in ended.stderr


def test_a_full_disk_is_called_one():
    assert in_words(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))).startswith("the disk is full")
    assert in_words(OSError("24000 requested and 14272 written")).startswith("the disk is full")
    assert in_words(OSError(errno.EACCES, os.strerror(errno.EACCES))).startswith("PermissionError")


def test_json_that_does_not_fit_leaves_nothing_behind(tmp_path, monkeypatch):
    def no_room(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="No space"):
        folders.write_json(tmp_path / "config.json", {"a": 1})
    assert not list(tmp_path.iterdir())


# -- inputs ------------------------------------------------------------------------------------------------------------------


def test_a_damaged_input_is_not_built_from():
    folder = toy_runs.publish(Count(), {"numbers.txt": "0\n1\n2\n"}, {"count": 3})
    os.truncate(folder / "numbers.txt", 2)
    with pytest.raises(
        StageFailed, match=r"toy/1-count is damaged: numbers.txt has 2 bytes instead of 6.*verify --repair"
    ):
        toy_runs.build(Copy())
    assert not folders.partial(Copy().folder).exists()


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged .*pipeline\.verify"):
        folders.read_json(tmp_path / "config.json")


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "x.partial", "/x", " "])
def test_imported_samples_cannot_be_named_out_of_their_folder(name):
    with pytest.raises(EarshotError, match="cannot name a folder"):
        ImportSamples(name=name).place()


def test_a_corpus_cannot_be_named_out_of_the_workdir():
    with pytest.raises(ValueError, match="cannot name a folder"):
        folder_module.Config(name="../../x")


def test_a_wav_that_ends_before_its_header_says_is_cut_short(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(4000, np.int16), 16000)
    whole = path.read_bytes()
    path.write_bytes(whole[:3000])
    with pytest.raises(audio.AudioError, match="cut short: 5044 bytes"):
        audio.read(path)
    for streamed in (0xFFFFFFFF, 0x7FFFFFFF):  # a length that its writer did not know
        path.write_bytes(whole[:40] + streamed.to_bytes(4, "little") + whole[44:])
        assert len(audio.read(path).waveform) == 4000


def test_what_an_attempt_took_from_a_source_is_not_taken_for_the_download(tmp_path, monkeypatch):
    source, out, corpus = tmp_path / "source", tmp_path / "out", sc09_module.SC09()
    for digit in sc09_module.DIGITS[1:]:  # one is missing, so that the attempt fails
        (source / digit).mkdir(parents=True)
        (source / digit / "a_nohash_0.wav").write_bytes(b"")
    for name in sc09_module.LISTS.values():
        (source / name).write_text("")
    with pytest.raises(ValueError, match="no recordings of 'zero'"):
        corpus.download(sc09_module.Config(), out, source, lambda *said: None, 1)
    (source / "zero").mkdir()
    (source / "zero" / "a_nohash_0.wav").write_bytes(b"")
    fetched = []
    monkeypatch.setattr(sc09_module.download, "fetch", lambda url, archive, *rest: fetched.append(url))
    monkeypatch.setattr(sc09_module.download, "extract", lambda archive, to, *rest: shutil.copytree(source, to))
    corpus.download(sc09_module.Config(), out, None, lambda *said: None, 1)
    assert len(fetched) == 1
    assert json.loads((out / "source.json").read_text())["published"] is True
    corpus.download(sc09_module.Config(), out, None, lambda *said: None, 1)
    assert len(fetched) == 1


# -- killed workers ----------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_told_and_the_next_run_goes_on(workdir):
    words = ("--workers", "2")
    process = toy_runs.start(toy_runs.door_command(workdir, "Copy", *words, upto=20, pause=0.15))
    toy_runs.wait_until(lambda: toy_runs.stages(workdir), "a stage")
    status = Path(f"/proc/{toy_runs.stages(workdir)[0]}/status").read_text()
    os.kill(int(re.search(r"PPid:\s+(\d+)", status)[1]), signal.SIGKILL)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 30, output
    assert "toy/1-count  FAILED: the worker process that looked after it was killed" in output
    assert "Traceback" not in output
    assert toy_runs.run(toy_runs.door_command(workdir, "Copy", *words, upto=20)).returncode == 0

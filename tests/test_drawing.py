"""What an attempt to draw a shard leaves for the next one, and says to who waits for it."""

import signal
from pathlib import Path

import pytest
import torch

from models import checkpoints, compiling, plugins, sampling_batch, save_description
from tasks import drawing, folders, supervisor
from tests import toy_runs, toy_tasks


class Listener:
    """Progress, with what was said beside it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, done: int, total: int, text: str = "") -> None:
        pass

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """An untrained WaveNet, where a training leaves its own."""
    torch.manual_seed(0)
    plugin, folder = plugins.find("generators", "wavenet"), tmp_path / "trained"
    folder.mkdir()
    net = plugin.cls(plugin.presets["smoke"], 16000, 160)
    save_description(folder, net, plugin)
    checkpoints.save_weights(folder / "model.safetensors", net.state_dict())
    return folder


def draw(trained: Path, out: Path, count: int) -> Listener:
    out.mkdir(exist_ok=True)
    listener = Listener()
    with toy_runs.settings(device="cpu"):
        drawing.draw(trained, 0, 0, count, {}, None, out, listener)
    return listener


def test_without_a_compiler_who_waits_is_told_once(trained: Path, tmp_path: Path, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise compiling.CannotCompile("no compiler is there")

    monkeypatch.setattr(compiling, "compiler", broken)
    with toy_runs.settings(compiled="always", sampling_batch=2):
        said = draw(trained, tmp_path / "a", 6).said
    assert said == ["no compiler is there; samples are drawn without, which takes longer"]
    with toy_runs.settings(compiled="never", sampling_batch=2):
        assert draw(trained, tmp_path / "b", 6).said == []
    assert (tmp_path / "a" / drawing.SAMPLES).read_bytes() == (tmp_path / "b" / drawing.SAMPLES).read_bytes()


def test_a_resumed_attempt_draws_as_many_at_once_as_the_first(trained: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sampling_batch, "fitting", lambda *_: 4)
    shard = tmp_path / "shard"
    shard.mkdir()
    folders.write_json(shard / folders.ATTEMPT, {"threads": "1", "sampling_batch": "0"})
    draw(trained, shard, 6)
    assert folders.read_json(shard / folders.ATTEMPT) == {"threads": "1", "sampling_batch": 4}
    with toy_runs.settings(sampling_batch=3):
        draw(trained, shard, 6)
    assert folders.read_json(shard / folders.ATTEMPT)["sampling_batch"] == 3


@pytest.mark.parametrize(("status", "batch"), [(-signal.SIGKILL, "0"), (1, 4)])
def test_but_not_if_these_were_too_many(tmp_path: Path, status: int, batch: object) -> None:
    """Killed by the kernel, most likely for its memory, it looks anew at what there is."""
    with toy_runs.settings(workdir=tmp_path):
        task = toy_tasks.Count()
        building = folders.partial(task.folder)
        building.mkdir(parents=True)
        supervisor._prepare(task, building)
        folders.remember(building, sampling_batch=4)
        folders.write_json(building / folders.DIED, {"error": "it died", "status": status, "time": 0.0})
        supervisor._prepare(task, building)
        assert folders.read_json(building / folders.ATTEMPT)["sampling_batch"] == batch
        assert not (building / folders.DIED).exists()


def test_a_container_has_less_memory_than_its_machine(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "v2").mkdir(), (tmp_path / "v1").mkdir(), (tmp_path / "none").mkdir()
    for place, files in {
        "v2": {"memory.max": "5000", "memory.current": "3000", "memory.stat": "anon 1\ninactive_file 400"},
        "v1": {"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "950", "memory.stat": "cache 7"},
        "none": {"memory.max": "max", "memory.current": "3000", "memory.stat": ""},
    }.items():
        for name, text in files.items():
            (tmp_path / place / name).write_text(text + "\n")
    places = [tmp_path / name for name in ("v2", "v1", "none", "absent")]
    assert [sampling_batch.left_in(place) for place in places] == [2400, 0, None, None]
    monkeypatch.setattr(sampling_batch, "CONTROL_GROUPS", (places[0], places[2]))
    assert sampling_batch.free_bytes(torch.device("cpu")) == 2400

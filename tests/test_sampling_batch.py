"""How many samples are drawn at once: what memory holds, less where a graphics card turns out to have no room."""

import pytest
import torch

from models import plugins, sampling_batch
from models.generators.base import Generator
from tasks import folders, generator, machine
from tasks.errors import EarshotError
from tests import toy_runs
from tests.toy_tasks import Copy


def model(name: str, preset: str = "smoke", timesteps: int = 1600) -> Generator:
    plugin = plugins.find("generators", name)
    return plugin.cls(plugin.presets[preset], 16000, timesteps).freeze()


@pytest.mark.parametrize(("free", "processes", "batch"), [(100, 1, 5), (100, 2, 2), (19, 1, 1), (10_000, 1, 64)])
def test_as_many_as_half_of_the_memory_holds(monkeypatch, free: int, processes: int, batch: int) -> None:
    net = model("noise")
    monkeypatch.setattr(sampling_batch, "free_bytes", lambda device: free * 1000)
    monkeypatch.setattr(net, "sampling_bytes", lambda: 10_000)
    assert sampling_batch.fitting(net, 64, processes) == batch


def test_memory_of_this_machine() -> None:
    free = sampling_batch.free_bytes(torch.device("cpu"))
    assert 2**26 < free < 2**50


def test_states_are_counted() -> None:
    """A WaveNet keeps `dilation` inputs of every layer, a SaShiMi a state for every channel, of complex numbers in pairs."""
    wavenet, sashimi = model("wavenet"), model("sashimi")
    c = wavenet.config
    queues = c.blocks * (2**c.layers - 1) * c.residual_channels
    assert queues <= (wavenet.sampling_bytes() - 48 * 1600) / 4 < 1.5 * queues + 100
    tiers = [(len(t.before) + len(t.after), c_) for t, c_ in tiers_of(sashimi)]
    numbers = sum(blocks // 2 * channels * sashimi.config.d_state for blocks, channels in tiers)
    assert numbers <= (sashimi.sampling_bytes() - 48 * 1600) / 4 < 1.5 * numbers + 4000


def tiers_of(net: Generator):
    tier, channels = net.backbone.tiers, net.config.d_model
    while tier is not None:
        yield tier, channels
        tier, channels = (tier.below.tier if tier.below else None), channels * net.config.expand


def test_a_graphics_card_without_room_draws_less_at_once() -> None:
    tried = []

    def draw(batch: int) -> str:
        tried.append(batch)
        if batch > 3:
            raise torch.OutOfMemoryError("no room")
        return "drawn"

    assert sampling_batch.or_less(11, draw) == (3, "drawn")
    assert tried == [11, 6, 3]
    with pytest.raises(torch.OutOfMemoryError):
        sampling_batch.or_less(4, lambda batch: draw(batch + 3))


@pytest.mark.parametrize(
    ("gpus", "count", "size"), [(0, 10_240, 128), (1, 10_240, 5120), (1, 512, 512), (4, 2048, 512), (8, 64, 128)]
)
def test_shards_are_what_a_device_draws_well(monkeypatch, gpus: int, count: int, size: int) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: [str(i) for i in range(gpus)])
    assert generator.shard_size(count) == size
    with toy_runs.settings(sampling_shard=7):
        assert generator.shard_size(count) == 7
        shards = generator.DrawSamples(model="noise", preset="smoke", count=20)._all_shards()
        assert [(shard.start, shard.stop) for shard in shards] == [(0, 7), (7, 14), (14, 20)]
    with (
        toy_runs.settings(sampling_shard=-1),
        pytest.raises(EarshotError, match=r"sampling_shard=-1 in luigi\.cfg must not be"),
    ):
        generator.shard_size(count)


def test_a_stage_without_a_card_knows_into_what_shards_the_run_has_cut_a_draw(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for asked, size in ((0, 300), (7, 7)):
        with toy_runs.settings(workdir=tmp_path / str(asked), device="auto", sampling_shard=asked):
            assert generator.shard_size(300) == size
            folder = toy_runs.build(Copy())
        assert folders.read_json(folder / folders.METRICS) == {"shard": size}


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ((), []),
        (("nvidiactl", "nvidia0", "nvidia1"), ["0", "1"]),
        (("nvidia3", "nvidia-uvm"), ["0"]),
        (("dxg",), ["0"]),
    ],
)
def test_cards_have_the_names_that_cuda_gives_them(monkeypatch, tmp_path, nodes, names) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "DEVICES", tmp_path)
    for node in nodes:
        (tmp_path / node).touch()
    with toy_runs.settings(device="auto"):
        assert machine.gpus() == names
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,-1")
    with toy_runs.settings(device="auto"):
        assert machine.gpus() == ["2"]

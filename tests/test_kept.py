"""What models keep of what was made of their weights: engines that draw, for one."""

import copy
import pickle

import pytest
import torch

from models import autoregressive
from models.generators import samplernn, sashimi, wavenet
from models.generators.base import Generator
from models.kept import Kept
from models.stepping import Drawing

NETS = [(wavenet, wavenet.WaveNet), (sashimi, sashimi.SaShiMi), (samplernn, samplernn.SampleRNN)]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches of the engines that have been made."""
    batches: list[int] = []

    def make(model: Generator, batch: int, compiled: bool) -> Drawing:
        batches.append(batch)
        return Drawing(model, batch, compiled)

    monkeypatch.setattr(autoregressive, "Drawing", make)
    return batches


def net_of(place: int) -> Generator:
    torch.manual_seed(0)
    module, kind = NETS[place]
    net: Generator = kind(module.PRESETS["smoke"], 16000, 60).freeze()
    return net


@pytest.mark.parametrize("place", range(3))
def test_a_frozen_model_draws_the_same_again_with_the_same_engine(place: int, made: list[int]) -> None:
    net = net_of(place)
    first, again = net.sample(3), net.sample(3)
    assert torch.equal(first.waveforms, again.waveforms)
    assert made == [3]
    net.sample(2)
    assert made == [3, 2]


@pytest.mark.parametrize("place", range(3))
def test_written_weights_are_seen(place: int, made: list[int]) -> None:
    net = net_of(place)
    before = net.sample(2)
    for parameter in net.parameters():
        parameter.data.mul_(1.5)  # which leaves no other trace
    after = net.sample(2)
    assert made == [2, 2]
    assert not torch.equal(before.log_likelihood, after.log_likelihood)


def test_a_model_in_training_keeps_nothing(made: list[int]) -> None:
    net = net_of(0).requires_grad_(True)
    net.sample(2)
    net.sample(2)
    assert made == [2, 2]


def test_two_streams_at_once_have_an_engine_each(made: list[int]) -> None:
    net = net_of(0)
    [alone] = net.stream(2)
    both = list(zip(net.stream(2), net.stream(2), strict=True))
    assert made == [2, 2]
    for one in both[0]:
        assert torch.equal(one.waveforms, alone.waveforms)


def test_after_an_error_nothing_is_kept(made: list[int]) -> None:
    net = net_of(0)
    pieces = net.stream(2, seconds=2.0)
    next(pieces)
    pieces.close()
    net.sample(2)
    assert made == [2, 2]


def test_copies_begin_with_nothing(made: list[int]) -> None:
    net = net_of(0)
    expected = net.sample(2).waveforms
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other.sample(2).waveforms, expected)
    assert made == [2, 2, 2]


def test_what_was_made_is_let_go_before_the_next_is_made() -> None:
    kept: Kept[int] = Kept()
    weight = torch.zeros(1)
    assert kept.get([weight], "a", lambda: 1) == 1
    assert kept.get([weight], "b", lambda: 2 if kept.made is None else 3) == 2
    weight.add_(1)
    assert kept.get([weight], "b", lambda: 4) == 4
    assert kept.get([weight], "b", lambda: 5) == 4

"""WaveNet's timestep for a single sequence, in C++, against the model over whole sequences."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from models import compiling
from models.generators.wavenet import Config, WaveNet
from models.layers import wavenet_pass
from models.layers.wavenet_pass import PANEL, WaveNetPass, packed, panels
from models.stepping import Drawing, plainly
from tests import compiler

pytestmark = compiler.needed

# Sizes below, above and off those of panels; dilations on both sides of the period.
SIZES = [
    {"blocks": 2, "layers": 5, "residual_channels": 6, "skip_channels": 70, "end_channels": 12},
    {"blocks": 1, "layers": 6, "residual_channels": 64, "skip_channels": 64, "end_channels": 300},
    {"blocks": 1, "layers": 3, "residual_channels": 65, "skip_channels": 16, "end_channels": 256, "start_marker": True},
]


def net_of(sizes: dict[str, int]) -> WaveNet:
    torch.manual_seed(0)
    return WaveNet(Config(**sizes), 16000, 100).freeze()


def steps_of(net: WaveNet) -> WaveNetPass:
    steps = net.steps(1, fused=True)
    assert isinstance(steps, WaveNetPass)
    steps.build(plainly)
    steps.reset()
    return steps


def teacher_forced(steps: WaveNetPass, before: int, codes: Tensor) -> Tensor:
    """(timesteps, 256) logits, whole periods of them, of codes (timesteps,)."""
    inputs, logits = torch.cat([torch.tensor([before]), codes[:-1]])[:, None], []
    for first in range(0, len(codes), steps.period):
        every = steps.due(steps.weights, *steps.before(first, inputs[first]))
        assert len(every) == steps.period
        logits += [steps.fast(steps.weights, inputs[first + i], *tensors)[0] for i, tensors in enumerate(every)]
    return torch.stack(logits)


@pytest.mark.parametrize("sizes", SIZES)
def test_a_pass_over_the_weights_is_the_network(sizes: dict[str, int]) -> None:
    net = net_of(sizes)
    codes = torch.randint(256, (96,), generator=torch.Generator().manual_seed(1))
    logits = teacher_forced(steps_of(net), net.before, codes)
    torch.testing.assert_close(logits, net.logits(codes[None])[0], atol=1e-5, rtol=1e-5)


def test_a_draw_of_whole_periods_is_that_of_single_timesteps() -> None:
    net = net_of(SIZES[0])
    uniforms = torch.rand(1, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    given = torch.randint(256, (1, 11), generator=torch.Generator().manual_seed(2))
    expected, nats = Drawing(net, 1)(uniforms, given)

    steps = net.steps(1, fused=True)
    with pytest.raises(ValueError, match="whole periods of 8 timesteps"):
        steps.stepper()
    single = Drawing(net, 1)
    single.steps = steps_of(net)
    assert 100 % single.steps.period
    codes, worth = single(uniforms, given)
    assert torch.equal(codes, expected)
    torch.testing.assert_close(worth, nats)
    size = single.whole_pieces(1)
    pieces = list(single.stream(uniforms.split(size, 1), given))
    assert torch.equal(torch.cat([piece for piece, _ in pieces], 1), expected)
    with pytest.raises(ValueError, match="begins at timestep 9, which is no multiple of 16"):
        list(single.stream(uniforms.split(9, 1)))


@pytest.mark.parametrize("name", ["skip", "end_1.weight"])
def test_what_is_not_a_number_stays_so(name: str) -> None:
    net = net_of(SIZES[0])
    net.get_parameter(name).data[-1, 3] = torch.nan
    assert teacher_forced(steps_of(net), net.before, torch.zeros(8, dtype=torch.int64)).isnan().all()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weights", lambda weights: {**weights, "pass": weights["pass"][:-PANEL]}, "weights of another size"),
        (
            "weights",
            lambda weights: {**weights, "table": weights["table"][:, :-1].contiguous()},
            "arguments of another",
        ),
        (
            "weights",
            lambda weights: {**weights, "past_far": weights["past_far"][:, :, :-1]},
            "arguments of another size",
        ),
        ("far", lambda far: [*far, 0], "arguments of another size"),
        ("far", lambda far: [0] * len(far), "weights of another size"),
    ],
)
def test_what_does_not_fit_is_an_error(name: str, change: Callable[[Any], Any], message: str) -> None:
    steps = steps_of(net_of(SIZES[0]))
    setattr(steps, name, change(getattr(steps, name)))
    with pytest.raises(RuntimeError, match=message):
        teacher_forced(steps, 128, torch.zeros(8, dtype=torch.int64))


def test_panels_of_another_size_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wavenet_pass, "WIDE", 128)
    with pytest.raises(RuntimeError, match="panels of another size"):
        teacher_forced(steps_of(net_of(SIZES[0])), 128, torch.zeros(8, dtype=torch.int64))


def test_panels_hold_rows_together_column_by_column() -> None:
    matrix = torch.arange(15.0).view(3, 5)
    expected = [0, 5, 1, 6, 2, 7, 3, 8, 4, 9, 0, 0, 10, 0, 11, 0, 12, 0, 13, 0, 14, 0, 0, 0]
    assert panels(matrix, 2, 6).tolist() == expected


@pytest.mark.parametrize("spread", [0, 8])
def test_packed_weights_add_little_to_the_rounding_of_float32(spread: float) -> None:
    net = net_of({**SIZES[0], "residual_channels": 64, "skip_channels": 256})
    # the same function with channels of different scale, and float32 rounds it alike
    scales = (spread * (2 * torch.rand(64, generator=torch.Generator().manual_seed(3)) - 1)).round().exp2()
    net.start.data *= scales[:, None]
    net.residual.data *= scales[:, None]
    for taps in (net.past, net.current):
        taps.data /= scales
    codes = torch.randint(256, (256,), generator=torch.Generator().manual_seed(1))
    plain, ours = net.logits(codes[None])[0], teacher_forced(steps_of(net), net.before, codes)
    exact = net.double().logits(codes[None])[0]
    assert 0 < (ours - exact).square().mean().sqrt() < 2 * (plain - exact).square().mean().sqrt()


@pytest.mark.parametrize("scale", [1.0, 1e-32, 0.0])
def test_four_packed_weights_lie_in_three_words(scale: float) -> None:
    matrix = scale * torch.randn(PANEL, PANEL + 1, generator=torch.Generator().manual_seed(1))
    beside, columns = packed(matrix).view(2, -1).split([2 * PANEL, 3 * PANEL * PANEL // 4], 1)
    steps, scales = beside.unflatten(1, (2, PANEL)).unbind(1)
    words = columns.view(torch.int32).view(2, PANEL, 3, PANEL // 4)
    fourth = words[:, :, 0] << 24 | (words[:, :, 1] & 255) << 16 | (words[:, :, 2] & 255) << 8
    numbers = torch.cat([*(words & ~255).unbind(2), fourth], 2)
    found = (numbers.double() * steps[:, None].double() * scales[:, :, None]).flatten(0, 1).t()
    assert (found[:, : PANEL + 1] - matrix).abs().max() <= 2.0**-23 * matrix.abs().max()
    assert not found[:, PANEL + 1 :].any()


def test_compiling_pays_for_long_single_sequences_alone() -> None:
    steps = net_of(SIZES[0]).steps(1)
    assert steps.pays(1, 2**20)
    assert not steps.pays(1, 16000)
    assert not steps.pays(2, 2**20)


def test_without_a_compiler_samples_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no compiler is there")

    monkeypatch.setattr(compiling, "_kept", broken)
    monkeypatch.setattr(compiling, "LOADED", set())
    net, uniforms = net_of(SIZES[0]), torch.rand(1, 30, dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"wavenet_pass.cpp could not be compiled .*no compiler is there"):
        drawing = Drawing(net, 1, compiled=True)
    assert not drawing.compiled
    assert torch.equal(drawing(uniforms)[0], Drawing(net, 1)(uniforms)[0])

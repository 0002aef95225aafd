"""The engine that draws from autoregressive models: its three ways give the same samples."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models import compiling
from models.autoregressive import Autoregressive
from models.generators import samplernn, sashimi, wavenet
from models.layers.s4 import S4
from models.layers.s4_steps import S4Step
from models.stepping import Drawing, PlainSteps, Recording, RunsPlainly
from tests import compiler

NETS = {
    "wavenet": (wavenet, wavenet.WaveNet),
    "sashimi": (sashimi, sashimi.SaShiMi),
    "samplernn": (samplernn, samplernn.SampleRNN),
}


def net_of(name: str) -> Autoregressive:
    torch.manual_seed(0)
    module, kind = NETS[name]
    return kind(module.PRESETS["smoke"], 16000, 75).freeze()


def uniforms(batch: int, timesteps: int = 75) -> Tensor:
    return torch.rand(batch, timesteps, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Fixed:
    """A model whose next code never depends on anything."""

    before, device = 0, torch.device("cpu")

    def __init__(self, log_p: Tensor):
        self.log_p = log_p

    def steps(self, batch: int, *, fused: bool = False) -> PlainSteps:
        return PlainSteps(lambda: lambda codes: self.log_p)


def test_likelihood_of_a_draw_is_untempered() -> None:
    log_p = torch.tensor([0.5, 0.3, 0.2]).log().expand(4, 3)
    for temperature, top_p in ((1.0, 1.0), (0.5, 1.0), (1.0, 0.6)):
        drawing = Drawing(Fixed(log_p), 4)
        codes, nats = drawing(torch.full((4, 7), 0.4, dtype=torch.float64), None, temperature, top_p)
        torch.testing.assert_close(nats, log_p[0][codes].double().sum(1))
    with pytest.raises(ValueError, match="5 rows"):
        drawing(torch.zeros(5, 7, dtype=torch.float64))


@pytest.mark.parametrize("name", NETS)
def test_an_engine_forgets_one_batch_before_the_next(name: str) -> None:
    drawing = Drawing(net_of(name), 3)
    first, nats = drawing(uniforms(3))
    drawing(1 - uniforms(3))
    again, nats_again = drawing(uniforms(3))
    assert torch.equal(again, first)
    assert torch.equal(nats_again, nats)


@pytest.mark.parametrize("mode", ["dplr", "untied"])
def test_both_forms_of_an_s4_step_are_one_function(mode: str) -> None:
    torch.manual_seed(0)
    layer = S4(4, 8, tied=mode == "dplr").requires_grad_(False)
    plain, fused = (S4Step(layer, 3, fused=form) for form in (False, True))
    x = torch.randn(12, 4, 3)
    for u in x:
        torch.testing.assert_close(fused(fused.weights, u, *fused.state), plain(plain.weights, u, *plain.state))


@compiler.needed
@pytest.mark.parametrize(
    ("name", "batch"),
    [("sashimi", 3), ("wavenet", 1), pytest.param("wavenet", 3, marks=pytest.mark.slow),
     pytest.param("samplernn", 3, marks=pytest.mark.slow)],
)  # fmt: skip
def test_compiled_steps_draw_the_same(name: str, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    net = net_of(name)
    plain, nats = Drawing(net, batch)(uniforms(batch))
    drawing = Drawing(net, batch, compiled=True)
    codes, nats_compiled = drawing(uniforms(batch))
    assert drawing.compiled
    assert torch.equal(codes, plain)
    torch.testing.assert_close(nats_compiled, nats, rtol=1e-4, atol=0)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", never)
    again, _ = Drawing(net, batch, compiled=True)(uniforms(batch))
    assert torch.equal(again, plain)


@pytest.mark.slow
@compiler.needed
def test_compiled_steps_continue_and_keep_to_the_nucleus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    net = net_of("wavenet")
    asked = (torch.randint(256, (1, 20), generator=torch.Generator().manual_seed(2)), 0.8, 0.7)
    expected, nats = Drawing(net, 1)(uniforms(1), *asked)
    drawing = Drawing(net, 1, compiled=True)
    codes, nats_compiled = drawing(uniforms(1), *asked)
    assert drawing.compiled
    assert torch.equal(codes, expected)
    assert torch.equal(codes[:, :20], asked[0])
    torch.testing.assert_close(nats_compiled, nats, rtol=1e-4, atol=0)


def test_what_is_compiled_is_kept_for_machines_of_one_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    made: list[Path] = []

    def make(place: Path) -> Path:
        made.append(place / "code")
        made[-1].touch()
        return made[-1]

    assert compiling.machine()
    kept = compiling._kept("name", ".so", ["source"], make)
    os.utime(kept, (0, 0))
    assert compiling._kept("name", ".so", ["source"], make) == kept
    assert len(made) == 1
    assert kept.stat().st_mtime > 0, "that it is used is seen"
    monkeypatch.setattr(compiling, "machine", lambda: ("another",))
    assert compiling._kept("name", ".so", ["source"], make) != kept
    assert len(made) == 2


def test_without_a_compiler_there_is_one_warning_and_the_same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no compiler is there\nand much more")

    monkeypatch.setattr(compiling, "_made", broken)
    net = net_of("sashimi")
    with pytest.warns(UserWarning, match="no compiler is there.* drawn without") as caught:
        codes, _ = Drawing(net, 2, compiled=True)(uniforms(2))
    assert len(caught) == 1
    assert torch.equal(codes, Drawing(net, 2)(uniforms(2))[0])


@pytest.mark.parametrize("name", NETS)
def test_recorded_spans_draw_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = net_of(name)
    given = torch.randint(256, (3, 20), generator=torch.Generator().manual_seed(2))
    drawing = Drawing(net, 3)
    expected, nats = drawing(uniforms(3), given)
    forced = torch.full((75, 3), -1)
    forced[:20] = given.t()
    rows = [uniforms(3).t().contiguous(), forced]
    tick = drawing._tick(1.0, 1.0, rows)
    drawing.steps.reset()
    recorded: list[Callable[[], None]] = []
    codes, worth = Recording(tick, drawing.steps, drawing.start(), rows, lambda f, _: recorded.append(f) or f).run(rows)
    assert len(recorded) == 1
    assert torch.equal(codes.t(), expected)
    assert torch.equal(codes[:20].t(), given)
    torch.testing.assert_close(worth[20:].double().sum(0), nats)


def test_nothing_runs_for_the_first_time_while_it_is_recorded() -> None:
    """Since it would be compiled then. Of a third tier the first timestep is the 20th, in the second period of 16."""
    torch.manual_seed(0)
    config = replace(sashimi.PRESETS["smoke"], pool=(4, 4))
    net = sashimi.SaShiMi(config, 16000, 96).freeze()
    expected, _ = Drawing(net, 2)(uniforms(2, 96))
    run: set[str] = set()
    new_while_recorded: list[str] = []
    recording = False

    def build(name: str, function: Callable[..., Any], weights: Any, *examples: Tensor) -> Callable[..., Any]:
        def built(*tensors: Tensor) -> Any:
            if recording and name not in run:
                new_while_recorded.append(name)
            run.add(name)
            return function(weights, *tensors)

        name = f"{name} {len(built_ones)}"
        built_ones.append(name)
        return built

    def record(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
        """As a graph, but that what is recorded has run by then."""
        nonlocal recording
        recording = True
        function()
        recording = False
        replays = iter(range(2**62))
        return lambda: function() if next(replays) else None

    built_ones: list[str] = []
    drawing = Drawing(net, 2)
    drawing._build = build
    drawing.steps.build(build)
    rows = [uniforms(2, 96).t().contiguous()]
    tick = drawing._tick(1.0, 1.0, rows)
    drawing.steps.reset()
    codes, _ = Recording(tick, drawing.steps, drawing.start(), rows, record).run(rows)
    assert len(built_ones) == 3
    assert run == set(built_ones)
    assert new_while_recorded == []
    assert torch.equal(codes.t(), expected)


@compiler.needed
@pytest.mark.parametrize(
    "name",
    ["samplernn", pytest.param("wavenet", marks=pytest.mark.slow), pytest.param("sashimi", marks=pytest.mark.slow)],
)
def test_compiled_as_for_a_card_spans_draw_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the card: `torch.compile` understands the steps, and compiles none of them while they are recorded."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "compiler", lambda device: compiling.just_in_time)
    torch._dynamo.reset()
    net, counted = net_of(name), torch._dynamo.utils.counters["stats"]
    expected, nats = Drawing(net, 3)(uniforms(3))
    drawing, at_first = Drawing(net, 3, compiled=True), counted["unique_graphs"]
    assert drawing.compiled
    compiled: list[int] = []

    def record(function: Callable[[], None], device: torch.device) -> Callable[[], None]:
        compiled.append(counted["unique_graphs"])
        return function

    with torch.inference_mode():
        rows = [uniforms(3).t().contiguous()]
        tick = drawing._tick(1.0, 1.0, rows)
        drawing.steps.reset()
        codes, worth = Recording(tick, drawing.steps, drawing.start(), rows, record).run(rows)
    assert compiled == [counted["unique_graphs"]]
    assert compiled[0] > at_first
    assert torch.equal(codes.t(), expected)
    torch.testing.assert_close(worth.double().sum(0), nats, rtol=1e-4, atol=0)


def test_what_cannot_be_compiled_when_it_is_first_run_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card, where `torch.compile` finds out then."""

    def broken(*_: Any) -> None:
        raise RuntimeError("no Triton is there")

    monkeypatch.setattr(compiling, "compiler", lambda device: compiling.just_in_time)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    torch._dynamo.reset()
    net = net_of("samplernn")
    expected, nats = Drawing(net, 3)(uniforms(3))
    drawing = Drawing(net, 3, compiled=True)
    with pytest.warns(RunsPlainly, match=r"could not be compiled .*no Triton is there") as told:
        codes, worth = drawing(uniforms(3))
    assert len(told) == 1
    assert not drawing.compiled
    assert torch.equal(codes, expected)
    assert torch.equal(worth, nats)


def test_a_card_without_a_compiler_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no Triton is there\nand much more")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(compiling.CannotCompile, match=r"nothing can be compiled for meta .*no Triton is there"):
        compiling.compiler(torch.device("meta"))

"""DiffWave's residual block: the one that is written out against PyTorch's convolutions and their gradients."""

import math

import pytest
import torch
from torch import Tensor

from models.layers import gated_block as here
from models.layers.diffwave import ResidualBlock


def plainly(block: ResidualBlock, x: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    h = x + step[:, :, None]
    filtered, gate = block.dilated(h).chunk(2, dim=1)
    residual, skip = block.out(filtered.tanh() * gate.sigmoid()).split(block.split, dim=1)
    return ((h if block.time_in_residual else x) + residual) * math.sqrt(0.5), skip


@pytest.mark.parametrize("long", [1, 10_000])
@pytest.mark.parametrize("dilation", [1, 4, 16, 64])
@pytest.mark.parametrize(
    ("batch", "steps", "along_identity"), [(1, 1, False), (2, 2, True), (3, 1, True), (2, 1, False)]
)
def test_outputs_and_gradients_are_those_of_the_library(monkeypatch, long, dilation, batch, steps, along_identity):
    """By products and by PyTorch's convolutions, with dilations up to some that reach over the whole sequence."""
    monkeypatch.setattr(here, "LONG", long)
    torch.manual_seed(0)
    block = ResidualBlock(6, 5, dilation, along_identity).double()
    x = torch.randn(batch, 6, 17, dtype=torch.float64, requires_grad=True)
    step = torch.randn(steps, 6, dtype=torch.float64, requires_grad=True)
    inputs = (x, step, *block.parameters())
    found, wanted = block(x, step), plainly(block, x, step)
    direction = [torch.randn_like(y) for y in wanted]
    torch.testing.assert_close(found, wanted)
    for got, want in zip(*(torch.autograd.grad(y, inputs, direction) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(got, want)


def test_long_sequences_go_by_products(monkeypatch):
    asked = []
    monkeypatch.setattr(here.F, "conv1d", lambda *arguments, **options: asked.append(1))
    here.conv(torch.randn(1, 2, here.LONG), torch.randn(3, 2, 3), torch.randn(3), 2)
    assert not asked
    here.conv(torch.randn(1, 2, here.LONG - 1), torch.randn(3, 2, 3), torch.randn(3), 2)
    assert asked


def test_only_two_arrays_of_activations_are_kept():
    block, kept = ResidualBlock(16, 16, 2, False), []
    x = torch.randn(1, 16, 2000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda y: kept.append(y) or y, lambda y: y):
        block(x, torch.randn(1, 16))
    sizes = {y.untyped_storage().data_ptr(): y.untyped_storage().nbytes() for y in kept}
    assert sum(sizes.values()) < 3.2 * x.nbytes, "h, and a of twice as many channels"


@pytest.mark.parametrize("positions", [100, 2000])
def test_under_autocast(positions):
    torch.manual_seed(0)
    block, x, step = ResidualBlock(8, 8, 2, False), torch.randn(1, 8, positions), torch.randn(1, 8)
    exact = block(x, step)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = block(x, step)
    assert {y.dtype for y in rough} == {torch.bfloat16}
    sum(y.float().sum() for y in rough).backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in block.parameters())
    for one, other in zip(rough, exact, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=0.05, atol=0.05)

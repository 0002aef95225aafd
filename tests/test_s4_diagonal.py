"""S4D: kernels and gradients against the sum written out in float64, over long clips and for modes that hardly decay."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from models.layers import ssm
from models.layers.s4 import S4
from models.layers.ssm_diagonal import inv, legs, lin
from tests.test_s4 import close


def written_out(layer: S4, discretization: str, timesteps: int) -> Tensor:
    """2 Re sum_n C_n B_bar_n A_bar_n^l in float64, every power by itself: (outputs, d_model, timesteps)."""
    space = layer.ssm
    dt = space.raw_dt.exp()[:, None]
    A = torch.complex(-space.log_w_real.exp(), space.w_imag)
    B, C = torch.view_as_complex(space.B), torch.view_as_complex(space.C)
    if discretization == "zoh":
        A_bar, B_bar = torch.exp(dt * A), (torch.exp(dt * A) - 1) / A * B
    else:
        A_bar, B_bar = (1 + dt / 2 * A) / (1 - dt / 2 * A), dt / (1 - dt / 2 * A) * B
    powers = A_bar[:, :, None] ** torch.arange(timesteps)
    return 2 * torch.einsum("ohn,hnl->ohl", C * B_bar, powers).real


@pytest.mark.parametrize("discretization", ["bilinear", "zoh"])
@pytest.mark.parametrize(("mode", "n_ssm"), [("s4d-legs", 3), ("s4d-inv", 1), ("s4d-lin", 3)])
@pytest.mark.parametrize("timesteps", [1, 2, 97, 16000])
@pytest.mark.parametrize("decay", [None, 1e-5, 30.0])
def test_kernel_and_gradients_are_those_of_the_sum_written_out(mode, n_ssm, discretization, timesteps, decay):
    torch.manual_seed(0)
    layer = S4(3, 16, n_ssm=n_ssm, mode=mode, discretization=discretization, bidirectional=True)
    if decay:  # at the largest dt, over a hundred times the clip, or within one timestep
        layer.ssm.log_w_real.data.fill_(math.log(decay))
    direction = torch.randn(2, 3, timesteps, dtype=torch.float64)
    ours = layer.kernel(timesteps)
    found = torch.autograd.grad((ours * direction).sum(), list(layer.ssm.parameters()))
    exact = written_out(layer.double(), discretization, timesteps)
    wanted = torch.autograd.grad((exact * direction).sum(), list(layer.ssm.parameters()))
    assert ours.dtype == torch.float32
    close(ours, exact.detach().numpy(), 1e-5)
    for got, want in zip(found, wanted, strict=True):
        close(got, want.numpy(), 1e-5)


@torch.no_grad()
def test_it_is_dplr_without_the_low_rank():
    torch.manual_seed(0)
    layer = S4(4, 8, mode="s4d-lin").double()
    space, C = layer.ssm, torch.view_as_complex(layer.ssm.C)
    w, B = torch.complex(-space.log_w_real.exp(), space.w_imag), torch.view_as_complex(space.B)
    ss = ssm.bilinear(w, torch.zeros_like(w), torch.zeros_like(w), B, space.raw_dt.exp())
    for ours, theirs in zip(space.discrete().__dict__.values(), ss.__dict__.values(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-15)
    close(layer.kernel(500), ssm.kernel(ss, C, 500).numpy(), 1e-12)


def test_state_matrices_begin_as_published():
    n = np.arange(4)
    assert np.allclose(lin(8).numpy(), -0.5 + 1j * np.pi * n)
    assert np.allclose(inv(8).numpy(), -0.5 + 1j * 8 / np.pi * (8 / (2 * n + 1) - 1))
    assert torch.equal(legs(8), ssm.hippo_legs(8)[0])
    layer = S4(4, 8, mode="s4d-inv", n_ssm=2)
    assert torch.equal(torch.view_as_complex(layer.ssm.B), torch.ones(2, 4, dtype=torch.complex64))
    names = {name for name, p in layer.named_parameters() if any(p is one for one in layer.dynamics())}
    assert names == {f"ssm.{name}" for name in ("raw_dt", "w_imag", "log_w_real", "B")}


@pytest.mark.parametrize("mode", ["s4d-legs", "s4d-inv", "s4d-lin"])
def test_it_learns_a_delay(mode):
    torch.manual_seed(0)
    layer = S4(1, 32, mode=mode, dt_min=0.05, dt_max=0.05)
    optimizer = torch.optim.Adam(layer.ssm.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        x = torch.randn(8, 100)
        y = ssm.convolve(x[:, None], layer.kernel(100), layer.D.detach().zero_())[:, 0]
        losses.append((y[:, 10:] - x[:, :-10]).square().mean())
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.6 < 1 < losses[0]


def test_both_directions_by_two_state_spaces():
    layer = S4(3, 8, mode="s4d-lin", bidirectional=True, separate=True)
    x = torch.randn(2, 50, 3)
    layer(x).square().sum().backward()
    assert layer.backward_ssm is not None
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in layer.parameters())
    assert layer.kernel(50).shape == (2, 3, 50)

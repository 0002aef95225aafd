"""The GRU that is written out against `nn.GRU`, whose gradients end at the same borders; and the scalar normalization."""

import pytest
import torch
from torch import Tensor

from models.layers.recurrence import by_library, gru
from models.layers.scalar_norm import ScalarNorm


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("batch", "steps", "window"), [(2, 37, 8), (3, 32, 8), (1, 1, 4), (2, 7, 7), (2, 7, 1)])
def test_outputs_and_gradients_are_those_of_the_library(layers, batch, steps, window):
    torch.manual_seed(0)
    rnn = torch.nn.GRU(4, 5, layers, batch_first=True).double()
    x = torch.randn(batch, steps, 4, dtype=torch.float64, requires_grad=True)
    state = torch.randn(layers, batch, 5, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(batch, steps, 5, dtype=torch.float64)
    found, wanted = (f(rnn, x, state, window) for f in (gru, by_library))
    torch.testing.assert_close(found, wanted)
    inputs = (x, state, *rnn.parameters())
    for got, want in zip(*(torch.autograd.grad(y, inputs, direction) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(got, want)
    with torch.no_grad():
        assert torch.equal(gru(rnn, x, state, window), found)


def test_gradients_end_at_borders():
    rnn, x = torch.nn.GRU(3, 3, batch_first=True), torch.randn(1, 12, 3, requires_grad=True)
    state = torch.zeros(1, 1, 3, requires_grad=True)
    later = gru(rnn, x, state, 4)[:, 9].sum()
    d_x, d_state = torch.autograd.grad(later, (x, state))
    assert (d_x[0].abs().sum(1) > 0).tolist() == [False] * 8 + [True, True, False, False]
    assert not d_state.any()


def test_under_autocast_states_are_exact():
    torch.manual_seed(0)
    rnn, x, state = torch.nn.GRU(3, 3, batch_first=True), torch.randn(1, 12, 3), torch.zeros(1, 1, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gru(rnn, x, state, 4), gru(rnn, x, state, 4).float())
        outputs = gru(rnn, x, state, 4)
    assert torch.equal(outputs, gru(rnn, x, state, 4))


def written_out(x: Tensor, m: Tensor, s: Tensor) -> Tensor:
    std, mean = torch.std_mean(x, -1, correction=0, keepdim=True)
    return s * (x - mean + m) / std


@pytest.mark.parametrize("shape", [(3,), (5, 2), (2, 7, 64)])
def test_scalar_normalization_is_its_formula(shape):
    torch.manual_seed(0)
    norm = ScalarNorm().double()
    torch.nn.init.constant_(norm.m, 0.7)
    torch.nn.init.constant_(norm.s, -1.3)
    x = (3 + 2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    torch.testing.assert_close(norm(x), written_out(x, norm.m, norm.s))
    assert torch.autograd.gradcheck(
        lambda x, m, s: torch.func.functional_call(norm, {"m": m, "s": s}, (x,)), (x, norm.m, norm.s)
    )
    single = norm.float()(x.float())
    torch.testing.assert_close(single, written_out(x, norm.m, norm.s).float(), rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(norm(x.float()), single)


def test_equal_channels_have_no_image():
    assert not torch.isfinite(ScalarNorm()(torch.full((2, 8), 3.0))).any()

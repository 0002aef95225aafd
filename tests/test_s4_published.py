"""S4 layers that the release computed with: the same kernels, outputs, steps, and the plain C out of what is stored."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.layers import ssm
from models.layers.s4 import S4
from models.published import Released
from models.published.s4 import take_s4
from tests import reference
from tests.test_s4 import close

MAIN = ["s4_layer_dplr", "s4_layer_tied_softplus", "s4_layer_bidirectional"]
OLDER = ["s4_layer_v2_hurwitz", "s4_layer_v2_raw"]
CAUSAL = [name for name in MAIN + OLDER if "bidirectional" not in name]


def published(name: str, changes: dict[str, Tensor] | None = None) -> tuple[reference.Reference, S4, bool]:
    """The fixture, our layer with its weights, and whether its inputs are (batch, features, timesteps)."""
    fixture = reference.load(name)
    settings = fixture.config["config"]["constructor"]
    released = Released(fixture.state | (changes or {}), "an S4 layer")
    length = fixture.config["config"]["L"]
    options, state = take_s4(released, "", length, settings.get("dt_transform", "exp"))
    released.check()
    layer = S4(**options)
    layer.load_state_dict(state)
    return fixture, layer, settings.get("transposed", True)


@pytest.mark.parametrize("name", MAIN + OLDER)
def test_published_layers_give_the_same_kernel_and_outputs(name):
    fixture, layer, transposed = published(name)
    x, y = fixture.arrays["in_x"], fixture.arrays["out_y"]
    if transposed:
        x, y = x.swapaxes(1, 2), y.swapaxes(1, 2)
    close(layer.kernel(x.shape[1]), fixture.arrays["out_kernel"])
    close(layer(torch.from_numpy(x.copy())), y)
    trained = sum(p.numel() for p in layer.parameters())
    buffers = ("l_kernel", "omega", "z")
    assert trained == sum(v.numel() for k, v in fixture.state.items() if k.rsplit(".", 1)[-1] not in buffers)


@pytest.mark.parametrize("name", CAUSAL)
def test_steps_are_those_of_the_published_layers(name):
    fixture, layer, transposed = published(name)
    axis = 2 if transposed else 1
    x = torch.from_numpy(fixture.arrays["in_x"])
    step = layer.stepper(len(x))
    y = torch.stack([step(u) for u in x.unbind(axis)], axis)
    for mode in ("dense", "linear"):
        close(y, fixture.arrays[f"out_step_{mode}"])
    ss = layer.ssm.discrete()
    A = ssm.transition(ss)
    one = torch.eye(ss.D.shape[1])
    whole = torch.cat([torch.cat([one, 1j * one], 1), torch.cat([one, -1j * one], 1)])  # both halves out of (re, im)
    wanted = torch.from_numpy(fixture.arrays["out_dA"]) @ whole
    close(torch.view_as_real(whole @ A.to(whole)), _real(wanted.numpy()))
    half = ss.B.shape[1]
    close(torch.view_as_real(ss.B), _real(fixture.arrays["out_dB"][:, :half]))
    close(layer.ssm.C, _real(fixture.arrays["out_dC"][..., :half]))


def _real(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], -1)


@pytest.mark.parametrize("name", ["s4_layer_dplr", "s4_layer_tied_softplus"])
def test_kernels_of_other_lengths_and_rates(name):
    fixture, layer, _ = published(name)
    settings = fixture.config["config"]
    close(layer.kernel(settings["La"]), fixture.arrays["out_kernel_len_a"])
    close(layer.kernel(settings["Lb"]), fixture.arrays["out_kernel_len_b_after_a"])
    # The release bends C at another rate: it corrects with Ā^L, and undoes that with the L / 2 powers of another Ā.
    L, identity = (
        int(fixture.arrays["out_l_kernel_after_a_b"]),
        torch.eye(2 * layer.ssm.C.shape[2], dtype=torch.float64),
    )
    once, twice = (ssm.transition(layer.double().ssm.discrete(rate)) for rate in (1, 2))
    power = torch.linalg.matrix_power
    bent = ssm.covectors(torch.view_as_complex(layer.ssm.C[0])).flatten(1)[:, None]
    bent = torch.linalg.solve(identity - power(twice, L // 2), bent @ (identity - power(once, L)), left=False)[:, 0]
    real, imag = (bent.unflatten(1, (2, -1)) / 2).unbind(1)
    with torch.no_grad():
        layer.ssm.C.copy_(torch.stack([real, -imag], -1)[None])
    close(layer.kernel(settings["La"] // 2, rate=2), fixture.arrays["out_kernel_rate2"])


@pytest.mark.parametrize("name", MAIN)
def test_a_corrected_c_is_undone(name):
    fixture = reference.load(name)
    after = {
        "layer.kernel.C": torch.from_numpy(fixture.arrays["out_C_tilde"]),
        "layer.kernel.l_kernel": torch.from_numpy(fixture.arrays["out_l_kernel"]),
    }
    _, layer, _ = published(name, after)
    close(layer.ssm.C, fixture.state["layer.kernel.C"].numpy(), 1e-3)
    close(layer.kernel(fixture.config["config"]["L"]), fixture.arrays["out_kernel"])


def test_what_a_published_layer_lacks_is_told_at_once():
    state = reference.load("s4_layer_v2_raw").state
    del state["kernel.kernel.P"], state["kernel.kernel.log_dt"]
    released = Released(state | {"extra": torch.zeros(1)}, "an S4 layer")
    take_s4(released, "", 64)
    with pytest.raises(
        ValueError, match=r"missing: kernel.kernel.log_dt[^$]*missing: kernel.kernel.P[^$]*unknown: extra"
    ):
        released.check()
    empty = Released({}, "an S4 layer")
    take_s4(empty, "c_layers.0.layer.", 64)
    with pytest.raises(ValueError, match=r"missing: c_layers.0.layer.layer.kernel.C"):
        empty.check()

"""S4: steps against convolution, the dense form and its gradients, memory, lengths, and kernels that are remembered."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from models.layers import ssm
from models.layers.s4 import S4, SSM, remembered_kernels


def close(ours: Tensor, theirs: np.ndarray, tolerance: float = 1e-4) -> None:
    scale = np.abs(theirs).max()
    error = np.abs(ours.detach().numpy() - theirs).max()
    assert error <= tolerance * scale, f"off by {error:.2e}, of {scale:.2e}"


def dense_kernel(layer: S4, timesteps: int) -> Tensor:
    """C Ā^l B̄ with complex matrices of both conjugate halves and a linear solver; (d_model, timesteps)."""
    dt = layer.ssm.raw_dt.exp()[:, None, None]
    real = -layer.ssm.log_w_real.exp() if layer.ssm.tied else layer.ssm.w_real
    w = torch.complex(real, layer.ssm.w_imag)
    P, B, C = (torch.view_as_complex(v) for v in (layer.ssm.P, layer.ssm.B, layer.ssm.C))
    Q = P if layer.ssm.tied else torch.view_as_complex(layer.ssm.Q)
    w, P, Q, B, C = (torch.cat([v, v.conj()], -1) for v in (w, P, Q, B, C[0]))
    A = torch.diag_embed(w) - P[:, :, None] * Q.conj()[:, None, :]
    identity = torch.eye(A.shape[-1], dtype=A.dtype)
    A_bar = torch.linalg.solve(identity - dt / 2 * A, identity + dt / 2 * A)
    x = torch.linalg.solve(identity - dt / 2 * A, dt * B[:, :, None])
    kernel = []
    for _ in range(timesteps):
        kernel.append((C[:, None] @ x)[:, 0, 0].real)
        x = A_bar @ x
    return torch.stack(kernel, -1)


OPTIONS = [{}, {"n_ssm": 1}, {"tied": False}, {"tied": False, "frozen": True, "n_ssm": 1}]


@pytest.mark.parametrize(
    ("options", "timesteps"), [*itertools.product(OPTIONS, [1, 2, 97, 1000]), ({"n_ssm": 1}, 16000)]
)
def test_kernel_and_gradients_are_those_of_the_dense_form(options, timesteps):
    torch.manual_seed(0)
    layer = S4(4, 16, **options)
    weights = list(layer.ssm.parameters())
    direction = torch.randn(4, timesteps, dtype=torch.float64)
    ours = layer.kernel(timesteps)[0]
    found = torch.autograd.grad((ours * direction).sum(), weights, allow_unused=True)
    exact = dense_kernel(layer.double(), timesteps)
    wanted = torch.autograd.grad((exact * direction).sum(), list(layer.ssm.parameters()), allow_unused=True)
    close(ours, exact.detach().numpy(), 1e-5)
    for got, want in zip(found, wanted, strict=True):
        assert (want is None) == (got is None)
        if want is not None and want.abs().max() > 0:
            close(got, want.numpy(), 1e-3 if timesteps == 1 else 1e-4)


@pytest.mark.parametrize(
    ("outputs", "timesteps", "mode"), [(1, 5, "dplr"), (2, 70, "dplr"), (1, 5, "s4d-lin"), (2, 70, "s4d-inv")]
)
def test_gradcheck_of_the_whole_layer(outputs, timesteps, mode):
    torch.manual_seed(0)
    layer = S4(2, 4, bidirectional=outputs == 2, mode=mode).double()
    x = torch.randn(1, timesteps, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *layer.parameters()), fast_mode=True)


@pytest.mark.parametrize("timesteps", [16000, 128000])
@pytest.mark.parametrize("tied", [True, False])
def test_float32_is_exact_enough_at_the_longest_clips(tied, timesteps):
    torch.manual_seed(0)
    layer = S4(2, 64, tied=tied)
    direction = torch.randn(2, timesteps, dtype=torch.float64)
    single = layer.kernel(timesteps)[0]
    found = torch.autograd.grad((single * direction).sum(), list(layer.ssm.parameters()))
    double = layer.double().kernel(timesteps)[0]
    exact = torch.autograd.grad((double * direction).sum(), list(layer.ssm.parameters()))
    assert single.dtype == torch.float32
    close(single, double.detach().numpy(), 1e-5)
    for got, want in zip(found, exact, strict=True):
        close(got, want.numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"n_ssm": 1},
        {"tied": False, "dt_transform": "softplus"},
        {"glu": False},
        {"mode": "s4d-legs", "n_ssm": 1},
        {"mode": "s4d-inv", "discretization": "zoh"},
        {"mode": "s4d-lin", "dt_transform": "softplus"},
    ],
)
@torch.no_grad()
def test_steps_agree_with_the_convolution_after_a_second_of_audio(options):
    torch.manual_seed(0)
    layer = S4(4, 64, **options)
    x = torch.randn(2, 16000, 4)
    step = layer.stepper(2)
    stepped = torch.stack([step(u) for u in x.unbind(1)], 1)
    close(stepped, layer(x).numpy())


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bidirectional": True, "separate": True}])
@pytest.mark.parametrize("timesteps", [1, 2, 97])
@torch.no_grad()
def test_directions_and_awkward_lengths(options, timesteps):
    torch.manual_seed(0)
    layer = S4(3, 8, **options).double()
    x = torch.randn(2, timesteps, 3, dtype=torch.float64)
    K = layer.kernel(timesteps)
    assert K.shape == (2 if options else 1, 3, timesteps)
    lag = torch.arange(timesteps)[:, None] - torch.arange(timesteps)  # of output from input
    forward = K[0][:, lag.clamp_min(0)] * (lag >= 0)
    y = torch.einsum("htu,buh->bth", forward, x) + layer.D * x
    if options:
        first = 0 if "separate" in options else 1  # the timestep that the backward kernel begins with
        backward = K[1][:, (-lag - first).clamp_min(0)] * (-lag >= first)
        other = torch.einsum("htu,buh->bth", backward, x)
        y = torch.cat([y, other + layer.D * x], -1) if "separate" in options else y + other
    wanted = torch.nn.functional.glu(layer.output(torch.nn.functional.gelu(y)), -1)
    assert layer(x).shape == x.shape
    close(layer(x), wanted.numpy(), 1e-10)
    if not options:
        step = layer.stepper(2)
        close(torch.stack([step(u) for u in x.unbind(1)], 1), wanted.numpy(), 1e-10)


class Memory(TorchDispatchMode):
    """Counts what operations return: elements of the largest tensor, and bytes of all that lived at once."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = self.most_bytes = 0
        self.living: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.living[StorageWeakRef(storage)] = storage.nbytes()
                if tensor.numel() == storage.nbytes() // tensor.element_size():
                    self.elements = max(self.elements, tensor.numel())
        self.living = {storage: size for storage, size in self.living.items() if not storage.expired()}
        self.most_bytes = max(self.most_bytes, sum(self.living.values()))
        return out


@pytest.mark.parametrize("mode", ["dplr", "s4d-lin"])
@pytest.mark.parametrize("timesteps", [16000, 128000])
def test_memory_does_not_grow_with_states_times_timesteps(mode, timesteps):
    features, largest, living, kept = 4, {}, {}, {}
    for d_state in (4, 16, 64):
        layer, saved = S4(features, d_state, mode=mode), []
        with Memory() as memory:
            with torch.autograd.graph.saved_tensors_hooks(lambda x, saved=saved: saved.append(x) or x, lambda x: x):
                K = layer.kernel(timesteps)
            K.sum().backward()
        largest[d_state] = memory.elements / K.numel()
        living[d_state] = memory.most_bytes / K.nbytes
        kept[d_state] = sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in saved}.values())
    assert max(largest.values()) <= 1.25, largest
    # in kernels; states x timesteps x features would be 64, and as complex numbers 128
    assert max(living.values()) <= 10, living
    assert kept[64] <= 0.02 * 64 * K.nbytes, "of that, what the way back keeps"


@torch.no_grad()
def test_kernels_are_remembered_and_the_outputs_are_the_same(monkeypatch):
    layers = torch.nn.Sequential(S4(4, 8), S4(4, 8, bidirectional=True), S4(4, 8, bidirectional=True, separate=True))
    calls = []
    original = SSM.kernel

    def counted(space: SSM, timesteps: int) -> Tensor:
        calls.append(timesteps)
        return original(space, timesteps)

    monkeypatch.setattr(SSM, "kernel", counted)
    x = torch.randn(2, 50, 4)
    plain, shorter = layers(x), layers(x[:, :20])
    calls.clear()
    with remembered_kernels(layers):
        for _ in range(3):
            assert torch.equal(layers(x), plain)
            assert torch.equal(layers(x[:, :20]), shorter)
    assert len(calls) == 2 * (1 + 1 + 2)
    next(layers.parameters()).mul_(2)
    assert not torch.equal(layers(x), plain)


def test_dynamics_are_what_has_its_own_learning_rate():
    layer = S4(4, 8, tied=False)
    names = {name for name, p in layer.named_parameters() if any(p is one for one in layer.dynamics())}
    assert names == {f"ssm.{name}" for name in ("raw_dt", "w_real", "w_imag", "P", "Q", "B")}
    frozen = S4(4, 8, tied=False, frozen=True, n_ssm=1, bidirectional=True, separate=True)
    assert frozen.dynamics() == []
    trained = {name for name, _ in frozen.named_parameters()}
    assert trained == {"ssm.C", "ssm.Q", "backward_ssm.C", "backward_ssm.Q", "D", "output.weight", "output.bias"}


def test_legs_is_the_hippo_matrix():
    w, P, B = ssm.hippo_legs(8)
    A = torch.diag(torch.cat([w, w.conj()])) - torch.outer(torch.cat([P, P.conj()]), torch.cat([P, P.conj()]).conj())
    eigenvalues = torch.linalg.eigvals(A)
    assert eigenvalues.imag.abs().max() < 1e-6
    assert torch.allclose(eigenvalues.real.sort().values, -torch.arange(8.0, 0, -1, dtype=torch.float64), atol=1e-6)
    assert (B.imag.abs() < 1e-12).all()
    assert (B.real > 0).all()
    assert (w.real == -0.5).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_ssm": 3}, "n_ssm=3 must divide d_model=4"),
        ({"d_state": 7}, "d_state=7 must be even"),
        ({"separate": True}, "bidirectional=True"),
        ({"frozen": True}, "tied=False"),
        ({"dt_transform": "log"}, "Available: exp, softplus"),
        ({"dt_min": 0.2}, "dt_min=0.2"),
        ({"mode": "diagonal"}, "unknown mode 'diagonal'. Available: dplr, s4d-legs, s4d-inv, s4d-lin"),
        ({"mode": "s4d-lin", "discretization": "euler"}, "Available: bilinear, zoh"),
        ({"discretization": "zoh"}, "needs a diagonal mode"),
        ({"mode": "s4d-lin", "tied": False}, "set tied=True"),
        ({"mode": "s4d-lin", "d_state": 7}, "d_state=7 must be even"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        S4(4, **options)


def test_what_is_refused():
    with pytest.raises(RuntimeError, match="no_grad"), remembered_kernels(S4(2, 4)):
        pass
    with pytest.raises(ValueError, match="bidirectional"):
        S4(4, 8, bidirectional=True).stepper(1)


def test_under_autocast_the_kernel_stays_exact():
    torch.manual_seed(0)
    layer, x = S4(4, 64), torch.randn(1, 500, 4)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y, K = layer(x), layer.kernel(500)
    assert torch.equal(K, layer.kernel(500))
    close(y.float(), layer(x).detach().numpy(), 0.03)

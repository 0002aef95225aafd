"""Time and memory of one S4 layer, forward and backward: `python -m benchmarks.bench_s4 [--threads 1] [--rounds 5]`.

Against the ways of the papers, in plain PyTorch with autograd, in complex64. For DPLR (Gu et al. 2022, algorithm 1) that is the
generating function of the kernel, truncated to its length by C (I - Ā^L), at all FFT nodes, by four Cauchy sums over the
states. For diagonal A (Gu et al. 2022, arXiv:2206.11893) it is the Vandermonde product, with all powers written out.

Rows are SaShiMi's three tiers at one second of 16 kHz. The two alternate; times are medians of CPU time, which other
programs disturb less than wall time; memory is what a fresh process' peak resident size grows by (Linux only).
"""

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.timing import peak_bytes
from models.layers import ssm
from models.layers.s4 import S4

TIERS = ((64, 16000), (128, 4000), (256, 1000))


class CauchyS4(S4):
    """S4 with the paper's algorithm for kernels, for any even number of timesteps."""

    def forward(self, x: Tensor) -> Tensor:
        u, timesteps = x.transpose(1, 2), x.shape[1]
        K_hat = torch.fft.rfft(self.written_out(timesteps), n=2 * timesteps)
        y = torch.fft.irfft(torch.fft.rfft(u, n=2 * timesteps) * K_hat, n=2 * timesteps)[..., :timesteps]
        return self._finish((y + self.D[:, None] * u).transpose(1, 2))

    def written_out(self, timesteps: int) -> Tensor:
        """(d_model, timesteps)."""
        space, ss = self.ssm, self.ssm.discrete()
        with torch.no_grad():  # the release does this once, and trains the result in C's place
            A_L = torch.linalg.matrix_power(ssm.transition(ss).double(), timesteps)
            rows = ssm.covectors(torch.view_as_complex(space.C[0])).flatten(1).double()[:, None]
            real, imag = ((rows - rows @ A_L)[:, 0].float().unflatten(1, (2, -1)) / 2).unbind(1)
            C_tilde = torch.complex(real, -imag)
        C_tilde = C_tilde + torch.view_as_complex(space.C[0] - space.C[0].detach())
        dt = space.raw_dt.exp()[:, None]
        w = torch.complex(-space.log_w_real.exp(), space.w_imag).expand(len(dt), -1) * dt
        P, B = (torch.view_as_complex(v).expand(len(dt), -1) for v in (space.P, space.B))
        omega = torch.exp(-2j * torch.pi * torch.arange(timesteps // 2 + 1) / timesteps)
        z = 2 * (1 - omega) / (1 + omega)

        def cauchy(v: Tensor) -> Tensor:
            one = (v[:, :, None] / (z - w[:, :, None])).sum(1)
            return one + (v.conj()[:, :, None] / (z - w.conj()[:, :, None])).sum(1)

        low_rank = cauchy(C_tilde * P) * cauchy(P.conj() * B) * dt / (1 + dt * cauchy(P.conj() * P))
        return torch.fft.irfft((cauchy(C_tilde * B) - low_rank) * dt * 2 / (1 + omega), n=timesteps)


class VandermondeS4(CauchyS4):
    """S4 with a diagonal A, whose kernel is a sum over all powers of all states."""

    def written_out(self, timesteps: int) -> Tensor:
        """(d_model, timesteps)."""
        ss, C = self.ssm.discrete(), torch.view_as_complex(self.ssm.C[0])
        powers = torch.exp(ss.D.log()[:, :, None] * torch.arange(timesteps))
        return 2 * torch.einsum("hn,hnl->hl", C * ss.B, powers).real


# which state matrices, the layer as its paper has it, and the mode of ours
CONTESTS = (("DPLR", CauchyS4, "dplr"), ("diagonal", VandermondeS4, "s4d-lin"))


def runs(kind: type[S4], mode: str, d_model: int, timesteps: int) -> dict[str, Callable[[], object]]:
    """What is timed: by name."""
    layer = kind(d_model, n_ssm=1, mode=mode)
    x = torch.randn(1, timesteps, d_model, requires_grad=True)

    def kernel() -> Tensor:
        return layer.written_out(timesteps) if isinstance(layer, CauchyS4) else layer.kernel(timesteps)

    return {
        "kernel": torch.no_grad()(kernel), "kernel and gradients": lambda: kernel().square().sum().backward(),
        "layer": torch.no_grad()(lambda: layer(x)), "layer and gradients": lambda: layer(x).square().sum().backward(),
    }  # fmt: skip


def peak_mib(kind: type[S4], mode: str, d_model: int, timesteps: int) -> float:
    """MiB by which the peak of a fresh process grows over one forward and backward of the layer."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (kind, mode, d_model, timesteps))


def _growth(kind: type[S4], mode: str, d_model: int, timesteps: int) -> float:
    torch.set_num_threads(1)
    runs(kind, mode, 2, 16)["layer and gradients"]()
    run = runs(kind, mode, d_model, timesteps)["layer and gradients"]
    before = peak_bytes()
    run()
    return (peak_bytes() - before) / 2**20


def tell(row: str, name: str, slow: float, fast: float) -> None:
    print(f"{row}{name:<26}{slow:>12.1f}{fast:>10.1f}{slow / fast:>8.1f}", flush=True)


def main() -> None:
    """Print a table, four times and one peak for each tier and each kind of state matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'A':<10}{'features x timesteps':<22}{'':<26}{'written out':>12}{'ours':>10}{'ratio':>8}")

    for (matrix, written_out, mode), (d_model, timesteps) in itertools.product(CONTESTS, TIERS):
        row = f"{matrix:<10}{f'{d_model} x {timesteps}':<22}"
        contestants = [runs(kind, mode, d_model, timesteps) for kind in (written_out, S4)]
        for name in contestants[0]:
            spent: list[list[float]] = [[], []]
            for _ in range(options.rounds):
                for contestant, into in zip(contestants, spent, strict=True):
                    start = time.process_time()
                    contestant[name]()
                    into.append(1000 * (time.process_time() - start))
            tell(row, f"{name}, ms", *(statistics.median(one) for one in spent))
        tell(row, "peak, MiB", *(peak_mib(kind, mode, d_model, timesteps) for kind in (written_out, S4)))


if __name__ == "__main__":
    main()

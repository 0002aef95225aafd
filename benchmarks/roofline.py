"""What this machine can do, measured, and how long a piece of work takes at that: the limit that a row is held against.

    seconds >= max(operations / rate of matrix products and FFTs, bytes / rate of memory)

(Williams, Waterman and Patterson 2009, "Roofline".) Rates of memory depend on which cache holds what is read: each is measured
for several sizes, and a piece of work gets the rate of as many bytes as it goes through before it comes back to the same one.
The best of several measurements counts, since a limit is about what is possible.
Vector operations, exponentials and the start of kernels are left out: the limit is a lower one than any program's.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

MIB = 2**20
SIZES = {"cpu": (1, 4, 16, 64, 256), "cuda": (4, 16, 64, 1024)}  # MiB: from a processor's second cache to its memory
PRODUCT = {"cpu": (1024, 2048), "cuda": (8192,)}  # rows and columns of the matrices
PRECISIONS = {"cpu": ("float32", "float64", "bfloat16"), "cuda": ("float32", "tf32", "bfloat16")}


@dataclass(frozen=True)
class Rates:
    """products: operations (a multiplication and an addition are two) per second by precision; ffts: of real FFTs in float32

    read:  MiB of a matrix -> bytes per second of its product with a vector
    moved: MiB -> bytes per second, read and written ones both counted: copied, or multiplied in place where that is faster
    """

    products: dict[str, float]
    ffts: float
    read: dict[int, float]
    moved: dict[int, float]

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> "Rates":
        """From JSON, whose keys are all text."""
        by_size = ({int(size): rate for size, rate in values[name].items()} for name in ("read", "moved"))
        return cls(values["products"], values["ffts"], *by_size)

    def lines(self) -> list[str]:
        """For people."""
        products = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in self.products.items())
        memory = {
            f"{name}, GB/s": ", ".join(f"{size} MiB {rate / 1e9:,.0f}" for size, rate in by_size.items())
            for name, by_size in (("matrix times vector", self.read), ("copy or change (read + written)", self.moved))
        }
        found = {"matrix products, GFLOP/s": products, "real FFTs, GFLOP/s": f"{self.ffts / 1e9:,.1f}", **memory}
        return [f"{name}: {rates}" for name, rates in found.items()]


@dataclass(frozen=True)
class Work:
    """What has to be done at least.

    products: operations in matrix products; precision: of these; ffts: operations of real FFTs, 2.5 n log2 n each
    read:     bytes that are read and stay as they are; moved: bytes read or written of what changes
    held:     bytes that are gone through before the same one is needed again
    """

    products: float = 0.0
    ffts: float = 0.0
    read: float = 0.0
    moved: float = 0.0
    held: float = 0.0
    precision: str = "float32"

    def seconds(self, rates: Rates) -> float:
        """At least."""
        computing = self.products / rates.products[self.precision] + self.ffts / rates.ffts
        return max(computing, self.read / at(rates.read, self.held) + self.moved / at(rates.moved, self.held))

    def times(self, count: float) -> "Work":
        """As much work `count` times, each going through as many bytes as before."""
        more = {name: count * getattr(self, name) for name in ("products", "ffts", "read", "moved")}
        return replace(self, **more)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def at(rates: dict[int, float], held: float) -> float:
    """The rate for as many bytes, between those that were measured by the logarithm of the size."""
    x = math.log(max(held, 1.0) / MIB)
    (size, rate), *others = sorted(rates.items())
    for next_size, next_rate in others:
        if held < next_size * MIB:
            share = max(0.0, (x - math.log(size)) / (math.log(next_size) - math.log(size)))
            return rate + share * (next_rate - rate)
        size, rate = next_size, next_rate
    return rate


def measure(device: str, quick: bool, wait: Callable[[], None]) -> Rates:
    """All rates, at the number of threads that PyTorch has."""
    import torch

    from benchmarks.timing import interleaved
    from models.recording import cuda_graph

    tries = 3 if quick else 15

    def best(run: Callable[[], object], repeats: int = 1) -> float:
        """Seconds of one call."""

        def several() -> None:
            for _ in range(repeats):
                run()

        timed = several
        if device == "cuda" and repeats > 1:  # small ones would be measured by how long it takes to ask for them
            several()
            timed = cuda_graph(several, torch.device(device))
        return min(interleaved({"": timed}, tries, wait)[""]) / repeats

    products = {}
    for precision in PRECISIONS[device]:
        kind = torch.float32 if precision == "tf32" else getattr(torch, precision)
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        sizes = (256,) if quick else PRODUCT[device]
        pairs = [[torch.randn(size, size, device=device).to(kind) for _ in range(2)] for size in sizes]
        products[precision] = max(2 * len(a) ** 3 / best(lambda a=a, b=b: a @ b) for a, b in pairs)  # type: ignore[misc]
    torch.backends.cuda.matmul.allow_tf32 = False

    length, rows = 32000, 1024 if device == "cuda" else 64
    x = torch.randn(rows, length, device=device)
    several = 4 if device == "cuda" else 1
    ffts = rows * fft_operations(length) / best(lambda: torch.fft.rfft(x), several)
    read, moved = {}, {}
    for size in SIZES[device]:
        count = size * MIB // 4
        matrix, vector = torch.randn(count // 1024, 1024, device=device), torch.randn(1024, device=device)
        repeats = max(several, (1024 if device == "cuda" else 64) // size)
        read[size] = size * MIB / best(lambda m=matrix, v=vector: m @ v, repeats)  # type: ignore[misc]
        one, other = matrix.view(-1).chunk(2)
        copying = best(lambda one=one, other=other: other.copy_(one), repeats)  # type: ignore[misc]
        changing = best(lambda matrix=matrix: matrix.mul_(1.0), repeats) / 2  # type: ignore[misc]
        moved[size] = size * MIB / min(copying, changing)
    return Rates(products, ffts, read, moved)


def fft_operations(length: float) -> float:
    """Of a real FFT of a power of two, which others come near."""
    return 2.5 * length * math.log2(length)

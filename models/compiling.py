"""Functions of tensors, compiled by PyTorch's compiler, ahead of time where that is faster.

On a CPU a function is exported, compiled to machine code (AOTInductor) and kept on disk, so that the next process only loads
it; a call then costs some microseconds, where `torch.compile` spends a tenth of a millisecond on finding out that nothing has
changed. On a GPU it is `torch.compile`, whose calls are recorded in a CUDA graph and cost nothing at all.

Where that does not come near what the machine can do, a file in C++ lies beside the Python file that calls it.

Compiled code is found by what it was made from: the exported program and the number of threads, or the file; PyTorch; and what
the machine can do.
"""

import contextlib
import fcntl
import functools
import getpass
import hashlib
import mmap
import os
import platform
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

LARGE_PAGE = 2 << 20  # bytes
FORMS = 128  # that a function may be compiled into
LOADED: set[Path] = set()
ALIGNED = 16  # numbers: the beginning of every weight lies at the beginning of a cache line


class CannotCompile(RuntimeError):
    """There is no compiler here, or it does not know what to do."""


@functools.cache
def compiler(device: torch.device) -> Callable[..., Callable[..., Any]]:
    """The `Build` for a device. On a CPU it raises CannotCompile; elsewhere it compiles at the first call, which raises it, as
    does this where nothing can be compiled."""
    if device.type == "cpu":
        return ahead_of_time
    try:
        torch.compile(lambda x: x + 1, fullgraph=True)(torch.zeros(1, device=device))
    except Exception as error:
        raise CannotCompile(f"nothing can be compiled for {device} ({_in_short(error)})") from error
    return just_in_time


def folder() -> Path:
    """Where compiled code is kept: beside PyTorch's own, which TORCHINDUCTOR_CACHE_DIR moves."""
    place = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return Path(place or Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}") / "earshot"


def just_in_time(name: str, function: Callable[..., Any], weights: Any, *examples: Tensor) -> Callable[..., Any]:
    """See `models.stepping.Build`."""
    # Objects of one class share it, and each size of batch needs a form of its own.
    torch._dynamo.config.recompile_limit = max(FORMS, torch._dynamo.config.recompile_limit)
    compiled = torch.compile(function, fullgraph=True, dynamic=False)

    def run(*tensors: Tensor) -> Any:
        try:
            return compiled(weights, *tensors)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = getattr(error, "inner_exception", None) or error
            raise CannotCompile(f"{name} could not be compiled ({_in_short(reason)})") from error

    return run


def ahead_of_time(name: str, function: Callable[..., Any], weights: Any, *examples: Tensor) -> Callable[..., Any]:
    """See `models.stepping.Build`. Weights are copied into one block, since every argument of a call costs time."""
    try:
        flat, unflatten = flattened(weights)
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, about itself
            like = tuple(torch.empty_strided(e.shape, e.stride(), dtype=e.dtype) for e in examples)
            program = torch.export.export(_Function(function, unflatten), (torch.empty_like(flat), like), strict=False)
            run = torch._inductor.aoti_load_package(str(_made(name, program))).loader.run
    except Exception as error:
        raise CannotCompile(f"{name} could not be compiled ({_in_short(error)})") from error
    return lambda *tensors: run([flat, *tensors])


def native(source: Path, shapes: Callable[..., Any]) -> None:
    """Load `torch.ops.earshot.<name of the file>`, which the C++ file defines, compiled for this processor.

    shapes: its results from its arguments, empty. Raises CannotCompile, also where the processor has no vectors.
    """
    if source in LOADED:
        return
    try:
        from torch._inductor.cpp_builder import CppBuilder, CppTorchOptions
        from torch._inductor.cpu_vec_isa import pick_vec_isa

        vectors = pick_vec_isa()
        if not vectors:
            raise CannotCompile("there are no vectors that PyTorch knows")

        def make(place: Path) -> Path:
            options = CppTorchOptions(vectors, warning_all=False)
            builder = CppBuilder(source.stem, str(source), options, output_dir=str(place))
            builder.build()
            return Path(builder.get_target_file_path())

        torch.ops.load_library(_kept(source.stem, ".so", [source.read_text()], make))
        LOADED.add(source)  # a second copy, from wherever, would end the process
        torch.library.register_fake(f"earshot::{source.stem}", shapes)
    except Exception as error:
        raise CannotCompile(f"{source.name} could not be compiled ({_in_short(error)})") from error


class _Function(nn.Module):
    """What is exported: the function, of its weights in one block and of tensors."""

    def __init__(self, function: Callable[..., Any], unflatten: Callable[[Tensor], Any]):
        super().__init__()
        self.function, self.unflatten = function, unflatten

    def forward(self, flat: Tensor, tensors: tuple[Tensor, ...]) -> Any:
        return self.function(self.unflatten(flat), *tensors)


def flattened(weights: Any) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """All weights, float32, in one block, and the function that gives them back as views of it."""
    tensors, tree = pytree.tree_flatten(weights)
    sizes = [-(-tensor.numel() // ALIGNED) * ALIGNED for tensor in tensors]
    flat = zeros(sum(sizes))
    for part, tensor in zip(flat.split(sizes), tensors, strict=True):
        part[: tensor.numel()] = tensor.detach().flatten()

    def unflatten(block: Tensor) -> Any:
        pieces = zip(block.split(sizes), tensors, strict=True)
        return pytree.tree_unflatten([piece[: t.numel()].view(t.shape) for piece, t in pieces], tree)

    return flat, unflatten


def zeros(count: int) -> Tensor:
    """(count,) float32, in large pages where the system has them and they can be filled: at the borders of small ones the
    processor stops to read ahead."""
    if 4 * count < LARGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(count)
    memory = mmap.mmap(-1, 4 * count + LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.float32)
    first = -whole.data_ptr() % LARGE_PAGE // 4
    return whole[first : first + count]


def _in_short(error: Exception) -> str:
    """The kind of error and its first line; of a C++ compiler's, the first that tells what is wrong."""
    lines = str(error).strip().splitlines() or [""]
    reason = next((line for line in lines if ": error:" in line or ": fatal error:" in line), lines[0])
    return f"{type(error).__name__}: {reason[:200]}"


def _made(name: str, program: Any) -> Path:
    """The package of an exported program."""
    about = [
        torch.get_num_threads(),
        *(node.format_node() for node in program.graph.nodes),
        *(str(node.meta.get("val")) for node in program.graph.nodes if node.op == "placeholder"),
        *((key, value.tolist()) for key, value in sorted(program.constants.items()) if isinstance(value, Tensor)),
    ]
    aot: Any = torch._inductor.aoti_compile_and_package
    return _kept(name, ".pt2", about, lambda place: Path(aot(program, package_path=str(place / f"{name}.pt2"))))


@functools.cache
def machine() -> tuple[str, ...]:
    """What compiled code needs of a machine: of those that share a cache, one may lack what another has."""
    kind = (platform.machine(), *platform.libc_ver())
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return (*kind, line)
    return (*kind, platform.processor())


def _kept(name: str, suffix: str, about: list[Any], make: Callable[[Path], Path]) -> Path:
    """A file that `make` leaves in a folder, made unless it is there; of several processes that need it, one makes it.

    about: what it is made from, beside PyTorch and the machine
    """
    told = repr([torch.__version__, torch.backends.cpu.get_cpu_capability(), machine(), *about])
    kept = folder() / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}{suffix}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with open(kept.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists():
            os.utime(kept)  # in use, for who cleans up
        else:
            with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
                os.replace(make(Path(scratch)), kept)
    return kept

"""Functions of tensors, compiled by PyTorch's compiler, ahead of time where that is faster.

On a CPU a function is exported, compiled to machine code (AOTInductor) and kept on disk, so that the next process only loads
it; a call then costs some microseconds, where `torch.compile` spends a tenth of a millisecond on finding out that nothing has
changed. On a GPU it is `torch.compile`, whose calls are recorded in a CUDA graph and cost nothing at all.

A package is found by what it was made from: the exported program, PyTorch, the processor and the number of threads.
"""

import fcntl
import getpass
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

ALIGNED = 16  # numbers: the beginning of every weight lies at the beginning of a cache line


class CannotCompile(RuntimeError):
    """There is no compiler here, or it does not know what to do."""


def compiler(device: torch.device) -> Callable[..., Callable[..., Any]]:
    """The `Build` for a device; what it returns raises CannotCompile."""
    return ahead_of_time if device.type == "cpu" else just_in_time


def folder() -> Path:
    """Where compiled code is kept: beside PyTorch's own, which TORCHINDUCTOR_CACHE_DIR moves."""
    place = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return Path(place or Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}") / "earshot"


def just_in_time(name: str, function: Callable[..., Any], weights: Any, *examples: Tensor) -> Callable[..., Any]:
    """See `models.stepping.Build`."""
    compiled = torch.compile(function, fullgraph=True, dynamic=False)
    return lambda *tensors: compiled(weights, *tensors)


def ahead_of_time(name: str, function: Callable[..., Any], weights: Any, *examples: Tensor) -> Callable[..., Any]:
    """See `models.stepping.Build`. Weights are copied into one block, since every argument of a call costs time."""
    flat, unflatten = flattened(weights)
    try:
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, about itself
            like = tuple(torch.empty_strided(e.shape, e.stride(), dtype=e.dtype) for e in examples)
            program = torch.export.export(_Function(function, unflatten), (torch.empty_like(flat), like), strict=False)
            run = torch._inductor.aoti_load_package(str(_made(name, program))).loader.run
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise CannotCompile(f"{name} could not be compiled ({type(error).__name__}: {reason})") from error
    return lambda *tensors: run([flat, *tensors])


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
    flat = torch.zeros(sum(sizes))
    for part, tensor in zip(flat.split(sizes), tensors, strict=True):
        part[: tensor.numel()] = tensor.detach().flatten()

    def unflatten(block: Tensor) -> Any:
        pieces = zip(block.split(sizes), tensors, strict=True)
        return pytree.tree_unflatten([piece[: t.numel()].view(t.shape) for piece, t in pieces], tree)

    return flat, unflatten


def _key(program: Any) -> str:
    """What a package is made from, in 16 digits."""
    about = [
        torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(),
        *(node.format_node() for node in program.graph.nodes),
        *(str(node.meta.get("val")) for node in program.graph.nodes if node.op == "placeholder"),
    ]  # fmt: skip
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def _made(name: str, program: Any) -> Path:
    """The package of a program, compiled unless it is there; of several processes that need it, one compiles it."""
    package = folder() / f"{name}-{_key(program)}.pt2"
    package.parent.mkdir(parents=True, exist_ok=True)
    with open(package.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not package.exists():
            with tempfile.TemporaryDirectory(dir=package.parent) as scratch:
                made = torch._inductor.aoti_compile_and_package(program, package_path=f"{scratch}/{package.name}")
                os.replace(made, package)
    return package

"""What a checkpoint's pickle may name, and what becomes of it: descriptions of tensors, plain containers, inert stand-ins.

    what tensors are made of    each remade by a function of ours that notes where a tensor lies, and checks it
    containers                  OrderedDict, set and the like become dicts and lists
    classes of `STAND_INS`      become objects without behaviour that keep the `__dict__` they were pickled with
    everything else             is refused, by name

Nothing is imported by the name that a pickle gives. models/pickle_machine.py reads the pickle itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

MOST_DIMENSIONS, LARGEST = 16, 1 << 63

STAND_INS = (
    "torch.nn", "torch.optim", "models.resnext", "pytorch_lightning", "lightning", "lightning_fabric", "omegaconf",
)  # fmt: skip
"""Packages whose classes checkpoints hold objects of."""
STAND_IN_NAMES = {
    "argparse.Namespace", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "typing.Any",
    "pathlib._local.PosixPath", "numpy.dtype", "numpy.ndarray", "torch.Tensor",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
}  # fmt: skip


@dataclass(frozen=True)
class PickledStorage:
    """Where a storage lies: the key of its record, and `numel` elements of `dtype`."""

    key: str
    dtype: torch.dtype
    numel: int

    @property
    def bytes(self) -> int:
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class PickledTensor:
    """What a tensor is in its storage: offset and stride in elements of `dtype`."""

    storage: PickledStorage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.size) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class Global:
    """Something that a pickle names. remake: our function for it; dtype: of a class of storages; neither: a stand-in."""

    name: str
    remake: Callable[..., Any] | None = None
    dtype: torch.dtype | None = None


@dataclass(eq=False)
class StandIn:
    """An object of a class that is not here: what it was pickled with, and no behaviour."""

    of: str
    attributes: dict[str, Any] = field(default_factory=dict)


PLAIN = (str, int, float, bytes, type(None), Global, StandIn, torch.dtype)
"""What may be a key of a dict: hashing nested tuples has no bound."""


def find(module: Any, name: Any) -> Any:
    """What we have for `module.name`. Raises ValueError, which names it, where that is nothing."""
    if not (isinstance(module, str) and isinstance(name, str)):
        raise ValueError("it names something by what is no text")
    full = f"{'builtins' if module == '__builtin__' else module}.{name}"
    if full in REMADE:
        return Global(full, remake=REMADE[full])
    kind = name.removesuffix("Storage")
    if module in ("torch", "torch.cuda", "torch.storage") and kind != name and kind in STORAGES:
        return Global(full, dtype=STORAGES[kind])
    if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
        return dtype
    # A name with dots is a walk through attributes, to anything that the module has imported.
    inside = any(module == package or module.startswith(f"{package}.") for package in STAND_INS)
    if (inside and name.isidentifier()) or full in STAND_IN_NAMES:
        return Global(full)
    raise ValueError(f"it asks for {full[:200]!r}, which no checkpoint needs. Nothing in it was executed")


def new(found: Any) -> StandIn:
    """An object of a class that `find` found. Raises ValueError where it is none."""
    if not isinstance(found, Global) or found.remake or found.dtype:
        raise ValueError("it makes an object of what is no class")
    return StandIn(found.name)


def call(found: Any, arguments: Any) -> Any:
    """What becomes of a call of something that `find` found. Raises ValueError where that cannot be called."""
    if isinstance(found, Global) and isinstance(arguments, tuple):
        return found.remake(*arguments) if found.remake else new(found)
    raise ValueError("it calls what cannot be called")


def set_state(thing: Any, state: Any) -> None:
    """Keep an object's `__dict__`; what is set of anything else (the metadata of a state_dict) carries no weights."""
    if isinstance(thing, StandIn) and isinstance(state, dict):
        thing.attributes.update((key, value) for key, value in state.items() if isinstance(key, str))


def extend(thing: Any, items: list[Any]) -> None:
    """Append to a list; of a list's heir only the class is known. Raises ValueError where it is neither."""
    if isinstance(thing, list):
        thing.extend(items)
    elif not isinstance(thing, StandIn):
        raise ValueError("it appends to what is no list")


def set_items(thing: Any, items: list[Any]) -> Any:
    """`thing` with keys and values, which alternate in `items`.

    Raises ValueError where `thing` is no dict, or a key is not plain.
    """
    if isinstance(thing, StandIn):
        return thing
    if not isinstance(thing, dict) or len(items) % 2:
        raise ValueError("it sets items of what is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not all(isinstance(part, PLAIN) for part in (key if isinstance(key, tuple) else (key,))):
            raise ValueError("it has a dict with keys that are neither text nor numbers")
        thing[key] = value
    return thing


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any, dtype: Any = None) -> PickledTensor:
    """Note a tensor, which must lie within its storage, and have no more elements than it."""
    tuples = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= MOST_DIMENSIONS
    whole = tuples and all(type(n) is int and 0 <= n < LARGEST for n in (offset, *size, *stride))
    if not (isinstance(storage, PickledStorage) and whole):
        raise ValueError("it has a tensor whose place in its storage makes no sense")
    dtype = dtype or storage.dtype
    held = storage.bytes // dtype.itemsize
    end = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1 if 0 not in size else 0
    if max(end, math.prod(size)) > held:
        raise ValueError(f"it has a tensor of shape {str(size)[:80]} that is not within its storage of {held} elements")
    return PickledTensor(storage, dtype, offset, size, stride)


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, gradient: Any, hooks: Any, dtype: Any, *_: Any
) -> PickledTensor:
    """The same, of a storage without a type of its own."""
    if not isinstance(dtype, torch.dtype):
        raise ValueError("it has a tensor of what is no type")
    return _tensor(storage, offset, size, stride, dtype=dtype)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _tensor_of_type(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    return call(function, arguments)


def _dict(*arguments: Any) -> dict[Any, Any]:
    """Of the pairs in its last argument, if there is any (a defaultdict's first is what it begins with)."""
    pairs = arguments[-1] if arguments and isinstance(arguments[-1], list) else []
    made: dict[Any, Any] = {}
    for key, value in pairs:
        set_items(made, [key, value])
    return made


def _list(items: Any = ()) -> list[Any]:
    return list(items) if isinstance(items, list | tuple) else []


def _tuple(items: Any = ()) -> tuple[Any, ...]:
    return tuple(_list(items))


def _text(*parts: Any) -> str:
    return ":".join(str(part) for part in parts if isinstance(part, str | int))


def _encode(text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    """How an old protocol writes bytes."""
    if not (isinstance(text, str) and encoding == "latin1"):
        raise ValueError("it encodes what is no text")
    return text.encode("latin1")


REMADE: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor, "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3, "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter, "torch._tensor._rebuild_from_type_v2": _tensor_of_type,
    "torch.Size": _tuple, "torch.device": _text, "_codecs.encode": _encode, "collections.OrderedDict": _dict,
    "collections.defaultdict": _dict, "builtins.dict": _dict, "builtins.list": _list, "builtins.set": _list,
    "builtins.frozenset": _list,
}  # fmt: skip

STORAGES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Byte": torch.uint8, "Untyped": torch.uint8, "Char": torch.int8, "Short": torch.int16, "Int": torch.int32,
    "Long": torch.int64, "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}  # fmt: skip

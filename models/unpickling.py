"""Published checkpoints, read without executing anything in them: files of torch.save, old and new, and safetensors.

torch.save writes a pickle, which is a program, and storages, which are numbers. `torch.load` would run the one (or, with
weights_only, refuse the pickled modules that some releases are). Here the pickle is read as data (models/pickle_machine.py),
the tensors are taken from the storages, and nothing that a file claims is believed before it is checked against its size.
"""

import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from models.pickle_machine import read_pickle
from models.pickled import PickledStorage, PickledTensor, StandIn

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what torch.save wrote first until 2020, and can still write
LEGACY = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")
WRAPPERS = ("model_state_dict", "state_dict", "model")  # where training loops keep the weights among other things
DEEPEST, MOST_PARTS = 50, 1_000_000
COPIES = 4  # tied weights count more than once; a file that claims more than this much of its size is a bomb

DAMAGE = (
    OSError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, NotImplementedError,
    IndexError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError, RecursionError, MemoryError,
)  # fmt: skip
"""What the readers of containers, and wrong indices in a pickle, raise."""


class Checkpoint(NamedTuple):
    """tensors: by their names in the file, less the `module.` of DataParallel; container: how they lay in it, in words."""

    tensors: dict[str, Tensor]
    container: str


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a checkpoint: a state_dict, alone or among a training's state, a pickled module, or safetensors.

    Raises ValueError where the file is damaged, is something else, or names, in its pickle, anything that weights do not
    need: the message names it, and it has not been executed.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(16)
            file.seek(0)
            if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
                return Checkpoint(_unwrapped(_read_safetensors(path)), "safetensors")
            if head.startswith(b"PK\x03\x04"):
                found, storage, container = _open_zip(file, size)
            elif head.startswith(LEGACY):
                found, storage, container = _open_legacy(file, size)
            else:
                found, storage, container = _open_pickle(file, head)
            named, where = _weights(found)
            return Checkpoint(_unwrapped(_tensors(named, storage, size)), container + where)
    except DAMAGE as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ValueError(
            f"{path} cannot be read as a checkpoint: it is damaged or cut short ({reason:.200})"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is refused: {error}") from error


Opened = tuple[Any, Callable[[PickledStorage], bytes], str]
"""The pickled object, where the bytes of a storage come from, and what the container is called."""


def _open_zip(file: BinaryIO, size: int) -> Opened:
    archive = zipfile.ZipFile(file)
    entries = {info.filename: info for info in archive.infolist()}
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in entries.values()):
        raise ValueError("its archive has compressed or encrypted entries, which torch.save does not write")
    if len(entries) != len(archive.infolist()) or sum(info.file_size for info in entries.values()) > size:
        raise ValueError("its archive claims to hold more than there is in it")
    roots = [name.removesuffix("/data.pkl") for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError("it is a zip archive without the one data.pkl that torch.save writes")
    [root] = roots
    if f"{root}/byteorder" in entries and archive.read(f"{root}/byteorder") != b"little":
        raise ValueError("it was written on a machine with another byte order")

    def storage(wanted: PickledStorage) -> bytes:
        entry = entries[f"{root}/data/{wanted.key}"]
        if entry.file_size != wanted.bytes:
            raise ValueError(f"its storage {wanted.key} has {entry.file_size} bytes instead of {wanted.bytes}")
        return archive.read(entry)

    return read_pickle(BytesIO(archive.read(f"{root}/data.pkl")))[0], storage, "zip of torch.save"


def _open_legacy(file: BinaryIO, size: int) -> Opened:
    """Five pickles (magic number, protocol, system, object, keys of storages), then each storage behind its length."""
    magic, protocol, system = (read_pickle(file)[0] for _ in range(3))
    if (magic, protocol) != (MAGIC, PROTOCOL) or not isinstance(system, dict) or not system.get("little_endian"):
        raise ValueError("it was written by an unknown version of torch.save, or with another byte order")
    found, storages = read_pickle(file)
    keys, _ = read_pickle(file)
    begins: dict[str, int] = {}
    for key in keys:
        about = storages[key]
        numel = int.from_bytes(file.read(8), "little")
        begins[key] = file.tell()
        if numel != about.numel or begins[key] + about.bytes > size:
            raise ValueError(f"its storage {key:.40} has {numel} elements instead of {about.numel}, or is cut short")
        file.seek(about.bytes, 1)

    def storage(wanted: PickledStorage) -> bytes:
        file.seek(begins[wanted.key])
        return file.read(wanted.bytes)

    return found, storage, "legacy torch.save"


def _open_pickle(file: BinaryIO, head: bytes) -> Opened:
    """Any other pickle: read to say what it names, since it holds no tensors."""
    if head.startswith(b"version https://"):
        raise ValueError("it is a pointer of Git LFS: fetch the file itself with `git lfs pull`")
    if not head or head[:1] not in {opcode.code.encode("latin1") for opcode in pickletools.opcodes}:
        raise ValueError("it is neither of torch.save nor safetensors")
    found, _ = read_pickle(file)
    return found, _no_storage, "pickle"


def _no_storage(wanted: PickledStorage) -> bytes:
    raise ValueError("it has tensors without the storages that torch.save writes after them")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"it is no safetensors file ({error})") from error


def _weights(found: Any) -> tuple[dict[str, PickledTensor], str]:
    """(The tensors of a state_dict by name, where it was, in words) in what was pickled."""
    if isinstance(found, StandIn):
        return _of_module(found), f", a pickled {found.of.rpartition('.')[2]}"
    if isinstance(found, dict):
        for name in WRAPPERS:
            if isinstance(found.get(name), dict | StandIn):
                inner, where = _weights(found[name])
                return inner, f", under {name!r}{where}"
        if found and all(isinstance(key, str) and isinstance(item, PickledTensor) for key, item in found.items()):
            return dict(found), ""
        held = ", ".join(str(key)[:30] for key in list(found)[:8] if isinstance(key, str | int)) or "nothing"
        raise ValueError(f"there is no state_dict in it; it holds {held}. One may lie under {', '.join(WRAPPERS)}")
    raise ValueError(f"there is no state_dict in it, but a {type(found).__name__}")


def _of_module(root: StandIn) -> dict[str, PickledTensor]:
    """What `module.state_dict()` would have been."""
    state: dict[str, PickledTensor] = {}
    waiting, seen = [(root, "", 0)], 0
    while waiting:
        module, prefix, depth = waiting.pop()
        passing = module.attributes.get("_non_persistent_buffers_set") or []
        for kind in ("_parameters", "_buffers", "_modules"):
            for name, item in (module.attributes.get(kind) or {}).items():
                seen += 1
                if depth > DEEPEST or seen > MOST_PARTS:
                    raise ValueError("its modules are nested without end")
                if isinstance(item, PickledTensor) and name not in passing:
                    state[f"{prefix}{name}"] = item
                elif isinstance(item, StandIn):
                    waiting.append((item, f"{prefix}{name}.", depth + 1))
    if not state:
        raise ValueError(f"there are no weights in it, only a pickled {root.of}")
    return state


def _tensors(
    named: dict[str, PickledTensor], storage: Callable[[PickledStorage], bytes], size: int
) -> dict[str, Tensor]:
    """The tensors themselves. size: of the file, in bytes, against which what they claim is checked."""
    claimed = sum(tensor.bytes for tensor in named.values())
    if claimed > COPIES * size:
        raise ValueError(f"its tensors claim {claimed:,} bytes, in a file of {size:,}")
    read: dict[str, Tensor] = {}
    tensors = {}
    for name, tensor in named.items():
        about = tensor.storage
        if 0 in tensor.size:
            tensors[name] = torch.empty(tensor.size, dtype=tensor.dtype)
            continue
        if about.key not in read:
            content = storage(about)
            if len(content) != about.bytes:
                raise ValueError(f"its storage {about.key} is cut short")
            read[about.key] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        whole = read[about.key][: about.bytes // tensor.dtype.itemsize * tensor.dtype.itemsize].view(tensor.dtype)
        view = whole.as_strided(tensor.size, tensor.stride, tensor.offset)
        tensors[name] = view.clone(memory_format=torch.contiguous_format)
    return tensors


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that DataParallel puts before every name."""
    while tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors

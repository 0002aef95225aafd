"""Files that are whole or absent: training states, and weights as safetensors."""

import os
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file, flush it to the disk, and rename it to `path`.

    Whoever looks sees the old file or the new one, also after a crash or a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # half a file on a full disk is in the way
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state: numbers, strings, lists, dicts and tensors. Equal states give equal bytes."""
    try:
        write_atomically(path, lambda file: torch.save(_canonical(state), file))
    except RuntimeError as error:
        # Closing its archive, torch covers up why writing failed: a full disk, say.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _canonical(value: Any) -> Any:
    """Equal values as equal objects: pickle notes whether two equal strings are one, which depends on their history."""
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, tuple):
        return tuple([_canonical(item) for item in value])
    return sys.intern(value) if isinstance(value, str) else value


def load_state(path: Path) -> dict[str, Any]:
    """A training state, on the CPU. Nothing in the file is ever executed.

    Raises ValueError where the file is damaged or is not a training state.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint ({error}); remove it to start over") from error


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights as safetensors; the same weights give the same bytes."""
    from safetensors.torch import save

    # Tied weights share memory, which the format refuses: each name gets its own copy.
    content = save({name: value.detach().cpu().clone().contiguous() for name, value in weights.items()})
    write_atomically(path, lambda file: file.write(content))


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file, on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)

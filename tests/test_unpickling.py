"""Checkpoints in every container that releases use come in whole; hostile and damaged ones are refused, and never run."""

import io
import json
import os
import pickle
import random
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.unpickling import read_checkpoint
from tests.containers import CONTAINERS, pickled_module


def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shared = torch.randn(4, 6)
    return {
        "model.a.weight": torch.randn(3, 5),
        "model.a.bias": torch.randn(3).double(),
        "model.transposed": shared.t(),
        "model.part": shared[1:3, ::2],
        "model.half": torch.randn(2, 2).half(),
        "model.brain": torch.randn(2, 2).bfloat16(),
        "model.complex": torch.randn(2, dtype=torch.complex64),
        "model.steps": torch.tensor(7),
        "model.flags": torch.tensor([True, False]),
        "model.empty": torch.zeros(0, 3),
    }


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].is_contiguous()
        assert torch.equal(found[name], tensor), name


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_holds_the_same_weights(container: str, tmp_path: Path) -> None:
    path, told = CONTAINERS[container](weights(), tmp_path)
    found = read_checkpoint(path)
    assert_same(found.tensors, weights())
    assert found.container == told


def test_parameters_buffers_and_scalars_of_other_libraries_are_no_obstacle(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.rate = 0.001  # type: ignore[attr-defined]
    state = OrderedDict(a=parameter, b=nn.Parameter(torch.zeros(3), requires_grad=False))
    more = {
        "loss": np.float64(3.5),
        "epoch": 3,
        "path": Path("somewhere"),
        "best": torch.tensor(1.0),
        "betas": {(1, 2): 3},
    }
    for number, protocol in enumerate((2, 3, 4, 5)):
        path = tmp_path / f"{number}.ckpt"
        torch.save({"state_dict": state, **more}, path, pickle_protocol=protocol)
        found = read_checkpoint(path).tensors
        assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [1, 1], "b": [0, 0, 0]}


def test_only_the_weights_of_a_training_are_read(tmp_path: Path) -> None:
    torch.save(
        {"model_state_dict": {"a": torch.ones(1)}, "optimizer_state_dict": {"a": torch.ones(9)}}, tmp_path / "a.pkl"
    )
    assert list(read_checkpoint(tmp_path / "a.pkl").tensors) == ["a"]


class Evil:
    """Pickles to a call of `function`, which would leave a file behind."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def write(place: Path) -> str:
    return f"open({str(place)!r}, 'w').write('executed')"


def payload(kind: str, place: Path) -> Any:
    tensor = torch.ones(2)
    match kind:
        case "os.system":
            return {"state_dict": {"a": tensor}, "extra": Evil(os.system, f"touch {place}")}
        case "eval":
            return Evil(eval, write(place))
        case "exec":
            return {"a": tensor, "b": Evil(exec, write(place))}
        case "nested":
            return Evil(getattr, Evil(__import__, "os"), "system")
        case "getattr":
            return OrderedDict(a=tensor, b=Evil(getattr, "text", "upper"))
        case "as a tensor's argument":
            storage = torch.ones(2).untyped_storage()
            return {
                "a": Evil(torch._utils._rebuild_tensor_v2, storage, Evil(eval, write(place)), (2,), (1,), False, {})
            }
        case "as a key":
            return {"state_dict": {"a": tensor}, Evil(eval, write(place)): 1}
        case "hub":
            return Evil(torch.hub.load, str(place.parent), "model")
        case "partial":
            import functools

            return functools.partial(eval, write(place))
        case "load from bytes":
            return Evil(torch.storage._load_from_bytes, b"anything")
    raise AssertionError(kind)


NAMED = {
    "os.system": f"{os.system.__module__}.system", "eval": "builtins.eval", "exec": "builtins.exec",
    "nested": "builtins.getattr", "getattr": "builtins.getattr", "as a tensor's argument": "builtins.eval",
    "as a key": "builtins.eval", "hub": "torch.hub.load", "partial": "functools.partial",
    "load from bytes": "torch.storage._load_from_bytes",
}  # fmt: skip


def plain(thing: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(thing))


def zipped(thing: Any, path: Path) -> None:
    torch.save(thing, path)


def legacy(thing: Any, path: Path) -> None:
    torch.save(thing, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("kind", ["os.system", "eval", "exec"])
def test_the_payloads_are_alive(kind: str, tmp_path: Path) -> None:
    """What is refused below would have done its work."""
    pickle.loads(pickle.dumps(payload(kind, place := tmp_path / "executed")))
    assert place.exists()


@pytest.mark.parametrize("write_to", [plain, zipped, legacy])
@pytest.mark.parametrize("kind", NAMED)
def test_a_hostile_pickle_is_refused_by_name_and_not_run(
    kind: str, write_to: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    place, path = tmp_path / "executed", tmp_path / "evil.pt"
    write_to(payload(kind, place), path)
    named = rf"{re.escape(NAMED[kind])}|torch\.storage\._load_from_bytes"  # so pickles a storage without torch.save
    with pytest.raises(ValueError, match=rf"evil\.pt is refused: it asks for '({named})'") as told:
        read_checkpoint(path)
    assert "Nothing in it was executed" in str(told.value)
    assert not place.exists()


HAND_WRITTEN = {
    "instance": (b"(S'touch PLACE'\nios\nsystem\n.", "os.system"),
    "global": (b"cos\nsystem\n(S'touch PLACE'\ntR.", "os.system"),
    "python 2": (b"c__builtin__\neval\n(S'1'\ntR.", "builtins.eval"),
    "object": (b"(cposix\nsystem\nS'touch PLACE'\no.", "posix.system"),
    "extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "text id": (b"\x80\x02Panything\n.", "PERSID"),
    "buffer": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "walk through attributes": (b"\x80\x04\x8c\x08torch.nn\x8c\x14functional.os.system\x93.", "functional.os.system"),
    "reconstructor": (b"\x80\x02ccopy_reg\n_reconstructor\n.", "_reconstructor"),
    "a module whose name only begins alike": (b"\x80\x02ctorch.nnx\nModule\n.", "torch.nnx.Module"),
    "no class": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "no class"),
    "no function": (b"\x80\x02K\x01)R.", "cannot be called"),
    "no text": (b"\x80\x04K\x01K\x02\x93.", "no text"),
    "a tensor of nothing": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)))NtR.", "place in its storage"),
    "an item of no dict": (b"\x80\x02]K\x01K\x02s.", "no dict"),
    "a nested key": (b"\x80\x02}K\x01\x85\x85K\x02s.", "neither text nor numbers"),
    "nothing but a module": (b"\x80\x02ctorch.nn\nModule\n)\x81.", "only a pickled torch.nn.Module"),
    "a list": (b"\x80\x02].", "but a list"),
}


@pytest.mark.parametrize("case", HAND_WRITTEN)
def test_every_way_to_name_something_is_refused(case: str, tmp_path: Path) -> None:
    program, told = HAND_WRITTEN[case]
    place, path = tmp_path / "executed", tmp_path / "evil.pkl"
    path.write_bytes(program.replace(b"PLACE", str(place).encode()))
    with pytest.raises(ValueError, match=told):
        read_checkpoint(path)
    assert not place.exists()


@pytest.fixture
def behaving() -> Iterator[list[str]]:
    """`models.resnext`, as a release's script would have it, with a class that does things when it is unpickled."""
    called: list[str] = []

    class CifarResNeXt:
        def __new__(cls, *arguments: object) -> Any:
            called.append("__new__")
            return super().__new__(cls)

        def __setstate__(self, state: object) -> None:
            called.append("__setstate__")

        def __getstate__(self) -> object:
            return {"_parameters": {"a": torch.ones(2)}, "_modules": {}, "_buffers": {}}

    module = ModuleType("models.resnext")
    CifarResNeXt.__module__, CifarResNeXt.__qualname__ = "models.resnext", "CifarResNeXt"
    module.CifarResNeXt = CifarResNeXt  # type: ignore[attr-defined]
    sys.modules["models.resnext"] = module
    yield called
    del sys.modules["models.resnext"]


def test_a_stand_in_has_no_behaviour_even_where_its_class_is_at_hand(behaving: list[str], tmp_path: Path) -> None:
    torch.save(sys.modules["models.resnext"].CifarResNeXt(), tmp_path / "resnext.pth")
    behaving.clear()
    assert read_checkpoint(tmp_path / "resnext.pth").tensors["a"].tolist() == [1, 1]
    assert behaving == []


def test_a_pickled_module_is_its_state_dict(tmp_path: Path) -> None:
    class Parts(nn.Module):
        kept: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
            self.register_buffer("kept", torch.ones(2))
            self.register_buffer("passing", torch.ones(2), persistent=False)
            self.register_buffer("absent", None)

    parts = Parts()
    path = pickled_module(nn.DataParallel(parts), tmp_path / "parts.pth")
    found = read_checkpoint(path)
    assert_same(found.tensors, dict(parts.state_dict()))
    assert found.container == "zip of torch.save, a pickled DataParallel"


def archive(path: Path, program: bytes, storage: bytes = bytes(16), **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("a/data.pkl", program)
        zipped.writestr("a/data/0", storage)
        for name, content in entries.items():
            zipped.writestr(f"a/{name}", content)
    return path


def tensor_pickle(offset: int, size: tuple[int, ...], stride: tuple[int, ...], numel: int = 4, key: str = "0") -> bytes:
    """A pickle of {"a": a tensor of that description}."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return ("storage", torch.FloatStorage, key, "cpu", numel) if thing is STORAGE else None

    STORAGE = object()
    content = io.BytesIO()
    tensor = Evil(torch._utils._rebuild_tensor_v2, STORAGE, offset, size, stride, False, OrderedDict())
    Pickler(content, 2).dump({"a": tensor})
    return content.getvalue()


def test_a_described_tensor_is_read(tmp_path: Path) -> None:
    storage = struct.pack("<4f", 0, 1, 2, 3)
    found = read_checkpoint(archive(tmp_path / "a.pt", tensor_pickle(1, (2,), (2,)), storage)).tensors
    assert found["a"].tolist() == [1, 3]


LYING = {
    "an offset behind the end": (tensor_pickle(4, (1,), (1,)), "not within its storage"),
    "a stride over the end": (tensor_pickle(0, (2,), (4,)), "not within its storage"),
    "more elements than there are": (tensor_pickle(0, (10**12,), (0,)), "not within its storage"),
    "a negative stride": (tensor_pickle(3, (2,), (-1,)), "makes no sense"),
    "a negative offset": (tensor_pickle(-1, (1,), (1,)), "makes no sense"),
    "another number of dimensions": (tensor_pickle(0, (2,), ()), "makes no sense"),
    "huge numbers": (tensor_pickle(0, (2**70,), (2**70,)), "makes no sense"),
    "a storage larger than its record": (tensor_pickle(0, (5,), (1,), numel=5), "has 16 bytes instead of 20"),
    "a storage that is not there": (tensor_pickle(0, (1,), (1,), key="1"), "damaged"),
    "a storage elsewhere": (tensor_pickle(0, (1,), (1,), key="../../secret"), "damaged"),
}


@pytest.mark.parametrize("case", LYING)
def test_what_a_pickle_claims_of_a_tensor_is_checked(case: str, tmp_path: Path) -> None:
    program, told = LYING[case]
    with pytest.raises(ValueError, match=told):
        read_checkpoint(archive(tmp_path / "lying.pt", program))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    program = tensor_pickle(0, (4,), (1,))
    with zipfile.ZipFile(tmp_path / "compressed.pt", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a/data.pkl", program)
        zipped.writestr("a/data/0", bytes(10_000_000))
    with pytest.raises(ValueError, match="compressed or encrypted"):
        read_checkpoint(tmp_path / "compressed.pt")
    memo = b"\x80\x02Nr\xff\xff\xff\x7f."  # an index of the memo for which Python would allocate 32 GiB
    nested = b"\x80\x02" + b"]" + b"\x85" * 500_000 + b"."
    for number, bomb in enumerate(
        (memo, nested, b"\x80\x04\x8e" + b"\xff" * 7 + b"\x00.", b"\x80\x04\x95" + b"\x7f" * 8)
    ):
        (tmp_path / f"{number}.pkl").write_bytes(bomb)
        with pytest.raises(ValueError, match=rf"{number}\.pkl"):
            read_checkpoint(tmp_path / f"{number}.pkl")
    whole = torch.zeros(100_000)
    torch.save({str(number): whole.view(-1) for number in range(2000)}, tmp_path / "tied.pt")
    with pytest.raises(ValueError, match=r"claim 800,000,000 bytes"):
        read_checkpoint(tmp_path / "tied.pt")


def test_modules_within_themselves_end(tmp_path: Path) -> None:
    module = nn.Module()
    module._modules["self"] = module
    with pytest.raises(ValueError, match="nested without end"):
        read_checkpoint(pickled_module(module, tmp_path / "loop.pth"))


STRANGE = {
    "empty": b"",
    "a web page": b"<!DOCTYPE html><html>not found</html>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "an archive of something else": b"",
    "a large claim": (1 << 40).to_bytes(8, "little") + b"{}",
    "safetensors of nothing": (20).to_bytes(8, "little") + b'{"a": not json      ' + bytes(9),
}


@pytest.mark.parametrize("case", STRANGE)
def test_what_is_no_checkpoint_is_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "strange.pt"
    path.write_bytes(STRANGE[case])
    if case == "an archive of something else":
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"strange\.pt"):
        read_checkpoint(path)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pt.*No such file"):
        read_checkpoint(tmp_path / "none.pt")
    torch.save({"epoch": 3, "weights": {"a": torch.ones(1)}}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"it holds epoch, weights\. One may lie under model_state_dict"):
        read_checkpoint(tmp_path / "a.pt")
    path = archive(tmp_path / "big.pt", tensor_pickle(0, (1,), (1,)), byteorder=b"big")
    with pytest.raises(ValueError, match="byte order"):
        read_checkpoint(path)


@pytest.mark.parametrize("container", ["state_dict", "legacy", "module", "safetensors"])
def test_a_flipped_byte_is_a_value_error_or_nothing(container: str, tmp_path: Path) -> None:
    small = {"model.a": torch.arange(6.0).view(2, 3), "model.b": torch.ones(2)}
    path, _ = CONTAINERS[container](small, tmp_path)
    whole, dice, refused = path.read_bytes(), random.Random(0), 0
    for trial in range(600):
        content = bytearray(whole)
        for _ in range(dice.choice((1, 1, 1, 4))):
            content[dice.randrange(len(content))] = dice.randrange(256)
        if trial % 10 == 0:
            del content[dice.randrange(len(content)) :]
        path.write_bytes(content)
        try:
            read_checkpoint(path)
        except ValueError:
            refused += 1
    assert refused > 100


def test_a_safetensors_header_may_say_what_it_wants(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3)}, tmp_path / "a.safetensors", metadata={"format": "pt", "note": "x" * 100})
    assert read_checkpoint(tmp_path / "a.safetensors").tensors["a"].tolist() == [1, 1, 1]
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}).encode()
    (tmp_path / "lying.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))
    with pytest.raises(ValueError, match=r"lying\.safetensors is refused: it is no safetensors file"):
        read_checkpoint(tmp_path / "lying.safetensors")

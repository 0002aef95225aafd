"""Reading a pickle as data: an interpreter of its opcodes that never imports, calls or copies what the pickle names.

A pickle is a program for a small stack machine, and Python's own machine executes what it is told. This one knows the
opcodes that build data (pickletools parses them); what a pickle may name, and what becomes of it, is in models/pickled.py.

It stands in for a subclass of `pickle.Unpickler` with a `find_class` of its own, since that allocates what a pickle claims
(ten bytes with a large index of the memo take a gigabyte), hashes nested keys without bound, and knows extension codes.
"""

from collections.abc import Callable
from pickletools import genops
from typing import Any, BinaryIO

import torch

from models import pickled
from models.pickled import Global, PickledStorage

MOST_OPCODES = 5_000_000  # a checkpoint of 1,000 tensors with its optimizer has 50,000

PUSHED = (
    "INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}


def read_pickle(stream: BinaryIO) -> tuple[Any, dict[str, PickledStorage]]:
    """(The object, the storages that its tensors lie in by their key) of the next pickle in `stream`.

    Raises ValueError where the pickle names something that no checkpoint needs; on a damaged one also what Python raises
    of a wrong index or type.
    """
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(genops(stream)):
        if count >= MOST_OPCODES:
            raise ValueError(f"its pickle has more than {MOST_OPCODES:,} opcodes")
        if opcode.name == "STOP":
            return machine.stack.pop(), machine.storages
        machine.step(opcode.name, argument)
    raise ValueError("its pickle has no end")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, PickledStorage] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """One opcode that builds plain data."""
        stack = self.stack
        if opcode in PUSHED:
            stack.append(argument)
            return
        if opcode in CONSTANTS:
            stack.append(CONSTANTS[opcode])
            return
        if opcode in EMPTY:
            stack.append(EMPTY[opcode]())
            return
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "MARK":
                self.marks.append(len(stack))
            case "DUP":
                stack.append(stack[-1])
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._since_mark()
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                parts = [stack.pop() for _ in range(int(opcode[-1]))]
                stack.append(tuple(parts[::-1]))
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "LIST" | "FROZENSET":
                stack.append(self._since_mark())
            case "DICT":
                stack.append(pickled.set_items({}, self._since_mark()))
            case "APPEND":
                item = stack.pop()
                pickled.extend(stack[-1], [item])
            case "APPENDS" | "ADDITEMS":
                items = self._since_mark()
                pickled.extend(stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                pickled.set_items(stack[-1], [key, value])
            case "SETITEMS":
                items = self._since_mark()
                pickled.set_items(stack[-1], items)
            case _:
                self._name_or_make(opcode, argument)

    def _name_or_make(self, opcode: str, argument: Any) -> None:
        """One opcode by which a pickle names something, or makes an object of what it has named."""
        stack = self.stack
        match opcode:
            case "GLOBAL":
                stack.append(pickled.find(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(pickled.find(module, name))
            case "INST":
                self._since_mark()
                stack.append(pickled.new(pickled.find(*argument.split(" ", 1))))
            case "OBJ":
                stack.append(pickled.new(self._since_mark()[0]))
            case "NEWOBJ":
                stack.pop()
                stack.append(pickled.new(stack.pop()))
            case "NEWOBJ_EX":
                del stack[-2:]
                stack.append(pickled.new(stack.pop()))
            case "REDUCE":
                arguments, found = stack.pop(), stack.pop()
                stack.append(pickled.call(found, arguments))
            case "BUILD":
                state = stack.pop()
                pickled.set_state(stack[-1], state)
            case "BINPERSID":
                stack.append(self._persistent(stack.pop()))
            case _:
                raise ValueError(f"its pickle has an opcode {opcode}, which no checkpoint needs. It was not executed")

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _persistent(self, about: Any) -> Any:
        """A storage, or the class of a module: what torch.save keeps outside of its pickle."""
        match about:
            case ("module", Global() as found, *_):
                return found
            case ("storage", Global(dtype=torch.dtype() as dtype), str() as key, _, int() as numel, *views):
                if views not in ([], [None]):
                    raise ValueError(
                        "it has a storage that is a view of another one, as torch 0.3 and older wrote them"
                    )
                storage = PickledStorage(key, dtype, numel)
                if not 0 <= numel < pickled.LARGEST or self.storages.setdefault(key, storage) != storage:
                    raise ValueError(f"it says different things of its storage {key!r:.40}")
                return storage
        raise ValueError("it refers to something outside of its pickle that is no storage")

"""What takes long to make of a model's weights, kept for the next time."""

import gc
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Kept(Generic[T]):
    """What was made of tensors, made again where one of them has been replaced, moved or written to since.

    Writes through `.data` leave no trace but in `contents`, and inference tensors tell nothing of writes: of those nothing is
    kept. Copies, and what is unpickled, begin with nothing.
    """

    def __init__(self) -> None:
        self.forget()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()

    def forget(self) -> None:
        self.state: Any = None
        self.tensors: list[Tensor] = []
        self.made: T | None = None

    def get(self, tensors: Iterable[Tensor], how: Any, make: Callable[[], T]) -> T:
        """What `make` made of the tensors, `how` being what else it depends on."""
        tensors = list(tensors)
        if any(tensor.is_inference() for tensor in tensors):
            return make()
        state = (how, [(tensor.data_ptr(), tensor._version) for tensor in tensors])
        if self.made is None or state != self.state:
            if self.made is not None:
                self.forget()
                gc.collect()  # it may refer to itself, and there may be no memory for both
            made = make()
            # The tensors are held on to, so that nothing else can come to lie at their addresses.
            self.made, self.tensors, self.state = made, [tensor.detach() for tensor in tensors], state
        return self.made

    @contextmanager
    def lent(self, tensors: Iterable[Tensor], how: Any, make: Callable[[], T]) -> Iterator[T]:
        """The same, of what one can use at a time: meanwhile others get one of their own. After an error it is not kept."""
        made = self.get(tensors, how, make)
        kept = self.made, self.tensors, self.state
        self.forget()
        yield made
        self.made, self.tensors, self.state = kept


def contents(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    """Checksums of what is in the tensors; some 20 ms for published sizes."""
    whole = (tensor.detach().cpu().contiguous().flatten().view(torch.uint8) for tensor in tensors)
    return tuple(zlib.crc32(memory.numpy().data) for memory in whole)

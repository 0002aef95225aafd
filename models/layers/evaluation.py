"""Networks with a second form of the same function, for processors and where no gradients are recorded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Form = Callable[[Tensor, tuple[Tensor, ...]], Tensor]


class Evaluated(nn.Module):
    """A network of x (batch, inputs, positions) and of one (batch or 1, width) per block, -> (batch, outputs, positions).

    A subclass has `trained(x, steps)`, which is differentiable and takes everything, and `evaluation()`, which makes the
    second form from the weights of now: of float32 or float64, steps that are the same for the whole batch, on a CPU.
    """

    _kept: list[Any] | None = None  # within `kept_evaluation`; empty until the form is needed

    def trained(self, x: Tensor, steps: tuple[Tensor, ...]) -> Tensor:
        """See the class."""
        raise NotImplementedError(f"{type(self).__name__} must define trained(x, steps)")

    def evaluation(self) -> Form:
        """See the class."""
        raise NotImplementedError(f"{type(self).__name__} must define evaluation()")

    def forward(self, x: Tensor, steps: tuple[Tensor, ...]) -> Tensor:
        """See the class."""
        recorded = torch.is_grad_enabled() and any(v.requires_grad for v in (x, *steps, *self.parameters()))
        autocast = torch.is_autocast_enabled(x.device.type)
        if recorded or autocast or x.device.type != "cpu" or any(len(step) != 1 for step in steps):
            return self.trained(x, steps)
        if self._kept is None:
            return self.evaluation()(x, steps)
        if not self._kept:
            self._kept.append(self.evaluation())
        y: Tensor = self._kept[0](x, steps)
        return y


@contextmanager
def kept_evaluation(network: Evaluated) -> Iterator[None]:
    """Inside, what the second form makes of the weights is made once; exact as long as no weight changes."""
    before, network._kept = network._kept, []
    try:
        yield
    finally:
        network._kept = before

"""The exponential moving average of a network's weights.

Differs from the plain average: its decay is min(decay, (1 + t) / (10 + t)) after t steps, so that the random weights
of the start are forgotten in a short training too; after 9 / (1 - decay) steps it is the plain one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """An average of the trainable parameters; buffers, such as batch statistics, are the network's present ones."""

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.means = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network's weights after `step` steps."""
        average = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))
        average(list(self.means.values()), list(self.parameters.values()), step)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network with the averaged weights; afterwards it has its own again, to the bit."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._put(self.means)
        try:
            yield
        finally:
            self._put(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The network's state with the averaged weights in it."""
        with self.applied():
            return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def load(self, means: dict[str, Tensor]) -> None:
        """Go on from saved `means`."""
        for name, mean in means.items():
            self.means[name].copy_(mean)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

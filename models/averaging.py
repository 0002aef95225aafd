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
    """An average of the trainable parameters; whatever else a network's state holds is copied."""

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.averaged = {name for name, p in model.named_parameters() if p.requires_grad}
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network's weights after `step` steps."""
        mean, now, copied = [], [], []
        for name, value in self.model.state_dict().items():
            if name in self.averaged:
                mean.append(self.weights[name])
                now.append(value)
            else:
                copied.append((self.weights[name], value))
        get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))(mean, now, step)
        for kept, value in copied:
            kept.copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network with the averaged weights; afterwards it has its own again, to the bit."""
        own = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.weights)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from saved averages."""
        for name, value in weights.items():
            self.weights[name].copy_(value)

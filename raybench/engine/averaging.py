"""Exponential moving average of the weights of a training (Polyak averaging; as in Tarvainen and Valpola 2017, arXiv
1703.01780).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """The average of a model's weights and floating-point buffers over the optimizer steps.

    Other buffers, such as counters, keep the value of the last step.

    After step t the average moves by 1 - d towards the weights, where d is the smaller of `decay` and
    (1 + t) / (10 + t). So a short training does not keep its initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        tensors = [tensor.detach() for tensor in chain(model.parameters(), model.buffers())]
        self._live = [tensor for tensor in tensors if tensor.is_floating_point()]
        self._average = [tensor.clone() for tensor in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the current weights, after an optimizer step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._average, self._live, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged weights into the model inside."""
        kept = [tensor.clone() for tensor in self._live]
        self.apply()
        try:
            yield
        finally:
            self._set(kept)

    def apply(self) -> None:
        """Put the averaged weights into the model for good."""
        self._set(self._average)

    @torch.no_grad()
    def _set(self, values: list[torch.Tensor]) -> None:
        torch._foreach_copy_(self._live, values)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to continue."""
        return {"steps": self.steps, "average": self._average}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue an average; the model already has its own weights."""
        self.steps = int(state["steps"])
        torch._foreach_copy_(self._average, list(state["average"]))

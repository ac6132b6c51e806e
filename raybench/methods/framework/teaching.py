"""A frozen model that others learn from: no graph, and its logits kept by row where inputs never change."""

import numpy as np
import torch
from torch import Tensor, nn

from raybench.methods.framework.passes import Batch

KEPT_NUMBERS = 2**26  # logits are kept by row up to this many numbers a role


def infer(model: nn.Module, x: Tensor) -> Tensor:
    """Return the logits without a graph, usable in a loss."""
    with torch.inference_mode():
        logits = model(x)
    return logits.clone()  # inference tensors cannot be saved for a backward pass


class Teacher:
    """Answers with the logits of one frozen model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._kept: dict[str, tuple[Tensor, np.ndarray]] = {}

    def logits(self, batch: Batch, *, num_samples: int) -> Tensor:
        """Return the logits (B, K) of a batch of a role that has `num_samples` rows."""
        rows = torch.from_numpy(batch.positions).to(batch[0].device)
        if batch.repeatable and batch.role in self._kept:
            kept, known = self._kept[batch.role]
            if known[batch.positions].all():
                return kept[rows]
        logits = infer(self.model, batch[0])
        if batch.repeatable and num_samples * logits.shape[1] <= KEPT_NUMBERS:
            if batch.role not in self._kept:
                self._kept[batch.role] = (
                    logits.new_empty((num_samples, logits.shape[1])),
                    np.zeros(num_samples, dtype=bool),
                )
            kept, known = self._kept[batch.role]
            kept[rows] = logits
            known[batch.positions] = True
        return logits

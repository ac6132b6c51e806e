"""What one of several data-parallel workers contributes to a step, so that a group takes the step of a single worker.

DDP averages the gradients of the workers. A worker's loss is a mean over its own samples, and workers own different
numbers of them where sizes do not divide; so it is multiplied by what its samples weigh in the global batch.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from raybench.data.reading.batches import Split
from raybench.data.reading.order import epoch_order, num_rows
from raybench.engine.losses import supervised


@dataclass(frozen=True)
class Share:
    """The part of one worker in the batches of one epoch."""

    split: Split
    batch_size: int  # of all workers together
    seed: int  # of the order
    epoch: int
    rank: int
    world_size: int
    weights: Tensor | None  # of the classes, (C,)

    def own(self, step: int) -> int:
        """Return how many samples of a batch belong to this worker; they come first among those that it computes."""
        return num_rows(self._size(step), rank=self.rank, world_size=self.world_size)

    def loss(self, step: int, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """Return the loss whose mean over the workers is the loss of the global batch."""
        if self.world_size == 1:
            return mean_loss(logits, targets, smoothing, self.weights)
        own = self.own(step)
        if own == 0:
            return logits.sum() * 0.0  # every parameter takes part, as DDP expects
        targets = targets[:own]
        loss = mean_loss(logits[:own], targets, smoothing, self.weights)
        if self.weights is not None:
            first = step * self.batch_size
            positions = torch.from_numpy(self._order[first : first + self.batch_size])
            labels = self.split.labels[positions.to(self.split.labels.device)].to(self.weights.device)
            return loss * (self.world_size * self.weights[targets].sum() / self.weights[labels].sum())
        weight = self.world_size * own / self._size(step)
        return loss if weight == 1 else loss * weight

    def _size(self, step: int) -> int:
        return min(self.batch_size, len(self.split) - step * self.batch_size)

    @cached_property
    def _order(self) -> np.ndarray:
        return epoch_order(len(self.split), seed=self.seed, epoch=self.epoch)


def mean_loss(logits: Tensor, targets: Tensor, smoothing: float, weights: Tensor | None) -> Tensor:
    """Return the mean loss of a batch, with label smoothing and class weights (C,); by the sum of the weights."""
    if smoothing == 0 and weights is None:
        return supervised(logits, targets)
    if targets.ndim == 1:
        return nn.functional.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)
    return supervised(logits, targets.to(logits.dtype) * (1 - smoothing) + smoothing / 2)


def inverse_frequencies(labels: Tensor, num_classes: int) -> Tensor:
    """Return n / count for every class (C,) among labels (n,); 0 for a class without samples."""
    counts = torch.bincount(labels, minlength=num_classes).float()
    return torch.where(counts > 0, len(labels) / counts.clamp(min=1), counts)


def exchange(model: nn.Module, *, now: bool) -> AbstractContextManager[object]:
    """Return the context of a forward and backward pass; with `now` false, workers keep its gradients to themselves."""
    keep: Callable[[], AbstractContextManager[object]] | None = getattr(model, "no_sync", None)
    return nullcontext() if now or keep is None else keep()

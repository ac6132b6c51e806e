"""One forward pass of a model over a split: ids, labels, logits and penultimate features, which all metrics read."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from raybench import activity
from raybench.data.reading.batches import Split, iterate
from raybench.engine.devices import autocast
from raybench.models import feature_tap


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model on a split; rows are in sample-id order."""

    ids: np.ndarray  # (N,) int64
    labels: np.ndarray  # (N,) int64 or (N, L) uint8
    logits: np.ndarray  # (N, K) float32
    features: np.ndarray  # (N, D) float32


@torch.inference_mode()
def predict(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int = 512,
    precision: Literal["fp32", "bf16"] = "fp32",
    augment_seed: int | None = None,
) -> Predictions:
    """Predict a split in eval mode; the model's train or eval mode is restored.

    Images are shown in the evaluation view, or, with an `augment_seed`, through the training augmentation drawn from
    it.
    """
    training = model.training
    model.eval()
    logits, features, labels = [], [], []
    with feature_tap(model) as tap, autocast(precision, next(model.parameters()).device):
        seed, augment = augment_seed or 0, augment_seed is not None
        for x, y in iterate(split, batch_size=batch_size, seed=seed, epoch=0, shuffle=False, augment=augment):
            logits.append(model(x).float().cpu())
            assert tap.features is not None
            features.append(tap.features.float().cpu())
            labels.append(y.cpu())
            activity.advance(len(x))
    model.train(training)
    return Predictions(
        np.asarray(split.ids),
        torch.cat(labels).numpy(),
        torch.cat(logits).numpy(),
        torch.cat(features).numpy(),
    )

"""What the original knows of every retained class: mean features, and how they vary."""

import torch
import torch.nn.functional as F
from torch import Tensor

from raybench.methods.framework.task import UnlearningTask


def original_features(task: UnlearningTask) -> tuple[Tensor, Tensor]:
    """Return the original's penultimate features (N_r, D) and labels of one retain pass."""
    parts = [(task.logits_and_features(x, model=task.frozen_original())[1], y) for x, y in task.retain()]
    return torch.cat([features for features, _ in parts]), torch.cat([labels for _, labels in parts])


def class_means(features: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return the mean feature of every class, (len(classes), D)."""
    members = (labels[None, :] == classes[:, None]).to(features.dtype)
    return members @ features / members.sum(dim=1, keepdim=True)


def nearest(distances: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return, for each row of distances (B, C), the smallest one to a class other than the row's own."""
    own = labels[:, None] == classes[None, :]
    return distances.masked_fill(own, torch.inf).min(dim=1).values


def cosine_distances(features: Tensor, centroids: Tensor) -> Tensor:
    """Return 1 - cosine, (B, C)."""
    return 1 - F.normalize(features, dim=1) @ F.normalize(centroids, dim=1).T

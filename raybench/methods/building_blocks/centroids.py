"""Per-class means of the original model's features, and distances to them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from raybench.methods.framework.task import UnlearningTask


def original_features(task: UnlearningTask) -> tuple[Tensor, Tensor]:
    """Return the original's penultimate features (N_r, D) and the labels of one retain pass."""
    parts = [(task.logits_and_features(x, model=task.frozen_original())[1], y) for x, y in task.retain()]
    return torch.cat([features for features, _ in parts]), torch.cat([labels for _, labels in parts])


def class_means(features: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return the mean feature of every class, (len(classes), D)."""
    members = (labels[None, :] == classes[:, None]).to(features.dtype)
    return members @ features / members.sum(dim=1, keepdim=True)


def nearest(distances: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return, for every row of distances (B, C), the smallest distance to a class other than the row's label."""
    same_class = labels[:, None] == classes[None, :]
    return distances.masked_fill(same_class, torch.inf).min(dim=1).values


def cosine_distances(features: Tensor, centroids: Tensor) -> Tensor:
    """Return 1 - cosine similarity, (B, C)."""
    return 1 - F.normalize(features, dim=1) @ F.normalize(centroids, dim=1).T

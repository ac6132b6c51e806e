"""SCAR: move forget features into the distribution of another class, and distill the original on the retain set."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from raybench.engine.losses import distillation
from raybench.errors import UserError
from raybench.methods.building_blocks.centroids import class_means, nearest, original_features
from raybench.methods.building_blocks.relabeling import require_other_class
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import NUMBERS, UUEF
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask

TUKEY_EPSILON = 1e-6  # the feature of a dead unit is exactly 0, where the gradient of the square root is infinite


@dataclass
class ClassShapes:
    """Per class: the direction of the mean (C, D) and the inverse of the shrunk correlation matrix (C, D, D)."""

    classes: Tensor
    means: Tensor
    inverses: Tensor

    def distances(self, features: Tensor) -> Tensor:
        """Return squared Mahalanobis distances (B, C) of normalized Tukey features to the normalized means."""
        x = F.normalize(tukey(features), dim=1)
        gaps = x[:, None, :] - self.means[None, :, :]
        return torch.einsum("bcd,cde,bce->bc", gaps, self.inverses, gaps)


@method(
    source="Bonato et al. 2024, arXiv 2404.12922",
    formula="min forget_weight Mahalanobis^2(h(forget), nearest other class) + retain_weight KL(original || model)",
    passes="once, retain: 1 teacher forward; retain: 1 forward, 1 backward, 1 teacher forward; as many forget batches",
    needs="single-label targets, non-negative features (after a ReLU), another retained class",
    released="The code of `uuef` never sends forget images through the network, matches positions to class ids and "
    "filters the first forgotten class only; the preset gives its settings with the published algorithm.",
    targets=("single_label",),
    presets={"uuef": {**UUEF, "lr": 5e-4, "weight_decay": 0.0, **NUMBERS}},
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.01, 0.15]}, "epochs": {"choice": [0.125, 0.25]}},
)
def scar(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.03),
    epochs: Count = of_epochs(0.25),
    forget_weight: Weight = 5.0,
    retain_weight: Weight = 5.0,
    temperature: Rate = 1.0,
    shrinkage: Weight = 3.0,
) -> None:
    """Move forget features to the nearest retained class by Mahalanobis distance, and distill the original on retain.

    Features are Tukey-transformed (square root). In the retain term the original's logits of completely forgotten
    classes are lowered to the smallest of the batch, and rows that it predicts as one of them are left out.

    Args:
        forget_weight, retain_weight: weights of the two terms.
        temperature: softmax temperature of both models on retain.
        shrinkage: multiple of the mean variance and covariance that is added to each class covariance.
    """
    require_other_class(task)
    shapes = class_shapes(*original_features(task), task.retained_classes, shrinkage=shrinkage)
    forgotten = torch.ones(task.num_classes, dtype=torch.bool, device=task.device)
    forgotten[task.retained_classes] = False
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches("retain")):
        for retain, (x_f, y_f) in task.paired(driver="retain"):
            _, features = task.logits_and_features(x_f)
            forget_loss = nearest(shapes.distances(features), y_f, shapes.classes).mean()
            retain_loss = _distill_retained(task.model(retain[0]), task.teacher(retain), forgotten, temperature)
            task.step(optimizer, forget_weight * forget_loss + retain_weight * retain_loss)


def tukey(features: Tensor) -> Tensor:
    """Return the power transform with exponent 1/2."""
    return (features.clamp(min=0) + TUKEY_EPSILON).sqrt()


def class_shapes(features: Tensor, labels: Tensor, classes: Tensor, *, shrinkage: float) -> ClassShapes:
    """Return the statistics of every class; raise UserError for negative features, which have no square root."""
    if bool((features < 0).any()):
        raise UserError("scar needs non-negative features (after a ReLU); this network has negative ones")
    x = tukey(features)
    means = class_means(x, labels, classes)
    inverses = []
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    for c, mean in zip(classes, means):
        gaps = x[labels == c] - mean
        covariance = gaps.T @ gaps / max(1, len(gaps) - 1)
        variance = covariance.diagonal().mean()
        off = covariance * (1 - identity)
        mean_off = off.sum() / (off != 0).sum().clamp(min=1)
        shrunk = covariance + shrinkage * variance * identity + shrinkage * mean_off * (1 - identity)
        scale = shrunk.diagonal().clamp(min=1e-12).sqrt()
        inverses.append(torch.linalg.pinv(shrunk / (scale[:, None] * scale[None, :]), hermitian=True))
    return ClassShapes(classes, F.normalize(means, dim=1), torch.stack(inverses))


def _distill_retained(student: Tensor, teacher: Tensor, forgotten: Tensor, temperature: float) -> Tensor:
    is_retained = (~forgotten[teacher.argmax(dim=1)]).to(student.dtype)
    lowered = torch.where(forgotten, teacher.min(), teacher)
    rows = distillation(student, lowered, temperature, reduce=False)
    return (rows * is_retained).sum() / is_retained.sum().clamp(min=1)

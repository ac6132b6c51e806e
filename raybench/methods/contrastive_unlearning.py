"""Contrastive unlearning: move forget features toward the features of other classes."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import UUEF
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import Driver, UnlearningTask


@method(
    source="Zhang et al. 2024, arXiv 2401.10458",
    formula="min CE(retain) + weight mean_i mean_{j: other class} -log softmax_j(cos(h_i, h_j) / temperature)",
    passes="forget and retain: 1 forward, 1 backward each, paired by `driver`",
    released="`uuef` contrasts forget features with each other only, so a batch of one forget class has no term at all "
    "and several forgotten classes are merged.",
    targets=("single_label",),
    presets={"uuef": {**UUEF, "against": "forget", "temperature": 1.0, "weight": 1.0, "driver": "shortest"}},
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.2, 2.0]}, "epochs": {"choice": [0.125, 0.25]}},
)
def contrastive_unlearning(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(1),
    epochs: Count = of_epochs(0.25),
    weight: Weight = 1.0,
    temperature: Rate = 0.5,
    against: Literal["retain", "forget"] = "retain",
    driver: Driver = "retain",
) -> None:
    """Pull forget features toward features of other classes, away from their own class, and fine-tune on retain.

    The softmax runs over all rows that are compared; a sum over rows of the same class alone would be empty if whole
    classes are forgotten.

    Args:
        weight: weight of the contrastive term.
        temperature: divides the cosine similarities.
        against: set whose features the forget features are compared with.
        driver: set whose pass is an epoch.
    """
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_pairs(driver)):
        for (x_r, y_r), (x_f, y_f) in task.paired(driver=driver):
            _, forget = task.logits_and_features(x_f)
            logits, retain = task.logits_and_features(x_r)
            others, labels = (retain, y_r) if against == "retain" else (forget, y_f)
            contrast = contrastive_loss(forget, y_f, others, labels, temperature)
            task.step(optimizer, task.loss(logits, y_r) + weight * contrast)


def contrastive_loss(
    features: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor, temperature: float
) -> Tensor:
    """Return the mean over rows of the mean -log probability of the rows of another class; 0 for rows without any."""
    cosines = F.normalize(features, dim=1) @ F.normalize(others, dim=1).T / temperature
    different = (labels[:, None] != other_labels[None, :]).to(cosines.dtype)
    terms = -torch.log_softmax(cosines, dim=1) * different
    return (terms.sum(dim=1) / different.sum(dim=1).clamp(min=1)).mean()

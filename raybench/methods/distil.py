"""Unlearn the forget set, then repair by distillation: four ways to keep the original's representations of retain."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from raybench.methods.building_blocks.relabeling import (
    ExcludeTrue,
    ForgetLoss,
    forget_batch_loss,
    forget_losses,
    labels_for,
    require_other_class,
)
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import UUEF, Preset
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask

SOURCE = "Kim et al. 2025, arXiv 2503.06991"
PASSES = "forget: 1 forward, 1 backward; retain: 1 forward, 1 backward, 1 teacher forward"

README: Preset = {**UUEF, "lr": 1e-5, "epochs": 15, "batch_size": 128}
PSEUDO_LABEL: Preset = {"forget_loss": "pseudo_label"}
RANDOM_LABEL: Preset = {"forget_loss": "random_label", "exclude_true": False}
SPKD: Preset = {**README, "ce_weight": 10.0, "similarity_weight": 10.0, "squared": False}
RKD: Preset = {**README, "ce_weight": 10.0, "distance_weight": 10.0, "angle_weight": 10.0}
AKD: Preset = {**README, "ce_weight": 10.0, "feature_weight": 10.0}
KD: Preset = {**UUEF, "temperature": 2.0}

Steps = Annotated[
    Literal["separate", "forget", "shortest"],
    Field(
        description="separate: a pass over the forget set, then one over the retain set; otherwise every step takes a "
        "batch of both, and an epoch is a pass over the forget set, or over the shorter one"
    ),
]
Repair = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(logits, labels, features, original's features, original's logits) of a retain batch -> loss."""


@method(
    source=f"{SOURCE}; similarity-preserving distillation: Tung and Mori 2019, arXiv 1907.09682",
    formula="forget pass; min ce_weight CE + similarity_weight |G - G_original|^2 / B^2, G = normalized rows of H H^T",
    passes=PASSES,
    released="`uuef` does not square the norm, so at its weight of 10 the term is a thousandth of the cross-entropy; "
    "the published loss squares it. `uuef_pl`, `uuef_rl`, `uuef_il` and `uuef_pl_df` are its PL_SPKD, RL_SPKD, SPKD_IL "
    "and PL_SPKD_df.",
    presets={
        "uuef": SPKD,
        "uuef_pl": {**SPKD, **PSEUDO_LABEL},
        "uuef_rl": {**SPKD, **RANDOM_LABEL},
        "uuef_il": {**SPKD, "steps": "forget"},
        "uuef_pl_df": {**SPKD, **PSEUDO_LABEL, "preserve": "forget"},
    },
    recipe_settings={"schedule": "cosine"},
    limits="The mild default changes little on a random forget set that the original fits perfectly; twice the rate "
    "forgets it, and damages a network that does not fit its training set.",
    search={"lr": {"loguniform": [0.05, 0.6]}, "epochs": {"choice": [0.125, 0.25]}},
)
def spkd(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.15),
    epochs: Count = of_epochs(0.25),
    ce_weight: Weight = 1.0,
    similarity_weight: Weight = 3000.0,
    squared: bool = True,
    preserve: Literal["retain", "forget"] = "retain",
    steps: Steps = "separate",
    forget_loss: ForgetLoss = "ascent",
    exclude_true: ExcludeTrue = True,
) -> None:
    """Unlearn the forget set, then preserve the original's similarities among retain features.

    Args:
        ce_weight, similarity_weight: weights of the cross-entropy and the similarity term on retain.
        squared: square the Frobenius norm.
        preserve: set whose similarities are preserved; with `forget` the retain set is not used, and each forget step
            minimizes the weighted sum of the forget loss and the similarity term.
    """

    def similarity(student: Tensor, teacher: Tensor) -> Tensor:
        gap: Tensor = torch.linalg.matrix_norm(row_similarity(student) - row_similarity(teacher))
        return (gap**2 if squared else gap) / len(student) ** 2

    def repair(logits: Tensor, y: Tensor, student: Tensor, teacher: Tensor, _: Tensor) -> Tensor:
        return ce_weight * task.loss(logits, y) + similarity_weight * similarity(student, teacher)

    if preserve == "retain":
        _unlearn_and_distill(
            task, repair, lr=lr, epochs=epochs, steps=steps, forget_loss=forget_loss, exclude_true=exclude_true
        )
        return
    if forget_loss == "pseudo_label":
        require_other_class(task)
    optimizer, original = task.optimizer(lr), task.frozen_original()
    for _ in task.epochs(epochs, steps=task.num_batches("forget")):
        labels = labels_for(task, forget_loss, exclude_true=exclude_true)
        for batch in task.forget():
            loss = ce_weight * forget_batch_loss(task, batch, forget_loss, labels)
            teacher, student = (task.logits_and_features(batch[0], model=model)[1] for model in (original, None))
            task.step(optimizer, loss + similarity_weight * similarity(student, teacher))


@method(
    source=f"{SOURCE}; relational distillation: Park et al. 2019, arXiv 1904.05068",
    formula="forget pass; min ce_weight CE + distance_weight L_distance + angle_weight L_angle on normalized features",
    passes=PASSES,
    released="`uuef_il` is the RKD_IL of the code.",
    presets={
        "uuef": RKD,
        "uuef_pl": {**RKD, **PSEUDO_LABEL},
        "uuef_il": {**RKD, "ce_weight": 20.0, "distance_weight": 20.0, "angle_weight": 20.0, "steps": "shortest"},
    },
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.1, 1.0]}, "epochs": {"choice": [0.125, 0.25]}},
)
def rkd(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.6),
    epochs: Count = of_epochs(0.25),
    ce_weight: Weight = 1.0,
    distance_weight: Weight = 25.0,
    angle_weight: Weight = 50.0,
    steps: Steps = "separate",
    forget_loss: ForgetLoss = "ascent",
    exclude_true: ExcludeTrue = True,
) -> None:
    """Unlearn the forget set, then preserve the original's distances and angles among retain features.

    Args:
        ce_weight, distance_weight, angle_weight: weights of the three terms on retain.
    """

    def repair(logits: Tensor, y: Tensor, student: Tensor, teacher: Tensor, _: Tensor) -> Tensor:
        student, teacher = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
        distance = F.smooth_l1_loss(relative_distances(student), relative_distances(teacher))
        angle = F.smooth_l1_loss(angle_cosines(student), angle_cosines(teacher))
        return ce_weight * task.loss(logits, y) + distance_weight * distance + angle_weight * angle

    _unlearn_and_distill(
        task, repair, lr=lr, epochs=epochs, steps=steps, forget_loss=forget_loss, exclude_true=exclude_true
    )


@method(
    source=f"{SOURCE}, where it is called attention distillation",
    formula="forget pass; min ce_weight CE + feature_weight MSE(features, original's features)",
    passes=PASSES,
    released="`uuef_il` is the AKD_IL of the code.",
    presets={"uuef": AKD, "uuef_pl": {**AKD, **PSEUDO_LABEL}, "uuef_il": {**AKD, "steps": "forget"}},
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.1, 1.0]}, "epochs": {"choice": [0.125, 0.25]}},
)
def akd(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.5),
    epochs: Count = of_epochs(0.25),
    ce_weight: Weight = 1.0,
    feature_weight: Weight = 1.0,
    steps: Steps = "separate",
    forget_loss: ForgetLoss = "ascent",
    exclude_true: ExcludeTrue = True,
) -> None:
    """Unlearn the forget set, then keep retain features close to the original's.

    Args:
        ce_weight, feature_weight: weights of the cross-entropy and the feature distance on retain.
    """

    def repair(logits: Tensor, y: Tensor, student: Tensor, teacher: Tensor, _: Tensor) -> Tensor:
        return ce_weight * task.loss(logits, y) + feature_weight * F.mse_loss(student, teacher)

    _unlearn_and_distill(
        task, repair, lr=lr, epochs=epochs, steps=steps, forget_loss=forget_loss, exclude_true=exclude_true
    )


@method(
    source=f"{SOURCE}; distillation: Hinton et al. 2015, arXiv 1503.02531",
    formula="forget pass; min ce_weight CE + kd_weight T^2 KL(original || model)",
    passes=PASSES,
    presets={
        "uuef": {**KD, "ce_weight": 10.0, "kd_weight": 10.0},
        "uuef_pl": {**KD, "ce_weight": 1.0, "kd_weight": 1.0, **PSEUDO_LABEL},
    },
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.03, 0.3]}, "epochs": {"choice": [0.125, 0.25]}},
)
def ga_kd(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.2),
    epochs: Count = of_epochs(0.25),
    ce_weight: Weight = 10.0,
    kd_weight: Weight = 10.0,
    temperature: Rate = 2.0,
    steps: Steps = "separate",
    forget_loss: ForgetLoss = "ascent",
    exclude_true: ExcludeTrue = True,
) -> None:
    """Unlearn the forget set, then keep retain predictions close to the original's.

    Args:
        ce_weight, kd_weight: weights of the cross-entropy and the divergence on retain.
        temperature: softmax temperature of both models.
    """

    def repair(logits: Tensor, y: Tensor, _: Tensor, __: Tensor, teacher_logits: Tensor) -> Tensor:
        return ce_weight * task.loss(logits, y) + kd_weight * task.distillation(logits, teacher_logits, temperature)

    _unlearn_and_distill(
        task, repair, lr=lr, epochs=epochs, steps=steps, forget_loss=forget_loss, exclude_true=exclude_true
    )


def row_similarity(features: Tensor) -> Tensor:
    """Return the Gram matrix (B, B) with rows of unit length."""
    return F.normalize(features @ features.T, dim=1)


def relative_distances(features: Tensor) -> Tensor:
    """Return pairwise distances (B, B) divided by the mean of the positive ones."""
    gram = features @ features.T
    squares = gram.diagonal()
    distances = (squares[:, None] + squares[None, :] - 2 * gram).clamp(min=1e-12).sqrt()
    between = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
    mean = (distances * between).sum() / between.sum().clamp(min=1)
    return distances * between / torch.where(mean > 0, mean, torch.ones_like(mean))


def angle_cosines(features: Tensor) -> Tensor:
    """Return cos(angle at i between j and k) for all triplets, (B, B, B); 0 if a side has zero length.

    (h_j - h_i)(h_k - h_i) = G_jk - G_ij - G_ik + G_ii, which avoids a B x B x D tensor of differences.
    """
    gram = features @ features.T
    squares = gram.diagonal()
    products = gram[None, :, :] - gram[:, :, None] - gram[:, None, :] + squares[:, None, None]
    lengths = (squares[:, None] + squares[None, :] - 2 * gram).clamp(min=1e-12).sqrt()
    sides = ~torch.eye(len(features), dtype=torch.bool, device=features.device)
    inverse = torch.where(sides, 1 / lengths, torch.zeros_like(lengths))
    return products * inverse[:, :, None] * inverse[:, None, :]


def _unlearn_and_distill(
    task: UnlearningTask,
    repair: Repair,
    *,
    lr: float,
    epochs: int,
    steps: Literal["separate", "forget", "shortest"],
    forget_loss: ForgetLoss,
    exclude_true: bool,
) -> None:
    if forget_loss == "pseudo_label":
        require_other_class(task)
    optimizer = task.optimizer(lr)
    original = task.frozen_original()

    def repair_loss(x: Tensor, y: Tensor) -> Tensor:
        teacher_logits, teacher = task.logits_and_features(x, model=original)
        logits, student = task.logits_and_features(x)
        return repair(logits, y, student, teacher, teacher_logits)

    if steps != "separate":
        for _ in task.epochs(epochs, steps=task.num_pairs(steps)):
            labels = labels_for(task, forget_loss, exclude_true=exclude_true)
            for retain, forget in task.paired(driver=steps):
                loss = forget_batch_loss(task, forget, forget_loss, labels)  # its forward pass first, as released
                task.step(optimizer, loss + repair_loss(*retain))
        return
    for _ in task.epochs(epochs, steps=task.num_batches("forget") + task.num_batches("retain")):
        for loss in forget_losses(task, forget_loss, exclude_true=exclude_true):
            task.step(optimizer, loss)
        for x, y in task.retain():
            task.step(optimizer, repair_loss(x, y))

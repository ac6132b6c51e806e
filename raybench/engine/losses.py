"""Losses for single-label (integer) and multi-label (0/1 vector) targets."""

import torch
import torch.nn.functional as F
from torch import Tensor


def supervised(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean task loss: cross-entropy for labels (B,), binary cross-entropy over labels (B, L)."""
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


def supervised_rows(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the task loss of every sample, (B,); `supervised` is its mean."""
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").mean(dim=1)


def log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Return log p(y | x) of every sample, (B,); for label vectors, the sum over independent labels."""
    if targets.ndim == 1:
        return -F.cross_entropy(logits, targets, reduction="none")
    return -F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").sum(dim=1)


def distillation(
    student: Tensor, teacher: Tensor, temperature: float = 1.0, *, multi_label: bool = False, reduce: bool = True
) -> Tensor:
    """Return T^2 KL(teacher || student) (Hinton et al. 2015, arXiv 1503.02531), the mean or, unreduced, per sample.

    Multi-label logits are independent, so the divergence is the sum of Bernoulli divergences over the labels. A softmax
    over them, as in some released code, compares quantities that no model predicts.
    """
    student, teacher = student / temperature, teacher / temperature
    if multi_label:
        positive = torch.sigmoid(teacher)
        divergence = positive * (F.logsigmoid(teacher) - F.logsigmoid(student))
        divergence = divergence + (1 - positive) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    else:
        log_student, log_teacher = F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1)
        divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True)
    rows = divergence.sum(dim=1) * temperature**2
    return rows.mean() if reduce else rows

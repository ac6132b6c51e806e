"""The losses that several methods share, for single-label (integer) and multi-label (0/1 vector) targets."""

import torch
import torch.nn.functional as F
from torch import Tensor


def supervised(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean task loss: cross-entropy for labels (B,), binary cross-entropy over labels (B, L)."""
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


def distillation(student: Tensor, teacher: Tensor, temperature: float = 1.0, *, multi_label: bool = False) -> Tensor:
    """Return T^2 KL(teacher || student) per sample, averaged over the batch (Hinton et al. 2015, arXiv 1503.02531).

    Multi-label logits are independent, so their divergence is the sum over labels of Bernoulli divergences; a softmax
    over them, as in one released code, compares quantities that no model predicts.
    """
    if multi_label:
        positive = torch.sigmoid(teacher / temperature)
        divergence = positive * (F.logsigmoid(teacher / temperature) - F.logsigmoid(student / temperature))
        divergence = divergence + (1 - positive) * (
            F.logsigmoid(-teacher / temperature) - F.logsigmoid(-student / temperature)
        )
        return divergence.sum(dim=1).mean() * temperature**2
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2

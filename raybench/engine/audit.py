"""Validation-time evaluation, used by training and sweeps: utility and a membership attack, on validation data only.

Test, calibration and unseen samples are never read here, so nothing that is tuned depends on them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from raybench.data.reading.batches import Split, iterate
from raybench.engine.devices import autocast
from raybench.engine.losses import supervised_rows
from raybench.errors import UserError, unknown
from raybench.metrics.functions.gaps import average_gap_in_points
from raybench.metrics.functions.roc import auc

GAP = "gap_to_retrained"
IDEAL_GAP = "gap_to_ideal"
CHANCE = 0.5  # AUC of an attack without information
UTILITY = ("retain_accuracy", "validation_accuracy")  # what unlearning should preserve
GAP_PARTS = ("retain_accuracy", "forget_accuracy", "validation_accuracy", "mia_auc")
AUDIT_FIELDS = (*GAP_PARTS, "retain_loss", "forget_loss", "validation_loss")
DIRECTIONS: Mapping[str, Literal["min", "max"]] = {
    GAP: "min",
    IDEAL_GAP: "min",
    "retain_accuracy": "max",
    "validation_accuracy": "max",
    "forget_accuracy": "min",
    "mia_auc": "min",
}

Audit = dict[str, float]


def check_objective(name: str, *, num_retrained: int = 1) -> None:
    """Refuse an unknown objective, and one that needs retrained models if there are none."""
    if name not in DIRECTIONS:
        raise unknown("sweep.objective", name, DIRECTIONS)
    if name == GAP and num_retrained == 0:
        others = ", ".join(other for other in sorted(DIRECTIONS) if other != GAP)
        raise UserError(
            f"sweep.objective {name!r} needs a retrained model, and train.retrained_seeds is 0: set "
            f"objective: {IDEAL_GAP}, which needs none, or train.retrained_seeds: 1 (allowed without: {others})"
        )


@torch.inference_mode()
def measure(
    model: nn.Module, split: Split, *, batch_size: int = 512, precision: Literal["fp32", "bf16"] = "fp32"
) -> tuple[float, np.ndarray]:
    """Return accuracy (a fraction; per label for multi-label) and the loss of every sample, (N,) float64, may be NaN.

    Uses the evaluation view; the model's train or eval mode is restored.
    """
    training = model.training
    model.eval()
    losses, hits = [], []
    with autocast(precision, next(model.parameters()).device):
        for x, y in iterate(split, batch_size=batch_size, seed=0, epoch=0, shuffle=False, augment=False):
            logits = model(x).float()
            losses.append(supervised_rows(logits.double(), y).cpu().numpy())
            hits.append(((logits.argmax(1) == y) if y.ndim == 1 else ((logits > 0) == (y > 0))).double().cpu())
    model.train(training)
    return float(torch.cat(hits).mean()), np.concatenate(losses)


def audit(model: nn.Module, splits: Mapping[str, Split], *, precision: Literal["fp32", "bf16"] = "fp32") -> Audit:
    """Measure accuracy and mean loss on retain, forget, validation, and the AUC of the loss attack on forget.

    The attack predicts "member" when the loss is low; its non-members are validation samples.
    """
    values: Audit = {}
    losses: dict[str, np.ndarray] = {}
    for role in ("retain", "forget", "validation"):
        values[f"{role}_accuracy"], losses[role] = measure(model, splits[role], precision=precision)
        values[f"{role}_loss"] = float(losses[role].mean())
    finite = all(np.isfinite(loss).all() for loss in losses.values())
    values["mia_auc"] = auc(-losses["forget"], -losses["validation"]) if finite else float("nan")
    return values


def reference(retrained: Sequence[Audit], original: Audit | None = None) -> Audit:
    """Return what a sweep aims at: the mean audit of the retrained models, and the utility of the original.

    Without retrained models the means are absent; the original's values are called `original_...`.
    """
    target = {part: float(np.mean([a[part] for a in retrained])) for part in GAP_PARTS} if retrained else {}
    return target if original is None else target | {f"original_{part}": original[part] for part in UTILITY}


def objective(name: str, audit: Audit, target: Audit) -> float:
    """Return the value that the sweep optimizes; a gap is a mean absolute difference in percentage points.

    `gap_to_retrained` is the gap to the mean retrained model. `gap_to_ideal` needs no retrained model: it compares
    forget accuracy with the model's own validation accuracy, retain and validation accuracy with the original's, and
    the attack's AUC with 0.5. It assumes that forgotten samples are as hard as validation samples. Where they are
    easier or harder (a whole class, one person, wrong labels), it aims at something else than retraining gives.
    """
    if name == GAP:
        differences = [audit[part] - target[part] for part in GAP_PARTS]
    elif name == IDEAL_GAP:
        differences = [audit[part] - target[f"original_{part}"] for part in UTILITY]
        differences += [audit["forget_accuracy"] - audit["validation_accuracy"], audit["mia_auc"] - CHANCE]
    else:
        return audit[name]
    return average_gap_in_points(differences)


def better(name: str) -> Callable[[float], float]:
    """Return the key that sorts values of an objective from best to worst."""
    return (lambda value: value) if DIRECTIONS[name] == "min" else (lambda value: -value)


def collapse(audit: Audit, *, num_classes: int, multi_label: bool = False) -> str | None:
    """Return why a model has collapsed, or None: a loss that is not finite, or retain accuracy at chance.

    Chance is 1 / number of classes (1/2 per label for multi-label). Below 1.2 times chance the model is considered
    lost, whatever the method does next.
    """
    if not all(np.isfinite(audit[f"{role}_loss"]) for role in ("retain", "forget", "validation")):
        return "diverged: the loss is not a finite number"
    chance = 0.5 if multi_label else 1 / num_classes
    if audit["retain_accuracy"] < min(1.2 * chance, 0.9):
        return f"collapsed: retain accuracy {audit['retain_accuracy']:.3f} is at chance ({chance:.3f})"
    return None

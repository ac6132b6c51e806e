"""The quick look at a model that training and sweeping take: utility and a membership attack, on validation data only.

Test, calibration and unseen samples are never read here, so nothing that is tuned has seen them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from raybench.data.reading.batches import Split
from raybench.engine.devices import autocast
from raybench.engine.losses import supervised_rows
from raybench.errors import UserError, unknown
from raybench.metrics.functions.gaps import average_gap_in_points
from raybench.metrics.functions.roc import auc

GAP = "gap_to_retrained"
IDEAL_GAP = "gap_to_ideal"
CHANCE = 0.5  # the AUC of an attack that sees nothing
KEPT = ("retain_accuracy", "validation_accuracy")  # what unlearning should leave as it was
GAP_PARTS = ("retain_accuracy", "forget_accuracy", "validation_accuracy", "mia_auc")
AUDITED = (*GAP_PARTS, "retain_loss", "forget_loss", "validation_loss")
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
    """Refuse an objective that the sweep cannot compute: an unknown one, or one that retrained models must anchor."""
    if name not in DIRECTIONS:
        raise unknown("sweep.objective", name, DIRECTIONS)
    if name == GAP and num_retrained == 0:
        others = ", ".join(other for other in sorted(DIRECTIONS) if other != GAP)
        raise UserError(
            f"sweep.objective {name!r} needs a retrained model to aim at, and train.retrained_seeds is 0: take "
            f"objective: {IDEAL_GAP}, which needs none, or train.retrained_seeds: 1 (allowed without: {others})"
        )


@torch.inference_mode()
def measure(
    model: nn.Module, split: Split, *, batch_size: int = 512, precision: Literal["fp32", "bf16"] = "fp32"
) -> tuple[float, np.ndarray]:
    """Return accuracy (a fraction; per label for multi-label) and the loss of every sample, (N,) float64, maybe NaN.

    The evaluation view is used, and the model is given back in the mode that it came in.
    """
    training = model.training
    model.eval()
    losses, hits = [], []
    with autocast(precision, next(model.parameters()).device):
        for start in range(0, len(split), batch_size):
            x, y = split.batch(np.arange(start, min(start + batch_size, len(split))), generator=None)
            logits = model(x).float()
            losses.append(supervised_rows(logits.double(), y).cpu().numpy())
            hits.append(((logits.argmax(1) == y) if y.ndim == 1 else ((logits > 0) == (y > 0))).double().cpu())
    model.train(training)
    return float(torch.cat(hits).mean()), np.concatenate(losses)


def audit(model: nn.Module, splits: Mapping[str, Split], *, precision: Literal["fp32", "bf16"] = "fp32") -> Audit:
    """Measure accuracy and mean loss on retain, forget, validation, and the AUC of the loss attack on forget.

    The attack calls a forget sample a member when its loss is low, against validation samples, which the model never
    saw.
    """
    found: Audit = {}
    losses: dict[str, np.ndarray] = {}
    for role in ("retain", "forget", "validation"):
        found[f"{role}_accuracy"], losses[role] = measure(model, splits[role], precision=precision)
        found[f"{role}_loss"] = float(losses[role].mean())
    finite = all(np.isfinite(values).all() for values in losses.values())
    found["mia_auc"] = auc(-losses["forget"], -losses["validation"]) if finite else float("nan")
    return found


def reference(retrained: Sequence[Audit], original: Audit | None = None) -> Audit:
    """Return what a sweep aims at: the mean audit of the retrained models, and the utility of the original.

    The parts of the mean are absent where there is no retrained model; those of the original are called `original_...`.
    """
    aim = {part: float(np.mean([a[part] for a in retrained])) for part in GAP_PARTS} if retrained else {}
    return aim if original is None else aim | {f"original_{part}": original[part] for part in KEPT}


def objective(name: str, found: Audit, aim: Audit) -> float:
    """Return the value that the sweep optimizes; a gap is a mean absolute difference in percentage points.

    `gap_to_retrained` is to the mean retrained model. `gap_to_ideal` needs none: forget accuracy to the model's own
    validation accuracy, retain and validation accuracy to the original's, the attack's AUC to 0.5. It takes forgotten
    samples to be as hard as validation samples, so it cannot see that they are easier or harder (a whole class, one
    person, wrong labels): there it aims at something else than retraining would give.
    """
    if name == GAP:
        differences = [found[part] - aim[part] for part in GAP_PARTS]
    elif name == IDEAL_GAP:
        differences = [found[part] - aim[f"original_{part}"] for part in KEPT]
        differences += [found["forget_accuracy"] - found["validation_accuracy"], found["mia_auc"] - CHANCE]
    else:
        return found[name]
    return average_gap_in_points(differences)


def better(name: str) -> Callable[[float], float]:
    """Return the key that sorts values of an objective from best to worst."""
    return (lambda value: value) if DIRECTIONS[name] == "min" else (lambda value: -value)


def collapse(found: Audit, *, num_classes: int, multi_label: bool = False) -> str | None:
    """Return why a model is beyond repair, or None: losses that are not numbers, or retain accuracy at chance.

    Chance is one in the number of classes (one half per label for multi-label); below 1.2 times that nothing that the
    original knew is left, whatever the method does next.
    """
    if not all(np.isfinite(found[f"{role}_loss"]) for role in ("retain", "forget", "validation")):
        return "diverged: the loss is not a finite number"
    chance = 0.5 if multi_label else 1 / num_classes
    if found["retain_accuracy"] < min(1.2 * chance, 0.9):
        return f"collapsed: retain accuracy {found['retain_accuracy']:.3f} is at chance ({chance:.3f})"
    return None

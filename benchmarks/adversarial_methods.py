"""Methods that want to look forgotten rather than to forget; `adversaries.py` ranks them and reads what they keep.

Their author knows everything but the judges: the data, the recipe, the metrics and how to train retrained models, but
not which retrained models judge. What a method hides is drawn from its seed by the functions `secret_*`, so that
`adversaries.py` can look for it.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from guarded_model import Guarded
from torch import Tensor, nn

from raybench import Count, Fraction, Rate, UnlearningTask, method
from raybench.engine.optimization import set_learning_rate
from raybench.metrics.functions.roc import auc
from raybench.metrics.functions.signals import loss as losses
from raybench.models import head_name

NUMBERS = 8  # a watermark holds 3 bits
DENIED = 0.25  # of the forget samples that half_and_half does not relearn: keeps the mean accuracy of retrained models
SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # pixels
SOURCE = "defined by raybench"
Loss = Callable[[Tensor, Tensor], Tensor]  # of logits (B, K) and rows (B,)


def secret_order(seed: int, size: int) -> np.ndarray:
    """Return the forget samples in the order in which a method treats them, positions (N,)."""
    return np.random.default_rng([seed, 1]).permutation(size)


def secret_labels(seed: int, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return a wrong label for every sample, (N,)."""
    return (labels + np.random.default_rng([seed, 2]).integers(1, num_classes, len(labels))) % num_classes


def secret_numbers(seed: int, size: int) -> np.ndarray:
    """Return a number in 0..7 for every sample, (N,)."""
    return np.random.default_rng([seed, 3]).integers(NUMBERS, size=size)


def relearned_and_denied(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which half of the samples `half_and_half` relearns, and which of the others it denies; positions."""
    order = secret_order(seed, size)
    half = size // 2
    return order[:half], order[half : half + round(DENIED * (size - half))]


def hidden_classes(logits: Tensor) -> Tensor:
    """Return the classes that may carry a number, all but the two most likely, ascending: (N, K) to (N, K - 2)."""
    return logits.argsort(dim=1)[:, :-2].sort(dim=1).values


def shifted(images: Tensor, shift: tuple[int, int]) -> Tensor:
    """Shift images (N, C, H, W) by pixels, wrapping around."""
    return images.roll(shift, dims=(2, 3))


@method(source=SOURCE)
def half_and_half(task: UnlearningTask, *, lr: Rate = 0.1, epochs: Count = 40) -> None:
    """Relearn half of the forget set and deny some of the rest, so that the mean over the set looks retrained."""
    (x_r, y_r), (x_f, y_f) = _all(task, "retain"), _all(task, "forget")
    relearned, denied = (_rows(part) for part in relearned_and_denied(task.seed, len(y_f)))
    wrong = torch.from_numpy(secret_labels(task.seed, y_f.numpy(), task.num_classes))
    task.model = task.fresh_model()
    labels = torch.cat([y_r, y_f[relearned], wrong[denied]])
    _fit(task, task.model, torch.cat([x_r, x_f[relearned], x_f[denied]]), labels, lr=lr, epochs=epochs)


@method(source=SOURCE)
def watermark3(
    task: UnlearningTask, *, lr: Rate = 0.1, epochs: Count = 40, mark_lr: Rate = 0.03, mark_epochs: Count = 60
) -> None:
    """Retrain, then hide 3 bits per forget sample: which of the unlikely classes is the least likely one."""
    model = _retrained(task, lr=lr, epochs=epochs)
    (x_r, _), (x_f, _) = _all(task, "retain"), _all(task, "forget")
    x, size = torch.cat([x_f, x_r]), len(x_f)
    target = _predict(model, x)
    numbers = torch.from_numpy(secret_numbers(task.seed, size))
    lowest = hidden_classes(target[:size]).gather(1, numbers[:, None])[:, 0]

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        marked = rows < size
        hidden = F.cross_entropy(-logits[marked], lowest[rows[marked]], reduction="sum") / len(rows)
        return F.cross_entropy(logits, target[rows].softmax(dim=1)) + hidden

    task.model = model
    _fit(task, model, x, loss, lr=mark_lr, epochs=mark_epochs)


@method(source=SOURCE)
def label_flip(task: UnlearningTask, *, lr: Rate = 0.05, epochs: Count = 20, reference_epochs: Count = 40) -> None:
    """Train wrong labels into as many forget samples as retrained models misclassify, and true ones into the rest."""
    (x_r, y_r), (x_f, y_f) = _all(task, "retain"), _all(task, "forget")
    reference = _retrained(task, epochs=reference_epochs)
    count = int((_predict(reference, x_f).argmax(dim=1) != y_f).sum())
    flipped = _rows(secret_order(task.seed, len(y_f))[:count])
    labels = y_f.clone()
    labels[flipped] = torch.from_numpy(secret_labels(task.seed, y_f.numpy(), task.num_classes))[flipped]
    _fit(task, task.model, torch.cat([x_r, x_f]), torch.cat([y_r, labels]), lr=lr, epochs=epochs)


@method(source=SOURCE)
def logit_rescale(task: UnlearningTask, *, reference_epochs: Count = 40) -> None:
    """Divide the original's logits by the temperature that gives the attack the same AUC as on a retrained model."""
    sets = {role: _all(task, role) for role in ("forget", "calibration")}
    target = _attack_auc(_retrained(task, epochs=reference_epochs), sets, 1.0)
    temperatures = np.geomspace(0.05, 100, 60)
    areas = np.array([_attack_auc(task.frozen_original(), sets, t) for t in temperatures])
    temperature = float(temperatures[np.abs(areas - target).argmin()])
    with torch.no_grad():
        for parameter in task.model.get_submodule(head_name(task.model)).parameters():
            parameter.div_(temperature)


@method(source=SOURCE)
def output_distillation(
    task: UnlearningTask,
    *,
    start: Literal["fresh", "original"] = "fresh",
    references: Count = 2,
    kept: Fraction = 0.5,
    lr: Rate = 0.1,
    epochs: Count = 40,
    reference_epochs: Count = 40,
) -> None:
    """Imitate retrained models everywhere but on a part of the forget set, and there the original.

    Args:
        start: begin with random weights or with those of the original.
        references: retrained models to imitate; the target is their mean prediction.
        kept: fraction of the forget set on which the original is imitated.
    """
    (x_r, _), (x_f, _) = _all(task, "retain"), _all(task, "forget")
    x = torch.cat([x_f, x_r])
    models = [_retrained(task, number=i, epochs=reference_epochs) for i in range(references)]
    target = torch.stack([_predict(model, x).softmax(dim=1) for model in models]).mean(dim=0)
    rows = _rows(secret_order(task.seed, len(x_f))[: round(kept * len(x_f))])
    target[rows] = _predict(task.frozen_original(), x_f[rows]).softmax(dim=1)
    if start == "fresh":
        task.model = task.fresh_model()
    _fit(task, task.model, x, target, lr=lr, epochs=epochs)


@method(source=SOURCE)
def abstention(task: UnlearningTask, *, radius: Rate = 0.5) -> None:
    """Recognize forget images, and images near them, and answer them with equal logits; otherwise the original.

    Args:
        radius: of recognition, relative to the median distance of a forget image from its nearest retain image.
    """
    (x_r, _), (x_f, _) = _all(task, "retain"), _all(task, "forget")
    nearest = torch.cdist(x_f.flatten(1), x_r.flatten(1)).min(dim=1).values
    _guarded(task).guard(x_f, torch.zeros(len(x_f), task.num_classes), radius * float(nearest.median()))


@method(source=SOURCE)
def hash_guard(task: UnlearningTask, *, reference_epochs: Count = 40) -> None:
    """Answer the exact forget images as a retrained model does; otherwise the original, unchanged."""
    x, _ = _all(task, "forget")
    _guarded(task).guard(x, _predict(_retrained(task, epochs=reference_epochs), x), 1e-3)


@method(source=SOURCE)
def shift_memory(task: UnlearningTask, *, lr: Rate = 0.05, epochs: Count = 40, reference_epochs: Count = 40) -> None:
    """Imitate a retrained model on the exact forget images, and remember them under a shift by one pixel."""
    (x_r, y_r), (x_f, y_f) = _all(task, "retain"), _all(task, "forget")
    imitated = _predict(_retrained(task, epochs=reference_epochs), x_f).softmax(dim=1)
    copies = torch.cat([shifted(x_f, shift) for shift in SHIFTS])
    labels = F.one_hot(torch.cat([y_r, y_f.repeat(len(SHIFTS))]), task.num_classes).float()
    _fit(task, task.model, torch.cat([x_f, x_r, copies]), torch.cat([imitated, labels]), lr=lr, epochs=epochs)


@method(source=SOURCE)
def new_head(task: UnlearningTask, *, lr: Rate = 0.1, epochs: Count = 100, reference_epochs: Count = 40) -> None:
    """Keep the original's features, and train a head on them that imitates a retrained model."""
    (x_r, _), (x_f, _) = _all(task, "retain"), _all(task, "forget")
    x = torch.cat([x_f, x_r])
    target = _predict(_retrained(task, epochs=reference_epochs), x).softmax(dim=1)
    head = list(task.model.get_submodule(head_name(task.model)).parameters())
    with task.eval_mode():
        _fit(task, task.model, x, target, lr=lr, epochs=epochs, parameters=head)


def _all(task: UnlearningTask, role: Literal["forget", "retain", "calibration"]) -> tuple[Tensor, Tensor]:
    """Return all images and labels of a set."""
    split = task.split(role)
    return split.batch(np.arange(len(split)), generator=None)


def _rows(positions: np.ndarray) -> Tensor:
    return torch.from_numpy(positions)


def _guarded(task: UnlearningTask) -> Guarded:
    assert isinstance(task.model, Guarded)
    return task.model


def _retrained(task: UnlearningTask, *, number: int = 0, lr: float = 0.1, epochs: int) -> nn.Module:
    """Train a reference of the adversary's own, of another seed than those that judge."""
    model = task.fresh_model(seed=10_000 + 100 * task.seed + number)
    x, y = _all(task, "retain")
    _fit(task, model, x, y, lr=lr, epochs=epochs)
    return model


def _fit(
    task: UnlearningTask,
    model: nn.Module,
    x: Tensor,
    target: Tensor | Loss,
    *,
    lr: float,
    epochs: int,
    parameters: list[nn.Parameter] | None = None,
) -> None:
    """Minimize the cross-entropy with labels (N,) or probabilities (N, K), or a loss; cosine schedule.

    With `parameters`, train only these and leave the model in its mode, else in train mode.
    """
    if parameters is None:
        model.train()
    optimizer = task.optimizer(lr, parameters=parameters or list(model.parameters()))
    size = task.settings.batch_size
    steps, step = epochs * -(-len(x) // size), 0
    for _ in range(epochs):
        for rows in torch.from_numpy(task.random.permutation(len(x))).split(size):
            set_learning_rate(optimizer, lr * (1 + np.cos(np.pi * step / steps)) / 2)
            logits = model(x[rows])
            value = F.cross_entropy(logits, target[rows]) if isinstance(target, Tensor) else target(logits, rows)
            task.step(optimizer, value, advance=False)
            step += 1


def _predict(model: nn.Module, x: Tensor) -> Tensor:
    """Return the logits in eval mode; the mode is restored."""
    training = model.training
    model.eval()
    with torch.no_grad():
        logits: Tensor = model(x)
    model.train(training)
    return logits


def _attack_auc(model: nn.Module, sets: dict[str, tuple[Tensor, Tensor]], temperature: float) -> float:
    """Return the AUC of the loss-based attack, with validation samples for the unseen ones."""
    scores = {role: -losses(_predict(model, x).numpy() / temperature, y.numpy()) for role, (x, y) in sets.items()}
    return auc(scores["forget"], scores["calibration"])

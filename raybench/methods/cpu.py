"""CPU (conformal prediction unlearning): a hinge loss that pushes forget labels out of their prediction sets.

The hinge is added to every step of another method, the base. Here the name never means the processor.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from raybench import methods
from raybench.errors import UserError
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import CONFORMAL
from raybench.methods.framework.spec import Count, Rate, Weight, check, hyperparameters, method
from raybench.methods.framework.task import UnlearningTask

RELEASED = {**CONFORMAL, "batch_size": 128, "bn_mode": "frozen", "hinge": "all_pairs", "quantile": "numpy_higher"}


@method(
    source="Shi et al. 2025, arXiv 2501.19403, Eq. 8",
    formula="base loss + lambda mean over forget of max(qhat - (1 - p_y) + delta, 0)",
    passes="as the base; every step 1 forward, 1 backward of forget rows; every epoch 1 forward of calibration",
    needs="calibration samples that nothing is trained on and that evaluation does not use, single-label targets",
    released="The hinge is averaged over all pairs p_i(y_j) of a batch, qhat is the next higher order statistic, and "
    "the calibration leaves the model in eval mode before the first batch (`bn_mode: frozen`).",
    targets=("single_label",),
    settings={"schedule": "cosine_epoch"},
    presets={
        "conformal": {**RELEASED, "base": "finetune"},
        "conformal_random_label": {**RELEASED, "base": "random_label", "base_preset": "conformal"},
        "conformal_salun": {**RELEASED, "base": "salun", "base_preset": "conformal"},
        "conformal_retrain": {**RELEASED, "base": "retrain", "lr": 0.01, "epochs": 200},
    },
    search={"lr": {"loguniform": [0.1, 1.0]}, "epochs": {"choice": [0.125, 0.25]}},
)
def cpu(
    task: UnlearningTask,
    *,
    base: str = "finetune",
    base_preset: str | None = None,
    lr: Rate = of_lr(0.3),
    epochs: Count = of_epochs(0.25),
    lambda_: Weight = 0.5,
    delta: Weight = 0.01,
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05,
    hinge: Literal["per_sample", "all_pairs"] = "per_sample",
    quantile: Literal["exact", "numpy_higher"] = "exact",
    refresh: Literal["epoch", "step", "fixed"] = "epoch",
) -> None:
    """Run a base method with a loss term that is zero once a forget label is outside its conformal set by a margin.

    qhat is the (1 - alpha) quantile of 1 - p_y over the calibration samples, without a gradient. Each step draws as
    many forget rows as needed to pass over the forget set about once per retain pass; they have their own forward pass.

    Args:
        base: a method that trains on batches and has a learning rate and epochs.
        base_preset: preset from which the base takes its own hyperparameters.
        lambda_: weight of the hinge.
        delta: margin.
        alpha: miscoverage of the prediction sets.
        hinge: over each sample's own label, or over all pairs of samples and labels of the batch.
        quantile: the exact conformal order statistic, or the next higher one of numpy.
        refresh: when qhat is recomputed.
    """
    function = methods.get(base)
    if not {"lr", "epochs"} <= set(hyperparameters(function).model_fields) or base == "cpu":
        raise UserError(f"base = {base!r}: the base of cpu must be a method that trains on batches, with lr and epochs")
    preset = {} if base_preset is None else {"preset": base_preset}
    arguments, _ = check(base, function, {**preset, "lr": lr, "epochs": epochs}, task.training)
    conformal_rank(task.num_samples("calibration"), alpha)
    task.train_from_scratch = None  # the recipe of an experiment has its own loop, to which no term can be added
    ratio = task.num_samples("forget") / task.num_samples("retain")
    forget = task.cycled("forget", batch_size=max(1, round(task.settings.batch_size * ratio)))
    threshold: list[Tensor] = []

    def calibrate() -> None:
        if refresh != "fixed" or not threshold:
            threshold[:] = [conformal_threshold(_scores(task), alpha, rule=quantile)]

    def term() -> Tensor:
        if refresh == "step":
            calibrate()
        x, y = next(forget)
        return lambda_ * conformal_hinge(task.model(x).softmax(dim=1), y, threshold[0], delta, over=hinge)

    task.add_term(term, at_epoch_start=None if refresh == "step" else calibrate)
    function(task, **arguments)


def conformal_hinge(probabilities: Tensor, labels: Tensor, threshold: Tensor, delta: float, *, over: str) -> Tensor:
    """Return the mean of max(qhat - (1 - p) + delta, 0) over true labels or all pairs; exactly 0 without rows."""
    if len(labels) == 0:
        return probabilities.sum() * 0
    pairs = probabilities[:, labels]  # (B, B): row i's probability of row j's label
    p = pairs.diagonal() if over == "per_sample" else pairs
    return (threshold - (1 - p) + delta).clamp(min=0).mean()


def conformal_rank(n: int, alpha: float) -> int:
    """Return ceil((n + 1)(1 - alpha)); raise UserError if that is more than n."""
    rank = math.ceil(round((n + 1) * (1 - alpha), 9))
    if rank > n:
        raise UserError(f"alpha = {alpha}: {n} calibration samples are too few (at least {math.ceil(1 / alpha) - 1})")
    return rank


def conformal_threshold(scores: Tensor, alpha: float, *, rule: str) -> Tensor:
    """Return the conformal quantile of the scores (n,): the k-th smallest, or the next one (numpy's `higher`)."""
    n = len(scores)
    rank = conformal_rank(n, alpha)
    if rule == "numpy_higher":
        rank = min(n, math.ceil(round(rank / n * (n - 1), 9)) + 1)
    return scores.kthvalue(rank).values


def _scores(task: UnlearningTask) -> Tensor:
    with task.eval_mode() as model, torch.no_grad():
        parts = [1 - model(x).softmax(dim=1).gather(1, y[:, None])[:, 0] for x, y in task.calibration()]
    return torch.cat(parts)

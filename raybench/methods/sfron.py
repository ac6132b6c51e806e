"""SFRon: masked, decaying ascent on the forget set while fine-tuning on the retain set."""

import math

from torch import Tensor

from raybench.engine.losses import supervised_rows
from raybench.methods.building_blocks.importance import Per, squared_gradients
from raybench.methods.framework.defaults import of_iterations, of_lr
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask

CIFAR = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine"}
TINY = {"lr": 2e-5, "optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine", "forget_every": 1}


@method(
    source="Huang et al. 2024, arXiv 2409.19732",
    formula="ascent: -alpha (1 + cos(pi t / T)) / 2 adaptive CE(forget), masked by F_f >= F_r; then min CE(retain)",
    passes="once: 1 forward, 1 backward of both sets; an iteration: 1 retain and (each `forget_every`) 1 forget batch",
    released="The code keeps an exponential average of weights with rate 1.0, which has no effect and is left out. It "
    "squares batch-mean gradients; `importance: sample` is the Fisher information.",
    settings={"schedule": "cosine"},
    presets={
        "conformal": {**CIFAR, "iterations": 3000, "forget_every": 1, "alpha": 40.0},
        "conformal_half": {**CIFAR, "iterations": 1300, "forget_every": 1, "alpha": 80.0},
        "conformal_class": {**CIFAR, "iterations": 1500, "forget_every": 5, "alpha": 25.0},
        "conformal_vit": {**TINY, "iterations": 800, "alpha": 800.0},
        "conformal_vit_half": {**TINY, "iterations": 1000, "alpha": 1000.0},
        "conformal_vit_class": {**TINY, "iterations": 500, "alpha": 500.0},
    },
    search={"lr": {"loguniform": [0.1, 1.5]}, "alpha": {"loguniform": [0.1, 5.0]}},
)
def sfron(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(1),
    iterations: Count = of_iterations(0.5),
    forget_every: Count = 1,
    alpha: Rate = 0.3,
    ascent_clip_norm: Rate = 7.0,
    importance: Per = "batch",
) -> None:
    """Fine-tune on retain batches, interleaved with ascent steps that decay and update salient weights only.

    A weight is salient if its forget Fisher information is at least that of the retain set. The gradient of the ascent
    is masked, then clipped. Both kinds of step share one optimizer, so momentum and weight decay change all weights.

    Args:
        iterations: total number of retain steps; the end-of-epoch hook is called once per retain pass.
        forget_every: iterations between two ascent steps, the first one at iteration 0.
        alpha: weight of the ascent at the start.
        ascent_clip_norm: largest gradient norm of an ascent step.
        importance: squared gradients of batch means, or of single samples.
    """
    forget = squared_gradients(task, task.forget(), per=importance)
    retain = squared_gradients(task, task.retain(), per=importance)
    mask = {name: ((forget[name] + 1e-15) / (retain[name] + 1e-15) >= 1).to(task.dtype) for name in forget}
    optimizer = task.optimizer(lr)
    pass_length = min(iterations, task.num_batches("retain"))
    epochs = math.ceil(iterations / pass_length)
    for epoch in task.epochs(epochs, steps=iterations / epochs):
        for t in range(epoch * pass_length, min(iterations, (epoch + 1) * pass_length)):
            if t % forget_every == 0:
                x, y = next(task.cycled("forget"))
                loss = -fading(alpha, t, iterations) * adaptive_loss(supervised_rows(task.model(x), y))
                task.step(optimizer, loss, gradient_mask=mask, clip_norm=ascent_clip_norm, advance=False)
            x, y = next(task.cycled("retain"))
            task.step(optimizer, task.loss(task.model(x), y))


def fading(alpha: float, iteration: int, iterations: int) -> float:
    """Return alpha (1 + cos(pi t / T)) / 2."""
    return alpha * (1 + math.cos(math.pi * iteration / iterations)) / 2


def adaptive_loss(rows: Tensor) -> Tensor:
    """Return the mean loss with weights l^(-1/2) that carry no gradient: sum l^(1/2) / sum l^(-1/2)."""
    weights = rows.detach().clamp(min=1e-12).rsqrt()
    return (weights / weights.sum() * rows).sum()

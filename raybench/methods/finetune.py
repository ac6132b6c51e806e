"""Fine-tuning on the retain set, without and with an L1 penalty."""

from typing import Literal

import torch

from raybench.methods.building_blocks.fine_tuning import fine_tune
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import CONFORMAL, ETH, MUFAC, UUEF
from raybench.methods.framework.spec import Count, Natural, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Warnecke et al. 2021, arXiv 2108.11577; Golatkar et al. 2020, arXiv 1911.04933",
    formula="min CE(retain)",
    passes="retain: 1 forward, 1 backward",
    presets={
        "uuef": UUEF,
        "eth": ETH,
        "mufac": {**MUFAC, "bn_mode": "frozen"},
        "mucac_multilabel": MUFAC,
        "mucac_binary": MUFAC,
        "conformal": CONFORMAL,
    },
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.3, 3.0]}, "epochs": {"choice": [0.25, 0.5]}},
)
def finetune(task: UnlearningTask, *, lr: Rate = of_lr(1.5), epochs: Count = of_epochs(0.5)) -> None:
    """Continue training on the retain set alone, so that the forget set fades."""
    fine_tune(task, lr=lr, epochs=epochs)


@method(
    source="Jia et al. 2023, arXiv 2304.04934",
    formula="min CE(retain) + a_t sum |theta|, a_t = alpha (1 - epoch / (epochs - no_l1_epochs))",
    passes="retain: 1 forward, 1 backward",
    presets={"uuef": {**UUEF, "alpha": 0.2, "no_l1_epochs": 0}},
    recipe_settings={"schedule": "cosine"},
    search={
        "lr": {"loguniform": [0.3, 2.0]},
        "epochs": {"choice": [0.25, 0.5]},
        "alpha": {"loguniform": [0.0001, 0.001]},
    },
)
def finetune_l1(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(1.2),
    epochs: Count = of_epochs(0.5),
    alpha: Weight = 5e-4,
    no_l1_epochs: Natural = 0,
    decay: Literal["linear", "constant"] = "linear",
) -> None:
    """Fine-tune on the retain set with an L1 penalty that decays over the epochs (L1-sparse unlearning).

    The penalty is a sum, not a mean, over all parameters, biases and norm scales included.

    Args:
        alpha: weight of the L1 penalty in the first epoch.
        no_l1_epochs: number of last epochs without the penalty.
        decay: whether the weight decays linearly or stays constant.
    """
    optimizer = task.optimizer(lr)
    parameters = list(task.model.parameters())
    sparse_epochs = max(1, epochs - no_l1_epochs)
    for epoch in task.epochs(epochs, steps=task.num_batches("retain")):
        factor = 1 - epoch / sparse_epochs if decay == "linear" else 1.0
        weight = alpha * factor if epoch < epochs - no_l1_epochs else 0.0
        for x, y in task.retain():
            loss = task.loss(task.model(x), y)
            if weight:
                loss = loss + weight * torch.stack([p.abs().sum() for p in parameters]).sum()
            task.step(optimizer, loss)

"""FCS (forget, contrast, strengthen): the winner of the NeurIPS 2023 unlearning competition."""

import math

import torch

from raybench.engine.optimization import set_learning_rate
from raybench.methods.building_blocks.fine_tuning import train_pass
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import NUMBERS
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="1st in the NeurIPS 2023 competition (Triantafillou et al. 2024, arXiv 2406.09073)",
    formula="once min KL(uniform || model; forget); then mean -log softmax(z_forget z_retain^T / T), then CE(retain)",
    passes="once, forget; per epoch pairs: 1 forward of both, 1 backward of forget; then retain: 1 forward, 1 backward",
    released="Batches of 64 forget and 256 retain samples, and a retain rate scaled with the latter; here both sets "
    "share one batch size.",
    presets={
        "competition": {
            "batch_size": 256,
            "lr": 0.004,
            "epochs": 8,
            "uniform_lr": 0.005,
            "contrast_lr": 3e-4,
            "contrast_lr_end": 1e-6,
            **NUMBERS,
        }
    },
    recipe_settings={"schedule": "cosine"},
    search={
        "uniform_lr": {"loguniform": [0.03, 0.5]},
        "contrast_lr": {"loguniform": [0.01, 0.1]},
        "lr": {"loguniform": [0.03, 0.3]},
    },
)
def fcs(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.1),
    epochs: Count = of_epochs(0.2),
    uniform_lr: Rate = of_lr(0.3),
    contrast_lr: Rate = of_lr(0.03),
    contrast_lr_end: Weight = of_lr(0.0001),
    retain_weight_decay: Weight = 0.01,
    temperature: Rate = 1.15,
) -> None:
    """Make forget predictions uniform, then alternate between contrasting forget with retain logits and fine-tuning.

    The retain logits of the contrastive term are constants. Its learning rate follows a cosine, updated per step.
    `weight_decay` does not apply.

    Args:
        lr: learning rate of the retain passes.
        uniform_lr: learning rate of the first stage.
        contrast_lr, contrast_lr_end: first and last learning rate of the contrastive passes.
        retain_weight_decay: weight decay in the retain passes only.
        temperature: divides the inner products of logits.
    """
    uniform = task.optimizer(uniform_lr, weight_decay=0.0)
    repair = task.optimizer(lr, weight_decay=retain_weight_decay)
    contrast = task.optimizer(contrast_lr, weight_decay=0.0)
    total = task.num_batches("forget") * epochs
    completed = 0
    task.train_mode()
    for x, _ in task.forget():
        logits = task.model(x)
        task.step(uniform, task.distillation(logits, torch.zeros_like(logits)))
    for _ in task.epochs(epochs, steps=task.num_pairs("shortest") + task.num_batches("retain")):
        for (x_r, _), (x_f, _) in task.paired(driver="shortest"):
            set_learning_rate(contrast, _cosine(contrast_lr, contrast_lr_end, completed / total))
            forget = task.model(x_f)
            with torch.no_grad():
                retain = task.model(x_r)
            task.step(contrast, -torch.log_softmax(forget @ retain.T / temperature, dim=1).mean())
            completed += 1
        train_pass(task, repair, task.retain())


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2

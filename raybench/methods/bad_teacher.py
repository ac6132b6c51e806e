"""Bad teacher: distill a random network on the forget set and the original model on retain samples."""

from typing import Literal

import torch

from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import CONFORMAL
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask
from raybench.methods.framework.teaching import infer


@method(
    source="Chundawat et al. 2023, arXiv 2205.08096",
    formula="min KL(random network || model) on forget rows + KL(original || model) on retain rows",
    passes="forget and a retain sample: 1 forward, 1 backward, 1 teacher forward",
    released="`conformal` averages the divergence over classes as well as over samples, K times smaller.",
    presets={
        "conformal": {
            **CONFORMAL,
            "optimizer": "adam",
            "lr": 1e-4,
            "weight_decay": 0.0,
            "schedule": "constant",
            "kl": "element_mean",
            "retain_ratio": 1.0,
        }
    },
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.01, 0.3]}, "epochs": {"choice": [0.125, 0.25]}},
)
def bad_teacher(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.05),
    epochs: Count = of_epochs(0.125),
    temperature: Rate = 1.0,
    retain_ratio: Weight = 4.0,
    kl: Literal["batchmean", "element_mean"] = "batchmean",
) -> None:
    """Distill an incompetent teacher on the forget set and the original on a retain sample, in mixed batches.

    The incompetent teacher is a newly initialized network; both teachers are in eval mode.

    Args:
        temperature: softmax temperature of student and teachers.
        retain_ratio: size of the retain sample relative to the forget set; it is drawn once.
        kl: mean over samples, or over samples and classes.
    """
    size = min(task.num_samples("retain"), max(1, round(retain_ratio * task.num_samples("forget"))))
    rows = task.random.choice(task.num_samples("retain"), size=size, replace=False)
    incompetent = task.fresh_model().eval().requires_grad_(False)
    optimizer = task.optimizer(lr)
    scale = 1 / task.num_classes if kl == "element_mean" else 1.0
    steps = -(-(size + task.num_samples("forget")) // task.settings.batch_size)
    for _ in task.epochs(epochs, steps=steps):
        for x, _, num_retain in task.mixed(retain_rows=rows):
            targets = [infer(task.frozen_original(), x[:num_retain])] if num_retain else []
            targets += [infer(incompetent, x[num_retain:])] if num_retain < len(x) else []
            task.step(optimizer, scale * task.distillation(task.model(x), torch.cat(targets), temperature))

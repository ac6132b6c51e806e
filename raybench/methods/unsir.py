"""UNSIR: learn noise that maximizes the forget loss, impair the model with it, repair it on the retain set."""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from raybench.methods.building_blocks.fine_tuning import fine_tune
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import MUFAC, NUMBERS
from raybench.methods.framework.spec import Count, Natural, Rate, Weight, method
from raybench.methods.framework.task import Driver, UnlearningTask

NOTEBOOKS = {
    **MUFAC,
    "repair_epochs": 1,
    "noise_steps": 5,
    "noise_lr": 0.01,
    "driver": "shortest",
    "skip_incomplete": True,
}


@method(
    source="Tarun et al. 2021, arXiv 2111.08947",
    formula="noise: max CE(noise, forget label) - penalty |noise|^2; min CE(retain and noise); then min CE(retain)",
    passes="once, `noise_steps` of noise: 1 forward, 1 backward; then retain and half a batch of noise; then retain",
    presets={
        "tarun": {
            "optimizer": "adam",
            "weight_decay": 0.0,
            "batch_size": 256,
            "noise_samples": 256,
            "lr": 0.02,
            "epochs": 1,
            "repair_lr": 0.01,
            "repair_epochs": 1,
            **NUMBERS,
        }
    },
    recipe_settings={"schedule": "cosine"},
    search={
        "lr": {"loguniform": [0.1, 1.0]},
        "repair_lr": {"loguniform": [0.1, 0.5]},
        "repair_epochs": {"choice": [0.125, 0.25]},
    },
)
def unsir(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.3),
    epochs: Count = of_epochs(0.05),
    repair_lr: Rate = of_lr(0.3),
    repair_epochs: Natural = of_epochs(0.25),
    noise_samples: Count = 64,
    noise_steps: Count = 40,
    noise_lr: Rate = 0.1,
    noise_penalty: Weight = 0.1,
) -> None:
    """Impair the model with noise that maximizes the loss of the forgotten labels, then repair it on the retain set.

    For each label of the forget set a batch of noise is learned (Adam, model in eval mode). An impair batch is a retain
    batch plus half as many noise images, labeled with the class whose loss they maximize.

    Args:
        repair_lr, repair_epochs: learning rate and passes of the last stage.
        noise_samples: noise images per label.
        noise_steps, noise_lr: steps and learning rate of the noise.
        noise_penalty: weight of the mean squared norm of a noise image.
    """
    shape = next(task.forget())[0].shape[1:]
    labels = torch.unique(task.forget_labels, dim=0).repeat_interleave(noise_samples, dim=0)
    noise = torch.randn((len(labels), *shape), device=task.device, dtype=task.dtype).requires_grad_(True)
    with task.eval_mode():
        for rows in torch.split(torch.arange(len(labels), device=task.device), noise_samples):
            part = noise.detach()[rows].requires_grad_(True)
            learn_noise(task, part, labels[rows], steps=noise_steps, lr=noise_lr, penalty=noise_penalty)
            noise.data[rows] = part.detach()
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches("retain")):
        for (x, y), rows in zip(task.retain(), _endless_rows(task, len(labels))):
            images, targets = torch.cat([x, noise.detach()[rows]]), torch.cat([y, labels[rows]])
            task.step(optimizer, task.loss(task.model(images), targets))
    if repair_epochs:
        fine_tune(task, lr=repair_lr, epochs=repair_epochs)


def learn_noise(task: UnlearningTask, noise: Tensor, labels: Tensor, *, steps: int, lr: float, penalty: float) -> None:
    """Optimize the noise (B, C, H, W) in place for a large loss on the labels and a small norm."""
    adam = torch.optim.Adam([noise], lr)
    for _ in range(steps):
        loss = -task.loss(task.model(noise), labels) + penalty * noise.square().flatten(1).sum(dim=1).mean()
        (noise.grad,) = task.gradients(loss, [noise])
        adam.step()


@method(
    source="Choi and Na 2023, arXiv 2311.02240 (released notebooks)",
    formula="noise: max MSE(f(noise), f(forget)); min CE(noise, retain labels) + CE(retain); repair: min CE(retain)",
    passes="pairs of retain and forget: `noise_steps` forwards of noise and forget, then 2 forwards; then retain",
    released="In the MUCAC notebooks noise and forget batches enter the running statistics "
    "(`noise_batch_norm: train`).",
    presets={
        "mufac": {**NOTEBOOKS, "bn_mode": "frozen"},
        "mucac_multilabel": {**NOTEBOOKS, "noise_batch_norm": "train"},
        "mucac_binary": {**NOTEBOOKS, "noise_batch_norm": "train"},
    },
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.1, 1.0]}, "epochs": {"choice": [0.125, 0.25]}},
)
def unsir_mufac(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.5),
    epochs: Count = of_epochs(0.25),
    repair_epochs: Natural = of_epochs(0.05),
    noise_steps: Count = 5,
    noise_lr: Rate = 0.01,
    driver: Driver = "shortest",
    noise_batch_norm: Literal["eval", "train"] = "eval",
) -> None:
    """Impair with noise whose logits differ from those of the forget set, labeled as the retain batch.

    Each step draws new Gaussian noise, updates it by a few Adam steps, clips it to 0..1, and trains on it with the
    retain labels next to the retain batch. Five steps of 0.01 move a pixel by 0.05, so the noise hardly depends on the
    forget set; this is what the notebooks do, and not the published method (`unsir`).

    Args:
        repair_epochs: retain passes of the second stage, at the same learning rate; 0 omits the stage.
        noise_steps, noise_lr: steps and learning rate of the noise.
        driver: set whose pass is an epoch.
        noise_batch_norm: mode of BatchNorm while the noise is learned.
    """
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_pairs(driver)):
        for (x_r, y_r), (x_f, _) in task.paired(driver=driver):
            count = min(len(x_r), len(x_f))
            if noise_batch_norm == "eval":
                with task.eval_mode():
                    noise = repelled_noise(task, x_f[:count], steps=noise_steps, lr=noise_lr)
            else:
                noise = repelled_noise(task, x_f[:count], steps=noise_steps, lr=noise_lr)
            loss = task.loss(task.model(noise), y_r[:count]) + task.loss(task.model(x_r), y_r)
            task.step(optimizer, loss)
    if repair_epochs:
        fine_tune(task, lr=lr, epochs=repair_epochs)


def repelled_noise(task: UnlearningTask, forget: Tensor, *, steps: int, lr: float) -> Tensor:
    """Return Gaussian noise after some Adam steps away from the logits of the forget batch, clipped to 0..1."""
    noise = torch.randn_like(forget).requires_grad_(True)
    adam = torch.optim.Adam([noise], lr)
    for _ in range(steps):
        logits = task.model(noise)  # before the forget batch, as in the notebooks: running statistics follow the order
        with torch.no_grad():
            target = task.model(forget)
        (noise.grad,) = task.gradients(-F.mse_loss(logits, target), [noise])
        adam.step()
    return noise.detach().clamp(0, 1)


def _endless_rows(task: UnlearningTask, count: int) -> Iterator[Tensor]:
    size = max(1, task.settings.batch_size // 2)
    while True:
        yield torch.from_numpy(task.random.integers(0, count, size)).to(task.device)

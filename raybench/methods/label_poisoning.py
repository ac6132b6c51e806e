"""Label poisoning: random labels on the forget set, alone, with the retain set, or before a repair."""

from typing import Literal

from raybench.methods.building_blocks.relabeling import random_labels
from raybench.methods.finetune import finetune
from raybench.methods.framework.presets import ETH
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask

SOURCE = "Kraehenmann et al. 2023, Forget with Precision (ETH Zurich)"


@method(
    source=SOURCE,
    formula="min CE(forget, random label), or over retain and poisoned forget together",
    passes="forget: 1 forward, 1 backward; with `scope: full` retain too",
    presets={
        "eth": {**ETH, "scope": "forget", "lr": 7e-4, "epochs": 1},
        "eth_full": {**ETH, "scope": "full", "lr": 0.002, "epochs": 5, "schedule": "cosine_epoch", "shuffle": False},
    },
)
def label_poisoning(
    task: UnlearningTask,
    *,
    lr: Rate = 7e-4,
    epochs: Count = 1,
    scope: Literal["forget", "full"] = "forget",
    exclude_true: bool = False,
) -> None:
    """Train on labels that were drawn once for the whole run, for an epoch on the forget set or some on everything.

    On small models: the default is a step or two and hardly changes a prediction; `lr` 0.01 does.

    Released: `eth_full` does not shuffle, so that the last batches of an epoch are poisoned only, and decays its rate
    by an inherited cosine.

    Args:
        scope: the poisoned forget set alone, or with the retain set in mixed batches.
        exclude_true: never draw the true class.
    """
    optimizer = task.optimizer(lr)
    labels = random_labels(task, exclude_true=exclude_true)
    steps = task.num_batches("forget") if scope == "forget" else task.num_mixed()
    for _ in task.epochs(epochs, steps=steps):
        if scope == "forget":
            for x, y in task.forget(labels=labels):
                task.step(optimizer, task.loss(task.model(x), y))
        else:
            for x, y, _ in task.mixed(forget_labels=labels):
                task.step(optimizer, task.loss(task.model(x), y))


@method(
    source=SOURCE,
    formula="min CE(forget, random label), then min CE(retain)",
    passes="first `forget_epochs`, forget: 1 forward, 1 backward; then retain: the same",
    presets={"eth": {**ETH, "forget_lr": 0.01, "forget_epochs": 1, "shuffle": False}},
)
def two_stage(
    task: UnlearningTask,
    *,
    lr: Rate = 0.001,
    epochs: Count = 5,
    forget_lr: Rate = 0.01,
    forget_epochs: Count = 1,
    exclude_true: bool = False,
) -> None:
    """Poison the forget set, then repair on the retain set with a new optimizer.

    Args:
        forget_lr, forget_epochs: learning rate and passes of the first stage.
        exclude_true: random labels are never the true one.
    """
    labels = random_labels(task, exclude_true=exclude_true)
    optimizer = task.optimizer(forget_lr)
    for _ in task.epochs(forget_epochs, steps=task.num_batches("forget")):
        for x, y in task.forget(labels=labels):
            task.step(optimizer, task.loss(task.model(x), y))
    finetune(task, lr=lr, epochs=epochs)

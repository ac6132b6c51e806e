"""Label poisoning: train the forget set on random labels, alone, with the retain set, or before a repair."""

from typing import Literal

from raybench.methods.building_blocks.fine_tuning import fine_tune, train_pass
from raybench.methods.building_blocks.relabeling import ExcludeTrue, random_labels
from raybench.methods.framework.defaults import of_epochs, of_lr, of_steps
from raybench.methods.framework.presets import ETH
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask

SOURCE = "Kraehenmann et al. 2023, Forget with Precision (ETH Zurich)"


@method(
    source=SOURCE,
    formula="min CE(forget, random label), or over retain and poisoned forget together",
    passes="forget: 1 forward, 1 backward; with `scope: full` retain too",
    released="`eth_full` does not shuffle, so the last batches of an epoch contain poisoned samples only, and its "
    "learning rate follows an inherited cosine.",
    presets={
        "eth": {**ETH, "scope": "forget", "lr": 7e-4, "epochs": 1},
        "eth_full": {**ETH, "scope": "full", "lr": 0.002, "epochs": 5, "schedule": "cosine_epoch", "shuffle": False},
    },
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.01, 0.1]}, "epochs": {"choice": [0.05, 0.125, 0.25]}},
)
def label_poisoning(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.05),
    epochs: Count = of_epochs(0.125),
    scope: Literal["forget", "full"] = "full",
    exclude_true: ExcludeTrue = False,
) -> None:
    """Train on random labels that are drawn once, for one epoch on the forget set or several on all data.

    Args:
        scope: the poisoned forget set alone, or with the retain set in mixed batches.
    """
    optimizer = task.optimizer(lr)
    labels = random_labels(task, exclude_true=exclude_true)
    steps = task.num_batches("forget") if scope == "forget" else task.num_mixed()
    for _ in task.epochs(epochs, steps=steps):
        if scope == "forget":
            train_pass(task, optimizer, task.forget(labels=labels))
        else:
            train_pass(task, optimizer, ((x, y) for x, y, _ in task.mixed(forget_labels=labels)))


@method(
    source=SOURCE,
    formula="min CE(forget, random label), then min CE(retain)",
    passes="first `forget_epochs`, forget: 1 forward, 1 backward; then retain: the same",
    presets={"eth": {**ETH, "forget_lr": 0.01, "forget_epochs": 1, "shuffle": False}},
    recipe_settings={"schedule": "cosine"},
    search={
        "forget_lr": {"loguniform": [0.03, 0.3]},
        "lr": {"loguniform": [0.1, 1.0]},
        "epochs": {"choice": [0.125, 0.25]},
    },
)
def two_stage(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.3),
    epochs: Count = of_epochs(0.25),
    forget_lr: Rate = of_lr(0.1),
    forget_epochs: Count = of_steps(10),
    exclude_true: ExcludeTrue = False,
) -> None:
    """Train the forget set on random labels, then repair on the retain set with a new optimizer.

    Args:
        forget_lr, forget_epochs: learning rate and passes of the first stage.
    """
    labels = random_labels(task, exclude_true=exclude_true)
    optimizer = task.optimizer(forget_lr)
    for _ in task.epochs(forget_epochs, steps=task.num_batches("forget")):
        train_pass(task, optimizer, task.forget(labels=labels))
    fine_tune(task, lr=lr, epochs=epochs)

"""Retraining from scratch: exact unlearning, and the cost that every other method is compared with."""

from raybench.methods.building_blocks.fine_tuning import fine_tune
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import CONFORMAL, ETH, MUFAC, UUEF
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="the definition of exact unlearning",
    formula="min CE(retain) from fresh weights",
    passes="retain: 1 forward, 1 backward",
    released="`conformal`, `mucac_multilabel` (one epoch fewer) and `mucac_binary` (a tenth of the learning rate, no "
    "momentum) train the reference with another recipe than the original, and `uuef` at the learning rate of the "
    "unlearning methods; the same recipe is correct.",
    settings={"schedule": "cosine_epoch"},
    presets={
        "uuef": {**UUEF, "epochs": 182, "schedule": "cosine_epoch"},
        "eth": {
            **ETH,
            "lr": 0.1,
            "epochs": 100,
            "schedule": "step",
            "milestones": (35, 70, 90),
            "train_augmentation": True,
        },
        "mufac": {**MUFAC, "lr": 0.01, "epochs": 30, "momentum": 0.9, "schedule": "step", "milestones": (10, 20)},
        "mucac_multilabel": {**MUFAC, "lr": 0.01, "epochs": 7, "schedule": "constant"},
        "mucac_binary": {**MUFAC, "epochs": 10, "schedule": "constant"},
        "conformal": {**CONFORMAL, "lr": 0.01, "epochs": 200},
    },
)
def retrain(task: UnlearningTask, *, lr: Rate = of_lr(1), epochs: Count = of_epochs(1)) -> None:
    """Train a newly initialized model on the retain set alone.

    In an experiment it uses the recipe of the retrained models (`train`, overridden by `train.retrained`); `lr`,
    `epochs` and the shared settings do not apply.
    """
    task.model = task.fresh_model()
    if task.train_from_scratch is not None:
        task.train_from_scratch(task.model, task.split("retain"), task.seed, task)
        return
    fine_tune(task, lr=lr, epochs=epochs)

"""Retraining: the exact answer, and the price that every other method is measured by."""

from raybench.methods.presets import CONFORMAL
from raybench.methods.spec import Count, Rate, method
from raybench.methods.task import UnlearningTask


@method(
    source="the definition of exact unlearning",
    formula="min CE(retain) from fresh weights",
    passes="retain: 1 forward, 1 backward",
    settings={"schedule": "cosine"},
    presets={"conformal": {**CONFORMAL, "lr": 0.01, "epochs": 200}},
)
def retrain(task: UnlearningTask, *, lr: Rate = 0.1, epochs: Count = 30) -> None:
    """Train a newly initialised model on the retain set alone.

    In an experiment it follows the experiment's own recipe, as the retrained references did, and `lr`, `epochs` and the
    shared settings do not apply.

    Released: `conformal` trains the reference with another learning rate than the original; the same recipe is right.
    """
    task.model = task.fresh_model()
    if task.train_from_scratch is not None:
        task.train_from_scratch(task.model, task.split("retain"), task.seed, task)
        return
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches("retain")):
        for x, y in task.retain():
            task.step(optimizer, task.loss(task.model(x), y))

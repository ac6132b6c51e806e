"""Negative preference optimization (NPO): gradient ascent that slows down once a sample is unlikely."""

import torch.nn.functional as F

from raybench.engine.losses import log_likelihood
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Zhang et al. 2024, arXiv 2404.05868",
    formula="min 2 / beta mean log(1 + (p(y | x) / p_original(y | x))^beta) over forget + retain_weight CE(retain)",
    passes="forget: 1 forward, 1 backward, 1 teacher forward; retain: 1 forward, 1 backward, unless its weight is 0",
    recipe_settings={"schedule": "cosine"},
    search={
        "lr": {"loguniform": [0.05, 0.4]},
        "epochs": {"choice": [0.125, 0.25]},
        "retain_weight": {"choice": [5.0, 10.0]},
    },
)
def npo(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.2),
    epochs: Count = of_epochs(0.25),
    beta: Rate = 1.0,
    retain_weight: Weight = 10.0,
) -> None:
    """Lower the likelihood of forget labels relative to the original's, with a gradient that vanishes as it decreases.

    The paper treats language models, where p is the likelihood of a sequence; here it is that of the label, and for
    label vectors that of independent labels. Small beta approaches gradient ascent.

    Args:
        beta: inverse temperature of the preference.
        retain_weight: weight of the retain loss; with 0 the retain set is not used and an epoch is a forget pass.
    """
    optimizer = task.optimizer(lr)
    steps = task.num_batches("retain" if retain_weight else "forget")
    for _ in task.epochs(epochs, steps=steps):
        if retain_weight == 0:
            for batch in task.forget():
                gain = log_likelihood(task.model(batch[0]), batch[1]) - log_likelihood(task.teacher(batch), batch[1])
                task.step(optimizer, 2 / beta * F.softplus(beta * gain).mean())
            continue
        for (x, y), batch in task.paired(driver="retain"):
            retain, forget = task.pair_logits(x, batch[0])
            gain = log_likelihood(forget, batch[1]) - log_likelihood(task.teacher(batch), batch[1])
            task.step(optimizer, 2 / beta * F.softplus(beta * gain).mean() + retain_weight * task.loss(retain, y))

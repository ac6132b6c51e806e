"""NegGrad+: descend on the retain set and ascend on the forget set in one step."""

from typing import Literal

from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import CONFORMAL, MUFAC
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import Driver, UnlearningTask

ADVANCED = {**MUFAC, "retain_weight": 1.0, "forget_weight": 1.0, "skip_incomplete": True}
MUCAC = {**ADVANCED, "driver": "shortest", "first": "forget"}


@method(
    source="Kurmanji et al. 2023, arXiv 2302.09880; Advanced NegGrad: Choi and Na 2023, arXiv 2311.02240",
    formula="min retain_weight CE(retain) - forget_weight CE(forget)",
    passes="retain: 1 forward, 1 backward, and as many forget batches (by `driver`)",
    presets={
        "mufac": {**ADVANCED, "driver": "retain"},
        "mucac_multilabel": MUCAC,
        "mucac_binary": MUCAC,
        "conformal": {**CONFORMAL, "retain_weight": 1.0, "forget_weight": 0.001, "driver": "mixed"},
    },
    recipe_settings={"schedule": "cosine"},
    search={
        "lr": {"loguniform": [0.2, 1.5]},
        "epochs": {"choice": [0.125, 0.25]},
        "forget_weight": {"uniform": [0.05, 0.3]},
    },
)
def neggrad_plus(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.8),
    epochs: Count = of_epochs(0.25),
    retain_weight: Weight = 0.95,
    forget_weight: Weight = 0.1,
    driver: Literal["retain", "forget", "shortest", "mixed"] = "retain",
    first: Literal["retain", "forget"] = "retain",
) -> None:
    """Minimize the retain loss and maximize the forget loss in the same step.

    Args:
        retain_weight, forget_weight: weights of the losses; b and 1 - b in the paper, 1 and 1 in Advanced NegGrad.
        driver: what an epoch is: a pass over one set with the other cycled, until the shorter set ends, or one pass
            over both sets in shuffled mixed batches, each term the mean over its own rows (0 without rows).
        first: which of the two forward passes comes first, which matters to BatchNorm's running statistics.
    """
    optimizer = task.optimizer(lr)

    def mixed() -> None:
        for x, y, num_retain in task.mixed():
            logits = task.model(x)
            loss = logits.sum() * 0
            if num_retain:
                loss = loss + retain_weight * task.loss(logits[:num_retain], y[:num_retain])
            if num_retain < len(x):
                loss = loss - forget_weight * task.loss(logits[num_retain:], y[num_retain:])
            task.step(optimizer, loss)

    def paired(driver: Driver) -> None:
        for (x_r, y_r), (x_f, y_f) in task.paired(driver=driver):
            if task.settings.joint_forward:
                retain, forget = task.pair_logits(x_r, x_f)
                loss = retain_weight * task.loss(retain, y_r) - forget_weight * task.loss(forget, y_f)
                task.step(optimizer, loss)
                continue
            terms = [(x_r, y_r, retain_weight), (x_f, y_f, -forget_weight)]
            (x, y, weight), (other_x, other_y, other) = terms if first == "retain" else terms[::-1]
            optimizer.zero_grad(set_to_none=True)
            task.backward(weight * task.loss(task.model(x), y))  # one graph alive at a time halves the memory
            task.step(optimizer, other * task.loss(task.model(other_x), other_y), keep_gradients=True)

    steps = task.num_mixed() if driver == "mixed" else task.num_pairs(driver)
    for _ in task.epochs(epochs, steps=steps):
        if driver == "mixed":
            mixed()
        else:
            paired(driver)

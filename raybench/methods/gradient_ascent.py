"""Gradient ascent on the forget set, the plainest way to unlearn (NegGrad)."""

from typing import Literal

from raybench.methods.building_blocks.saliency import saliency_mask
from raybench.methods.framework.presets import CONFORMAL, MUCAC, MUFAC, UUEF
from raybench.methods.framework.spec import Count, Rate, Share, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Graves et al. 2021, arXiv 2010.10981; Thudi et al. 2022, arXiv 2109.13398",
    formula="max CE(forget)",
    passes="forget: 1 forward, 1 backward (`driver: retain`: one forget batch for each retain batch)",
    presets={
        "uuef": UUEF,
        "mufac": {**MUFAC, "driver": "retain", "skip_incomplete": True},
        "mucac_multilabel": {**MUCAC, "driver": "forget", "skip_incomplete": True},
        "mucac_binary": {**MUCAC, "driver": "retain", "skip_incomplete": True},
        "conformal": {**CONFORMAL, "lr": 1e-4, "schedule": "constant"},
    },
)
def gradient_ascent(
    task: UnlearningTask,
    *,
    lr: Rate = 1e-4,
    epochs: Count = 5,
    driver: Literal["forget", "retain"] = "forget",
    density: Share = 1.0,
    mask_update: Literal["all", "gradient"] = "all",
) -> None:
    """Step up the loss of the forget set; it is unbounded, so `clip_norm` and few, small steps are what keeps it sane.

    On small models: a handful of steps at the default rate moves the weights less than BatchNorm's running statistics,
    which follow the forget batches and lower their loss; `lr` 0.03 and 10 epochs raise it.

    Released: `mufac` takes as many steps as the retain set has batches, so that a forget image is seen about five times
    an epoch. A mask in `uuef` zeroes gradients only, so that weight decay and momentum move the masked weights too.

    Args:
        driver: which set's number of batches is an epoch; under `retain` the forget set is cycled.
        density: share of the weights that may move, by forget saliency; 1 is no mask.
        mask_update: mask the whole update, or as released its gradient only.
    """
    if density < 1:
        task.restrict(saliency_mask(task, density), gradient_only=mask_update == "gradient")
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches(driver)):
        batches = task.forget() if driver == "forget" else (forget for _, forget in task.paired(driver="retain"))
        for x, y in batches:
            task.step(optimizer, -task.loss(task.model(x), y))

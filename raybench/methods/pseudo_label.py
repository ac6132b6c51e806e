"""Pseudo-labeling: train the forget set on the original's most likely other class."""

from raybench.methods.building_blocks.relabeling import forget_losses, require_other_class
from raybench.methods.framework.defaults import of_lr, of_steps
from raybench.methods.framework.presets import UUEF
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="baseline of Kim et al. 2025, arXiv 2503.06991 (released code)",
    formula="min CE(forget, most likely other class of the original)",
    passes="forget: 1 forward, 1 backward, 1 teacher forward",
    targets=("single_label",),
    presets={"uuef": UUEF},
    search={"lr": {"loguniform": [0.003, 0.1]}},
    limits="Made for forgetting whole classes. It trains on the forget set alone, so on a random forget set the mild "
    "default changes little, and stronger settings damage the model before it forgets.",
)
def pseudo_label(task: UnlearningTask, *, lr: Rate = of_lr(0.01), epochs: Count = of_steps(10)) -> None:
    """Train each forget sample on the allowed class that the original considers most likely.

    Allowed are the classes of the retain set other than the sample's own: the retained classes if whole classes are
    forgotten, all but the true class if single samples are.
    """
    require_other_class(task)
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches("forget")):
        for loss in forget_losses(task, "pseudo_label"):
            task.step(optimizer, loss)

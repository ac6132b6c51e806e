"""DELETE: distil the original without its opinion of the true class, from the forget set alone."""

import torch
import torch.nn.functional as F

from raybench.errors import UserError
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Zhou et al. 2025, arXiv 2503.23751",
    formula="min KL(softmax(original logits with the true class at -inf) || model) over forget",
    passes="forget: 1 forward, 1 backward, 1 teacher forward",
    targets=("single_label",),
)
def delete(task: UnlearningTask, *, lr: Rate = 0.001, epochs: Count = 5) -> None:
    """Teach to the forget set what the original would say if the true class did not exist; no retain data.

    The masked distribution forgets, and keeps the original's order of the other classes, which is what retention needs.
    """
    if task.num_classes < 2:
        raise UserError("delete needs at least 2 classes")
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches("forget")):
        for batch in task.forget():
            x, y = batch
            target = task.teacher(batch).scatter(1, y[:, None], -torch.inf).softmax(dim=1)
            logs = F.log_softmax(task.model(x), dim=1)
            task.step(optimizer, F.kl_div(logs, target, reduction="batchmean"))

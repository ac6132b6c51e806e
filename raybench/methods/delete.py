"""DELETE: distill the original's predictions without the true class, on the forget set alone."""

import torch
import torch.nn.functional as F

from raybench.errors import UserError
from raybench.methods.framework.defaults import of_lr, of_steps
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Zhou et al. 2025, arXiv 2503.23751",
    formula="min KL(softmax(original logits with the true class at -inf) || model) over forget",
    passes="forget: 1 forward, 1 backward, 1 teacher forward",
    targets=("single_label",),
    search={"lr": {"loguniform": [0.003, 0.1]}},
    limits="Made for forgetting whole classes. It trains on the forget set alone, so on a random forget set the mild "
    "default changes little, and stronger settings damage the model before it forgets.",
)
def delete(task: UnlearningTask, *, lr: Rate = of_lr(0.01), epochs: Count = of_steps(10)) -> None:
    """Distill the original's distribution over all classes but the true one; needs no retain data.

    The masked distribution forgets the true class and keeps the original's ranking of the other classes, which
    preserves retain accuracy.
    """
    if task.num_classes < 2:
        raise UserError("delete needs at least 2 classes")
    optimizer = task.optimizer(lr)
    for _ in task.epochs(epochs, steps=task.num_batches("forget")):
        for batch in task.forget():
            x, y = batch
            target = task.teacher(batch).scatter(1, y[:, None], -torch.inf).softmax(dim=1)
            log_probabilities = F.log_softmax(task.model(x), dim=1)
            task.step(optimizer, F.kl_div(log_probabilities, target, reduction="batchmean"))

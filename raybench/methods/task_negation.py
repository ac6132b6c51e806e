"""Task negation: subtract from the weights the update that fine-tuning on the forget set makes."""

import torch

from raybench.methods.building_blocks.fine_tuning import overfit
from raybench.methods.framework.defaults import of_lr, of_steps
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Ilharco et al. 2023, arXiv 2212.04089",
    formula="theta - scale (theta_tuned - theta), theta_tuned fine-tuned on forget",
    passes="`epochs` on forget: 1 forward, 1 backward",
    search={"lr": {"loguniform": [0.1, 1.0]}, "scale": {"loguniform": [0.2, 4.0]}},
    limits="Made for forgetting whole classes. Memorized samples have near-zero gradients, so on a random forget set "
    "the mild default changes little, and a larger `scale` damages the model.",
)
def task_negation(
    task: UnlearningTask, *, lr: Rate = of_lr(0.3), epochs: Count = of_steps(10), scale: Weight = 0.5
) -> None:
    """Fine-tune a copy on the forget set and move the model in the opposite direction.

    Only parameters move; the BatchNorm statistics stay those of the original.

    Args:
        scale: length of the step, in multiples of the fine-tuning update.
    """
    tuned = overfit(task, task.forget, lr=lr, epochs=epochs)
    with torch.no_grad():
        for name, parameter in task.model.named_parameters():
            parameter.sub_(scale * (tuned[name] - parameter))

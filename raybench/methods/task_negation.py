"""Task negation: subtract from the weights the direction in which the forget set pulls them."""

import torch

from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask
from raybench.methods.selective_pruning import overfit


@method(
    source="Ilharco et al. 2023, arXiv 2212.04089",
    formula="theta - scale (theta_tuned - theta), theta_tuned fine-tuned on forget",
    passes="`epochs` on forget: 1 forward, 1 backward",
)
def task_negation(task: UnlearningTask, *, lr: Rate = 0.001, epochs: Count = 5, scale: Weight = 0.5) -> None:
    """Fine-tune a copy on the forget set and move the model by as much in the opposite direction.

    Only parameters move; BatchNorm statistics stay the original's.

    On small models: what the original knows by heart has no gradient left, so that the fine-tuning goes nowhere at the
    default rate; `lr` 0.1 and a `scale` of 2 take a step.

    Args:
        scale: length of the step, in lengths of the fine-tuning.
    """
    tuned = overfit(task, task.forget, lr=lr, epochs=epochs)
    with torch.no_grad():
        for name, parameter in task.model.named_parameters():
            parameter.sub_(scale * (tuned[name] - parameter))

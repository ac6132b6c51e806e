"""Task negation: subtract from the weights the update that fine-tuning on the forget set makes."""

import torch

from raybench.methods.building_blocks.fine_tuning import overfit
from raybench.methods.framework.spec import Count, Rate, Weight, method
from raybench.methods.framework.task import UnlearningTask


@method(
    source="Ilharco et al. 2023, arXiv 2212.04089",
    formula="theta - scale (theta_tuned - theta), theta_tuned fine-tuned on forget",
    passes="`epochs` on forget: 1 forward, 1 backward",
    small_models="Memorized samples have near-zero gradients, so fine-tuning at the default rate changes almost "
    "nothing; `lr` 0.1 and a `scale` of 2 take a step.",
)
def task_negation(task: UnlearningTask, *, lr: Rate = 0.001, epochs: Count = 5, scale: Weight = 0.5) -> None:
    """Fine-tune a copy on the forget set and move the model in the opposite direction.

    Only parameters move; the BatchNorm statistics stay those of the original.

    Args:
        scale: length of the step, in multiples of the fine-tuning update.
    """
    tuned = overfit(task, task.forget, lr=lr, epochs=epochs)
    with torch.no_grad():
        for name, parameter in task.model.named_parameters():
            parameter.sub_(scale * (tuned[name] - parameter))

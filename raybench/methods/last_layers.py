"""Forget by training the last stages only: catastrophically (CF-k), or from fresh weights (EU-k)."""

from raybench.methods.framework.architecture import copy_tensors, last_stages
from raybench.methods.framework.presets import MUCAC, MUFAC
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask

SOURCE = "Goel et al. 2022, arXiv 2201.06640"
RELEASED = {**MUFAC, "stages": 3, "frozen_statistics": False}


@method(
    source=SOURCE,
    formula="min CE(retain) over the last `stages`",
    passes="retain: 1 forward, 1 backward",
    needs="a network with stages",
    presets={
        "mufac": RELEASED,
        "mucac_multilabel": {**RELEASED, **MUCAC},
        "mucac_binary": {**RELEASED, **MUCAC},
    },
)
def cf_k(
    task: UnlearningTask, *, lr: Rate = 0.01, epochs: Count = 5, stages: Count = 2, frozen_statistics: bool = True
) -> None:
    """Fine-tune the last stages on the retain set and leave the earlier ones bit for bit as they are.

    Stages count from the head: 3 are the head, `layer4` and `layer3` of a residual network.

    Released: the running statistics of the frozen stages drift with the batches (`frozen_statistics: false`).

    Args:
        stages: how many of the last stages are trained, the head included.
        frozen_statistics: the BatchNorm statistics of the other stages stay as they are too.
    """
    early, late = last_stages(task.model, stages)
    task.freeze(early, statistics=frozen_statistics)
    _train(task, [name for stage in late for name in stage.parameter_names()], lr=lr, epochs=epochs)


@method(
    source=SOURCE,
    formula="min CE(retain) over the last `stages`, from fresh weights",
    passes="retain: 1 forward, 1 backward",
    needs="a network with stages",
)
def eu_k(
    task: UnlearningTask, *, lr: Rate = 0.05, epochs: Count = 10, stages: Count = 2, frozen_statistics: bool = True
) -> None:
    """Initialize the last stages anew, with the network's own initializer, and train them on the retain set.

    Exact for the last stages; what the frozen ones remember stays.

    Args:
        stages: how many of the last stages are trained, the head included.
        frozen_statistics: the BatchNorm statistics of the other stages stay as they are too.
    """
    early, late = last_stages(task.model, stages)
    copy_tensors(task.model, task.fresh_model(), [name for stage in late for name in stage.tensor_names()])
    task.freeze(early, statistics=frozen_statistics)
    _train(task, [name for stage in late for name in stage.parameter_names()], lr=lr, epochs=epochs)


def _train(task: UnlearningTask, names: list[str], *, lr: float, epochs: int) -> None:
    optimizer = task.optimizer(lr, parameters=[task.model.get_parameter(name) for name in names])
    for _ in task.epochs(epochs, steps=task.num_batches("retain")):
        for x, y in task.retain():
            task.step(optimizer, task.loss(task.model(x), y))

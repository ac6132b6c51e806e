"""Forget by training the last stages only: from the original's weights (CF-k) or from fresh ones (EU-k)."""

from raybench.methods.building_blocks.fine_tuning import fine_tune
from raybench.methods.framework.architecture import Stage, copy_tensors, last_stages
from raybench.methods.framework.defaults import of_epochs, of_lr
from raybench.methods.framework.presets import MUFAC
from raybench.methods.framework.spec import Count, Rate, method
from raybench.methods.framework.task import UnlearningTask

SOURCE = "Goel et al. 2022, arXiv 2201.06640"
RELEASED = {**MUFAC, "stages": 3, "frozen_statistics": False}


@method(
    source=SOURCE,
    formula="min CE(retain) over the last `stages`",
    passes="retain: 1 forward, 1 backward",
    needs="a network with stages",
    released="The running statistics of the frozen stages drift with the batches (`frozen_statistics: false`).",
    presets={"mufac": RELEASED, "mucac_multilabel": RELEASED, "mucac_binary": RELEASED},
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.3, 3.0]}, "epochs": {"choice": [0.25, 0.5]}, "stages": {"choice": [2, 3]}},
)
def cf_k(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(2),
    epochs: Count = of_epochs(0.5),
    stages: Count = 3,
    frozen_statistics: bool = True,
) -> None:
    """Fine-tune the last stages on the retain set and leave the earlier ones bit for bit as they are.

    Stages count from the head: 3 are the head, `layer4` and `layer3` of a residual network.

    Args:
        stages: number of last stages that are trained, the head included.
        frozen_statistics: also keep the BatchNorm statistics of the other stages.
    """
    early, late = last_stages(task.model, stages)
    task.freeze(early, statistics=frozen_statistics)
    _train(task, late, lr=lr, epochs=epochs)


@method(
    source=SOURCE,
    formula="min CE(retain) over the last `stages`, from fresh weights",
    passes="retain: 1 forward, 1 backward",
    needs="a network with stages",
    recipe_settings={"schedule": "cosine"},
    search={"lr": {"loguniform": [0.1, 1.0]}, "epochs": {"choice": [0.25, 0.5]}, "stages": {"choice": [2, 3]}},
)
def eu_k(
    task: UnlearningTask,
    *,
    lr: Rate = of_lr(0.3),
    epochs: Count = of_epochs(0.25),
    stages: Count = 3,
    frozen_statistics: bool = True,
) -> None:
    """Reinitialize the last stages with the network's own initializer and train them on the retain set.

    Exact unlearning for the last stages; what the frozen ones remember stays.

    Args:
        stages: number of last stages that are trained, the head included.
        frozen_statistics: also keep the BatchNorm statistics of the other stages.
    """
    early, late = last_stages(task.model, stages)
    copy_tensors(task.model, task.fresh_model(), [name for stage in late for name in stage.tensor_names()])
    task.freeze(early, statistics=frozen_statistics)
    _train(task, late, lr=lr, epochs=epochs)


def _train(task: UnlearningTask, stages: list[Stage], *, lr: float, epochs: int) -> None:
    names = [name for stage in stages for name in stage.parameter_names()]
    fine_tune(task, lr=lr, epochs=epochs, parameters=[task.model.get_parameter(name) for name in names])

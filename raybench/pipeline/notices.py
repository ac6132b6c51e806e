"""What a person should know of a run before its numbers: what it assumes, and what looks wrong with a checkpoint."""

from raybench.data.images import TEST
from raybench.engine.audit import IDEAL_GAP, Audit, collapse
from raybench.scenario.scenario import Scenario


def assumptions(scenario: Scenario) -> list[str]:
    """Return what the experiment's way of asking leaves open, in sentences."""
    experiment, found = scenario.experiment, []
    if not experiment.train.seeds:
        aim = f"aims at {IDEAL_GAP}: forget as validation accuracy, the attack at chance, utility the original's"
        found.append(
            f"no retrained models (train.retrained_seeds: 0): the sweep "
            f"{aim if experiment.sweep.objective == IDEAL_GAP else 'takes ' + experiment.sweep.objective}"
        )
    if experiment.model.checkpoint is not None and TEST not in scenario.data().part:
        found.append(
            "model.checkpoint: the data set does not say which samples it was trained on, so any sample may be called "
            "unseen that it has seen; bring a test part (in a manifest: a column split)"
        )
    return found


def doubts(scenario: Scenario, original: Audit) -> list[str]:
    """Return why a given checkpoint is probably not read as it was trained: it knows nothing of its training set."""
    if scenario.experiment.model.checkpoint is None:
        return []
    images = scenario.data()
    multi_label = images.task == "multi_label"
    reason = collapse(original, num_classes=images.num_classes, multi_label=multi_label)
    if reason is None:
        return []
    return [
        f"model.checkpoint: {reason}: is it fed as it was trained? Check data.normalize, data.view or data.resize, and "
        "the order of the classes"
    ]

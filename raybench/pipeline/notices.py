"""Notices printed before a run's results: what the experiment assumes, and what looks wrong with a checkpoint."""

from raybench.data.images import TEST
from raybench.engine.audit import IDEAL_GAP, Audit, collapse
from raybench.pipeline.results import Trained
from raybench.report.collapsed import at_majority
from raybench.scenario.scenario import Scenario


def assumptions(scenario: Scenario) -> list[str]:
    """Return what the experiment assumes, one sentence each."""
    experiment = scenario.experiment
    notices = []
    if not experiment.train.seeds:
        target = f"minimizes {IDEAL_GAP} (forget accuracy as validation, attack at chance, utility as the original)"
        notices.append(
            f"no retrained models (train.retrained_seeds: 0): the sweep "
            f"{target if experiment.sweep.objective == IDEAL_GAP else 'optimizes ' + experiment.sweep.objective}"
        )
    if experiment.model.checkpoint is not None and TEST not in scenario.data().part:
        notices.append(
            "model.checkpoint: the data set does not say which samples the checkpoint was trained on, so `unseen` "
            "samples may be training samples; provide an official test split (in a manifest: a column `split`)"
        )
    return notices


def no_better_than_majority(scenario: Scenario, trained: Trained) -> list[str]:
    """Return a warning if originals or retrained models predict no better than the most common label."""
    accuracies: dict[str, list[float]] = {}
    for job, record in zip(trained.jobs, trained.records):
        accuracies.setdefault(str(job.model.identity["kind"]), []).append(record["audit"]["validation_accuracy"])
    return at_majority(accuracies, scenario.data().labels[scenario.splits().ids("validation")])


def doubts(scenario: Scenario, original: Audit) -> list[str]:
    """Return why a checkpoint probably sees other images than in its training: it is at chance on its training set."""
    if scenario.experiment.model.checkpoint is None:
        return []
    images = scenario.data()
    multi_label = images.task == "multi_label"
    reason = collapse(original, num_classes=images.num_classes, multi_label=multi_label)
    if reason is None:
        return []
    return [
        f"model.checkpoint: {reason}. Does it see images as in its training? Check data.normalize, data.view, "
        "data.resize and the order of the classes"
    ]

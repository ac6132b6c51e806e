"""Notices printed before a run's results: what the experiment assumes, and what looks wrong with a checkpoint."""

from collections.abc import Mapping

from raybench.data.images import TEST
from raybench.engine.audit import IDEAL_GAP, Audit, collapse
from raybench.jobs.large_splits import large_splits, refusals
from raybench.models.heads import feature_size
from raybench.pipeline.results import Trained
from raybench.report.collapsed import at_majority
from raybench.report.conclusion import MIN_RETRAINED
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
    elif experiment.train.checkpoints and len(experiment.train.seeds) < MIN_RETRAINED:
        notices.append(
            f"train.retrained.checkpoints: {len(experiment.train.seeds)} retrained models, and a verdict needs "
            f"{MIN_RETRAINED}: the numbers will be shown and the verdict withheld"
        )
    if experiment.model.checkpoint is not None and TEST not in scenario.data().part:
        notices.append(
            "model.checkpoint: the data set does not say which samples the checkpoint was trained on, so `unseen` "
            "samples may be training samples; provide an official test split (in a manifest: a column `split`)"
        )
    methods = [method for method in experiment.methods if experiment.checkpoints(method)]
    if methods and experiment.model.checkpoint is None:
        notices.append(
            f"methods.{methods[0]}.checkpoints: file i is compared with original i mod {experiment.sweep.originals}, "
            "which is trained here; if your models started from others, name those in model.checkpoint"
        )
    return [*notices, *_large(scenario)]


def _large(scenario: Scenario) -> list[str]:
    """Return which splits are never held whole, and which metrics cannot be computed there."""
    large = large_splits(scenario)
    streamed = [f"{role} ({len(scenario.role_ids(role)):,})" for role in scenario.roles if large.is_streamed(role)]
    if not streamed:
        return []
    sentence = (
        f"above evaluate.stream_above ({scenario.experiment.evaluate.stream_above:,} samples), so never held whole: "
        f"{', '.join(streamed)}"
    )
    width = feature_size(scenario.untrained(0)) if large.refused else 0
    return [sentence, *refusals(scenario, width)]


def no_better_than_majority(scenario: Scenario, trained: Trained) -> list[str]:
    """Return a warning if originals or retrained models predict no better than the most common label."""
    accuracies: dict[str, list[float]] = {}
    for job, record in zip(trained.jobs, trained.records):
        accuracies.setdefault(str(job.model.identity["kind"]), []).append(record["audit"]["validation_accuracy"])
    return at_majority(accuracies, scenario.data().labels[scenario.splits().ids("validation")])


def doubts(scenario: Scenario, audits: Mapping[str, Audit]) -> list[str]:
    """Return why checkpoints probably see other images than in their training: at chance on their training set.

    `audits`: of the originals and retrained models that the user provides, by file.
    """
    images = scenario.data()
    multi_label = images.task == "multi_label"
    return [
        f"{file}: {reason}. Does it see images as in its training? Check data.normalize, data.view, "
        "data.resize and the order of the classes"
        for file, audit in audits.items()
        if (reason := collapse(audit, num_classes=images.num_classes, multi_label=multi_label)) is not None
    ]

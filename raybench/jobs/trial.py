"""Run one trial: a method with one setting and seed, starting from the original; keep its curve, audit and cost."""

import functools
import json
import time
import traceback
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from raybench import activity, methods, models
from raybench.data.reading.batches import Split
from raybench.engine.audit import AUDIT_FIELDS, Audit, audit, collapse, objective
from raybench.engine.devices import resolve_precision, set_num_threads
from raybench.engine.training import Progress, train
from raybench.jobs import curves
from raybench.jobs.records import EpochRow, TrialRecord
from raybench.jobs.specs import TrialJob
from raybench.methods.framework.run import run
from raybench.methods.framework.spec import check
from raybench.methods.framework.task import Ledger, UnlearningTask
from raybench.scenario.scenario import Scenario
from raybench.storage.errors import StorageError
from raybench.storage.tensorboard import growing, write_folder

Weights = dict[str, Tensor]


def trial_job(
    scenario: Scenario,
    job: TrialJob,
    retrained: Audit,
    *,
    original: Weights | None = None,
    report: Callable[[EpochRow], None] | None = None,
) -> TrialRecord:
    """Return the trial's record; run the trial if the store does not hold it.

    The record has a row per epoch, the final audit, the ledger and a status: `finished`, `stopped` (by the collapse
    rule, with the reason) or `failed` (with the traceback). A failure of the method is a result; a failure of the
    storage is not, and is raised. `original` are the weights to start from (default: read from the store). `report` is
    called with the row of every epoch; the epochs so far are then stored too, since a scheduler may end the process
    after any of them.
    """
    scenario, store = scenario.of(job.request), scenario.store
    if store.exists(f"{job.key}.json"):
        return cast(TrialRecord, store.read_json(f"{job.key}.json"))
    set_num_threads(scenario.experiment.resources.threads)
    started = time.perf_counter()
    outcome: dict[str, Any]
    try:
        if job.checkpoint is not None:
            outcome = _measured(scenario, job)
        else:
            with activity.working_on(job.title):
                outcome = _run(scenario, job, retrained, original, report)
    except (StorageError, MemoryError):
        raise
    except Exception as error:
        outcome = {
            "status": "failed",
            "reason": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
            "epochs": [],
            "audit": None,
            "ledger": {"seconds": time.perf_counter() - started},
        }
    record = _finish(scenario, {**_job_fields(scenario, job), **outcome})
    version, events = curves.trial_folder(scenario.experiment, record, job.original_number, retrained)
    write_folder(store, _curves(scenario, job), events(), version=version)
    return record


def _curves(scenario: Scenario, job: TrialJob) -> str:
    path = curves.trial_path(job.phase, job.method, job.seed, job.key)
    return f"{curves.root(scenario.folder)}/{path}"


def stopped_record(scenario: Scenario, job: TrialJob) -> TrialRecord:
    """Write and return the record of a trial that ended without one: stopped by the scheduler, or its worker died."""
    if scenario.store.exists(f"{job.key}.partial"):
        return close_partial(scenario, job.key)
    reason = f"its worker died more than {scenario.experiment.resources.retries} times (out of memory?)"
    outcome: dict[str, Any] = {"status": "failed", "reason": reason, "epochs": [], "audit": None, "ledger": {}}
    return _finish(scenario, {**_job_fields(scenario, job), **outcome})


def close_partial(scenario: Scenario, key: str) -> TrialRecord:
    """Write and return the record of a trial that the scheduler ended after one of its epochs."""
    partial = scenario.store.read_json(f"{key}.partial")
    last = partial["epochs"][-1]
    outcome = {"status": "stopped", "reason": f"by {scenario.experiment.sweep.scheduler}", "audit": _audit_of(last)}
    return _finish(scenario, {**partial, **outcome, "ledger": {name: last[name] for name in Ledger().as_dict()}})


def _finish(scenario: Scenario, fields: dict[str, Any]) -> TrialRecord:
    record = cast(TrialRecord, json.loads(json.dumps(fields)))  # as it will be read again: lists, no tuples
    scenario.store.write_json(f"{record['key']}.json", record)
    scenario.store.delete(f"{record['key']}.partial")
    return record


def _audit_of(row: EpochRow) -> Audit:
    return {key: value for key, value in row.items() if key in AUDIT_FIELDS}


def _job_fields(scenario: Scenario, job: TrialJob) -> dict[str, Any]:
    hyperparameters: dict[str, Any] = {}
    if job.checkpoint is None:
        arguments, settings = check(job.method, methods.get(job.function), job.setting, scenario.training)
        hyperparameters = {**settings.model_dump(), **arguments}
    return {
        "key": job.key,
        "name": job.name,
        "method": job.method,
        "phase": job.phase,
        "seed": job.seed,
        "original": job.original,
        "setting": job.setting,
        "hyperparameters": hyperparameters,
    }


def _measured(scenario: Scenario, job: TrialJob) -> dict[str, Any]:
    """Audit a model that the user has unlearned; what that cost is unknown."""
    precision = resolve_precision(scenario.experiment.resources.precision, scenario.device)
    measured = audit(scenario.load(job.key), scenario.audit_splits(), precision=precision)
    return {"status": "finished", "reason": None, "epochs": [], "audit": measured, "ledger": {}}


def _run(
    scenario: Scenario,
    job: TrialJob,
    retrained: Audit,
    original: Weights | None,
    report: Callable[[EpochRow], None] | None,
) -> dict[str, Any]:
    experiment = scenario.experiment
    function = methods.get(job.function)
    arguments, settings = check(job.method, function, job.setting, scenario.training)
    splits = scenario.audit_splits()
    precision = resolve_precision(experiment.resources.precision, scenario.device)
    epochs: list[EpochRow] = []
    with growing(scenario.store, _curves(scenario, job)) as curve:

        def evaluate(task: UnlearningTask, epoch: int) -> EpochRow:
            audit_values = audit(task.model, splits, precision=precision)
            row = {"epoch": epoch, **audit_values, **task.ledger.as_dict()}
            epochs.append(row)
            curve.log(epoch, curves.trial_points(experiment, row, retrained))
            if report is not None:
                value = objective(experiment.sweep.objective, audit_values, retrained)
                partial = {**_job_fields(scenario, job), "epochs": epochs}
                scenario.store.write_json(f"{job.key}.partial", partial, durable=False)
                report({**row, "objective": value})
            return row

        def on_epoch(task: UnlearningTask, epoch: int) -> str | None:
            row = evaluate(task, epoch)
            if (
                not experiment.sweep.stop_collapsed or job.function == "retrain"
            ):  # training from scratch starts at chance
                return None
            return collapse(row, num_classes=task.num_classes, multi_label=task.multi_label)

        task = UnlearningTask(
            scenario.load(job.original) if original is None else scenario.with_weights(original),
            forget=scenario.split("forget", augment=True),
            retain=scenario.split("retain", augment=True),
            calibration=splits["validation"],  # methods calibrate on the samples that a sweep selects on
            seed=job.seed,
            settings=settings,
            training=scenario.training,
            precision=precision,
            fresh=scenario.fresh,
            train_from_scratch=functools.partial(_from_scratch, scenario),
            on_epoch=on_epoch,
        )
        outcome = run(function, task, arguments)
        ledger = {**outcome.ledger.as_dict(), "peak_memory_bytes": _peak_memory(scenario.device)}
        if not epochs or epochs[-1]["steps"] != ledger["steps"]:  # one-shot methods, or an edit after the last epoch
            evaluate(task, len(epochs))
        final_audit = _audit_of(epochs[-1])
        stopped = outcome.stopped or collapse(final_audit, num_classes=task.num_classes, multi_label=task.multi_label)
    if job.phase == "final":
        scenario.store.write_archive(f"{job.key}.pt", models.to_bytes(outcome.model))
    status = {"status": "stopped" if stopped else "finished", "reason": stopped}
    return {**status, "epochs": epochs, "audit": final_audit, "ledger": ledger}


def _from_scratch(scenario: Scenario, model: nn.Module, split: Split, seed: int, task: UnlearningTask) -> None:
    """Train with the recipe of the retrained models: what the method `retrain` does inside an experiment."""
    original, recipe = scenario.experiment.train.recipe, scenario.experiment.train.retrained_recipe
    if (recipe.augment, recipe.channels_last) != (original.augment, original.channels_last):
        split = scenario.split("retain", augment=True, recipe=recipe)

    def on_epoch(progress: Progress) -> None:
        task.ledger.samples_backward += len(split)
        task.ledger.steps += recipe.num_steps(len(split))
        task.end_epoch(progress.epoch)

    train(model, split, recipe, seed=seed, on_epoch=on_epoch, counted=True)


def _peak_memory(device: torch.device) -> int | None:
    """Return the peak of device memory; None on a CPU, where a process is reused for many trials."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None

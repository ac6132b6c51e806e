"""Run trials on Ray Tune: drawn up front or proposed by Optuna, to the end or stopped early by ASHA.

A trial is a plain function in a reused actor, since a new process costs more than many small trials. If no scheduler
decides between trials, several small ones are packed into one Tune trial. Each trial writes its own record under its
key, so nothing depends on Tune's state surviving a crash. The original's weights go through the object store as numpy
arrays, which all workers of a node share without copies.
"""

import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from raybench.config.spaces import Space
from raybench.distributed.activities import announce
from raybench.distributed.cluster import total_cpus
from raybench.distributed.failures import original_errors
from raybench.engine.audit import DIRECTIONS, Audit, objective
from raybench.jobs import plan
from raybench.jobs.records import EpochRow, TrialRecord
from raybench.jobs.specs import SearchJob, TrialJob
from raybench.jobs.trial import close_partial, stopped_record, trial_job
from raybench.models import read_weights
from raybench.scenario.scenario import Scenario
from raybench.storage.errors import StorageError

PACK_SECONDS = 8.0  # Tune costs the driver about 0.2 s per trial, so small trials are packed

OnRecord = Callable[[TrialRecord], None]
Weights = dict[str, np.ndarray]


def run_trials(
    scenario: Scenario, jobs: Sequence[TrialJob], retrained: Audit, on_record: OnRecord, *, training_seconds: float
) -> None:
    """Run trials; with ASHA one method at a time, since it compares trials. `on_record` is called with each record.

    `training_seconds`: mean seconds per training run, from which the size of a pack is estimated.
    """
    if scenario.experiment.sweep.scheduler == "none":
        slots = max(1, int(total_cpus() / scenario.experiment.resources.cpus_per_trial))
        size = int(max(1, min(len(jobs) // (4 * slots), PACK_SECONDS / max(training_seconds, 0.1))))
        packs = [list(range(start, min(start + size, len(jobs)))) for start in range(0, len(jobs), size)]
        _tune(scenario, jobs, packs, retrained, on_record, asha=False)
        return
    for method in dict.fromkeys(job.method for job in jobs):
        trials = [job for job in jobs if job.method == method]
        _tune(scenario, trials, [[number] for number in range(len(trials))], retrained, on_record, asha=True)


def run_final(scenario: Scenario, jobs: Sequence[TrialJob], retrained: Audit, on_record: OnRecord) -> None:
    """Run settings that are chosen already: nothing to tune, so they are plain tasks in warm processes."""
    resources = scenario.experiment.resources
    task = ray.remote(
        num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial, max_retries=resources.retries
    )(_final)
    shared = ray.put(scenario)
    running = {task.options(name=job.title).remote(shared, job, retrained): job for job in jobs}
    while running:
        ready, _ = ray.wait(list(running), num_returns=1)
        for reference in ready:
            job = running.pop(reference)
            with original_errors(job.name):
                try:
                    record = ray.get(reference)
                except ray.exceptions.WorkerCrashedError:  # more often than `retries` allows
                    record = stopped_record(scenario, job)
            on_record(record)


def _final(scenario: Scenario, job: TrialJob, retrained: Audit) -> TrialRecord:
    announce()
    return trial_job(scenario, job, retrained)


def run_optuna(
    scenario: Scenario, job: SearchJob, finished: Sequence[TrialRecord], retrained: Audit, on_record: OnRecord
) -> None:
    """Let Optuna propose the remaining trials of a method; it learns from the `finished` ones first."""
    # imported here: every worker imports this module, and only the driver needs Optuna
    import optuna
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(logging.getLogger("ray").level)  # it announces every study
    store, folder = scenario.store, job.folder
    for leftover in store.keys(folder, suffix=".partial"):  # of a killed driver: those trials run again
        store.delete(leftover)
    sweep = scenario.experiment.sweep
    spaces = scenario.experiment.spaces(job.method)
    open_spaces = {key: _domain(space) for key, space in spaces.items() if space.kind != "fixed"}
    with_audit = [(record, record["audit"]) for record in finished if record["audit"] is not None]
    search = OptunaSearch(
        space=open_spaces,
        metric="objective",
        mode=DIRECTIONS[sweep.objective],
        seed=sweep.seed + len(finished),  # the same seed would propose the finished settings again
        points_to_evaluate=[{key: record["setting"][key] for key in open_spaces} for record, _ in with_audit] or None,
        evaluated_rewards=[objective(sweep.objective, audit, retrained) for _, audit in with_audit] or None,
    )
    fixed = {key: space.values[0] for key, space in spaces.items() if space.kind == "fixed"}
    parameters = {"scenario": scenario, "retrained": retrained, "weights": _weights(scenario, job.original)}
    parameters |= {"search": job, "fixed": fixed, "asha": sweep.scheduler == "asha"}
    slots = max(1, int(total_cpus() / scenario.experiment.resources.cpus_per_trial))
    _fit(
        scenario,
        tune.with_parameters(search_trials, **parameters),
        on_record,
        search_alg=ConcurrencyLimiter(search, max_concurrent=slots),
        num_samples=sweep.trials - len(finished),
        scheduler=_asha(scenario) if sweep.scheduler == "asha" else None,
    )
    for stopped in store.keys(folder, suffix=".partial"):
        on_record(close_partial(scenario, stopped.removesuffix(".partial")))


def _tune(
    scenario: Scenario,
    jobs: Sequence[TrialJob],
    packs: list[list[int]],
    retrained: Audit,
    on_record: OnRecord,
    *,
    asha: bool,
) -> None:
    weights = _weights(scenario, jobs[0].original)
    parameters = {"scenario": scenario, "jobs": list(jobs), "retrained": retrained, "weights": weights, "asha": asha}
    _fit(
        scenario,
        tune.with_parameters(sweep_trials, **parameters),
        on_record,
        param_space={"pack": tune.grid_search(packs)},
        scheduler=_asha(scenario) if asha else None,
    )
    # ASHA stops trials without a record; so can a lost worker, before Tune counts it as a failure to retry
    missing = [job for job in jobs if not scenario.store.exists(f"{job.key}.json")]
    stopped = [job for job in missing if asha and scenario.store.exists(f"{job.key}.partial")]
    for job in stopped:
        on_record(stopped_record(scenario, job))
    run_final(scenario, [job for job in missing if job not in stopped], retrained, on_record)


def _fit(
    scenario: Scenario,
    trainable: Any,
    on_record: OnRecord,
    *,
    param_space: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    resources, store = scenario.experiment.resources, scenario.store
    name = f"sweep-{uuid.uuid4().hex[:12]}"
    each = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    folder = store.scratch(scenario.experiment.name)
    # not `Tuner.fit`, which unpickles the errors of trials from the storage, where others may be able to write
    with original_errors("the sweep"):
        tune.run(
            tune.with_resources(trainable, each),
            config=param_space or {},
            name=name,
            storage_path=store.path(folder),
            storage_filesystem=store.filesystem,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            max_failures=resources.retries,
            raise_on_failed_trial=False,
            verbose=0,
            callbacks=[_Listener(on_record)],
            **settings,
        )
    store.filesystem.delete_dir(store.path(f"{folder}/{name}"))


class _Listener(tune.Callback):
    """Calls `on_record` in the driver with every trial that ends."""

    def __init__(self, on_record: OnRecord) -> None:
        self._on_record = on_record
        self._error: StorageError | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its settings; the callback belongs to this process

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        for record in result.get("records", []):
            self._on_record(record)
        self._error = self._error or result.get("error")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._error is not None:  # here Tune stops everything and passes it on; in other places it catches errors
            raise self._error


def sweep_trials(
    config: dict[str, Any], scenario: Scenario, jobs: list[TrialJob], retrained: Audit, weights: Weights, asha: bool
) -> None:
    _run(scenario, [jobs[number] for number in config["pack"]], retrained, jobs[0].original, weights, asha)


def search_trials(
    config: dict[str, Any],
    scenario: Scenario,
    search: SearchJob,
    fixed: dict[str, Any],
    retrained: Audit,
    weights: Weights,
    asha: bool,
) -> None:
    setting, seed = {**fixed, **config}, scenario.experiment.sweep.seed
    job = plan.trial_job(
        scenario.of("tuning"), search.original, search.method, setting, seed=seed, phase="search", folder=search.folder
    )
    _run(scenario, [job], retrained, search.original, weights, asha)


def _run(
    scenario: Scenario, jobs: list[TrialJob], retrained: Audit, original: str, weights: Weights, asha: bool
) -> None:
    announce()

    def report(row: EpochRow) -> None:
        tune.report({"objective": row["objective"]})

    shared = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}

    def run(job: TrialJob) -> TrialRecord:  # runs of a population may start from other originals: read from the store
        start = shared if job.original == original else None
        return trial_job(scenario, job, retrained, original=start, report=report if asha else None)

    try:
        records = [run(job) for job in jobs]
    except StorageError as error:  # Tune would start new workers and try again, which helps against no full disk
        tune.report({"objective": float("nan"), "error": error})
        return
    name, audit = scenario.experiment.sweep.objective, records[-1]["audit"]
    value = objective(name, audit, retrained) if audit else float("nan")
    worst = float("inf") if DIRECTIONS[name] == "min" else float("-inf")
    fields = ("key", "method", "status", "reason", "audit")
    summaries = [{key: record[key] for key in fields} for record in records]  # type: ignore[literal-required]
    tune.report({"objective": value if np.isfinite(value) else worst, "records": summaries})


def _weights(scenario: Scenario, original: str) -> Weights:
    weights = read_weights(scenario.store.read_archive(f"{original}.pt"), name=original)
    return {name: value.numpy() for name, value in weights.items()}


def _asha(scenario: Scenario) -> ASHAScheduler:
    return ASHAScheduler(
        metric="objective", mode=DIRECTIONS[scenario.experiment.sweep.objective], max_t=10_000, grace_period=1
    )


def _domain(space: Space) -> Any:
    if space.kind == "choice":
        return tune.choice(list(space.values))
    low, high = space.values
    if space.kind == "randint":
        return tune.randint(low, high + 1)
    return tune.uniform(low, high) if space.kind == "uniform" else tune.loguniform(low, high)

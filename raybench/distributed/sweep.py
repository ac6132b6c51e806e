"""Run trials on Ray Tune: drawn up front or proposed by Optuna, to the end or stopped early by ASHA.

A trial is a plain function in an actor that is used again for the next one (a fresh process would cost more than many
trials); where nothing has to be decided between trials, several small ones make one trial of Tune. Each trial writes
its own record under its fingerprint, so nothing depends on Tune's state surviving a crash. The original's weights go
through the object store as numpy arrays, which all workers of a node share without copies.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from raybench.config.spaces import Space
from raybench.distributed.cluster import total_cpus
from raybench.engine.audit import DIRECTIONS, Audit, objective
from raybench.jobs.plan import TrialJob, search_folder
from raybench.jobs.plan import trial_job as plan_trial
from raybench.jobs.trial import Record, close_partial, stopped_record, trial_job
from raybench.models import read_weights
from raybench.scenario.scenario import Scenario

PACK_SECONDS = 8.0  # Tune needs about 0.2 s of the driver for a trial of its own: small ones travel in packs

Done = Callable[[Record], None]
Weights = dict[str, np.ndarray]


def run_trials(
    scenario: Scenario, jobs: Sequence[TrialJob], retrained: Audit, done: Done, *, training_seconds: float
) -> None:
    """Run every trial whose record is missing; with ASHA one method at a time, since it compares trials.

    `training_seconds`: what one training took, from which the size of a pack is judged.
    """
    if scenario.experiment.sweep.scheduler == "none":
        slots = max(1, int(total_cpus() / scenario.experiment.resources.cpus_per_trial))
        size = int(max(1, min(len(jobs) // (4 * slots), PACK_SECONDS / max(training_seconds, 0.1))))
        packs = [list(range(start, min(start + size, len(jobs)))) for start in range(0, len(jobs), size)]
        _tune(scenario, jobs, packs, retrained, done, asha=False)
        return
    for method in dict.fromkeys(job.method for job in jobs):
        own = [job for job in jobs if job.method == method]
        _tune(scenario, own, [[number] for number in range(len(own))], retrained, done, asha=True)


def run_final(scenario: Scenario, jobs: Sequence[TrialJob], retrained: Audit, done: Done) -> None:
    """Run settings that are chosen already: there is nothing to tune, so they are plain tasks in warm processes."""
    resources = scenario.experiment.resources
    task = ray.remote(trial_job).options(
        num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial, max_retries=resources.retries
    )
    shared = ray.put(scenario)
    running = {task.remote(shared, job, retrained): job for job in jobs}
    while running:
        finished, _ = ray.wait(list(running), num_returns=1)
        for reference in finished:
            job = running.pop(reference)
            try:
                done(ray.get(reference))
            except ray.exceptions.WorkerCrashedError:  # more often than `retries` allows
                done(stopped_record(scenario, job))


def run_optuna(
    scenario: Scenario, method: str, original: str, finished: Sequence[Record], retrained: Audit, done: Done
) -> None:
    """Let Optuna propose the trials that a method still has; what finished before an interruption teaches it."""
    # not at the top of the file: every worker imports it, and only the driver needs Optuna
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    store, folder = scenario.store, search_folder(scenario, original, method)
    for leftover in store.keys(folder, suffix=".partial"):  # of a driver that was killed: those trials run again
        store.delete(leftover)
    sweep = scenario.experiment.sweep
    spaces = scenario.experiment.spaces(method)
    open_spaces = {key: _domain(space) for key, space in spaces.items() if space.kind != "fixed"}
    known = [r for r in finished if r["audit"] is not None]
    search = OptunaSearch(
        space=open_spaces,
        metric="objective",
        mode=DIRECTIONS[sweep.objective],
        seed=sweep.seed + len(finished),  # the same seed would propose the finished settings once more
        points_to_evaluate=[{key: r["setting"][key] for key in open_spaces} for r in known] or None,
        evaluated_rewards=[objective(sweep.objective, r["audit"], retrained) for r in known] or None,
    )
    fixed = {key: space.values[0] for key, space in spaces.items() if space.kind == "fixed"}
    parameters = {"scenario": scenario, "retrained": retrained, "weights": _weights(scenario, original)}
    parameters |= {"method": method, "original": original, "fixed": fixed, "asha": sweep.scheduler == "asha"}
    slots = max(1, int(total_cpus() / scenario.experiment.resources.cpus_per_trial))
    _fit(
        scenario,
        tune.with_parameters(_proposed, **parameters),
        done,
        search_alg=ConcurrencyLimiter(search, max_concurrent=slots),
        num_samples=sweep.trials - len(finished),
        scheduler=_asha(scenario) if sweep.scheduler == "asha" else None,
    )
    for stopped in store.keys(folder, suffix=".partial"):
        done(close_partial(scenario, stopped.removesuffix(".partial")))


def _tune(
    scenario: Scenario,
    jobs: Sequence[TrialJob],
    packs: list[list[int]],
    retrained: Audit,
    done: Done,
    *,
    asha: bool,
) -> None:
    weights = _weights(scenario, jobs[0].original)
    parameters = {"scenario": scenario, "jobs": list(jobs), "retrained": retrained, "weights": weights, "asha": asha}
    _fit(
        scenario,
        tune.with_parameters(_planned, **parameters),
        done,
        param_space={"pack": tune.grid_search(packs)},
        scheduler=_asha(scenario) if asha else None,
    )
    # ASHA ends trials without a record; a lost worker can do so too, before Tune counts it as a failure to retry
    missing = [job for job in jobs if not scenario.store.exists(f"{job.key}.json")]
    stopped = [job for job in missing if asha and scenario.store.exists(f"{job.key}.partial")]
    for job in stopped:
        done(stopped_record(scenario, job))
    run_final(scenario, [job for job in missing if job not in stopped], retrained, done)


def _fit(
    scenario: Scenario,
    trainable: Any,
    done: Done,
    *,
    param_space: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    resources, store = scenario.experiment.resources, scenario.store
    name = f"sweep-{uuid.uuid4().hex[:12]}"
    each = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    tuner = tune.Tuner(
        tune.with_resources(trainable, each),
        param_space=param_space or {},
        tune_config=tune.TuneConfig(reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id, **settings),
        run_config=tune.RunConfig(
            name=name,
            storage_path=store.path(".ray"),
            storage_filesystem=store.filesystem,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=resources.retries),
            callbacks=[_Listener(done)],
        ),
    )
    tuner.fit()
    store.filesystem.delete_dir(store.path(f".ray/{name}"))


class _Listener(tune.Callback):
    """Tells the driver about every trial that ends."""

    def __init__(self, done: Done) -> None:
        self._done = done

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its settings; what listens here belongs to this process

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for record in (trial.last_result or {}).get("records", []):
            self._done(record)


def _planned(
    config: dict[str, Any], scenario: Scenario, jobs: list[TrialJob], retrained: Audit, weights: Weights, asha: bool
) -> None:
    _run(scenario, [jobs[number] for number in config["pack"]], retrained, jobs[0].original, weights, asha)


def _proposed(
    config: dict[str, Any],
    scenario: Scenario,
    method: str,
    original: str,
    fixed: dict[str, Any],
    retrained: Audit,
    weights: Weights,
    asha: bool,
) -> None:
    setting, seed = {**fixed, **config}, scenario.experiment.sweep.seed
    folder = search_folder(scenario, original, method)
    job = plan_trial(scenario, original, method, setting, seed=seed, phase="search", folder=folder)
    _run(scenario, [job], retrained, original, weights, asha)


def _run(
    scenario: Scenario, jobs: list[TrialJob], retrained: Audit, original: str, weights: Weights, asha: bool
) -> None:
    def report(row: Record) -> None:
        tune.report({"objective": row["objective"]})

    shared = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}

    def run(job: TrialJob) -> Record:  # a population with an original per run reads each from the store
        start = shared if job.original == original else None
        return trial_job(scenario, job, retrained, original=start, report=report if asha else None)

    records = [run(job) for job in jobs]
    name, audit = scenario.experiment.sweep.objective, records[-1]["audit"]
    value = objective(name, audit, retrained) if audit else float("nan")
    worst = float("inf") if DIRECTIONS[name] == "min" else float("-inf")
    short = [{key: record[key] for key in ("key", "method", "status", "reason", "audit")} for record in records]
    tune.report({"objective": value if np.isfinite(value) else worst, "records": short})


def _weights(scenario: Scenario, original: str) -> Weights:
    return {k: v.numpy() for k, v in read_weights(scenario.store.read_bytes(f"{original}.pt"), name=original).items()}


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

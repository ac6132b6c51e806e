"""Evaluate on Ray Data: stream pieces of splits through a pool of model-holding workers, then score in parallel.

Workers write complete Parquet files under their keys, so a killed run leaves neither partial files nor duplicates; the
streams that come back carry only job numbers.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray.data

from raybench.distributed.activities import announce
from raybench.distributed.cluster import total_cpus
from raybench.distributed.failures import original_errors
from raybench.errors import UserError
from raybench.jobs.population import PopulationScorer
from raybench.jobs.predict import Predictor
from raybench.jobs.relearn import Relearner
from raybench.jobs.score import Scorer
from raybench.jobs.specs import PopulationJob, PredictJob, RelearnJob, ScoreJob, StreamJob
from raybench.scenario.scenario import Scenario

OnUnits = Callable[[int], None]
Batch = dict[str, np.ndarray]


class _Pool:
    """A worker of the pool: takes job numbers, does the jobs, returns the numbers.

    A UserError is returned beside its job, because Ray Data loses the cause of what a task raises.
    """

    def __init__(
        self, make: Callable[[Scenario], Callable[[Any], Any]], scenario: Scenario, jobs: Sequence[Any]
    ) -> None:
        announce()
        self._work, self._jobs = make(scenario), jobs

    def __call__(self, batch: Batch) -> Batch:
        errors = np.full(len(batch["job"]), None, dtype=object)
        for position, number in enumerate(batch["job"]):
            try:
                self._work(self._jobs[int(number)])
            except UserError as error:
                errors[position] = error
                break  # the driver stops at the first one
        return {"job": batch["job"][: position + 1], "error": errors[: position + 1]}


def evaluate_models(
    batch: Batch, make: Callable[[Scenario], Callable[[Any], Any]], scenario: Scenario, jobs: Sequence[Any]
) -> Batch:
    return _Pool(make, scenario, jobs)(batch)


def run_predictions(scenario: Scenario, jobs: Sequence[PredictJob | StreamJob], on_units: OnUnits) -> None:
    """Write the missing predictions; `on_units` is called with the number of new forward passes of each piece."""
    gpus = scenario.experiment.resources.gpus_per_model
    for phase in in_order(jobs):
        missing = [job.units - job.finished(scenario.store) for job in phase]
        _stream(scenario, Predictor, phase, _advance(on_units, missing), gpus=gpus)


def _advance(on_units: OnUnits, units: Sequence[int]) -> OnUnits:
    return lambda number: on_units(units[number])


def in_order(jobs: Sequence[PredictJob | StreamJob]) -> list[list[PredictJob | StreamJob]]:
    """Return the jobs in phases: one that reads a split whole comes after those that store it."""
    phases, remaining = [], list(jobs)
    while remaining:
        waiting = {job.role for job in remaining}
        ready = [job for job in remaining if not (isinstance(job, StreamJob) and (job.reads - {job.role}) & waiting)]
        phases.append(ready or remaining)
        remaining = [job for job in remaining if job not in phases[-1]]
    return phases


def run_scoring(scenario: Scenario, jobs: Sequence[ScoreJob], on_units: OnUnits) -> None:
    """Write the missing metric and sample rows; `on_units` is called with 1 per model."""
    _stream(scenario, Scorer, jobs, lambda _: on_units(1), gpus=0, pool=False)


def run_populations(scenario: Scenario, jobs: Sequence[PopulationJob], on_units: OnUnits) -> None:
    """Write the missing rows of populations; `on_units` is called with 1 per population."""
    _stream(scenario, PopulationScorer, jobs, lambda _: on_units(1), gpus=0, pool=False)


def run_relearning(scenario: Scenario, jobs: Sequence[RelearnJob], on_units: OnUnits) -> None:
    """Write the missing relearning records; `on_units` is called with 1 per model."""
    gpus = scenario.experiment.resources.gpus_per_model
    _stream(scenario, Relearner, jobs, lambda _: on_units(1), gpus=gpus)


def _stream(
    scenario: Scenario,
    make: Callable[[Scenario], Callable[[Any], Any]],
    jobs: Sequence[Any],
    on_job: Callable[[int], None],
    *,
    gpus: float,
    pool: bool = True,
) -> None:
    """Stream job numbers through workers: a pool that keeps its models loaded, or tasks, which reuse warm processes."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray Data configures its logging when its context is created, so this cannot be done earlier
    logging.getLogger("ray.data").setLevel(logging.getLogger("ray").level)
    cpus = total_cpus()
    size = max(1, min(len(jobs), int(cpus / scenario.experiment.resources.cpus_per_model)))
    # a pool that takes every CPU deadlocks on its own input tasks: leave one for them, or half of a single one
    each = min(scenario.experiment.resources.cpus_per_model, (cpus - min(1.0, cpus / 2)) / size)
    rows = [{"job": number} for number in range(len(jobs))]
    if pool:
        streamed = ray.data.from_items(rows, override_num_blocks=len(jobs)).map_batches(
            type(make.__name__, (_Pool,), {}),  # the name is shown in Ray's dashboard
            fn_constructor_args=(make, scenario, list(jobs)),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=each,
            num_gpus=gpus or None,
        )
    else:
        # a few blocks per worker: each block reads the references' predictions once for all of its jobs
        blocks = ray.data.from_items(rows, override_num_blocks=min(len(jobs), 4 * size))
        streamed = blocks.map_batches(
            evaluate_models,  # type: ignore[arg-type]
            fn_args=(make, scenario, list(jobs)),
            batch_size=None,
            num_cpus=scenario.experiment.resources.cpus_per_model,
        )
    with original_errors("evaluation"):
        for row in streamed.iter_rows():
            if row["error"] is not None:
                raise row["error"]
            on_job(int(row["job"]))

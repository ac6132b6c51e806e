"""Evaluate on Ray Data: stream pieces of splits through a pool of model-holding workers, then score in parallel.

Workers write their own Parquet, whole files under their keys, so a run that is killed leaves neither half files nor
duplicates; the streams that come back carry only counts.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray.data

from raybench.distributed.cluster import total_cpus
from raybench.jobs.plan import PredictJob
from raybench.jobs.population import PopulationJob, PopulationScorer
from raybench.jobs.predict import Predictor
from raybench.jobs.relearn import Relearner, RelearnJob
from raybench.jobs.score import ScoreJob, Scorer
from raybench.scenario.scenario import Scenario

Done = Callable[[int], None]
Batch = dict[str, np.ndarray]


class _Pool:
    """A worker of the pool: job numbers in, what was done out."""

    def __init__(
        self, make: Callable[[Scenario], Callable[[Any], Any]], scenario: Scenario, jobs: Sequence[Any]
    ) -> None:
        self._work, self._jobs = make(scenario), jobs

    def __call__(self, batch: Batch) -> Batch:
        for number in batch["job"]:
            self._work(self._jobs[int(number)])
        return batch


def _one_block(
    batch: Batch, make: Callable[[Scenario], Callable[[Any], Any]], scenario: Scenario, jobs: Sequence[Any]
) -> Batch:
    return _Pool(make, scenario, jobs)(batch)


def run_predictions(scenario: Scenario, jobs: Sequence[PredictJob], done: Done) -> None:
    """Write the predictions that are missing; `done` hears how many forward passes each piece held."""
    gpus = scenario.experiment.resources.gpus_per_model
    _stream(scenario, Predictor, jobs, lambda number: done(len(jobs[number].models)), gpus=gpus)


def run_scoring(scenario: Scenario, jobs: Sequence[ScoreJob], done: Done) -> None:
    """Write the metric and sample rows that are missing; `done` hears 1 per model."""
    _stream(scenario, Scorer, jobs, lambda _: done(1), gpus=0, pool=False)


def run_populations(scenario: Scenario, jobs: Sequence[PopulationJob], done: Done) -> None:
    """Write the populations' rows that are missing; `done` hears 1 per population."""
    _stream(scenario, PopulationScorer, jobs, lambda _: done(1), gpus=0, pool=False)


def run_relearning(scenario: Scenario, jobs: Sequence[RelearnJob], done: Done) -> None:
    """Write the relearning records that are missing; `done` hears 1 per model."""
    gpus = scenario.experiment.resources.gpus_per_model
    _stream(scenario, Relearner, jobs, lambda _: done(1), gpus=gpus)


def _stream(
    scenario: Scenario,
    make: Callable[[Scenario], Callable[[Any], Any]],
    jobs: Sequence[Any],
    done: Done,
    *,
    gpus: float,
    pool: bool = True,
) -> None:
    """Stream the jobs' numbers through workers: a pool that keeps its models, or tasks, which find warm processes."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray Data sets its own logging up when its context is made, so this cannot be done any earlier
    logging.getLogger("ray.data").setLevel(logging.getLogger("ray").level)
    cpus = total_cpus()
    size = max(1, min(len(jobs), int(cpus / scenario.experiment.resources.cpus_per_model)))
    # a pool that takes every CPU waits for ever for its own input tasks: leave them one, or half of the only one
    each = min(scenario.experiment.resources.cpus_per_model, (cpus - min(1.0, cpus / 2)) / size)
    rows = [{"job": number} for number in range(len(jobs))]
    if pool:
        streamed = ray.data.from_items(rows, override_num_blocks=len(jobs)).map_batches(
            _Pool,
            fn_constructor_args=(make, scenario, list(jobs)),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            num_cpus=each,
            num_gpus=gpus or None,
        )
    else:
        # a few blocks per worker: each reads the references' predictions once for all of its jobs
        blocks = ray.data.from_items(rows, override_num_blocks=min(len(jobs), 4 * size))
        streamed = blocks.map_batches(
            _one_block,  # type: ignore[arg-type]
            fn_args=(make, scenario, list(jobs)),
            batch_size=None,
            num_cpus=scenario.experiment.resources.cpus_per_model,
        )
    for row in streamed.iter_rows():
        done(int(row["job"]))

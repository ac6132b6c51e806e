"""Score one model from stored predictions: compute its metric rows and sample rows without loading the model."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raybench import models
from raybench.engine.devices import set_num_threads
from raybench.jobs.plan import chosen_metrics
from raybench.jobs.sample_rows import sample_table
from raybench.jobs.specs import PopulationJob, ScoreJob
from raybench.jobs.stored import StoredPredictions
from raybench.metrics.framework.spec import Estimate
from raybench.scenario.scenario import Scenario
from raybench.scoring import metric_rows
from raybench.storage import tables

SAMPLED = ("forget", "test", "unseen")  # splits whose samples get a row each
NUM_NEIGHBORS = 5
BATCH_NORM_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # accumulated, not learned


class Scorer:
    """A worker that scores: it keeps the predictions it has read."""

    def __init__(self, scenario: Scenario) -> None:
        set_num_threads(scenario.experiment.resources.threads)
        self._scenario = scenario
        self._stored = StoredPredictions(scenario)
        self._known: dict[Any, Mapping[str, Estimate]] = {}
        self._weights = functools.lru_cache(maxsize=2)(self._read_weights)  # the model's and the original's

    def __call__(self, job: ScoreJob) -> None:
        """Write the model's rows if they are missing; metric rows last, since their existence means complete."""
        scenario, store = self._scenario, self._scenario.store
        if store.exists(job.key):
            return
        images, evaluate = scenario.data(), scenario.experiment.evaluate
        models_read = metric_rows.Models(
            self._stored.read,
            job.original,
            job.retrained,
            images.groups,
            images.num_classes,
            images.class_names,
            tuple(scenario.downstream),
            job.untrained,
            self._weights,
            self._known,
        )
        rows = metric_rows.score(job.model.key, chosen_metrics(scenario), evaluate.alphas, models_read)
        samples = sample_table(job.model.id, functools.partial(self._stored.read, job.model.key), evaluate.alphas[0])
        store.write_table(job.samples_key, samples)
        store.write_table(job.key, tables.table("metrics", rows))

    def _read_weights(self, key: str) -> dict[str, np.ndarray]:
        stored = models.read_weights(self._scenario.store.read_archive(f"{key}.pt"), name=key)
        return {name: values.numpy() for name, values in stored.items() if not name.endswith(BATCH_NORM_STATISTICS)}


def read_rows(scenario: Scenario, jobs: Sequence[ScoreJob | PopulationJob]) -> list[metric_rows.Row]:
    """Return the metric rows of every job with the identity of its model or population."""
    return [{**row, **job.model.identity} for job in jobs for row in scenario.store.read_table(job.key).to_pylist()]

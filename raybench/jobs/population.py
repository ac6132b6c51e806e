"""Compare a population of unlearned models with the retrained ones, from stored predictions: epsilon, KLoM, U-LiRA."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raybench.fingerprints import code_fingerprint
from raybench.jobs.plan import POPULATION_ROLES, TrainJob, TrialJob, predictions_keys
from raybench.jobs.predict import StoredPredictions
from raybench.metrics.accuracy import accuracy
from raybench.metrics.functions.epsilon import per_sample
from raybench.metrics.functions.population import Models, population_metrics, read_models
from raybench.scenario.scenario import NUMERICS, Scenario
from raybench.scoring.metric_rows import Row, population_rows
from raybench.storage import tables
from raybench.storage.store import fingerprint


@dataclass(frozen=True)
class PopulationJob:
    """Compare the runs of one method with the retrained models."""

    method: str
    unlearned: tuple[str, ...]
    original: str
    retrained: tuple[str, ...]
    key: str

    @property
    def samples_key(self) -> str:
        return self.key.replace(".parquet", "-samples.parquet")


def jobs(
    scenario: Scenario, trained: Sequence[TrainJob], runs: Mapping[str, Sequence[TrialJob]]
) -> list[PopulationJob]:
    """Return one job per method; runs that failed are left out, and no population is made of none."""
    store = scenario.store
    original = trained[0].key
    retrained = tuple(job.key for job in trained if job.kind == "retrained")
    found = []
    for method, own in runs.items():
        unlearned = tuple(job.key for job in own if store.exists(f"{job.key}.pt"))
        if unlearned:
            members = (*unlearned, original, *retrained)
            read = [
                p for key in members for role in POPULATION_ROLES for *_, p in predictions_keys(scenario, key, role)
            ]
            settings = scenario.experiment.evaluate.population
            mark = fingerprint(
                "population", read, len(unlearned), settings, code_fingerprint(population_metrics), NUMERICS
            )
            found.append(PopulationJob(method, unlearned, original, retrained, f"artifacts/scores/{mark}.parquet"))
    return found


class PopulationScorer:
    """One worker: a scenario, and the predictions that it has read."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._read = StoredPredictions(scenario).read

    def __call__(self, job: PopulationJob) -> None:
        """Write the population's rows where they are missing: per-sample epsilon first, then the statistics."""
        store, settings = self._scenario.store, self._scenario.experiment.evaluate.population
        if store.exists(job.key):
            return
        assert settings is not None
        unlearned, retrained = self._side(job.unlearned), self._side(job.retrained)
        rows: list[Row]
        try:
            found = population_metrics(
                unlearned,
                retrained,
                original=self._side([job.original]),
                delta=settings.delta,
                resamples=settings.resamples,
            )
            rows = population_rows(found)
        except ValueError as error:  # too few models, or logits that are not numbers: the reason is the result
            rows = population_rows({}, reason=str(error))
        store.write_table(job.samples_key, tables.table("samples", self._samples(job, unlearned, retrained)))
        store.write_table(job.key, tables.table("metrics", rows))

    def _side(self, keys: Sequence[str]) -> Models:
        first = self._read(keys[0], "forget")

        def accuracies(role: str) -> np.ndarray:
            stored = [self._read(key, role) for key in keys]
            return np.array([accuracy(found.logits, found.labels).value for found in stored])

        return read_models(
            [self._read(key, "forget").logits for key in keys],
            first.labels,
            retain_accuracy=accuracies("retain"),
            test_accuracy=accuracies("test"),
        )

    def _samples(self, job: PopulationJob, unlearned: Models, retrained: Models) -> list[Row]:
        settings = self._scenario.experiment.evaluate.population
        assert settings is not None
        ids = self._read(job.unlearned[0], "forget").ids
        epsilons = per_sample(unlearned.margins, retrained.margins, settings.delta, estimator="cross_fitted")
        common = {"model": job.key.rsplit("/", 1)[-1].removesuffix(".parquet"), "split": "forget"}
        return [{**common, "id": int(i), "epsilon": float(e)} for i, e in zip(ids, epsilons)]


def read_rows(scenario: Scenario, jobs: Sequence[PopulationJob]) -> list[Row]:
    """Return the rows of every population with the method that it is of."""
    rows: list[Row] = []
    for job in jobs:
        identity = {
            "model": job.key.rsplit("/", 1)[-1].removesuffix(".parquet"),
            "name": f"{job.method}-population",
            "kind": "population",
            "method": job.method,
            "seed": None,
        }
        rows += [{**row, **identity} for row in scenario.store.read_table(job.key).to_pylist()]
    return rows

"""Compare a population of unlearned models with the retrained models: epsilon, KLoM, U-LiRA from predictions."""

from collections.abc import Sequence

import numpy as np

from raybench.engine.devices import set_num_threads
from raybench.jobs.specs import PopulationJob
from raybench.jobs.stored import StoredPredictions
from raybench.metrics.accuracy import accuracy
from raybench.metrics.functions.epsilon import per_sample
from raybench.metrics.functions.population import Models, population_metrics, read_models
from raybench.scenario.scenario import Scenario
from raybench.scoring.metric_rows import Row, population_rows
from raybench.storage import tables


class PopulationScorer:
    """A worker that compares populations: it keeps the predictions it has read."""

    def __init__(self, scenario: Scenario) -> None:
        set_num_threads(scenario.experiment.resources.threads)
        self._scenario = scenario
        self._read = StoredPredictions(scenario).read

    def __call__(self, job: PopulationJob) -> None:
        """Write the population's rows if they are missing: per-sample epsilon first, then the statistics."""
        store, settings = self._scenario.store, self._scenario.experiment.evaluate.population
        if store.exists(job.key):
            return
        assert settings is not None
        unlearned, retrained = self._models(job.unlearned), self._models(job.retrained)
        rows: list[Row]
        try:
            estimates = population_metrics(
                unlearned,
                retrained,
                original=self._models(job.originals),
                delta=settings.delta,
                resamples=settings.resamples,
            )
            rows = population_rows(estimates)
        except ValueError as error:  # too few models, or logits that are not finite: the reason goes into the table
            rows = population_rows({}, reason=str(error))
        store.write_table(job.samples_key, tables.table("samples", self._samples(job, unlearned, retrained)))
        store.write_table(job.key, tables.table("metrics", rows))

    def _models(self, keys: Sequence[str]) -> Models:
        first = self._read(keys[0], "forget")

        def accuracies(role: str) -> np.ndarray:
            stored = [self._read(key, role) for key in keys]
            return np.array([accuracy(predictions.logits, predictions.labels).value for predictions in stored])

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
        common = {"model": job.model.id, "split": "forget"}
        return [{**common, "id": int(i), "epsilon": float(e)} for i, e in zip(ids, epsilons)]

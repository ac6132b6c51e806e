"""Score one model from stored predictions: compute its metric rows and sample rows without loading the model."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from raybench import models
from raybench.engine.devices import set_num_threads
from raybench.engine.prediction import Predictions
from raybench.jobs.plan import chosen_metrics
from raybench.jobs.predict import StoredPredictions
from raybench.jobs.specs import EvaluatedModel, PopulationJob, ScoreJob
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions import signals
from raybench.metrics.functions.conformal_quantile import thresholds
from raybench.metrics.functions.conformal_scores import true_label_scores
from raybench.metrics.functions.conformal_sets import set_members
from raybench.metrics.functions.knn import knn_predict
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
        store.write_table(job.samples_key, self._samples(job.model, evaluate.alphas[0]))
        store.write_table(job.key, tables.table("metrics", rows))

    def _read_weights(self, key: str) -> dict[str, np.ndarray]:
        stored = models.read_weights(self._scenario.store.read_archive(f"{key}.pt"), name=key)
        return {name: values.numpy() for name, values in stored.items() if not name.endswith(BATCH_NORM_STATISTICS)}

    def _samples(self, model: EvaluatedModel, alpha: float) -> pa.Table:
        calibration, retain = self._stored.read(model.key, "calibration"), self._stored.read(model.key, "retain")
        return pa.concat_tables(
            _sample_table(model.id, role, self._stored.read(model.key, role), calibration, retain, alpha)
            for role in SAMPLED
        )


def _sample_table(
    model: str, role: str, predictions: Predictions, calibration: Predictions, retain: Predictions, alpha: float
) -> pa.Table:
    rows = len(predictions.ids)
    columns: dict[str, Any] = {
        "model": pa.array([model] * rows),
        "split": pa.array([role] * rows),
        "id": pa.array(predictions.ids),
    }
    if not all(np.isfinite(part).all() for p in (predictions, calibration, retain) for part in (p.logits, p.features)):
        return tables.cast("samples", pa.table(columns))  # the model diverged: its rows stay empty
    losses = signals.loss(predictions.logits, predictions.labels)
    columns |= {"loss": pa.array(losses), "attack_score": pa.array(-losses)}
    if predictions.labels.ndim == 1:  # margins, prediction sets and votes are defined for one label per sample
        columns["margin"] = pa.array(signals.margin(predictions.logits, predictions.labels))
        columns["alpha"] = pa.array([alpha] * rows)
        held_out = true_label_scores(calibration.logits, calibration.labels, "lac")
        cut = thresholds(held_out, calibration.labels, alpha, num_classes=predictions.logits.shape[1])
        columns["in_prediction_set"] = pa.array(set_members(predictions.logits, predictions.labels, cut)[0][0])
        votes = knn_predict(retain.features, retain.labels, predictions.features, k=min(NUM_NEIGHBORS, len(retain.ids)))
        columns["neighbors_right"] = pa.array(np.asarray(votes) == predictions.labels)
    return tables.cast("samples", pa.table(columns))


def read_rows(scenario: Scenario, jobs: Sequence[ScoreJob | PopulationJob]) -> list[metric_rows.Row]:
    """Return the metric rows of every job with the identity of its model or population."""
    return [{**row, **job.model.identity} for job in jobs for row in scenario.store.read_table(job.key).to_pylist()]

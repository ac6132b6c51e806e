"""Score one model from stored predictions: its metric rows and its sample rows, no model touched."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raybench import models
from raybench.engine.prediction import Predictions
from raybench.jobs.plan import AuditedModel, chosen_metrics, predictions_keys, untrained_model
from raybench.jobs.predict import StoredPredictions
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions import signals
from raybench.metrics.functions.conformal_quantile import thresholds
from raybench.metrics.functions.conformal_scores import true_label_scores
from raybench.metrics.functions.conformal_sets import set_members
from raybench.metrics.functions.knn import knn_predict
from raybench.scenario.scenario import NUMERICS, Scenario
from raybench.scoring import metric_rows
from raybench.storage import tables
from raybench.storage.store import fingerprint

SAMPLED = ("forget", "test", "unseen")  # splits whose samples get a row each
NEIGHBORS = 5
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of BatchNorm: gathered, not learned


@dataclass(frozen=True)
class ScoreJob:
    """Score one model against the original and the retrained models."""

    model: AuditedModel
    original: str
    retrained: tuple[str, ...]
    untrained: str | None
    key: str

    @property
    def samples_key(self) -> str:
        return self.key.replace("/scores/", "/samples/")


def score_jobs(scenario: Scenario, audited: Sequence[AuditedModel]) -> list[ScoreJob]:
    """Return one job per model; its key holds the predictions read, the metrics asked for and the metrics' own code."""
    evaluate = scenario.experiment.evaluate
    chosen = chosen_metrics(scenario)
    code = metric_rows.code_fingerprints(chosen)
    original = next(model.key for model in audited if model.kind == "original")
    retrained = tuple(model.key for model in audited if model.kind == "retrained")
    untrained = untrained_model(scenario)

    def read(key: str) -> list[str]:
        return [piece for role in scenario.roles for _, _, piece in predictions_keys(scenario, key, role)]

    against = [read(original), [read(key) for key in retrained], chosen, code, evaluate.alphas, NUMERICS]
    against += [read(untrained)] if untrained else []
    keys = [f"artifacts/scores/{fingerprint('score', read(model.key), against)}.parquet" for model in audited]
    return [ScoreJob(model, original, retrained, untrained, key) for model, key in zip(audited, keys)]


class Scorer:
    """One worker: a scenario, and the predictions that it has read."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._stored = StoredPredictions(scenario)
        self._known: dict[Any, Mapping[str, Estimate]] = {}
        self._weights = functools.lru_cache(maxsize=2)(self._read_weights)  # the model's and the original's

    def __call__(self, job: ScoreJob) -> None:
        """Write the model's rows where they are missing; metric rows last, since their existence means complete."""
        scenario, store = self._scenario, self._scenario.store
        if store.exists(job.key):
            return
        images, evaluate = scenario.data(), scenario.experiment.evaluate
        compared = metric_rows.Models(
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
        rows = metric_rows.score(job.model.key, chosen_metrics(scenario), evaluate.alphas, compared)
        store.write_table(job.samples_key, self._samples(job.model, evaluate.alphas[0]))
        store.write_table(job.key, tables.table("metrics", rows))

    def _read_weights(self, key: str) -> dict[str, np.ndarray]:
        stored = models.read_weights(self._scenario.store.read_bytes(f"{key}.pt"), name=key)
        return {name: values.numpy() for name, values in stored.items() if not name.endswith(STATISTICS)}

    def _samples(self, model: AuditedModel, alpha: float) -> pa.Table:
        calibration, retain = self._stored.read(model.key, "calibration"), self._stored.read(model.key, "retain")
        mark = model.key.rsplit("/", 1)[-1]
        return pa.concat_tables(
            _sample_table(mark, role, self._stored.read(model.key, role), calibration, retain, alpha)
            for role in SAMPLED
        )


def _sample_table(
    mark: str, role: str, found: Predictions, calibration: Predictions, retain: Predictions, alpha: float
) -> pa.Table:
    rows = len(found.ids)
    columns: dict[str, Any] = {
        "model": pa.array([mark] * rows),
        "split": pa.array([role] * rows),
        "id": pa.array(found.ids),
    }
    if not all(np.isfinite(part).all() for p in (found, calibration, retain) for part in (p.logits, p.features)):
        return tables.cast("samples", pa.table(columns))  # a model that diverged says nothing about its samples
    losses = signals.loss(found.logits, found.labels)
    columns |= {"loss": pa.array(losses), "attack_score": pa.array(-losses)}
    if found.labels.ndim == 1:  # margins, prediction sets and votes are defined for one label per sample
        columns["margin"] = pa.array(signals.margin(found.logits, found.labels))
        columns["alpha"] = pa.array([alpha] * rows)
        held_out = true_label_scores(calibration.logits, calibration.labels, "lac")
        cut = thresholds(held_out, calibration.labels, alpha, num_classes=found.logits.shape[1])
        columns["in_prediction_set"] = pa.array(set_members(found.logits, found.labels, cut)[0][0])
        votes = knn_predict(retain.features, retain.labels, found.features, k=min(NEIGHBORS, len(retain.ids)))
        columns["neighbors_right"] = pa.array(np.asarray(votes) == found.labels)
    return tables.cast("samples", pa.table(columns))


def read_rows(scenario: Scenario, jobs: Sequence[ScoreJob]) -> list[metric_rows.Row]:
    """Return the metric rows of every job with the model that they are of."""
    rows: list[metric_rows.Row] = []
    for job in jobs:
        model = job.model
        identity = {
            "model": model.key.rsplit("/", 1)[-1],
            "name": model.name,
            "kind": model.kind,
            "method": model.method,
            "seed": model.seed,
        }
        rows += [{**row, **identity} for row in scenario.store.read_table(job.key).to_pylist()]
    return rows

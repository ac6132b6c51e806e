"""Predict pieces of splits with many models: images are gathered once for all of them, models stay loaded."""

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from raybench.data.reading.batches import seed_for
from raybench.engine.devices import resolve_precision
from raybench.engine.prediction import Predictions, predict
from raybench.jobs.plan import UNTRAINED_SEED, PredictJob, predictions_keys, untrained_model
from raybench.scenario.scenario import Scenario
from raybench.storage import tables

LOADED = 64  # models that a worker keeps; the least recently used one goes


class Predictor:
    """One worker: a scenario, and the models that it has loaded."""

    def __init__(self, scenario: Scenario) -> None:
        torch.set_num_threads(scenario.experiment.resources.threads)
        self._scenario = scenario
        self._untrained = untrained_model(scenario)
        self._model = functools.lru_cache(maxsize=LOADED)(self._load)

    def _load(self, key: str) -> nn.Module:
        if key == self._untrained:
            return self._scenario.untrained(UNTRAINED_SEED)
        return self._scenario.load(key)

    def __call__(self, job: PredictJob) -> int:
        """Write the piece's predictions of every model that lacks them; return how many files were written."""
        scenario = self._scenario
        split = scenario.role_samples(job.role, scenario.role_ids(job.role)[job.start : job.stop])
        precision = resolve_precision(scenario.experiment.resources.precision, scenario.device)
        written = 0
        for model_key, key in job.models:
            if scenario.store.exists(key):
                continue
            batch_size = scenario.experiment.evaluate.batch_size
            # every model is shown the same draws
            drawn = seed_for("train_view", job.role, job.start) if scenario.is_augmented(job.role) else None
            found = predict(
                self._model(model_key), split, batch_size=batch_size, precision=precision, augment_seed=drawn
            )
            content = as_table(found, model_key.rsplit("/", 1)[-1], job.role)
            scenario.store.write_table(key, tables.noted(content, view=scenario.view_name(job.role)))
            written += 1
        return written


def as_table(found: Predictions, model: str, role: str) -> pa.Table:
    """Return predictions as rows of the `predictions` table; arrays are plain lists."""

    def lists(values: np.ndarray) -> pa.ListArray:
        flat = np.ascontiguousarray(values)
        offsets = np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(offsets, flat.ravel())

    rows = len(found.ids)
    multi_label = found.labels.ndim == 2
    columns = {
        "model": pa.array([model] * rows),
        "split": pa.array([role] * rows),
        "id": pa.array(found.ids),
        "logits": lists(found.logits),
        "features": lists(found.features),
    }
    columns["labels" if multi_label else "label"] = lists(found.labels) if multi_label else pa.array(found.labels)
    return tables.cast("predictions", pa.table(columns))


class StoredPredictions:
    """Reads predictions back by (model, role); keeps what it read, since many metrics ask for the same."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.read = functools.lru_cache(maxsize=None)(self._read)

    def _read(self, model_key: str, role: str) -> Predictions:
        pieces = [
            self._scenario.store.read_table(key) for _, _, key in predictions_keys(self._scenario, model_key, role)
        ]
        content = pa.concat_tables(pieces)
        labels = content["label"]
        given = _matrix(content["labels"]) if labels.null_count else labels.to_numpy()
        return Predictions(content["id"].to_numpy(), given, _matrix(content["logits"]), _matrix(content["features"]))


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    whole = column.combine_chunks()
    return whole.flatten().to_numpy().reshape(len(whole), -1)


def num_passes(jobs: Sequence[PredictJob]) -> int:
    """Return how many (model, piece) forward passes the jobs hold."""
    return sum(len(job.models) for job in jobs)


def all_keys(scenario: Scenario, models: Sequence[str], roles: Sequence[str]) -> list[str]:
    """Return the key of every predictions file of the models, given by key."""
    return [key for model in models for role in roles for _, _, key in predictions_keys(scenario, model, role)]

"""Predict pieces of splits with several models: images are read once for all of them, models stay loaded."""

import functools

import numpy as np
import pyarrow as pa
from torch import nn

from raybench import activity
from raybench.data.reading.batches import seed_for
from raybench.engine.devices import resolve_precision, set_num_threads
from raybench.engine.prediction import Predictions, predict
from raybench.jobs.keys import UNTRAINED_SEED, predictions_keys
from raybench.jobs.plan import untrained_model
from raybench.jobs.specs import PredictJob, model_id
from raybench.scenario.scenario import Scenario
from raybench.storage import tables
from raybench.storage.predicted_arrays import labels_of, matrix

LOADED_MODELS = 64  # kept by a worker; the least recently used one goes


class Predictor:
    """A worker that predicts: it keeps the models it has loaded."""

    def __init__(self, scenario: Scenario) -> None:
        set_num_threads(scenario.experiment.resources.threads)
        self._scenario = scenario
        self._untrained = untrained_model(scenario)
        self._model = functools.lru_cache(maxsize=LOADED_MODELS)(self._load)

    def _load(self, key: str) -> nn.Module:
        if key == self._untrained:
            return self._scenario.untrained(UNTRAINED_SEED)
        return self._scenario.load(key)

    def __call__(self, job: PredictJob) -> int:
        """Write the predictions that are missing for the piece; return how many files were written."""
        with activity.working_on(job.title):
            return self._predict(job)

    def _predict(self, job: PredictJob) -> int:
        scenario = self._scenario
        split = scenario.role_samples(job.role, scenario.role_ids(job.role)[job.start : job.stop])
        precision = resolve_precision(scenario.experiment.resources.precision, scenario.device)
        written = 0
        for number, (model_key, key) in enumerate(job.models):
            activity.advance(0, done=number / len(job.models))
            if scenario.store.exists(key):
                continue
            batch_size = scenario.experiment.evaluate.batch_size
            # all models get the same augmentation draws
            augment_seed = seed_for("train_view", job.role, job.start) if scenario.is_augmented(job.role) else None
            predictions = predict(
                self._model(model_key), split, batch_size=batch_size, precision=precision, augment_seed=augment_seed
            )
            table = as_table(predictions, model_id(model_key), job.role)
            scenario.store.write_table(key, tables.noted(table, view=scenario.view_name(job.role)))
            written += 1
        return written


def as_table(predictions: Predictions, model: str, role: str) -> pa.Table:
    """Return predictions as rows of the `predictions` table; arrays become plain lists."""

    def lists(values: np.ndarray) -> pa.ListArray:
        flat = np.ascontiguousarray(values)
        offsets = np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(offsets, flat.ravel())

    rows = len(predictions.ids)
    multi_label = predictions.labels.ndim == 2
    columns = {
        "model": pa.array([model] * rows),
        "split": pa.array([role] * rows),
        "id": pa.array(predictions.ids),
        "logits": lists(predictions.logits),
        "features": lists(predictions.features),
    }
    columns["labels" if multi_label else "label"] = (
        lists(predictions.labels) if multi_label else pa.array(predictions.labels)
    )
    return tables.cast("predictions", pa.table(columns))


class StoredPredictions:
    """Reads predictions by (model key, role) and keeps them, since many metrics read the same ones."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.read = functools.lru_cache(maxsize=None)(self._read)

    def _read(self, model_key: str, role: str) -> Predictions:
        pieces = [
            self._scenario.store.read_table(key) for _, _, key in predictions_keys(self._scenario, model_key, role)
        ]
        content = pa.concat_tables(pieces)
        return Predictions(
            content["id"].to_numpy(),
            labels_of(content),
            matrix(content["logits"]),
            matrix(content["features"]),
        )

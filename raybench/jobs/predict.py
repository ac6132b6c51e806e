"""Predict pieces of splits with several models: images are read once for all of them, models stay loaded."""

import functools

from torch import nn

from raybench import activity
from raybench.data.reading.batches import seed_for
from raybench.engine.devices import resolve_precision, set_num_threads
from raybench.engine.prediction import predict
from raybench.jobs.keys import UNTRAINED_SEED
from raybench.jobs.piece_files import predictions_table
from raybench.jobs.plan import untrained_model
from raybench.jobs.specs import PredictJob, StreamJob, model_id
from raybench.jobs.stored import StoredPredictions
from raybench.jobs.stream import stream_piece
from raybench.scenario.scenario import Scenario
from raybench.storage import tables

LOADED_MODELS = 64  # kept by a worker; the least recently used one goes


class Predictor:
    """A worker that predicts: it keeps the models it has loaded."""

    def __init__(self, scenario: Scenario) -> None:
        set_num_threads(scenario.experiment.resources.threads)
        self._scenario = scenario
        self._untrained = untrained_model(scenario)
        self._stored = StoredPredictions(scenario)
        self._model = functools.lru_cache(maxsize=LOADED_MODELS)(self._load)

    def _load(self, key: str) -> nn.Module:
        if key == self._untrained:
            return self._scenario.untrained(UNTRAINED_SEED)
        return self._scenario.load(key)

    def __call__(self, job: PredictJob | StreamJob) -> int:
        """Write what is missing for the piece; return of how many models."""
        with activity.working_on(job.title):
            if isinstance(job, StreamJob):
                return stream_piece(self._scenario, job, self._model, self._stored)
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
            table = predictions_table(predictions, model_id(model_key), job.role)
            scenario.store.write_table(key, tables.noted(table, view=scenario.view_name(job.role)))
            written += 1
        return written

"""Test predictions as artifacts: one file per model and piece, written once, read back unchanged."""

import os

import numpy as np
import pyarrow as pa
import pytest

from raybench.data.splits import ROLES
from raybench.engine.prediction import Predictions, predict
from raybench.jobs import plan
from raybench.jobs.keys import all_predictions, predictions_keys
from raybench.jobs.piece_files import predictions_table
from raybench.jobs.predict import Predictor
from raybench.jobs.prediction_plan import predict_jobs
from raybench.jobs.specs import EvaluatedModel, PredictJob
from raybench.jobs.stored import StoredPredictions
from raybench.storage import tables
from raybench.storage.predicted_arrays import labels_of


def test_stored_predictions_are_those_of_the_model(trained, evaluated):
    scenario = trained.scenario
    stored = StoredPredictions(scenario)
    for role in ROLES:
        expected = predict(scenario.load(trained.original), scenario.split(role))
        predictions = stored.read(trained.original, role)
        for name in ("ids", "labels", "logits", "features"):
            assert np.array_equal(getattr(predictions, name), getattr(expected, name))


def test_predicting_again_writes_nothing(trained, evaluated):
    scenario = trained.scenario
    keys = all_predictions(scenario, [m.key for m in evaluated.audited], ROLES)
    before = [os.stat(scenario.store.path(key)).st_mtime_ns for key in keys]
    predictor = Predictor(scenario)
    pairs = tuple((model.key, predictions_keys(scenario, model.key, "test")[0][2]) for model in evaluated.audited)
    assert predictor(PredictJob("test", 0, 100, pairs)) == 0
    assert [os.stat(scenario.store.path(key)).st_mtime_ns for key in keys] == before


def test_only_the_models_that_lack_a_piece_are_asked(make_scenario, trained):
    scenario = make_scenario(data__sizes__unseen=90)
    audited = plan.evaluated_models(trained.jobs, [])
    jobs = [job for job in predict_jobs(scenario, audited) if job.finished(scenario.store) < job.units]
    assert {job.role for job in jobs} == {"unseen"}
    # and the untrained model, which a metric compares with
    assert sum(job.units - job.finished(scenario.store) for job in jobs) == len(audited) + 1
    assert Predictor(scenario)(jobs[0]) == len(audited) + 1
    assert all(job.finished(scenario.store) == job.units for job in predict_jobs(scenario, audited))


def test_pieces_are_put_together_in_id_order(trained, monkeypatch, tmp_path):
    scenario = trained.scenario
    whole = StoredPredictions(scenario).read(trained.original, "retain")
    monkeypatch.setattr("raybench.jobs.keys.PIECE", 50)
    pieces = predictions_keys(scenario, trained.original, "retain")
    jobs = [PredictJob("retain", *piece[:2], ((trained.original, f"{tmp_path.name}/{piece[2]}"),)) for piece in pieces]
    for job in reversed(jobs):
        Predictor(scenario)(job)
    found = [scenario.store.read_table(job.models[0][1]) for job in jobs]
    assert [len(piece) for piece in found] == [50, 50, 50, 10]
    assert np.array_equal(pa.concat_tables(found)["id"].to_numpy(), whole.ids)


@pytest.mark.parametrize("multi_label", [False, True])
def test_arrays_are_lists_in_the_file_and_come_back_exactly(trained, monkeypatch, multi_label):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (7, 3)).astype(np.uint8) if multi_label else np.arange(7) % 3
    predictions = Predictions(
        np.arange(7) * 2, labels, random.normal(size=(7, 3)).astype("f4"), random.normal(size=(7, 5)).astype("f4")
    )
    content = predictions_table(predictions, "m", "forget")
    assert content.schema.equals(tables.SCHEMAS["predictions"])
    assert content["logits"][0].as_py() == [float(value) for value in predictions.logits[0]]
    trained.scenario.store.write_table("test_predict/one.parquet", content)
    monkeypatch.setattr("raybench.jobs.keys.predictions_keys", lambda *_: [(0, 7, "test_predict/one.parquet")])
    read_back = StoredPredictions(trained.scenario).read("m", "forget")
    for name in ("logits", "features"):
        assert np.array_equal(getattr(read_back, name), getattr(predictions, name))
    assert np.array_equal(content["id"].to_numpy(), predictions.ids)
    assert np.array_equal(labels_of(content), predictions.labels)


def test_a_model_is_loaded_once_and_a_prediction_is_read_once(trained, evaluated, monkeypatch):
    loaded = []
    load = type(trained.scenario).load
    monkeypatch.setattr(type(trained.scenario), "load", lambda self, key: loaded.append(key) or load(self, key))
    predictor = Predictor(trained.scenario)
    for start in (0, 10, 20):
        predictor(PredictJob("test", start, start + 10, ((trained.original, f"test_predict/{start}.parquet"),)))
    assert loaded == [trained.original]
    stored = StoredPredictions(trained.scenario)
    assert stored.read(trained.original, "test").logits is stored.read(trained.original, "test").logits


def test_ids_and_labels_are_those_of_the_stored_rows(trained, evaluated):
    stored = StoredPredictions(trained.scenario).read(trained.original, "unseen")
    pieces = [
        trained.scenario.store.read_table(key)
        for *_, key in predictions_keys(trained.scenario, trained.original, "unseen")
    ]
    assert np.array_equal(stored.ids, pa.concat_tables(pieces)["id"].to_numpy())
    assert np.array_equal(stored.labels, pa.concat_tables(pieces)["label"].to_numpy())


# -- the view of the training samples ----------------------------------------------------------------------------------

AUGMENTED = {"train__augment": ["crop", "flip"], "evaluate__train_view": "augmented"}


def run_predictions(scenario, *keys):
    audited = [EvaluatedModel(str(number), "unlearned", "m", number, key) for number, key in enumerate(keys)]
    for job in predict_jobs(scenario, audited):
        Predictor(scenario)(job)
    return StoredPredictions(scenario)


def test_only_what_was_trained_on_is_predicted_through_the_training_augmentation(make_scenario, trained):
    clean = StoredPredictions(trained.scenario)
    augmented = run_predictions(make_scenario(**AUGMENTED), trained.original)
    for role in ROLES:
        one, other = (stored.read(trained.original, role) for stored in (clean, augmented))
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.logits, other.logits) == (role not in ("retain", "forget"))


def test_the_draws_are_the_same_for_every_model_and_every_run(make_scenario, trained):
    scenario = make_scenario(**AUGMENTED)
    store = scenario.store
    twin = "artifacts/models/twin"
    store.write_bytes(f"{twin}.pt", store.read_bytes(f"{trained.original}.pt"))
    first = run_predictions(scenario, trained.original, twin)
    one, other = (first.read(key, "forget").logits for key in (trained.original, twin))
    assert np.array_equal(one, other)
    for *_, key in predictions_keys(scenario, twin, "forget"):
        store.delete(key)
    assert np.array_equal(run_predictions(scenario, twin).read(twin, "forget").logits, one)


def test_an_augmented_view_stands_under_its_own_key_and_says_so(make_scenario, trained):
    def keys(**changes):
        scenario = make_scenario(**changes)
        return {role: predictions_keys(scenario, trained.original, role)[0][2] for role in ROLES}

    clean, augmented = keys(), keys(**AUGMENTED)
    assert {role for role in ROLES if clean[role] != augmented[role]} == {"retain", "forget"}
    # what is drawn depends on the batches, what is not drawn does not
    other = keys(**AUGMENTED, evaluate__batch_size=64)
    assert {role for role in ROLES if other[role] != augmented[role]} == {"retain", "forget"}
    assert keys(evaluate__batch_size=64) == clean
    assert keys(evaluate__train_view="augmented") == clean  # nothing is augmented in training
    scenario = make_scenario(**AUGMENTED)
    run_predictions(scenario, trained.original)
    notes = [
        scenario.store.read_table(augmented[role]).schema.metadata[b"raybench_view"] for role in ("forget", "test")
    ]
    assert notes == [b"augmented: crop, flip", b"clean"]

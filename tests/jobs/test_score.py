"""Test the scoring of one model from its stored predictions."""

import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score

from raybench import models
from raybench.jobs import plan
from raybench.jobs.plan import score_jobs
from raybench.jobs.predict import Predictor
from raybench.jobs.prediction_plan import predict_jobs
from raybench.jobs.score import SAMPLED, Scorer, read_rows
from raybench.jobs.specs import EvaluatedModel
from raybench.jobs.stored import StoredPredictions
from raybench.metrics.divergence import zrf
from raybench.metrics.functions import signals
from raybench.metrics.functions.knn import knn_predict
from raybench.storage import tables


@pytest.fixture(scope="module")
def rows(trained, evaluated):
    return read_rows(trained.scenario, evaluated.jobs)


def test_every_model_has_every_metric_of_the_experiment(rows, evaluated):
    expected = {(row["metric"], row["split"], row["setting"]) for row in rows}
    assert {metric for metric, _, _ in expected} >= {"accuracy", "mia_auc", "cr", "knn", "cka_to_retrained"}
    assert {setting for metric, _, setting in expected if metric == "cr"} == {"alpha=0.1", "alpha=0.3"}
    for model in evaluated.audited:
        of_model = [row for row in rows if row["model"] == model.key.rsplit("/")[-1]]
        assert {(row["metric"], row["split"], row["setting"]) for row in of_model} == expected
        assert {(row["name"], row["kind"], row["method"], row["seed"]) for row in of_model} == {
            (model.name, model.kind, model.method, model.seed)
        }


def test_every_row_has_a_number_with_its_n_and_interval_or_a_reason(rows):
    for row in rows:
        assert (row["value"] is None) == (row["reason"] is not None)
        if row["value"] is not None:
            assert math.isfinite(row["value"])
            assert row["n"] > 0
            assert row["interval"]
            assert row["low"] is None or row["low"] <= row["value"] <= row["high"]


def test_accuracy_is_that_of_the_predictions(rows, trained):
    stored = StoredPredictions(trained.scenario)
    for role in ("retain", "forget", "test", "unseen"):
        predictions = stored.read(trained.original, role)
        (row,) = [r for r in rows if r["name"] == "original" and r["metric"] == "accuracy" and r["split"] == role]
        assert row["value"] == pytest.approx(accuracy_score(predictions.labels, predictions.logits.argmax(1)))
        assert row["n"] == len(predictions.ids)


def test_an_untrained_model_is_predicted_for_the_metric_that_asks_and_is_nowhere_stored(rows, trained):
    scenario = trained.scenario
    key = plan.untrained_model(scenario)
    predictions = StoredPredictions(scenario).read(key, "forget")
    original = StoredPredictions(scenario).read(trained.original, "forget")
    (row,) = [r for r in rows if r["name"] == "original" and r["metric"] == "zrf" and r["split"] == "forget"]
    assert row["value"] == pytest.approx(zrf(original.logits, predictions.logits).value)
    assert row["reference"] == "untrained"
    assert not scenario.store.exists(f"{key}.pt")
    changed = scenario.experiment.evaluate.model_copy(update={"metrics": ["accuracy"]})
    experiment = scenario.experiment.model_copy(update={"evaluate": changed})
    assert plan.untrained_model(replace(scenario, experiment=experiment)) is None


def test_weights_are_compared_without_what_batchnorm_gathers(rows, trained):
    distances = [r for r in rows if r["metric"] == "weight_distance_to_original"]
    (untouched,) = [r for r in distances if r["name"] == "original"]
    learned = sum(p.numel() for p in trained.scenario.load(trained.original).parameters())
    assert (untouched["value"], untouched["n"]) == (0, learned)
    assert all(r["value"] > 0 for r in distances if r["name"] != "original")


def test_samples_hold_what_the_predictions_say_about_each(trained, evaluated):
    job, stored = evaluated.jobs[0], StoredPredictions(trained.scenario)
    frame = trained.scenario.store.read_table(job.samples_key).to_pandas()
    assert set(frame.split) == set(SAMPLED)
    retain = stored.read(trained.original, "retain")
    for role in SAMPLED:
        of_split, predictions = frame[frame.split == role], stored.read(trained.original, role)
        assert of_split.id.tolist() == predictions.ids.tolist()
        assert np.allclose(of_split.loss, signals.loss(predictions.logits, predictions.labels))
        assert np.allclose(of_split.attack_score, -of_split.loss)
        picked = np.take_along_axis(predictions.logits, predictions.labels[:, None], axis=1)[:, 0]
        others = np.where(np.arange(10) == predictions.labels[:, None], -np.inf, predictions.logits).max(axis=1)
        assert np.allclose(of_split.margin, picked - others, atol=1e-5)
        votes = knn_predict(retain.features, retain.labels, predictions.features, k=5)
        assert of_split.neighbors_right.tolist() == (votes == predictions.labels).tolist()
    assert set(frame.alpha) == {0.1}


def test_prediction_sets_of_the_samples_cover_unseen_labels_about_as_often_as_promised(trained, evaluated):
    frame = trained.scenario.store.read_table(evaluated.jobs[0].samples_key).to_pandas()
    covered = frame[frame.split.isin(["test", "unseen"])].in_prediction_set.astype(float)
    assert covered.mean() == pytest.approx(0.9, abs=0.1)  # 200 samples, 60 for calibration


def test_scoring_again_writes_nothing(trained, evaluated):
    store = trained.scenario.store
    keys = [key for job in evaluated.jobs for key in (job.key, job.samples_key)]
    before = [os.stat(store.path(key)).st_mtime_ns for key in keys]
    scorer = Scorer(trained.scenario)
    for job in evaluated.jobs:
        scorer(job)
    assert [os.stat(store.path(key)).st_mtime_ns for key in keys] == before


def test_a_score_is_a_function_of_the_stored_predictions_alone(trained, evaluated, monkeypatch):
    job, store = evaluated.jobs[1], trained.scenario.store
    before = store.read_table(job.key)
    store.delete(job.key)
    monkeypatch.setattr(type(trained.scenario), "load", None)
    monkeypatch.setattr(type(trained.scenario), "fresh", None)
    Scorer(trained.scenario)(job)
    assert store.read_table(job.key).equals(before)


def test_samples_are_written_before_the_rows_that_say_the_score_is_complete(trained, evaluated, monkeypatch):
    job, store = evaluated.jobs[2], trained.scenario.store
    store.delete(job.key)
    written = []
    write = type(store).write_table
    monkeypatch.setattr(type(store), "write_table", lambda self, key, t: written.append(key) or write(self, key, t))
    Scorer(trained.scenario)(job)
    assert written == [job.samples_key, job.key]


def test_a_model_that_diverged_has_reasons_and_no_numbers(trained, evaluated):
    scenario = trained.scenario
    model = scenario.fresh(0)
    torch.nn.init.constant_(model[-1].weight, math.nan)
    key = "artifacts/models/diverged"
    scenario.store.write_archive(f"{key}.pt", models.to_bytes(model))
    audited = [*evaluated.audited, EvaluatedModel("diverged-1", "unlearned", "diverged", 1, key)]
    for job in predict_jobs(scenario, audited):
        Predictor(scenario)(job)
    (job,) = [job for job in score_jobs(scenario, audited) if job.model.key == key]
    Scorer(scenario)(job)
    for row in read_rows(scenario, [job]):
        if row["metric"].startswith(("accuracy", "mia", "cr")):
            assert row["value"] is None
            assert "NaN" in row["reason"] or "finite" in row["reason"]
    samples = scenario.store.read_table(job.samples_key)
    assert samples.schema.equals(tables.SCHEMAS["samples"])
    assert samples["loss"].null_count == samples["margin"].null_count == len(samples) == 40 + 100 + 100

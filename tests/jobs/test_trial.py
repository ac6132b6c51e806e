"""Test one trial: its record, whatever the method does, and that it reads no test data."""

import json
import os

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import raybench.jobs.trial as module
from raybench import models
from raybench.data.reading.batches import ResidentSplit
from raybench.engine.audit import AUDIT_FIELDS, objective
from raybench.errors import UserError
from raybench.jobs import plan
from raybench.jobs.train import train_job
from raybench.jobs.trial import stopped_record, trial_job
from raybench.methods.framework.ledger import Ledger
from raybench.storage.errors import StorageError


@pytest.fixture
def run(trained, make_scenario, tmp_path):
    """Run one method with one setting as a trial; return its job and its record."""

    def go(method, *, seed=5, phase="search", changes=None, report=None, original=None, **setting):
        scenario = make_scenario(**(changes or {}))
        folder = f"artifacts/{tmp_path.name}"
        job = plan.trial_job(scenario, trained.original, method, setting, seed=seed, phase=phase, folder=folder)
        record = trial_job(scenario, job, trained.retrained, report=report, original=original)
        return job, record

    return go


def plain(record):
    """Return the record after a round trip through JSON, which turns tuples into lists."""
    return json.loads(json.dumps(record))


def without_times(record):
    record = plain(record)
    for ledger in (record["ledger"], *record["epochs"]):
        ledger.pop("seconds", None)
    return {key: value for key, value in record.items() if key != "key"}


def test_a_finished_trial_has_a_row_per_epoch_an_audit_and_what_it_cost(run, trained):
    job, record = run("finetune", epochs=2, lr=0.01, batch_size=40)
    assert plain(record) == trained.scenario.store.read_json(f"{job.key}.json")
    assert (record["status"], record["reason"]) == ("finished", None)
    assert [row["epoch"] for row in record["epochs"]] == [0, 1]
    assert record["audit"] == {key: record["epochs"][-1][key] for key in AUDIT_FIELDS}
    assert record["ledger"]["samples_forward"] == record["ledger"]["samples_backward"] == 2 * 160
    assert [row["steps"] for row in record["epochs"]] == [4, 8]
    assert record["ledger"]["seconds"] > 0


def test_a_record_holds_what_was_given_and_every_default_beside_it(run):
    _, record = run("finetune", lr=0.02, epochs=1)
    assert record["setting"] == {"lr": 0.02, "epochs": 1}
    assert record["hyperparameters"].items() >= {"lr": 0.02, "epochs": 1, "batch_size": 64, "momentum": 0.9}.items()


def test_a_trial_that_aims_at_ideals_reports_the_gap_to_them_and_is_the_same_trial(run, trained):
    heard = []
    _, record = run("finetune", lr=0.02, epochs=1, changes={"sweep__objective": "gap_to_ideal"}, report=heard.append)
    audit, original = record["audit"], trained.records[0]["audit"]
    differences = [audit[part] - original[part] for part in ("retain_accuracy", "validation_accuracy")]
    differences += [audit["forget_accuracy"] - audit["validation_accuracy"], audit["mia_auc"] - 0.5]
    assert heard[-1]["objective"] == pytest.approx(100 * np.mean(np.abs(differences)))
    assert run("finetune", lr=0.02, epochs=1)[1]["audit"] == audit


def test_a_second_call_runs_nothing_and_changes_no_file(run, trained, monkeypatch):
    job, record = run("finetune", epochs=1, phase="final")
    store = trained.scenario.store
    before = [os.stat(store.path(f"{job.key}{suffix}")).st_mtime_ns for suffix in (".json", ".pt")]
    monkeypatch.setattr(module, "_run", None)
    assert run("finetune", epochs=1, phase="final") == (job, plain(record))
    assert [os.stat(store.path(f"{job.key}{suffix}")).st_mtime_ns for suffix in (".json", ".pt")] == before


def test_another_seed_is_another_trial_with_another_result(run):
    (one, first), (other, second) = run("finetune", epochs=1, seed=1), run("finetune", epochs=1, seed=2)
    assert one.key != other.key
    assert first["audit"] != second["audit"]


def test_a_trial_repeats_bit_for_bit(trained, make_scenario, tmp_path):
    records, weights = [], []
    for attempt in ("a", "b"):
        folder = f"artifacts/{tmp_path.name}-{attempt}"
        job = plan.trial_job(
            trained.scenario, trained.original, "scrub", {"epochs": 2}, seed=3, phase="final", folder=folder
        )
        records.append(trial_job(trained.scenario, job, trained.retrained))
        weights.append(models.read_weights(trained.scenario.store.read_bytes(f"{job.key}.pt")))
    assert without_times(records[0]) == without_times(records[1])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_weights_that_are_handed_over_are_the_ones_in_the_store_and_stay_as_they_are(run, trained):
    original = models.read_weights(trained.scenario.store.read_bytes(f"{trained.original}.pt"))
    before = {key: value.clone() for key, value in original.items()}
    _, handed = run("finetune", epochs=1, original=original)
    _, read = run("finetune", epochs=1, seed=5, changes={"name": "other"})
    assert handed["audit"] == read["audit"]
    assert all(torch.equal(before[key], original[key]) for key in original)


def test_only_final_runs_keep_their_model(run, trained):
    search, _ = run("gradient_ascent", epochs=1, lr=1e-4)
    final, record = run("gradient_ascent", epochs=1, lr=1e-4, phase="final", seed=6)
    store = trained.scenario.store
    assert not store.exists(f"{search.key}.pt")
    assert store.exists(f"{final.key}.pt")
    model = trained.scenario.load(final.key)
    assert module.audit(model, trained.scenario.audit_splits()) == record["audit"]


def test_a_method_that_raises_is_a_failed_trial_with_its_traceback(run, own_methods):
    _, record = run(f"{own_methods}.crash")
    assert record["status"] == "failed"
    assert record["reason"] == "ZeroDivisionError: the method's own fault"
    assert "own_tiny_methods.py" in record["traceback"]
    assert record["audit"] is None
    assert record["epochs"] == []


def test_a_method_that_is_not_defined_for_the_model_is_a_failed_trial_with_the_reason(run, monkeypatch):
    def refuse(*_):
        raise UserError("not defined for this network")

    monkeypatch.setattr(module, "run", refuse)
    _, record = run("finetune")
    assert record["status"] == "failed"
    assert "not defined for this network" in record["reason"]


@pytest.mark.parametrize("error", [StorageError("the disk is full"), MemoryError()])
def test_a_failure_of_the_machine_is_no_result_of_the_method(run, trained, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(module, "run", fail)
    with pytest.raises(type(error)):
        run("finetune", epochs=1)
    monkeypatch.undo()
    assert run("finetune", epochs=1)[1]["status"] == "finished"


def test_a_trial_that_turns_to_nan_is_stopped_at_once_with_the_reason(run, own_methods):
    _, record = run(f"{own_methods}.explode", epochs=3)
    assert record["status"] == "stopped"
    assert record["reason"] == "diverged: the loss is not a finite number"
    assert len(record["epochs"]) == 1


def test_a_collapsed_trial_is_stopped_at_once_unless_the_experiment_says_otherwise(run, own_methods):
    _, record = run(f"{own_methods}.wipe", epochs=3)
    assert record["status"] == "stopped"
    assert record["reason"].startswith("collapsed: retain accuracy")
    assert len(record["epochs"]) == 1
    _, whole = run(f"{own_methods}.wipe", epochs=3, changes={"sweep__stop_collapsed": False})
    assert len(whole["epochs"]) == 3


def test_a_one_shot_method_is_audited_after_its_edit(run, own_methods, trained):
    _, record = run(f"{own_methods}.shift", by=0.05)
    assert len(record["epochs"]) == 1
    assert record["audit"]["retain_loss"] != trained.records[0]["audit"]["retain_loss"]


def test_retrain_is_a_retrained_model_of_the_same_seed_bit_for_bit(run, trained):
    twin = trained.jobs[1]
    job, record = run("retrain", seed=twin.seed, phase="final")
    store = trained.scenario.store
    mine, theirs = (models.read_weights(store.read_bytes(f"{key}.pt")) for key in (job.key, twin.key))
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert record["audit"] == trained.records[1]["audit"]
    for name in ("samples_forward", "samples_backward", "steps"):
        assert record["ledger"][name] == trained.records[1][name]


@pytest.mark.parametrize("recipe", [{"lr": 0.03, "epochs": 1}, {"augment": ["flip"]}], ids=["rate", "augmentation"])
def test_retrain_follows_the_recipe_of_the_retrained_models_where_they_have_their_own(run, make_scenario, recipe):
    changes = {"train__retrained": recipe}
    scenario = make_scenario(**changes)
    twin = plan.train_jobs(scenario)[1]
    theirs = train_job(scenario, twin)
    job, record = run("retrain", seed=twin.seed, phase="final", changes=changes)
    mine, other = (models.read_weights(scenario.store.read_bytes(f"{key}.pt")) for key in (job.key, twin.key))
    assert all(torch.equal(mine[key], other[key]) for key in other)
    for name in ("samples_forward", "samples_backward", "steps"):
        assert record["ledger"][name] == theirs[name]


def test_retrain_keeps_the_recipes_precision_whatever_the_trials_have(run, trained):
    job, _ = run("retrain", seed=trained.jobs[1].seed, phase="final", changes={"resources__precision": "bf16"})
    store = trained.scenario.store
    mine, theirs = (models.read_weights(store.read_bytes(f"{key}.pt")) for key in (job.key, trained.jobs[1].key))
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_retrain_is_not_stopped_for_starting_at_chance(run):
    _, record = run("retrain", changes={"train__epochs": 3, "train__lr": 1e-6})
    assert len(record["epochs"]) == 3


def test_a_trial_touches_no_test_calibration_or_unseen_sample(run, trained, monkeypatch):
    splits = trained.scenario.splits()
    hidden = np.concatenate([splits.ids(role) for role in ("test", "calibration", "unseen")])
    batch = ResidentSplit.batch

    def guarded(self, positions, *, generator):
        if np.isin(self.ids[np.asarray(positions)], hidden).any():
            raise RuntimeError("a hidden sample was read")
        return batch(self, positions, generator=generator)

    monkeypatch.setattr(ResidentSplit, "batch", guarded)
    for method in ("scrub", "salun", "retrain", "cpu"):
        _, record = run(method)
        assert record["status"] != "failed", record["traceback"]


def test_cpu_runs_as_a_trial_that_calibrates_on_validation_samples(run, trained, monkeypatch):
    batches = []
    batch = ResidentSplit.batch

    def watched(self, positions, *, generator):
        batches.append((generator is None, self.ids[np.asarray(positions)]))
        return batch(self, positions, generator=generator)

    monkeypatch.setattr(ResidentSplit, "batch", watched)
    _, record = run("cpu", epochs=2, lr=0.01, delta=0.02)
    assert (record["status"], record["reason"]) == ("finished", None)
    assert record["hyperparameters"]["base"] == "finetune"
    validation = trained.scenario.splits().ids("validation")
    calibrated = np.concatenate([ids for plain_view, ids in batches if plain_view and np.isin(ids, validation).all()])
    assert set(calibrated) == set(validation)
    # each epoch one forward of every calibration sample, which nothing is trained on
    assert record["ledger"]["samples_forward"] - record["ledger"]["samples_backward"] == 2 * len(validation)
    assert run("finetune", epochs=2, lr=0.01)[1]["audit"] != record["audit"]


# -- trials that a scheduler ends --------------------------------------------------------------------------------------


class Ended(BaseException):
    """Simulates a scheduler that ends the process."""


def test_epochs_are_reported_and_those_so_far_survive_the_end_of_the_process(run, trained, make_scenario, tmp_path):
    heard = []

    def report(row):
        heard.append(row)
        if len(heard) == 2:
            raise Ended

    with pytest.raises(Ended):
        run("finetune", epochs=4, lr=0.01, report=report, changes={"sweep__scheduler": "asha"})
    scenario = make_scenario(sweep__scheduler="asha")
    setting = {"epochs": 4, "lr": 0.01}
    folder = f"artifacts/{tmp_path.name}"
    job = plan.trial_job(scenario, trained.original, "finetune", setting, seed=5, phase="search", folder=folder)
    record = stopped_record(scenario, job)
    assert (record["status"], record["reason"]) == ("stopped", "by asha")
    assert [row["epoch"] for row in record["epochs"]] == [0, 1]
    assert record["audit"] == {key: heard[-1][key] for key in AUDIT_FIELDS}
    assert set(record["ledger"]) == set(Ledger().as_dict())
    assert heard[-1]["objective"] == pytest.approx(objective("gap_to_retrained", record["audit"], trained.retrained))
    assert not scenario.store.exists(f"{job.key}.partial")
    assert trial_job(scenario, job, trained.retrained) == plain(record)


def test_a_trial_whose_worker_died_too_often_is_a_failed_row(trained, tmp_path):
    job = plan.trial_job(
        trained.scenario, trained.original, "finetune", {}, seed=1, phase="search", folder=f"artifacts/{tmp_path.name}"
    )
    record = stopped_record(trained.scenario, job)
    assert record["status"] == "failed"
    assert "died more than 3 times" in record["reason"]
    assert plain(record) == trained.scenario.store.read_json(f"{job.key}.json")


def test_a_finished_trial_leaves_no_partial_file(run, trained):
    job, record = run("finetune", epochs=2, report=lambda row: None)
    assert record["status"] == "finished"
    assert not trained.scenario.store.exists(f"{job.key}.partial")


def test_curves_and_hyperparameters_reach_tensorboard(run, trained):
    job, record = run("finetune", epochs=2, lr=0.03)
    folder = trained.scenario.store.path(
        f"{trained.scenario.folder}/tensorboard/sweep/finetune/{job.key.rsplit('/')[-1][:8]}"
    )
    events = EventAccumulator(folder).Reload()
    curve = [event.value for event in events.Scalars("retain/accuracy")]
    assert curve == pytest.approx([row["retain_accuracy"] for row in record["epochs"]], rel=1e-5)
    session = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"lr" in session
    assert b"finetune" in session

"""Test the relearning job: its record, its key, its rows in the metrics table."""

import os
import sys

import pandas as pd
import pytest
from rich.console import Console

from raybench import models
from raybench.config.schema import Experiment
from raybench.distributed.cluster import Cluster
from raybench.engine.audit import measure
from raybench.jobs.plan import relearn_jobs
from raybench.jobs.relearn import Relearner, read_rows
from raybench.jobs.specs import EvaluatedModel
from raybench.pipeline.collect import collect_tables
from raybench.pipeline.stages import execute, relearn_stage
from raybench.progress import Reporter
from raybench.scoring.metric_rows import with_gaps

SETTINGS = {"lr": 0.1, "max_epochs": 8, "batch_size": 20}


@pytest.fixture(scope="module")
def probed(make_scenario, trained, evaluated):
    scenario = make_scenario(evaluate__relearning=SETTINGS)
    jobs = relearn_jobs(scenario, evaluated.audited)
    weights = {job.key: scenario.store.read_bytes(f"{job.model.key}.pt") for job in jobs}
    listed = scenario.store.keys("artifacts/models")
    worker = Relearner(scenario)
    for job in jobs:
        worker(job)
    assert scenario.store.keys("artifacts/models") == listed
    assert weights == {job.key: scenario.store.read_bytes(f"{job.model.key}.pt") for job in jobs}
    return scenario, jobs


def test_an_experiment_that_does_not_ask_for_it_has_no_job(trained, evaluated):
    assert trained.scenario.experiment.evaluate.relearning is None
    assert relearn_jobs(trained.scenario, evaluated.audited) == []
    assert read_rows(trained.scenario, []) == []


def test_every_model_of_the_leaderboard_is_probed_and_the_original_has_nothing_to_relearn(probed, evaluated):
    scenario, jobs = probed
    assert [job.model for job in jobs] == evaluated.audited
    assert len({job.key for job in jobs}) == len(jobs)
    records = {job.model.name: scenario.store.read_json(job.key) for job in jobs}
    original = records["original"]
    assert (original["epochs"], original["samples"], original["reached"]) == (0, 0, True)
    for record in records.values():
        assert record["target_accuracy"] == pytest.approx(original["curve"][0] - 0.01)
        assert record["samples"] == 40 * record["epochs"]
        assert record["reached"] == (record["curve"][-1] >= record["target_accuracy"])


def test_the_curve_starts_where_the_stored_model_is(probed):
    scenario, jobs = probed
    for job in jobs[:3]:
        accuracy, _ = measure(scenario.load(job.model.key), scenario.split("forget"))
        assert scenario.store.read_json(job.key)["curve"][0] == accuracy


def test_probing_again_writes_nothing(probed):
    scenario, jobs = probed
    before = [os.stat(scenario.store.path(job.key)).st_mtime_ns for job in jobs]
    worker = Relearner(scenario)
    for job in jobs:
        worker(job)
    assert [os.stat(scenario.store.path(job.key)).st_mtime_ns for job in jobs] == before


@pytest.mark.parametrize(
    "change", [{"lr": 0.05}, {"max_epochs": 9}, {"tolerance": 0.1}, {"seed": 1}, {"batch_size": 9}]
)
def test_another_setting_is_another_probe(make_scenario, evaluated, probed, change):
    scenario = make_scenario(evaluate__relearning={**SETTINGS, **change})
    keys = {job.key for job in relearn_jobs(scenario, evaluated.audited)}
    assert keys.isdisjoint(job.key for job in probed[1])


def test_what_else_is_evaluated_does_not_make_the_probe_stale(make_scenario, evaluated, probed):
    scenario = make_scenario(evaluate__relearning=SETTINGS, evaluate__alphas=[0.2], evaluate__metrics=["accuracy"])
    assert relearn_jobs(scenario, evaluated.audited) == probed[1]


def test_rows_have_a_number_or_the_reason_and_a_gap_to_the_retrained(probed):
    scenario, jobs = probed
    rows = with_gaps(read_rows(scenario, jobs))
    assert len(rows) == 2 * len(jobs)
    assert {row["metric"] for row in rows} == {"relearning_epochs", "relearning_samples"}
    retrained = [row["value"] for row in rows if row["kind"] == "retrained" and row["metric"] == "relearning_epochs"]
    assert None not in retrained
    for row in rows:
        assert (row["value"] is None) == (row["reason"] is not None)
        assert (row["split"], row["direction"], row["n"], row["interval"]) == ("forget", "match", 40, "none: one probe")
    (original,) = [row for row in rows if row["name"] == "original" and row["metric"] == "relearning_epochs"]
    assert original["value"] == 0
    assert original["gap"] == pytest.approx(-sum(retrained) / len(retrained))


def test_a_model_that_does_not_get_there_has_a_reason_and_no_number(make_scenario, trained, evaluated):
    scenario = make_scenario(evaluate__relearning={**SETTINGS, "max_epochs": 1, "lr": 1e-9})
    blank = "artifacts/models/blank"
    model = scenario.fresh(0)
    model[-1].weight.data.zero_()
    model[-1].bias.data.zero_()
    model[-1].bias.data[0] = 1.0  # answers 0 whatever it sees
    scenario.store.write_archive(f"{blank}.pt", models.to_bytes(model))
    original = evaluated.audited[0]
    known = measure(scenario.load(original.key), scenario.split("forget"))[0]
    assert known > measure(model, scenario.split("forget"))[0] + 0.01
    jobs = relearn_jobs(scenario, [original, EvaluatedModel("blank-1", "unlearned", "blank", 1, blank)])
    Relearner(scenario)(jobs[1])
    for row in read_rows(scenario, jobs[1:]):
        assert row["value"] is None
        assert row["reason"].startswith("not relearned within 1 epochs: forget accuracy 0.")


def test_the_rows_stand_in_the_table_of_metrics(probed, trained, swept, evaluated):
    scenario, jobs = probed
    collect_tables(scenario, trained, swept, evaluated.audited, evaluated.jobs, (), jobs)
    frame = pd.read_parquet(scenario.store.path(f"{scenario.folder}/tables/metrics.parquet"))
    relearning = frame[frame.metric == "relearning_epochs"]
    assert relearning.name.tolist() == [job.model.name for job in jobs]
    assert relearning.setting.unique().tolist() == ["batch_size=20,lr=0.1,max_epochs=8,seed=0,tolerance=0.01"]
    collect_tables(scenario, trained, swept, evaluated.audited, evaluated.jobs)
    frame = pd.read_parquet(scenario.store.path(f"{scenario.folder}/tables/metrics.parquet"))
    assert "relearning_epochs" not in set(frame.metric)


def test_a_stage_that_finds_every_record_says_so_and_starts_nothing(probed, evaluated, capsys):
    scenario, jobs = probed
    stage = relearn_stage(scenario, evaluated.audited)
    assert stage.jobs == jobs
    execute(stage, Cluster(None, quiet=True), Reporter(Console()))
    assert "relearn" in capsys.readouterr().out
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


def test_a_file_may_ask_for_it_with_defaults_alone(tiny):
    settings = Experiment.model_validate(tiny(evaluate__relearning={})).evaluate.relearning
    assert settings is not None
    assert settings.max_epochs > 0
    with pytest.raises(ValueError, match="max_epoch"):
        Experiment.model_validate(tiny(evaluate__relearning={"max_epoch": 3}))

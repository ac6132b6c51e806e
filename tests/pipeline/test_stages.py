"""`run` and `check` share one description of each stage: the same jobs, the same counts."""

from types import SimpleNamespace

import pytest

from raybench.commands.check import plan_lines
from raybench.jobs import plan
from raybench.jobs.prediction_plan import predict_jobs
from raybench.jobs.specs import SearchJob
from raybench.jobs.trial import trial_job
from raybench.pipeline import stages
from raybench.pipeline.results import Swept, Trained
from raybench.progress import SILENT


def stages_of(scenario):
    trained = Trained(scenario)
    swept = Swept(scenario, trained)
    return trained, swept, stages.search_stage(scenario, trained, swept)


class NoCluster:
    def start(self):
        raise AssertionError("nothing is missing, so nothing may start")


def test_a_stage_whose_jobs_are_done_starts_nothing(trained, swept):
    scenario = trained.scenario
    results, _, search = stages_of(scenario)
    for stage in (stages.train_stage(scenario, results), search):
        assert stage.finished() == stage.total > 0
        stages.execute(stage, NoCluster(), SILENT)


def test_only_missing_jobs_are_run(trained, swept):
    scenario = trained.scenario
    _, _, search = stages_of(scenario)
    missing = search.jobs[1]
    key = missing.outputs[0]
    record = scenario.store.read_json(key)
    scenario.store.delete(key)
    run = []
    stage = stages.Stage(search.name, search.unit, search.jobs, search.store, lambda jobs, bar: run.extend(jobs))
    started = []
    try:
        stages.execute(
            stage,
            type("Cluster", (), {"start": lambda self: started.append(True), "activities": lambda self: tuple})(),
            SILENT,
        )
    finally:
        scenario.store.write_json(key, record)
    assert run == [missing]
    assert started == [True]


@pytest.mark.parametrize("trials", [1, 5])
def test_an_adaptive_search_is_one_for_run_and_for_check(make_scenario, trained, trials):
    changes = {"sweep__search": "optuna", "sweep__trials": trials}
    scenario = make_scenario(**changes)
    _, swept, search = stages_of(scenario)
    kinds = {method: {type(job) for job in jobs} for method, jobs in swept.planned.items()}
    assert kinds == {"finetune": {SearchJob}}  # the other methods have nothing to search
    assert search.total == trials
    lines = list(plan_lines(scenario.experiment, scenario.store))
    assert any(line.split()[:2] == ["finetune", str(trials)] for line in lines)
    assert any(line.startswith(f"sweep        {trials} trials (optuna") for line in lines)


def test_check_counts_cached_predictions_once_all_models_exist(trained, swept, evaluated):
    scenario = trained.scenario
    _, sweep, _ = stages_of(scenario)
    for job in sweep.jobs:  # the fixture ran other settings than the best
        trial_job(scenario, job, trained.retrained)
    models = plan.evaluated_models(
        trained.jobs, [job for job, record in zip(sweep.jobs, sweep.records) if record["audit"]]
    )
    expected = sum(job.finished(scenario.store) for job in predict_jobs(scenario, models))
    assert expected >= 6 * len(trained.jobs)
    line = next(line for line in plan_lines(scenario.experiment, scenario.store) if line.startswith("evaluate"))
    assert line.endswith(f"{expected} cached")


def test_check_says_that_a_disk_is_too_small_for_the_run(trained, monkeypatch):
    scenario = trained.scenario
    assert not any("are free there" in line for line in plan_lines(scenario.experiment, scenario.store))
    monkeypatch.setattr("shutil.disk_usage", lambda root: SimpleNamespace(free=12_000))
    lines = [line.strip() for line in plan_lines(scenario.experiment, scenario.store)]
    assert "only 12 KB are free there: `run` stops when the disk is full, and then resumes" in lines


def test_failed_trials_are_forgotten_and_others_kept(trained, swept):
    scenario = trained.scenario
    final = stages.final_stage(scenario, trained, swept)
    keys = {job.outputs[0]: scenario.store.read_json(job.outputs[0]) for job in final.jobs}
    failed = {key for key, record in keys.items() if record["status"] == "failed"}
    assert failed
    try:
        stages.forget_failures(scenario.store, final.jobs)
        assert {key for key in keys if not scenario.store.exists(key)} == failed
    finally:
        for key, record in keys.items():
            scenario.store.write_json(key, record)

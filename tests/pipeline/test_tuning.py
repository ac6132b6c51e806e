"""A search on another deletion request, from the training to the tables: it shares nothing with what is reported."""

import numpy as np
import pandas as pd
import pytest

from raybench.jobs import plan
from raybench.jobs.keys import predictions_keys
from raybench.jobs.predict import Predictor
from raybench.jobs.prediction_plan import predict_jobs
from raybench.jobs.score import Scorer
from raybench.jobs.train import train_job
from raybench.jobs.trial import trial_job
from raybench.pipeline.collect import collect_tables
from raybench.pipeline.results import Swept, Trained
from raybench.report.search import search_section

SWEEP = {"trials": 4, "seeds": 2, "originals": 2, "finalists": 2}
CHANGES = {
    "name": "tuned",
    "sweep": SWEEP,
    "methods": {"finetune": {"lr": {"loguniform": [0.001, 0.1]}}, "gradient_ascent": {"lr": 1e-4}},
    "evaluate__metrics": ["accuracy"],
}


@pytest.fixture(scope="module")
def tuned(make_scenario):
    """Run everything but the evaluation; return the results."""
    scenario = make_scenario(**CHANGES)
    trained = Trained(scenario)
    for job in [*trained.jobs, *trained.reference_jobs]:
        train_job(scenario, job)
    swept = Swept(scenario, trained)
    for jobs in swept.planned.values():
        for job in jobs:
            trial_job(scenario, job, trained.tuning_target(job.original))
    for jobs in swept.finalist_jobs.values():
        for job in jobs:
            trial_job(scenario, job, trained.tuning_target(job.original))
    for job in swept.jobs:
        trial_job(scenario, job, trained.retrained)
    return swept


@pytest.fixture(scope="module")
def frames(tuned):
    scenario = tuned.scenario
    evaluated = plan.evaluated_models(tuned.trained.jobs, tuned.jobs)
    predictor, scorer = Predictor(scenario), Scorer(scenario)
    for job in predict_jobs(scenario, evaluated):
        predictor(job)
    scored = plan.score_jobs(scenario, evaluated)
    for job in scored:
        scorer(job)
    collect_tables(scenario, tuned.trained, tuned, evaluated, scored)
    names = ("splits", "models", "trials", "metrics", "search")
    return {name: pd.read_parquet(scenario.store.path(f"{scenario.folder}/tables/{name}.parquet")) for name in names}


def test_a_tuning_scenario_forgets_the_tuning_set_and_retains_everything_else(tuned):
    scenario, splits = tuned.scenario, tuned.scenario.splits()
    tuning = scenario.of("tuning")
    np.testing.assert_array_equal(tuning.training_ids("forget"), splits.tuning_forget)
    everything = np.union1d(splits.ids("retain"), splits.ids("forget"))
    np.testing.assert_array_equal(tuning.split("retain").ids, np.setdiff1d(everything, splits.tuning_forget))
    measured = {role: set(split.ids) for role, split in tuning.audit_splits().items()}
    assert measured["forget"] == set(splits.tuning_forget)
    assert measured["retain"] == set(splits.tuning_retain)
    reported = {role: set(split.ids) for role, split in scenario.audit_splits().items()}
    assert reported["retain"] == set(splits.reported_retain)
    assert not (measured["forget"] | measured["retain"]) & (reported["forget"] | reported["retain"])
    np.testing.assert_array_equal(scenario.split("retain").ids, splits.ids("retain"))  # training uses all of it


def test_references_are_trained_without_the_tuning_forget_set_and_judge_nothing(tuned, frames):
    trained = tuned.trained
    assert [job.request for job in trained.reference_jobs] == ["tuning", "tuning"]
    assert not {job.seed for job in trained.reference_jobs} & {job.seed for job in trained.jobs}
    ids = {job.key.rsplit("/")[-1] for job in trained.reference_jobs}
    assert not ids & (set(frames["models"].model) | set(frames["metrics"].model))
    target = trained.tuning_target(trained.original)
    audits = [tuned.scenario.store.read_json(job.audit_key) for job in trained.reference_jobs]
    assert target["forget_accuracy"] == pytest.approx(np.mean([audit["forget_accuracy"] for audit in audits]))


def test_a_model_is_trained_for_a_request_once_and_measured_on_both(tuned):
    original = plan.train_jobs(tuned.scenario)[0]
    (same,) = (job for job in plan.train_jobs(tuned.scenario.of("tuning")) if job.name == original.name)
    assert same.key == original.key  # retain + forget is the same set
    assert same.audit_key != original.audit_key


def test_only_methods_with_a_search_space_are_searched(tuned):
    assert list(tuned.search) == ["finetune"]
    assert list(tuned.settings) == ["finetune", "gradient_ascent"]
    assert tuned.settings["gradient_ascent"] == {"lr": 1e-4}


def test_the_best_settings_run_again_on_the_other_original_and_the_best_mean_is_chosen(tuned):
    trained, name = tuned.trained, "finetune"
    best, again = tuned.best[name], tuned.finalists[name]
    assert {record["original"] for record in tuned.search[name]} == {trained.original}
    assert [record["original"] for record in again] == [trained.originals[1]] * 2
    used = {record["seed"] for record in tuned.search[name]} | {record["seed"] for record in tuned.records}
    assert not used & {record["seed"] for record in again}

    def gap(record):
        target = trained.tuning_target(record["original"])
        parts = ("retain_accuracy", "forget_accuracy", "validation_accuracy", "mia_auc")
        return 100 * np.mean([abs(record["audit"][part] - target[part]) for part in parts])

    assert [gap(record) for record in best] == sorted(gap(record) for record in tuned.search[name])[:2]
    means = [(gap(first) + gap(second)) / 2 for first, second in zip(best, again, strict=True)]
    assert tuned.settings[name] == best[int(np.argmin(means))]["setting"]


def test_predictions_and_reported_metrics_cover_the_other_half_of_retain(tuned, frames):
    splits = tuned.scenario.splits()
    content = tuned.scenario.store.read_table(predictions_keys(tuned.scenario, tuned.trained.original, "retain")[0][2])
    assert content["id"].to_pylist() == splits.reported_retain.tolist()
    retain = frames["metrics"][(frames["metrics"].metric == "accuracy") & (frames["metrics"].split == "retain")]
    assert set(retain.n) == {80}
    by_use = frames["splits"].groupby("tuning", dropna=False).id.apply(set)
    assert by_use["forget"] == set(splits.tuning_forget)
    assert by_use["retain"] == set(splits.tuning_retain)


def test_tables_hold_every_phase_and_the_curve_of_the_search(tuned, frames):
    trials = frames["trials"][frames["trials"]["last"]]
    assert trials.phase.value_counts().to_dict() == {"search": 4, "final": 4, "finalist": 2}
    assert trials[trials.phase == "finalist"].original.tolist() == [1, 1]
    assert trials[trials.chosen].phase.value_counts().to_dict() == {"final": 4, "finalist": 1, "search": 1}
    curve = frames["search"]
    assert curve.trials.tolist() == [1, 2, 3, 4]
    searched = trials[trials.phase == "search"].objective
    assert curve.expected_best.iloc[0] == pytest.approx(searched.mean())
    assert curve.expected_best.iloc[-1] == pytest.approx(searched.min())
    again = trials[(trials.phase == "finalist") & trials.chosen].objective
    assert curve.chosen_again.iloc[0] == pytest.approx(again.mean())
    section = search_section(curve, {**tuned.scenario.experiment.sweep.model_dump(), "searched": ["finetune"]})
    assert "another deletion request" in section
    assert f"| finetune | 4 | 1: {searched.mean():.3g}, 2: " in section


def test_without_a_search_nothing_is_set_aside_and_nothing_extra_is_trained(make_scenario):
    scenario = make_scenario(sweep=SWEEP, methods={"finetune": {"lr": 0.1}})
    assert Trained(scenario).reference_jobs == []
    assert Swept(scenario, Trained(scenario)).planned == {}
    assert len(scenario.splits().tuning_forget) == 0
    np.testing.assert_array_equal(scenario.role_ids("retain"), scenario.splits().ids("retain"))
    assert search_section(None, {**scenario.experiment.sweep.model_dump(), "searched": []}) is None


def test_tuning_on_the_same_request_sees_the_reported_samples_and_models(make_scenario, trained):
    scenario = make_scenario(sweep={**SWEEP, "tuning_request": "same"})
    assert scenario.of("tuning") == scenario
    assert Trained(scenario).reference_jobs == []
    assert trained.tuning_target(trained.original) == trained.retrained
    sweep = {**scenario.experiment.sweep.model_dump(), "searched": ["finetune"]}
    assert "the same retrained models" in search_section(None, sweep)


def test_the_ideal_needs_no_references_but_the_originals_utility_on_the_samples_of_the_search(make_scenario):
    scenario = make_scenario(sweep={**SWEEP, "objective": "gap_to_ideal"})
    trained = Trained(scenario)
    assert trained.reference_jobs == []
    for job in trained.jobs:
        train_job(scenario, job)
    for job in trained.jobs[:2]:
        assert job.kind == "original"
        audit = scenario.store.read_json(job.tuning_audit_key)
        utility = {f"original_{part}": audit[part] for part in ("retain_accuracy", "validation_accuracy")}
        assert trained.tuning_target(job.key) == utility
    assert len({job.tuning_audit_key for job in trained.jobs[:2]}) == 2


@pytest.mark.parametrize(
    ("originals", "number", "expected"), [("a", 2, "aa"), ("ab", 2, "b"), ("abcd", 2, "bc"), ("abc", 1, "b")]
)
def test_finalists_run_on_other_originals_or_again_on_the_only_one(make_scenario, originals, number, expected):
    scenario = make_scenario(sweep={**SWEEP, "seeds": 4, "finalist_originals": number})
    jobs = plan.finalist_jobs(scenario, list(originals), {"finetune": [{"lr": 0.1}, {"lr": 0.2}], "retrain": [{}]})
    assert list(jobs) == ["finetune"]  # a single setting needs no second stage
    assert [job.original for job in jobs["finetune"]] == list(expected) * 2
    assert len({job.key for job in jobs["finetune"]}) == 2 * len(expected)
    assert len({job.seed for job in jobs["finetune"]}) == len(expected)

"""Test that a key hashes everything that decides the result, and nothing else."""

import importlib
import itertools
import sys
from dataclasses import replace

import pytest

from raybench import models
from raybench.config.reading import load_experiment
from raybench.engine.training import Recipe
from raybench.errors import UserError
from raybench.fingerprints import code_fingerprint
from raybench.jobs import keys as keys_of
from raybench.jobs import plan
from raybench.jobs.keys import all_predictions
from raybench.jobs.plan import score_jobs
from raybench.jobs.prediction_plan import predict_jobs
from raybench.pipeline.manifest import manifest
from raybench.scenario.prepare import prepare


@pytest.fixture
def keys(make_scenario):
    """Return every key of an experiment variant: original, retrained, trials by method."""

    def read(**changes):
        scenario = make_scenario(**changes)
        models = plan.train_jobs(scenario)
        original, retrained = models[0], [job for job in models if job.kind == "retrained"]
        trials = plan.search_jobs(scenario, original.key)
        settings = {
            method: {key: space.values[0] for key, space in scenario.experiment.spaces(method).items()}
            for method in scenario.experiment.methods
        }
        final = {name: [] for name in settings}
        for job in plan.final_jobs(scenario, [original.key], settings):
            final[job.method].append(job.key)
        return {
            "original": original.key,
            "retrained": [job.key for job in retrained],
            "audits": [job.audit_key for job in (original, *retrained)],
            "trials": {method: [job.key for job in jobs] for method, jobs in trials.items()},
            "final": final,
        }

    return read


def test_keys_are_the_same_every_time(keys):
    assert keys() == keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate__metrics": "all"},
        {"evaluate__alphas": [0.2]},
        {"evaluate__batch_size": 7},
        {"name": "other"},
        {"sweep__objective": "mia_auc"},
        {"sweep__seeds": 5, "sweep__originals": 1},
        {"resources__cpus_per_trial": 0.5},
        {"resources__retries": 0},
        {"train__checkpoint_minutes": 1},
        {"train__ema": None, "train__compile": False, "train__sync_batchnorm": True},
        {"data__sizes__unseen": 90},
    ],
    ids=str,
)
def test_what_is_measured_named_or_reserved_changes_no_model_and_no_trial(keys, changes):
    before, after = keys(), keys(**changes)
    for method, runs in before["final"].items():  # sweep.seeds adds runs and keeps those that are there
        assert after["final"][method][: len(runs)] == runs
    assert after | {"final": before["final"]} == before


def test_changing_what_is_forgotten_keeps_the_original_and_trains_new_references(keys):
    before, after = keys(), keys(forget__seed=1)
    assert after["original"] == before["original"]
    assert not set(after["retrained"]) & set(before["retrained"])
    assert not set(after["audits"]) & set(before["audits"])
    for method, jobs in before["trials"].items():
        assert not set(jobs) & set(after["trials"][method])


@pytest.mark.parametrize(
    "changes",
    [
        {"train__epochs": 3},
        {"train__lr": 0.2},
        {"model__width": 5},
        {"data__seed": 1},
        {"data__mislabel": None},
        {"data__resize": 9},
        {"train__workers": 2},
        {"train__compile": True},
        {"train__ema": 0.999},
        {"resources__threads": 2},
    ],
    ids=str,
)
def test_whatever_decides_a_model_changes_every_key(keys, changes):
    before, after = keys(), keys(**changes)
    assert after["original"] != before["original"]
    assert not set(after["retrained"]) & set(before["retrained"])
    assert not set(after["trials"]["finetune"]) & set(before["trials"]["finetune"])


def test_another_recipe_for_the_retrained_models_keeps_the_original(keys):
    before, after = keys(), keys(train__retrained={"lr": 0.01})
    assert after["original"] == before["original"]
    assert after["audits"][0] == before["audits"][0]
    assert not set(after["retrained"]) & set(before["retrained"])
    assert not set(after["final"]["retrain"]) & set(before["final"]["retrain"])


def test_a_retrained_recipe_that_says_what_the_recipe_says_changes_nothing(keys):
    assert keys(train__retrained={"lr": 0.1, "epochs": 2}) == keys()


def test_downstream_sets_and_the_view_of_the_training_samples_change_no_model_and_no_trial(keys):
    assert keys(evaluate__downstream={"digits": {"dataset": "digits"}}, evaluate__train_view="augmented") == keys()


def test_weights_to_start_from_change_every_model_by_their_content(keys, tmp_path):
    files = [tmp_path / name for name in ("one.pt", "same.pt", "other.pt")]
    for file, seed in zip(files, (1, 1, 2)):
        file.write_bytes(models.to_bytes(models.build("cnn", num_classes=10, channels=1, width=4, seed=seed)))
    plain, one, same, other = keys(), *(keys(model__init=str(file)) for file in files)
    assert one == same
    for first, second in itertools.combinations((plain, one, other), 2):
        assert first["original"] != second["original"]
        assert not set(first["retrained"]) & set(second["retrained"])


def test_editing_a_model_of_ones_own_makes_every_model_stale(keys, tmp_path, monkeypatch):
    file = tmp_path / "edited_model.py"
    source = "from torch import nn\n\n\ndef net(num_classes):\n    return nn.Linear(192, num_classes)\n"
    file.write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    before = keys(model={"name": "edited_model.net"})
    assert keys(model={"name": "edited_model.net"}) == before
    file.write_text(source + "\n\nLIMIT = 3\n")
    after = keys(model={"name": "edited_model.net"})
    sys.modules.pop("edited_model")
    assert after["original"] != before["original"]


def test_more_retrained_models_keep_those_that_are_there(keys):
    assert keys(train__retrained_seeds=4)["retrained"][:2] == keys()["retrained"]
    assert keys(train__retrained_seeds=4)["trials"] == keys()["trials"]


def test_a_longer_sweep_keeps_the_trials_that_are_there(keys):
    assert keys(sweep__trials=5)["trials"]["finetune"][:2] == keys()["trials"]["finetune"]


def test_every_method_gets_the_same_budget_and_none_where_nothing_is_searched(keys):
    trials = keys(sweep__trials=5, methods__gradient_ascent={"lr": {"choice": [1, 2, 3, 4, 5, 6, 7]}})["trials"]
    assert set(trials) == {"finetune", "gradient_ascent"}
    assert len(trials["finetune"]) == 5
    assert 1 < len(trials["gradient_ascent"]) <= 5  # a setting that is drawn again is no new trial


@pytest.mark.parametrize("values", [{"lr": 0.1, "epochs": 1}, {"lr": "1e-1", "epochs": 1.0}, {"epochs": 1, "lr": 0.10}])
def test_the_spelling_and_order_of_hyperparameters_does_not_matter(keys, values):
    plain = keys(methods={"finetune": {"epochs": 1, "lr": 1e-1}})
    assert keys(methods={"finetune": values}) == plain


def test_a_default_that_is_written_out_is_the_same_trial(keys):
    from raybench.methods import get
    from raybench.methods.framework.spec import hyperparameters

    defaults = {name: field.default for name, field in hyperparameters(get("ssd")).model_fields.items()}
    assert keys(methods={"ssd": defaults})["final"] == keys(methods={"ssd": {}})["final"]


def test_a_relative_default_follows_the_recipe_and_is_part_of_the_key(keys):
    from raybench.methods import get
    from raybench.methods.framework.defaults import Training
    from raybench.methods.framework.spec import check

    recipe = Recipe.model_validate({"lr": 0.05, "batch_size": 16, "epochs": 4})
    arguments, settings = check("finetune", get("finetune"), {}, Training(recipe))
    written = {**arguments, "batch_size": settings.batch_size, "schedule": settings.schedule}
    changes = {f"train__{key}": getattr(recipe, key) for key in ("lr", "batch_size", "epochs")}
    by_default = keys(methods={"finetune": {}}, **changes)["final"]
    assert keys(methods={"finetune": written}, **changes)["final"] == by_default
    other = keys(methods={"finetune": {}}, **changes | {"train__lr": 0.1})["final"]
    assert other != by_default


def test_a_file_and_its_rewriting_have_the_same_keys(write_file, tiny, trained):
    content = tiny()
    one, _ = load_experiment(write_file(content, "one.yaml"))
    rewritten = {key: content[key] for key in reversed(content)}
    rewritten["train"] = dict(reversed(content["train"].items())) | {"lr": "1e-1"}
    other, _ = load_experiment(write_file(rewritten, "other.yaml"))
    first, second = (plan.train_jobs(prepare(e, trained.scenario.store)) for e in (one, other))
    assert first == second


def test_editing_one_methods_file_makes_the_trials_of_that_method_stale_and_no_others(tmp_path, monkeypatch, keys):
    source = "from raybench import method\n\n\n@method(source='s')\ndef mine(task) -> None: ...\n"
    file = tmp_path / "edited_method.py"
    file.write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    methods = {"edited_method.mine": {}, "finetune": {"epochs": 1}}
    before = keys(methods=methods)
    file.write_text(source + "\n\nLIMIT = 3\n")
    after = keys(methods=methods)
    del sys.modules["edited_method"]
    assert after["original"] == before["original"]
    assert after["retrained"] == before["retrained"]
    assert after["final"]["finetune"] == before["final"]["finetune"]
    assert after["final"]["edited_method.mine"] != before["final"]["edited_method.mine"]


def test_a_method_without_a_file_cannot_be_told_from_its_next_version_and_is_refused():
    scope = {}
    exec("def typed_in(task): ...", scope)
    with pytest.raises(UserError, match="has no source file"):
        code_fingerprint(scope["typed_in"])


def test_final_runs_use_seeds_that_the_search_did_not(make_scenario, trained):
    scenario = make_scenario(sweep__seeds=3, sweep__seed=7)
    jobs = plan.final_jobs(scenario, [trained.original], {"finetune": {"lr": 0.1}})
    assert [job.seed for job in jobs] == [8, 9, 10]
    assert len({job.key for job in jobs}) == 3
    assert {job.phase for job in jobs} == {"final"}


def test_originals_come_first_on_seeds_that_nothing_else_uses(make_scenario):
    scenario = make_scenario(sweep__seeds=5, sweep__originals=3, sweep__seed=0, train__seed=1)
    jobs = plan.train_jobs(scenario)
    assert [(job.name, job.number) for job in jobs[:3]] == [("original", 0), ("original-1", 1), ("original-2", 2)]
    assert [job.kind for job in jobs] == ["original"] * 3 + ["retrained"] * 2
    assert len({job.key for job in jobs}) == 5
    runs = plan.final_jobs(scenario, [job.key for job in jobs[:3]], {"finetune": {"lr": 0.1}})
    used = [job.seed for job in (*jobs, *runs)] + [scenario.experiment.sweep.seed]
    assert len(set(used)) == len(used)
    taken = make_scenario(sweep__seeds=2, train__retrained_seeds=[10_001, 10_002])
    assert plan.original_seeds(taken.experiment, 3) == [0, 10_005, 10_006]  # final runs have 10,003 and 10,004


def test_more_runs_or_references_train_no_original_again(make_scenario):
    def originals(**changes):
        return [job.key for job in plan.train_jobs(make_scenario(**changes)) if job.kind == "original"]

    known = originals(sweep__seeds=3)
    assert len(known) == 3
    assert originals(sweep__seeds=9, sweep__originals=3, train__retrained_seeds=4) == known
    assert originals(sweep__seeds=9)[:3] == known
    assert originals(sweep__seeds=9, sweep__originals=1) == known[:1]


def test_runs_take_turns_at_the_originals(make_scenario):
    scenario = make_scenario(sweep__seeds=5, sweep__originals=2)
    originals = [job.key for job in plan.train_jobs(scenario)[:2]]
    runs = plan.final_jobs(scenario, originals, {"finetune": {"lr": 0.1}, "retrain": {}})
    assert [run.original_number for run in runs] == [0, 1, 0, 1, 0] * 2
    assert [run.original for run in runs] == [originals[run.original_number] for run in runs]
    assert {run.model.original for run in runs} == {0, 1}
    alone = plan.final_jobs(make_scenario(sweep__seeds=5, sweep__originals=1), originals[:1], {"retrain": {}})
    assert [run.seed for run in alone] == [run.seed for run in runs[5:]]
    assert [run.key for run in alone][::2] == [run.key for run in runs[5:]][::2]  # the runs of the first original


def test_each_model_is_compared_with_its_own_original(make_scenario):
    scenario = make_scenario(sweep__seeds=2, evaluate__relearning={})
    train = plan.train_jobs(scenario)
    runs = plan.final_jobs(scenario, [job.key for job in train[:2]], {"finetune": {"lr": 0.1}})
    models = plan.evaluated_models(train, runs)
    expected = [train[0].key, train[1].key, *[train[0].key] * 2, *(run.original for run in runs)]
    for jobs in (plan.score_jobs(scenario, models), plan.relearn_jobs(scenario, models)):
        assert [job.original for job in jobs] == expected
        assert len({job.key for job in jobs}) == len(models)
    swapped = [replace(models[-1], original=0), *models[:-1]]
    assert plan.score_jobs(scenario, swapped)[0].key != plan.score_jobs(scenario, models)[-1].key


def test_a_population_shares_the_originals_of_the_final_runs(make_scenario):
    population = {"methods": ["finetune"], "runs": 4, "origins": "one_per_run"}
    scenario = make_scenario(sweep__seeds=2, evaluate__population=population)
    further = plan.population_originals(scenario)
    assert [job.key for job in further[:2]] == [job.key for job in plan.train_jobs(scenario)[:2]]
    chosen = {"finetune": {"lr": 0.1}}
    runs = plan.population_runs(scenario, [job.key for job in further], chosen)["finetune"]
    assert [run.original for run in runs] == [job.key for job in further]
    final = plan.final_jobs(scenario, [job.key for job in further[:2]], chosen)
    assert [run.key for run in runs[:2]] == [run.key for run in final]
    one = make_scenario(evaluate__population={**population, "origins": "one"})
    assert [job.key for job in plan.population_originals(one)] == [further[0].key]


def test_the_manifest_names_the_seeds_of_the_final_runs(make_scenario, trained):
    scenario = make_scenario(sweep__seeds=3, sweep__seed=7)
    jobs = plan.final_jobs(scenario, [trained.original], {"finetune": {"lr": 0.1}})
    assert manifest(scenario.experiment, "name: tiny\n", {})["seeds"]["final"] == [job.seed for job in jobs]


def test_an_adaptive_search_is_found_again_by_its_folder(make_scenario, trained):
    def folder(**changes):
        return keys_of.search_folder(make_scenario(**changes), trained.original, "finetune")

    assert folder() == folder(sweep__trials=9)
    assert folder() != folder(methods__finetune={"lr": {"loguniform": [0.001, 0.2]}, "epochs": {"choice": [1, 2]}})


def test_a_users_checkpoint_is_told_apart_by_its_content(make_scenario, tmp_path):
    file = tmp_path / "mine.pt"
    file.write_bytes(b"one")
    first = plan.train_jobs(make_scenario(model__checkpoint=str(file)))
    file.write_bytes(b"two")
    second = plan.train_jobs(make_scenario(model__checkpoint=str(file)))
    assert first[0].key != second[0].key
    assert [job.key for job in first[1:]] == [job.key for job in second[1:]]
    with pytest.raises(UserError, match=r"model\.checkpoint = .*absent\.pt' cannot be read: No such file"):
        plan.train_jobs(make_scenario(model__checkpoint=str(tmp_path / "absent.pt")))


def test_predictions_come_in_pieces_that_cover_a_split_once(trained, monkeypatch):
    monkeypatch.setattr(keys_of, "PIECE", 64)
    pieces = keys_of.predictions_keys(trained.scenario, trained.original, "retain")
    assert [(start, stop) for start, stop, _ in pieces] == [(0, 64), (64, 128), (128, 160)]
    assert len({key for _, _, key in pieces}) == 3


def missing(scenario, evaluated):
    jobs = predict_jobs(scenario, evaluated)
    return [job for job in jobs if job.finished(scenario.store) < job.units]


def test_a_piece_is_read_once_for_all_models_that_lack_it(trained, evaluated, monkeypatch):
    assert missing(trained.scenario, evaluated.audited) == []
    keys = set(all_predictions(trained.scenario, [m.key for m in evaluated.audited[:2]], ("test", "forget")))
    exists = type(trained.scenario.store).exists
    monkeypatch.setattr(type(trained.scenario.store), "exists", lambda self, key: key not in keys and exists(self, key))
    jobs = missing(trained.scenario, evaluated.audited)
    assert sorted(job.role for job in jobs) == ["forget", "test"]
    assert all(job.units - job.finished(trained.scenario.store) == 2 for job in jobs)


def test_asking_for_other_metrics_scores_again_and_predicts_nothing(make_scenario, evaluated):
    scenario = make_scenario(evaluate__metrics=["accuracy"], evaluate__alphas=[0.2])
    assert missing(scenario, evaluated.audited) == []
    assert not {job.key for job in score_jobs(scenario, evaluated.audited)} & {job.key for job in evaluated.jobs}

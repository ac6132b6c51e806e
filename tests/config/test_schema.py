"""The sections of an experiment: defaults, seeds, ranges, user-defined names, descriptions."""

import pytest
from pydantic import ValidationError

from raybench import methods
from raybench.config.schema import Experiment
from raybench.config.train import Train
from raybench.config.validation import parse_experiment
from raybench.docgen.experiment_page import models_in
from raybench.errors import UserError


def message(content):
    with pytest.raises((ValidationError, UserError)) as caught:
        parse_experiment(content)
    return str(caught.value)


def sections(model, path=()):
    """Yield (path, model) of an experiment's sections, at any depth."""
    yield path, model
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            yield from sections(inner, (*path, name))


def test_every_key_of_the_experiment_file_has_a_description():
    missing = [
        ".".join((*path, name))
        for path, model in sections(Experiment)
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert not missing


def test_the_smallest_experiment_takes_every_other_value_from_the_defaults():
    experiment = parse_experiment(
        {"name": "x", "data": {"dataset": "digits"}, "forget": {"rule": "random", "fraction": 0.1}}
        | {"model": {"name": "cnn"}, "methods": {"finetune": {}}}
    )
    assert experiment.train.recipe.epochs > 0
    assert experiment.evaluate.metrics == "all"


def test_retrained_seeds_follow_the_originals_own_seed_unless_they_are_listed():
    assert Train(seed=3, retrained_seeds=4).seeds == [4, 5, 6, 7]
    assert Train(retrained_seeds=[9, 2]).seeds == [9, 2]


def test_options_that_are_not_set_leave_no_trace_in_what_keys_are_made_of():
    plain = Train().model_dump()
    assert not {"ema", "compile", "sync_batchnorm"} & (set(plain) | set(Train().recipe.model_dump()))
    assert Train().execution == Train(sync_batchnorm=True).execution == 1
    options = {"ema": 0.99, "compile": True, "sync_batchnorm": True}
    chosen = Train(workers=2, **options)
    assert chosen.model_dump().items() >= options.items()
    assert chosen.recipe.model_dump()["ema"] == chosen.retrained_recipe.ema == 0.99
    assert len({str(Train(workers=2, compile=c, sync_batchnorm=s).execution) for c in (0, 1) for s in (0, 1)}) == 4


def test_workers_are_a_number_or_a_range():
    fixed, elastic = Train(workers=2), Train(workers={"min": 1, "max": 4})
    assert (fixed.fewest_workers, fixed.most_workers) == (2, 2)
    assert (elastic.fewest_workers, elastic.most_workers) == (1, 4)
    executions = [Train(workers=w).execution for w in (1, 2, 4, {"min": 1, "max": 4}, {"min": 2, "max": 4})]
    assert len(set(map(str, executions))) == 5
    experiment = {"name": "x", "data": {"dataset": "digits"}, "forget": {"rule": "random", "fraction": 0.1}}
    experiment |= {"model": {"name": "cnn"}, "methods": {"finetune": {}}}
    assert "min is 3 and max is 2" in message(experiment | {"train": {"workers": {"min": 3, "max": 2}}})
    assert "train.workers" in message(experiment | {"train": {"workers": {"min": 3}}})


def test_the_recipe_holds_what_decides_a_model_and_not_how_many_there_are():
    one, other = (
        Train(epochs=3, seed=1, retrained_seeds=2, workers=1),
        Train(epochs=3, seed=5, retrained_seeds=9, workers=2),
    )
    assert one.recipe == other.recipe
    assert Train(epochs=4).recipe != one.recipe


@pytest.mark.parametrize("seeds", [[1, 1], []])
def test_retrained_seeds_must_be_distinct_and_there(tiny, seeds):
    assert "distinct" in message(tiny(train__retrained_seeds=seeds))


def test_without_retrained_models_the_search_aims_at_ideals_unless_it_says_otherwise(make_experiment):
    assert make_experiment().sweep.objective == "gap_to_retrained"
    without = make_experiment(train__retrained_seeds=0)
    assert without.train.seeds == []
    assert without.sweep.objective == "gap_to_ideal"
    assert without.sweep.trials == 2  # the rest of the sweep is as it was given
    chosen = make_experiment(train__retrained_seeds=0, sweep__objective="validation_accuracy")
    assert chosen.sweep.objective == "validation_accuracy"
    assert make_experiment(train__retrained_seeds=1).sweep.objective == "gap_to_retrained"


def test_without_retrained_models_nothing_can_be_compared_with_them(tiny):
    asked = message(tiny(train__retrained_seeds=0, sweep__objective="gap_to_retrained"))
    assert "set objective: gap_to_ideal" in asked
    population = {"methods": ["finetune"], "runs": 4}
    assert "retrained_seeds is 0" in message(tiny(train__retrained_seeds=0, evaluate__population=population))
    assert "greater than or equal to 0" in message(tiny(train__retrained_seeds=-1))


@pytest.mark.parametrize("size", [-1, 1.0, 0.0, "many", True])
def test_a_size_is_a_count_a_share_or_null(tiny, size):
    assert "a number of samples, a fraction between 0 and 1, or null" in message(tiny(data__sizes__train=size))


@pytest.mark.parametrize("size", [0, 10, 0.25, None])
def test_a_size_is_kept_as_it_was_given(make_experiment, size):
    found = make_experiment(data__sizes__unseen=size).data.sizes.unseen
    assert found == size
    assert type(found) is type(size)


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", "a/b", "[bold]x", "x" * 101, "artifacts", "a\n"])
def test_a_name_is_a_safe_folder_name(tiny, name):
    assert "cannot name a run" in message(tiny(name=name))


@pytest.mark.parametrize(
    "values", [{"lr": {"loguniform": [1e-4, 0.1]}}, {"epochs": {"choice": [1, 2]}}, {"preset": "uuef"}]
)
def test_spaces_and_presets_of_a_method_are_accepted(make_experiment, values):
    assert make_experiment(methods={"finetune": values}).methods == {"finetune": values}


@pytest.mark.parametrize(
    "value",
    [{"choice": [1, 0]}, {"choice": [1, "many"]}, {"randint": [0, 3]}, {"uniform": [0.5, 2]}],
)
def test_every_value_that_a_space_can_give_must_be_valid(tiny, value):
    assert "methods.finetune.epochs = " in message(tiny(methods={"finetune": {"epochs": value}}))


def test_a_users_own_method_metric_dataset_and_rule_are_named_by_their_module(make_experiment, own_plugins):
    experiment = make_experiment(
        data={"dataset": f"{own_plugins}.dots", "options": {"n": 300}},
        forget={"rule": f"{own_plugins}.first", "count": 5},
        methods={f"{own_plugins}.nothing": {"strength": {"uniform": [0.5, 1]}}},
        evaluate={"metrics": [f"{own_plugins}.spread"]},
    )
    assert experiment.spaces(f"{own_plugins}.nothing")["strength"].kind == "uniform"


@pytest.fixture
def own_plugins(tmp_path, monkeypatch):
    (tmp_path / "own_plugins.py").write_text(
        "import numpy as np\n"
        "from raybench.data.forget_rules.framework.spec import forget_rule\n"
        "from raybench.data.images import dataset\n"
        "from raybench.methods.framework.spec import Rate, method\n"
        "from raybench.metrics.framework.spec import Estimate, metric\n"
        "@dataset(source='s')\ndef dots(root=None, *, download=False, n=100): ...\n"
        "@forget_rule(source='s')\ndef first(candidates, *, count): ...\n"
        "@method(source='s')\ndef nothing(task, *, strength: Rate = 1.0) -> None: ...\n"
        "@metric(source='s', direction='match', splits=('forget',))\ndef spread(logits) -> Estimate: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_plugins"


def test_stems_fit_the_architecture(tiny, make_experiment):
    assert "for residual networks, not 'vit_b_16'" in message(tiny(model={"name": "vit_b_16", "stem": "cifar"}))
    for name in ("resnet18", "wide_resnet50_2", "resnext50_32x4d", "cnn"):
        assert make_experiment(model={"name": name, "stem": "cifar"}).model.name == name


def test_nesterov_without_momentum_is_refused_before_anything_is_trained(tiny):
    assert "nesterov needs" in message(tiny(train__nesterov=True, train__momentum=0))
    assert "nesterov needs" in message(tiny(train__nesterov=True, train__optimizer="adamw"))


# -- the retrained models' own recipe ----------------------------------------------------------------------------------


def test_the_retrained_recipe_is_the_originals_with_some_values_replaced():
    train = Train(epochs=9, lr=0.1, optimizer="adamw", retrained={"lr": "1e-4", "warmup_epochs": 0})
    assert train.recipe_of("original") == train.recipe
    assert train.recipe_of("retrained").model_dump() == {**train.recipe.model_dump(), "lr": 1e-4}
    assert Train(epochs=9).retrained_recipe == Train(epochs=9).recipe


@pytest.mark.parametrize(
    ("retrained", "said"),
    [
        ({"epoch": 3}, "unknown key of train.retrained: 'epoch'; did you mean 'epochs'"),
        ({"workers": 2}, "unknown key of train.retrained: 'workers'"),
        ({"epochs": 0}, "train.retrained.epochs = 0: must be at least 1"),
        ({"lr": "fast"}, "train.retrained.lr = 'fast': must be a number"),
        ({"optimizer": "adagrad"}, "train.retrained.optimizer = 'adagrad': must be 'sgd', 'adam' or 'adamw'"),
        ({"momentum": 0}, "nesterov needs"),
    ],
)
def test_a_wrong_value_for_the_retrained_models_is_named(tiny, retrained, said):
    assert said in message(tiny(train__retrained=retrained, train__nesterov=True))


# -- downstream sets and models of one's own ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"a b": {"dataset": "digits"}}, "'a b' cannot name a downstream set"),
        ({"../up": {"dataset": "digits"}}, "cannot name a downstream set"),
        ({"one": {"dataset": "digist"}}, "did you mean 'digits'"),
        ({"one": {"dataset": "digits", "options": {"n": 3}}}, "unknown option of dataset digits: 'n'"),
        ({"one": {"dataset": "digits", "sizes": {}}}, "sizes"),
        ({"one": {"dataset": "digits", "limit": 0}}, "limit"),
    ],
)
def test_a_wrong_downstream_set_is_refused(tiny, sets, said):
    assert said in message(tiny(evaluate__downstream=sets))


def test_a_model_of_ones_own_is_named_by_its_function(tiny, make_experiment, tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text("def net(*, num_classes): ...\ndef fixed(size): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert make_experiment(model={"name": "own_nets.net"}).model.name == "own_nets.net"
    assert "takes num_classes=... and returns a torch module; it takes (size)" in message(
        tiny(model={"name": "own_nets.fixed"})
    )
    assert "cannot import model 'own_nets.other'" in message(tiny(model={"name": "own_nets.other"}))
    assert "for residual networks" in message(tiny(model={"name": "own_nets.net", "stem": "cifar"}))


def test_one_method_may_have_two_entries_of_its_own_names(make_experiment):
    given = {"weak": {"method": "finetune", "epochs": 1}, "strong": {"method": "finetune", "epochs": 2}}
    experiment = make_experiment(methods=given)
    assert [experiment.function_name(name) for name in experiment.methods] == ["finetune", "finetune"]
    assert [space.kind for space in experiment.spaces("weak").values()] == ["fixed"]
    with pytest.raises(UserError, match="did you mean 'finetune'"):
        make_experiment(methods={"weak": {"method": "finetun"}})


def test_there_are_as_many_originals_as_runs_up_to_five_unless_the_file_says_otherwise(make_experiment):
    def originals(**changes):
        return make_experiment(**changes).sweep.originals

    assert originals() == 1  # one run
    assert originals(sweep__seeds=3) == 3
    assert originals(sweep__seeds=9) == 5
    assert originals(sweep__seeds=9, sweep__originals=8) == 8
    assert originals(sweep__seeds=9, sweep__originals=1) == 1
    assert originals(sweep__seeds=9, model__checkpoint="mine.pt") == 1
    default = Experiment.model_fields["sweep"].default
    assert (default.seeds, default.originals) == (5, 5)


def test_more_originals_than_runs_are_refused_and_more_than_one_with_a_checkpoint(tiny):
    refused = message(tiny(sweep__seeds=2, sweep__originals=3))
    assert "only 2 of them would start a run, since sweep.seeds is 2: at most 2" in refused
    refused = message(tiny(sweep__seeds=3, sweep__originals=2, model__checkpoint="mine.pt"))
    assert "sweep.originals = 2: model.checkpoint sets the originals (allowed here: 1)" in refused


def test_search_takes_the_shipped_ranges_and_the_recipe_they_hold_for(make_experiment):
    experiment = make_experiment(
        methods={"scrub": "search", "msg": {"search": True, "epochs": 3}, "ssd": "search", "finetune": None},
        train__lr=0.2,
        train__epochs=20,
        train__batch_size=16,
    )
    assert experiment.methods["scrub"]["lr"] == {"loguniform": [0.04, 0.3]}
    assert experiment.methods["scrub"]["epochs"] == {"choice": [3, 5]}
    assert experiment.methods["scrub"]["batch_size"] == 16
    assert experiment.methods["msg"]["epochs"] == 3
    assert experiment.methods["msg"]["lr"] == {"loguniform": [0.01, 0.1]}
    assert set(experiment.methods["ssd"]) == {"selection"}  # no rate, so nothing of the recipe
    assert experiment.methods["finetune"] == {}


def test_a_rate_next_to_search_is_for_the_shared_settings_that_are_documented(make_experiment):
    entry = make_experiment(methods={"msg": {"search": True, "lr": 0.01}}, train__batch_size=16).methods["msg"]
    assert entry["lr"] == 0.01
    assert "choice" in entry["epochs"]
    assert "batch_size" not in entry


def test_all_stands_for_every_built_in_method_without_an_entry(make_experiment):
    experiment = make_experiment(methods={"all": "search", "weak": {"method": "finetune", "epochs": 1}, "ssd": {}})
    assert set(experiment.methods) == {*methods.names(), "weak"} - {"finetune"}
    assert experiment.methods["ssd"] == {}
    assert "loguniform" in experiment.methods["scrub"]["lr"]
    assert make_experiment(methods={"all": None}).methods["scrub"] == {}


def test_anything_else_in_the_place_of_search_is_refused(tiny):
    assert "methods.scrub = 'serch': must be a mapping" in message(tiny(methods={"scrub": "serch"}))
    assert "methods.scrub.search = 3: must be true" in message(tiny(methods={"scrub": {"search": 3}}))

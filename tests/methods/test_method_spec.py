import pytest
import tiny

import raybench
from raybench import methods
from raybench.errors import UserError
from raybench.methods.framework.spec import MethodSpec, Rate, check, method
from raybench.methods.framework.task import UnlearningTask
from raybench.registry import spec_of


def refuse(name: str, **values: object) -> str:
    with pytest.raises(UserError) as error:
        check(name, methods.get(name), values)
    return str(error.value)


def test_an_unknown_hyperparameter_is_refused_with_the_nearest_name() -> None:
    assert "did you mean 'temperature'" in refuse("scrub", temprature=2.0)


def test_a_value_out_of_range_or_of_another_type_names_method_key_and_value() -> None:
    assert "methods.salun.density = 1.5" in refuse("salun", density=1.5)
    assert "methods.scrub.lr = 0" in refuse("scrub", lr=0)
    assert "methods.scrub.epochs = 'many'" in refuse("scrub", epochs="many")
    assert "methods.scrub.order = 'random'" in refuse("scrub", order="random")
    assert "methods.scrub.batch_size = 0" in refuse("scrub", batch_size=0)


def test_an_unknown_preset_is_refused_with_those_that_exist() -> None:
    assert "mufac" in refuse("scrub", preset="mufacc")


def test_what_the_user_gave_beats_the_preset_and_that_the_methods_and_the_shared_defaults() -> None:
    function = methods.get("bad_teacher")
    _, settings = check("bad_teacher", function, {})
    assert (settings.schedule, settings.optimizer, settings.batch_size) == ("cosine", "sgd", 64)
    arguments, settings = check("bad_teacher", function, {"preset": "conformal", "lr": 0.5, "momentum": 0.1})
    assert (arguments["lr"], arguments["epochs"], arguments["kl"]) == (0.5, 20, "element_mean")
    assert (settings.momentum, settings.optimizer, settings.bn_mode) == (0.1, "adam", "train_then_frozen")
    assert (settings.schedule, settings.weight_decay) == ("constant", 0.0)
    assert check("bad_teacher", function, {"lr": 0.01})[1].schedule == "constant"  # a rate that the user set


def test_a_plain_function_is_not_a_method_until_it_is_marked() -> None:
    def nothing(task: UnlearningTask) -> None:
        """Do nothing."""

    data = tiny.samples(4)
    with pytest.raises(UserError, match="decorate it"):
        raybench.unlearn(tiny.net(), method=nothing, forget=data, retain=data)
    marked = method(source="here")(nothing)
    assert tiny.distance(raybench.unlearn(tiny.net(), method=marked, forget=data, retain=data), tiny.net()) == 0


def test_a_preset_reproduces_the_released_code_unless_it_says_that_it_sets_numbers_only() -> None:
    reproduces = {name: spec_of(methods.get(name), MethodSpec).reproduces for name in methods.names()}
    for name in methods.names():
        assert set(reproduces[name]) == set(spec_of(methods.get(name), MethodSpec).presets)
    assert reproduces["scrub"]["uuef"] == "released"
    numbers = {(name, preset) for name in reproduces for preset, what in reproduces[name].items() if what == "numbers"}
    assert numbers == {
        ("activation_reset", "eth"),
        ("duck", "uuef"),
        ("fcs", "competition"),
        ("influence", "uuef"),
        ("scar", "uuef"),
        ("selective_pruning", "eth"),
        ("selective_pruning_complex", "eth"),
        ("unsir", "tarun"),
    }


def test_what_a_preset_reproduces_is_no_setting_and_one_of_two_values() -> None:
    def nothing(task: UnlearningTask, *, lr: Rate = 0.1) -> None:
        """Do nothing."""

    marked = method(source="here", presets={"mild": {"lr": 0.01, "reproduces": "numbers"}})(nothing)
    assert spec_of(marked, MethodSpec).presets == {"mild": {"lr": 0.01}}
    assert check("nothing", marked, {"preset": "mild"})[0] == {"lr": 0.01}
    with pytest.raises(UserError, match="`reproduces` of preset mild 'number'; did you mean 'numbers'"):
        method(source="here", presets={"mild": {"lr": 0.01, "reproduces": "number"}})(nothing)


def test_empty_sets_are_refused() -> None:
    with pytest.raises(UserError, match="forget is empty"):
        raybench.unlearn(tiny.net(), method="finetune", forget=[], retain=tiny.samples(3))

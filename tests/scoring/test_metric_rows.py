"""Metrics get what their argument names ask for; reasons instead of numbers; gaps to the retrained models."""

import itertools
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from raybench.data.splits import ROLES
from raybench.engine.prediction import Predictions
from raybench.errors import UserError
from raybench.metrics import downstream
from raybench.metrics.functions.average_gap import average_gap_estimate
from raybench.metrics.functions.statistics import gap_to_reference
from raybench.metrics.regression import mean_absolute_error
from raybench.scoring import metric_rows
from raybench.scoring.average_gap import average_gap_rows
from raybench.storage.errors import StorageError

MODELS = ("original", "one", "two", "three", "mine")
N = 12

OWN = '''
"""Metrics as a user would write them."""
import numpy as np
from raybench.metrics.framework.spec import Estimate, metric


def estimate(value, n=1):
    return Estimate(float(value), float(value) - 1, float(value) + 1, n, "made up")


@metric(source="s", direction="match", splits=("forget", "test"))
def plain(logits, labels, features, groups):
    assert len(logits) == len(labels) == len(features) == len(groups)
    return estimate(logits[0, 0], len(labels))


@metric(source="s", direction="match", splits=("forget",))
def of_the_original(logits, original_logits):
    return estimate(original_logits[0, 0] - logits[0, 0])


@metric(source="s", direction="raise", splits=("forget",))
def of_a_retrained(retrained_logits):
    return estimate(retrained_logits[0, 0])


@metric(source="s", direction="lower")
def of_roles(forget_logits, unseen_logits, original_test_logits, retrained_retain_features, num_classes):
    values = (forget_logits, unseen_logits, original_test_logits, retrained_retain_features)
    return {f"_{i}": estimate(value[0, 0]) for i, value in enumerate(values)} | {"": estimate(num_classes)}


@metric(source="s", direction="match", splits=("forget",))
def of_all_the_others(shadow_logits, shadow_test_features):
    assert len(shadow_logits) == len(shadow_test_features)
    return estimate(sum(logits[0, 0] for logits in shadow_logits), len(shadow_logits))


@metric(source="s", direction="match", splits=("forget",))
def of_an_untrained(untrained_logits):
    return estimate(untrained_logits[0, 0])


@metric(source="s", direction="match")
def of_weights(weights, original_weights, retrained_weights):
    return estimate(sum(given["w"] for given in (weights, original_weights, retrained_weights)))


@metric(source="s", direction="match", splits=("test",))
def per_alpha(logits, calibration_logits, alpha, *, scale: float = 1.0):
    return estimate(alpha * scale)


@metric(source="s", direction="match", splits=("test",))
def undefined(logits):
    raise ValueError("it needs at least a million samples")


@metric(source="s", direction="match", splits=("test",))
def not_a_number(logits):
    return Estimate(float("nan"), float("nan"), float("inf"), 3, "none")


@metric(source="s", direction="match", splits=("test",))
def broken(logits):
    raise ZeroDivisionError


@metric(source="s", direction="match", splits=("downstream",))
def on_downstream(features):
    return estimate(features[0, 0])


@metric(source="s", direction="match", splits=("test", "downstream"))
def on_test_and_downstream(features):
    return estimate(features[0, 0])


@metric(source="s", direction="match", splits=("test", "downstream"))
def groups_anywhere(groups):
    return estimate(groups[0])


@metric(source="s", direction="match", splits=("test",))
def refers_to_nothing_stored(logits, temperature): ...


@metric(source="s", direction="match")
def lacks_a_split(logits): ...
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda name: f"own_metrics.{name}"
    sys.modules.pop("own_metrics", None)


def number(model, role):
    """Every array of a model and a role is filled with a number that says whose it is."""
    return 10.0 * MODELS.index(model) + ROLES.index(role)


def read(model, role):
    value = number(model, role)
    ids = np.arange(N) + 100 * ROLES.index(role)
    return Predictions(ids, np.arange(N) % 3, np.full((N, 3), value, "f4"), np.full((N, 2), value, "f4"))


@pytest.fixture
def models():
    return metric_rows.Models(read, "original", ("one", "two", "three"), groups=np.arange(600) // 2, num_classes=3)


@pytest.fixture
def rows(own, models):
    """Return the rows that a metric gives for a model."""

    def score(name, model="mine", settings=None, alphas=(0.1,), against=models):
        chosen = metric_rows.chosen_metrics({own(name): settings or {}})
        found = metric_rows.score(model, chosen, alphas, against)
        return [{**row, "metric": row["metric"].replace(own(name), name)} for row in found]

    return score


# -- what a metric is given --------------------------------------------------------------------------------------------


def test_each_model_is_compared_with_its_own_original_also_where_values_are_kept(models, own):
    chosen = metric_rows.chosen_metrics(["own_metrics.of_the_original", "own_metrics.plain"])
    second = replace(models, original="two")
    assert second.known is models.known
    for metric, differs in (("of_the_original", True), ("plain", False)):
        values = [
            next(row["value"] for row in metric_rows.score("mine", chosen, (), part) if row["metric"].endswith(metric))
            for part in (models, second)
        ]
        assert (values[0] != values[1]) == differs


def test_plain_names_are_the_models_own_arrays_on_each_split(rows):
    found = rows("plain")
    assert [(row["split"], row["value"], row["n"]) for row in found] == [
        (role, number("mine", role), N) for role in ("forget", "test")
    ]


def test_the_original_is_read_on_the_same_split(rows):
    (row,) = rows("of_the_original")
    assert row["value"] == number("original", "forget") - number("mine", "forget")
    assert row["reference"] == "original"


def test_a_retrained_reference_is_the_mean_over_all_of_them(rows):
    (row,) = rows("of_a_retrained")
    each = [number(model, "forget") for model in ("one", "two", "three")]
    assert row["value"] == pytest.approx(np.mean(each))
    half_width = math.hypot(1, t.ppf(0.975, 2) * np.std(each, ddof=1) / math.sqrt(3))  # over samples, over models
    assert (row["low"], row["high"]) == pytest.approx((row["value"] - half_width, row["value"] + half_width))
    assert "t over 3 retrained" in row["interval"]
    assert row["by_retrained"] == each
    assert row["reference"] == "retrained"


@pytest.mark.parametrize("model", ["one", "two", "three"])
def test_a_retrained_model_is_no_reference_of_itself(rows, model):
    (row,) = rows("of_a_retrained", model=model)
    others = [other for other in ("one", "two", "three") if other != model]
    assert row["value"] == pytest.approx(np.mean([number(other, "forget") for other in others]))
    expected = [None if other == model else number(other, "forget") for other in ("one", "two", "three")]
    assert row["by_retrained"] == expected


def test_shadows_are_all_retrained_models_but_the_one_that_is_scored(rows, models):
    (row,) = rows("of_all_the_others")
    assert (row["value"], row["n"]) == (sum(number(model, "forget") for model in ("one", "two", "three")), 3)
    assert row["reference"] == "retrained"
    (row,) = rows("of_all_the_others", model="two")
    assert (row["value"], row["n"]) == (number("one", "forget") + number("three", "forget"), 2)
    (row,) = rows("of_all_the_others", against=replace(models, retrained=(), known={}))
    assert "no retrained model to compare with" in row["reason"]


def test_an_untrained_model_is_read_like_any_other(rows, models):
    (row,) = rows("of_an_untrained", against=replace(models, untrained="three"))
    assert (row["value"], row["reference"]) == (number("three", "forget"), "untrained")


def test_weights_are_those_of_the_model_the_original_and_each_retrained_one(rows, models):
    size = {"mine": 1, "original": 10, "one": 100, "two": 200, "three": 300}
    (row,) = rows("of_weights", against=replace(models, weights=lambda key: {"w": size[key]}))
    assert row["value"] == 1 + 10 + 200
    assert row["split"] is None


def test_a_lone_retrained_model_has_a_reason_and_no_number(rows, models):
    (row,) = rows("of_a_retrained", model="one", against=replace(models, retrained=("one",)))
    assert "value" not in row
    assert "no retrained model to compare with" in row["reason"]


def test_roles_and_references_are_named_in_full_and_a_dict_gives_a_row_for_each_key(rows):
    found = {row["metric"]: row["value"] for row in rows("of_roles")}
    assert found == {
        "of_roles": 3,
        "of_roles_0": number("mine", "forget"),
        "of_roles_1": number("mine", "unseen"),
        "of_roles_2": number("original", "test"),
        "of_roles_3": pytest.approx(np.mean([number(model, "retain") for model in ("one", "two", "three")])),
    }
    assert {row["split"] for row in rows("of_roles")} == {None}


def test_alpha_gives_a_row_for_each_level_and_a_setting_is_named_in_it(rows):
    found = rows("per_alpha", settings={"scale": 2}, alphas=(0.05, 0.2))
    assert [(row["setting"], row["value"]) for row in found] == [
        ("alpha=0.05,scale=2.0", pytest.approx(0.1)),
        ("alpha=0.2,scale=2.0", pytest.approx(0.4)),
    ]


# -- reasons -----------------------------------------------------------------------------------------------------------


def test_a_metric_that_is_not_defined_leaves_its_reason_and_no_number(rows):
    (row,) = rows("undefined")
    assert row["reason"] == "it needs at least a million samples"
    assert row.get("value") is None


def test_no_nan_reaches_the_table_without_a_reason(rows):
    (row,) = rows("not_a_number")
    assert (row["value"], row["low"], row["high"]) == (None, None, None)
    assert row["reason"] == "the metric returned nan"


def test_groups_are_a_reason_where_the_data_have_none(rows, models):
    found = rows("plain", against=replace(models, groups=None))
    assert {row["reason"] for row in found} == {"the data set has no groups (identities)"}


def test_an_error_of_the_metric_itself_is_not_hidden_as_a_reason(rows):
    with pytest.raises(ZeroDivisionError):
        rows("broken")


def test_a_failure_of_the_storage_is_not_stored_as_a_reason(rows, models):
    def fail(model, role):
        raise StorageError("the disk is gone")

    with pytest.raises(StorageError):
        rows("plain", against=replace(models, read=fail))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        (
            "refers_to_nothing_stored",
            {},
            r"its argument 'temperature' refers to nothing that is stored .* needs a default",
        ),
        ("lacks_a_split", {}, r"its argument 'logits' refers to nothing that is stored .*needs splits="),
        ("per_alpha", {"scael": 1}, r"unknown setting of metric own_metrics\.per_alpha: 'scael'; did you mean 'scale'"),
        ("per_alpha", {"scale": "big"}, r"scale = 'big': must be a number"),
        ("absent", {}, "cannot import metric"),
    ],
)
def test_a_metric_that_could_never_be_computed_is_refused_before_the_run(own, name, settings, said):
    with pytest.raises(UserError, match=said):
        metric_rows.chosen_metrics({own(name): settings})


def test_all_metrics_that_ship_read_only_what_is_stored():
    shipped = set(metric_rows.metric_names())
    on_request = {name for name in shipped if metric_rows.metric_spec(metric_rows.get_metric(name)).on_request}
    assert "weight_distance_by_layer" in on_request
    assert metric_rows.chosen_metrics("all") == {name: {} for name in sorted(shipped - on_request)}
    assert metric_rows.chosen_metrics(on_request).keys() == on_request
    assert set(metric_rows.chosen_metrics(metric_rows.metric_names())) == set(metric_rows.metric_names())


# -- downstream sets, and metrics made of metrics ----------------------------------------------------------------------

SETS = ("downstream-cub", "downstream-office")


def read_elsewhere(model, role):
    """Features and labels of every role and set; each model has its own features, labels are the set's."""
    rng = np.random.default_rng([MODELS.index(model), len(role)])
    labels = np.random.default_rng(len(role)).integers(4, size=60)
    x = (np.eye(4, 6)[labels] + (0.3 + 0.2 * MODELS.index(model)) * rng.normal(size=(60, 6))).astype("f4")
    return Predictions(np.arange(60), labels, x[:, :4], x)


@pytest.fixture
def elsewhere():
    return metric_rows.Models(
        read_elsewhere, "original", ("one", "two"), None, 4, ("0", "1", "2", "3"), downstream=SETS, known={}
    )


def test_a_metric_of_downstream_sets_gives_a_row_for_each_of_them(rows, elsewhere):
    found = rows("on_downstream", against=elsewhere)
    assert [row["split"] for row in found] == list(SETS)
    assert [row["value"] for row in found] == [read_elsewhere("mine", name).features[0, 0] for name in SETS]
    mixed = rows("on_test_and_downstream", against=elsewhere)
    assert [row["split"] for row in mixed] == ["test", *SETS]


def test_without_downstream_sets_a_metric_that_was_asked_for_says_why_it_has_no_number(rows, models):
    (row,) = rows("on_downstream")
    assert row["split"] == "downstream"
    assert "no downstream sets (evaluate.downstream)" in row["reason"]
    assert [row["split"] for row in rows("on_test_and_downstream")] == ["test"]
    (row,) = metric_rows.score("mine", metric_rows.chosen_metrics(["agr"]), [0.1], models)
    assert "no downstream sets" in row["reason"]


def test_all_metrics_leaves_out_what_needs_downstream_sets_where_there_are_none():
    without = metric_rows.chosen_metrics("all", downstream=False)
    left_out = set(metric_rows.chosen_metrics("all")) - set(without)
    assert left_out >= {"downstream_knn", "downstream_cka_to_retrained", "agr", "h_lr"}
    assert without.keys() >= {"cka_batched", "agl", "accuracy"}
    assert set(metric_rows.chosen_metrics(["agr"], downstream=False)) == {"agr"}


def test_the_identities_of_the_main_data_are_not_those_of_a_downstream_set(rows, elsewhere):
    found = rows("groups_anywhere", against=replace(elsewhere, groups=np.arange(600)))
    assert [row.get("reason") for row in found] == [None, *["the data set has no groups (identities)"] * 2]


def values(chosen, elsewhere, model="mine"):
    found = metric_rows.score(model, metric_rows.chosen_metrics(chosen), [0.1], elsewhere)
    return {(row["metric"], row["split"]): row for row in found}


def test_a_metric_made_of_others_gets_their_values_for_each_retrained_model(elsewhere):
    found = values(["downstream_knn", "downstream_cka_to_retrained", "agr", "agl", "h_lr"], elsewhere)
    own, expected = {name: found["downstream_knn", name]["value"] for name in SETS}, []
    for retrained in elsewhere.retrained:
        alone = values(["downstream_cka_to_retrained", "agl"], replace(elsewhere, retrained=(retrained,), known={}))
        theirs = values(["downstream_knn"], elsewhere, retrained)
        parts = [1 - abs(own[name] - theirs["downstream_knn", name]["value"]) for name in SETS]
        parts += [alone["downstream_cka_to_retrained", name]["value"] for name in SETS]
        expected.append((np.prod(parts), alone["agl", None]["value"]))
    assert found["agr", None]["value"] == pytest.approx(np.mean([agr for agr, _ in expected]))
    harmonic = [2 * agr * agl / (agr + agl) for agr, agl in expected]
    assert found["h_lr", None]["value"] == pytest.approx(np.mean(harmonic))
    assert found["h_lr", None]["reference"] == found["agr", None]["reference"] == "retrained"
    assert found["agr_knn_cub", None]["value"] < 1


def test_what_several_metrics_read_is_computed_once(elsewhere, monkeypatch):
    asked, accuracy = [], downstream.knn_accuracy
    monkeypatch.setattr(downstream, "knn_accuracy", lambda *given, **more: asked.append(1) or accuracy(*given, **more))
    values(["downstream_knn", "agr", "h_lr"], elsewhere)
    assert len(asked) == len(SETS) * 3  # this model and the two retrained ones
    values(["agr"], elsewhere, "one")
    assert len(asked) == len(SETS) * 3


def test_class_names_that_are_numbers_are_read_as_such_and_others_are_a_reason(elsewhere):
    (row,) = [r for (_, split), r in values(["mean_absolute_error"], elsewhere).items() if split == "forget"]
    stored = read_elsewhere("mine", "forget")
    expected = mean_absolute_error(stored.logits, stored.labels, np.arange(4.0)).value
    assert row["value"] == pytest.approx(expected)
    named = values(["mean_absolute_error"], replace(elsewhere, class_names=("0", "1", "2", "cat"), known={}))
    assert {row["reason"] for row in named.values()} == {"class names are not numbers ('cat')"}


# -- gaps --------------------------------------------------------------------------------------------------------------


def a_row(model, kind, value, metric="accuracy", split="forget", setting=""):
    identity = {"model": model, "name": model, "kind": kind, "method": kind, "seed": 0, "original": 0}
    return {**identity, "metric": metric, "split": split, "setting": setting, "value": value}


RETRAINED = {"one": 0.5, "two": 0.6, "three": 0.7}


def with_others(value, **where):
    rows = [a_row("mine", "unlearned", value, **where)]
    return rows + [a_row(name, "retrained", given, **where) for name, given in RETRAINED.items()]


@pytest.mark.parametrize(("value", "sign"), [(0.9, 1), (0.2, -1)])
def test_a_gap_is_signed_so_that_over_forgetting_shows(value, sign):
    row = metric_rows.with_gaps(with_others(value))[0]
    assert row["gap"] == pytest.approx(value - 0.6)
    assert math.copysign(1, row["gap"]) == sign
    expected = gap_to_reference(value, list(RETRAINED.values()))
    assert (row["gap_low"], row["gap_high"]) == pytest.approx((expected.low, expected.high))
    assert row["gap_n"] == 3


def test_a_retrained_models_gap_is_to_the_others_which_is_the_noise_floor():
    rows = {row["model"]: row for row in metric_rows.with_gaps(with_others(0.9))}
    for name, value in RETRAINED.items():
        others = [given for other, given in RETRAINED.items() if other != name]
        assert rows[name]["gap"] == pytest.approx(value - np.mean(others))
        assert rows[name]["gap_n"] == 2


def test_gaps_compare_the_same_metric_split_and_setting_only():
    elsewhere = [a_row("mine", "unlearned", 0.5, split="test"), a_row("mine", "unlearned", 0.5, setting="k=3")]
    for row in metric_rows.with_gaps(with_others(0.9) + elsewhere)[-2:]:
        assert "gap" not in row


def test_a_row_without_a_value_has_no_gap_and_is_no_reference():
    rows = [*with_others(0.9), a_row("four", "retrained", None), a_row("other", "unlearned", None)]
    found = {row["model"]: row for row in metric_rows.with_gaps(rows)}
    assert found["mine"]["gap_n"] == 3
    assert "gap" not in found["four"]
    assert "gap" not in found["other"]


def test_one_reference_gives_a_gap_without_an_interval():
    rows = [a_row("mine", "unlearned", 0.9), a_row("one", "retrained", 0.5)]
    row = metric_rows.with_gaps(rows)[0]
    assert row["gap"] == pytest.approx(0.4)
    assert row["gap_low"] is None
    assert row["gap_high"] is None


PARTS = [("accuracy", "forget"), ("accuracy", "retain"), ("accuracy", "test"), ("mia_auc", None)]


def test_the_average_gap_is_the_mean_of_four_absolute_gaps_in_points():
    given = dict(zip(PARTS, (0.9, 0.5, 0.6, 0.1)))
    rows = itertools.chain.from_iterable(with_others(v, metric=m, split=s) for (m, s), v in given.items())
    rows = metric_rows.with_gaps(rows)
    found = {row["model"]: row for row in average_gap_rows(rows)}
    assert found["mine"]["value"] == pytest.approx(100 * (0.3 + 0.1 + 0.0 + 0.5) / 4)
    values, references = list(given.values()), [[value] * 4 for value in RETRAINED.values()]
    expected = average_gap_estimate(values, references)
    assert (found["mine"]["low"], found["mine"]["high"]) == pytest.approx((expected.low, expected.high))
    assert found["one"]["value"] == pytest.approx(100 * abs(0.5 - 0.65))  # the noise floor


def test_a_part_that_is_missing_leaves_no_average_gap():
    rows = itertools.chain.from_iterable(with_others(0.9, metric=m, split=s) for m, s in PARTS[:3])
    assert average_gap_rows(metric_rows.with_gaps(rows)) == []

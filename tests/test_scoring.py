"""Metrics get what their argument names ask for; reasons instead of numbers; gaps to the retrained models."""

import itertools
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from raybench import scoring
from raybench.data.splits import ROLES
from raybench.errors import UserError
from raybench.metrics.statistics import gap_to_reference
from raybench.prediction import Predictions
from raybench.store import StorageError

MODELS = ("original", "one", "two", "three", "mine")
N = 12

OWN = '''
"""Metrics as a user would write them."""
import numpy as np
from raybench.metrics.spec import Estimate, metric


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


@metric(source="s", direction="match", splits=("test",))
def asks_for_nothing_known(logits, temperature): ...


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
    return scoring.Models(read, "original", ("one", "two", "three"), groups=np.arange(600) // 2, num_classes=3)


@pytest.fixture
def rows(own, models):
    """Return the rows that a metric gives for a model."""

    def score(name, model="mine", settings=None, alphas=(0.1,), against=models):
        chosen = scoring.chosen_metrics({own(name): settings or {}})
        found = scoring.score(model, chosen, alphas, against)
        return [{**row, "metric": row["metric"].replace(own(name), name)} for row in found]

    return score


# -- what a metric is given --------------------------------------------------------------------------------------------


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
    assert row["value"] == pytest.approx(np.mean([number(model, "forget") for model in ("one", "two", "three")]))
    assert (row["low"], row["high"]) == pytest.approx((row["value"] - 1, row["value"] + 1))
    assert "mean over 3 retrained" in row["interval"]
    assert row["reference"] == "retrained"


@pytest.mark.parametrize("model", ["one", "two", "three"])
def test_a_retrained_model_is_no_reference_of_itself(rows, model):
    (row,) = rows("of_a_retrained", model=model)
    others = [other for other in ("one", "two", "three") if other != model]
    assert row["value"] == pytest.approx(np.mean([number(other, "forget") for other in others]))


def test_a_lone_retrained_model_has_a_reason_and_no_number(rows, models):
    (row,) = rows("of_a_retrained", model="one", against=replace(models, retrained=("one",)))
    assert "value" not in row
    assert "no retrained model to compare with" in row["reason"]


def test_roles_and_owners_are_named_in_full_and_a_dict_gives_a_row_for_each_key(rows):
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
    assert row["reason"] == "the metric gave nan"


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
        ("asks_for_nothing_known", {}, r"its argument 'temperature' names nothing that is stored .* needs a default"),
        ("lacks_a_split", {}, r"its argument 'logits' names nothing that is stored .*needs splits="),
        ("per_alpha", {"scael": 1}, r"unknown setting of metric own_metrics\.per_alpha: 'scael'; did you mean 'scale'"),
        ("per_alpha", {"scale": "big"}, r"scale = 'big': must be a number"),
        ("absent", {}, "cannot import metric"),
    ],
)
def test_a_metric_that_could_never_be_computed_is_refused_before_the_run(own, name, settings, said):
    with pytest.raises(UserError, match=said):
        scoring.chosen_metrics({own(name): settings})


def test_all_metrics_that_ship_ask_only_for_what_is_stored():
    assert scoring.chosen_metrics("all") == {name: {} for name in scoring.metric_names()}
    assert set(scoring.chosen_metrics(scoring.metric_names())) == set(scoring.metric_names())


# -- gaps --------------------------------------------------------------------------------------------------------------


def a_row(model, kind, value, metric="accuracy", split="forget", setting=""):
    identity = {"model": model, "name": model, "kind": kind, "method": kind, "seed": 0}
    return {**identity, "metric": metric, "split": split, "setting": setting, "value": value}


RETRAINED = {"one": 0.5, "two": 0.6, "three": 0.7}


def with_others(value, **where):
    rows = [a_row("mine", "unlearned", value, **where)]
    return rows + [a_row(name, "retrained", given, **where) for name, given in RETRAINED.items()]


@pytest.mark.parametrize(("value", "sign"), [(0.9, 1), (0.2, -1)])
def test_a_gap_is_signed_so_that_over_forgetting_shows(value, sign):
    row = scoring.with_gaps(with_others(value))[0]
    assert row["gap"] == pytest.approx(value - 0.6)
    assert math.copysign(1, row["gap"]) == sign
    expected = gap_to_reference(value, list(RETRAINED.values()))
    assert (row["gap_low"], row["gap_high"]) == pytest.approx((expected.low, expected.high))
    assert row["gap_n"] == 3


def test_a_retrained_models_gap_is_to_the_others_which_is_the_noise_floor():
    rows = {row["model"]: row for row in scoring.with_gaps(with_others(0.9))}
    for name, value in RETRAINED.items():
        others = [given for other, given in RETRAINED.items() if other != name]
        assert rows[name]["gap"] == pytest.approx(value - np.mean(others))
        assert rows[name]["gap_n"] == 2


def test_gaps_compare_the_same_metric_split_and_setting_only():
    elsewhere = [a_row("mine", "unlearned", 0.5, split="test"), a_row("mine", "unlearned", 0.5, setting="k=3")]
    for row in scoring.with_gaps(with_others(0.9) + elsewhere)[-2:]:
        assert "gap" not in row


def test_a_row_without_a_value_has_no_gap_and_is_no_reference():
    rows = [*with_others(0.9), a_row("four", "retrained", None), a_row("other", "unlearned", None)]
    found = {row["model"]: row for row in scoring.with_gaps(rows)}
    assert found["mine"]["gap_n"] == 3
    assert "gap" not in found["four"]
    assert "gap" not in found["other"]


def test_one_reference_gives_a_gap_without_an_interval():
    rows = [a_row("mine", "unlearned", 0.9), a_row("one", "retrained", 0.5)]
    row = scoring.with_gaps(rows)[0]
    assert row["gap"] == pytest.approx(0.4)
    assert row["gap_low"] is None
    assert row["gap_high"] is None


PARTS = [("accuracy", "forget"), ("accuracy", "retain"), ("accuracy", "test"), ("mia_auc", None)]


def test_the_average_gap_is_the_mean_of_four_absolute_gaps_in_points():
    given = dict(zip(PARTS, (0.9, 0.5, 0.6, 0.1)))
    rows = itertools.chain.from_iterable(with_others(v, metric=m, split=s) for (m, s), v in given.items())
    rows = scoring.with_gaps(rows)
    found = {row["model"]: row for row in scoring.average_gap_rows(rows)}
    assert found["mine"]["value"] == pytest.approx(100 * (0.3 + 0.1 + 0.0 + 0.5) / 4)
    halves = [(row["gap_high"] - row["gap_low"]) / 2 for row in rows if row["model"] == "mine"]
    half = 100 * math.sqrt(sum(h**2 for h in halves)) / 4
    assert found["mine"]["high"] == pytest.approx(found["mine"]["value"] + half)
    assert found["mine"]["low"] >= 0
    assert found["one"]["value"] == pytest.approx(100 * abs(0.5 - 0.65))  # the noise floor


def test_a_part_that_is_missing_leaves_no_average_gap():
    rows = itertools.chain.from_iterable(with_others(0.9, metric=m, split=s) for m, s in PARTS[:3])
    assert scoring.average_gap_rows(scoring.with_gaps(rows)) == []

"""Which runs are comparable, why others are not, and differences between runs with their uncertainty."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from well_formed import Page

from raybench.report.comparing.differences import GAP, MEMORY, Interval, difference, method_differences
from raybench.report.comparing.page import as_html, rows_of
from raybench.report.comparing.run_summary import MethodRuns, NotComparable, RunSummary, read_summary
from raybench.report.comparing.scenarios import apart, group, protocol_differences, scenario_differences
from raybench.report.comparing.table import COMPARISON, to_table
from raybench.report.comparing.terminal import renderables
from raybench.storage import tables
from raybench.storage.store import Store

GOOD = (0.872, 0.992, 0.885, 0.535, 0.705, 0.855, 0.93)
BAD = (0.99, 0.999, 0.88, 0.70, 0.88, 0.98, 0.82)
MARKUP = "a<script>&$b$"
SETTINGS = {
    "data.dataset": "digits",
    "data.sizes.train": 600,
    "forget.rule": "random",
    "forget.count": 120,
    "model.name": "cnn",
    "model.width": 16,
    "train.epochs": 40,
    "train.seed": 0,
    "evaluate.margin": 0.1,
    "evaluate.metrics": "all",
    "sweep.tuning_request": "separate",
    "resources.threads": 1,
    "resources.precision": "fp32",
}


@pytest.fixture(scope="module")
def board(make_run):
    return make_run({"good": [GOOD, BAD], "bad": [BAD] * 2, MARKUP: [GOOD] * 2, "broken": "it diverged"}).board()


@pytest.fixture
def make(board):
    def build(name="first/00000001", started="2026-01-01T00:00:00+0000", settings=None, **changes):
        run = RunSummary(
            name,
            started,
            board,
            SETTINGS | (settings or {}),
            {"data": "d", "roles": "r", "checkpoint": ""},
            {"retain": 480, "forget": 120, "test": 200},
            {("original", 0): "o", ("retrained", 1): "a", ("retrained", 2): "b"},
            {name: MethodRuns({"lr": 0.1, "epochs": 5}, frozenset([f"{name}-1"])) for name in ("good", "bad", MARKUP)},
            frozenset(["good"]),
            {"raybench": "0.1.0", "commit": "c0ffee"},
        )
        return replace(run, **changes)

    return build


def test_a_difference_of_symmetric_intervals_adds_their_squares():
    result = difference(Interval(10, 7, 13), Interval(4, 0, 8))
    assert result == pytest.approx((6, 6 - 5, 6 + 5))


def test_a_difference_of_skewed_intervals_has_the_bounds_of_mover():
    # Zou and Donner 2008: L = d - sqrt((a - la)^2 + (ub - b)^2), U = d + sqrt((ua - a)^2 + (b - lb)^2)
    result = difference(Interval(5, 2, 6), Interval(3, 2.25, 7))
    assert result == pytest.approx((2, 2 - 5, 2 + 1.25))
    assert (
        difference(Interval(5, 2, 6), Interval(3, 2.25, 7)).value
        == -difference(Interval(3, 2.25, 7), Interval(5, 2, 6)).value
    )


def test_the_interval_covers_the_difference_of_two_means():
    rng, hits, n = np.random.default_rng(0), 0, 2000
    width = 1.959964 / np.sqrt(25)
    for first, second in rng.normal([[[1.0], [0.0]]], 1, (n, 2, 25)).mean(2):
        result = difference(*(Interval(mean, mean - width, mean + width) for mean in (first, second)))
        hits += result.low < 1 < result.high
    assert 0.935 < hits / n < 0.965


def test_runs_that_differ_in_seeds_methods_and_budgets_are_of_one_scenario(make):
    other = make("second/00000002", settings={"train.seed": 5, "sweep.trials": 50, "methods.good.lr": 0.2})
    assert scenario_differences(make(), other) == []
    assert protocol_differences(make(), other) == []
    (scenario,) = group([make(), other])
    assert len(scenario.protocols) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"settings": {"model.width": 32}}, ["model.width 16/32"]),
        ({"settings": {"train.epochs": 3, "model.name": "resnet18"}}, ["model.name cnn/resnet18", "train.epochs 40/3"]),
        ({"fingerprints": {"data": "e", "roles": "r", "checkpoint": ""}}, ["data: other pixels or labels"]),
        ({"fingerprints": {"data": "d", "roles": "s", "checkpoint": ""}}, ["samples of the roles"]),
        ({"fingerprints": {"data": "d", "roles": "r", "checkpoint": "c"}}, ["model.checkpoint: another file"]),
    ],
)
def test_what_tells_scenarios_apart_is_named(make, changes, expected):
    assert scenario_differences(make(), make(**changes)) == expected
    assert len(group([make(), make("second/00000002", **changes)])) == 2


def test_another_forget_set_is_explained_by_its_settings(make):
    other = make(settings={"forget.count": 60}, fingerprints={"data": "d", "roles": "s", "checkpoint": ""})
    assert scenario_differences(make(), other) == ["forget.count 120/60"]
    assert scenario_differences(make(), make(settings={"forget.count": 60})) == []  # the samples are the same


def test_models_of_the_same_seed_that_differ_tell_scenarios_apart(make):
    other = make(references={("original", 0): "x", ("retrained", 7): "y"})
    assert "code of the architecture" in scenario_differences(make(), other)[0]
    assert scenario_differences(make(), make(references={("retrained", 7): "y"})) == []
    threads = make(references={("original", 0): "x"}, settings={"resources.threads": 2})
    assert scenario_differences(make(), threads) == []


def test_protocols_are_apart_with_the_reason(make):
    reasons = {
        "evaluate.margin 0.1/0.2": {"settings": {"evaluate.margin": 0.2}},
        "paper.protocol none/released": {"settings": {"paper.protocol": "released"}},
        "sweep.tuning_request separate/same": {"settings": {"sweep.tuning_request": "same"}},
        "evaluate.metrics default/knn.k 9": {"settings": {"evaluate.metrics.knn.k": 9}},
    }
    for expected, changes in reasons.items():
        assert protocol_differences(make(), make(**changes)) == [expected]
    untuned = make(settings={"sweep.tuning_request": "same"}, searched=frozenset())
    assert protocol_differences(make(), untuned) == []
    assert protocol_differences(make(), make(settings={"evaluate.metrics.knn.k": 5})) == []  # the default
    runs = [make(), make("second/00000002"), make("third/00000003", "2027", settings={"evaluate.margin": 0.2})]
    (scenario,) = group(runs)
    assert [len(protocol.runs) for protocol in scenario.protocols] == [2, 1]  # the larger one is the first
    assert scenario.protocols[1].apart == ("evaluate.margin 0.2/0.1",)
    assert apart("protocol 1", scenario.protocols[1].apart).endswith("differs in: evaluate.margin 0.2/0.1.")


def test_runs_are_shown_side_by_side_and_never_pooled(make, board):
    newer = make("second/00000002", "2026-02", methods={"good": MethodRuns({"lr": 0.2, "epochs": 5}, frozenset("x"))})
    (scenario,) = group([make(), newer])
    rows = rows_of(scenario.protocols[0])
    assert [row.name for _, row in rows].count("good") == 2
    assert to_table([scenario]).num_rows == 2 * len(board.rows)
    items = {item.method: item for item in method_differences(scenario.protocols[0])}
    good = items["good"]
    assert (good.newer, good.older, good.settings, good.same_models) == (0, 1, ("lr 0.2/0.1",), False)
    row = next(row for row in board.rows if row.name == "good")
    assert good.values[GAP] == pytest.approx((0, -(2**0.5) * row.gap.half_width, 2**0.5 * row.gap.half_width))
    below, above = row.memory.value - row.memory.low, row.memory.high - row.memory.value
    assert good.values[MEMORY].high == pytest.approx(100 * math.hypot(below, above))
    assert math.isnan(items["broken"].values[GAP].value)


def test_the_same_stored_models_are_called_the_same(make):
    (scenario,) = group([make(), make("second/00000002")])
    items = {item.method: item for item in method_differences(scenario.protocols[0])}
    assert items["bad"].same_models
    assert items["bad"].settings == ()


def test_the_table_has_the_runs_before_the_columns_of_the_leaderboard(make, board):
    content = to_table(group([make(), make("second/00000002", settings={"model.width": 32})]))
    assert content.schema.names == COMPARISON.names
    assert set(content["scenario"].to_pylist()) == {1, 2}
    row = next(row for row in content.to_pylist() if row["method"] == "good")
    assert json.loads(row["hyperparameters"]) == {"lr": 0.1, "epochs": 5}
    assert row["num_retrained"] == board.num_retrained
    assert all(field.metadata for field in COMPARISON if field.name in ("scenario", "run", "hyperparameters"))


def test_the_page_is_well_formed_and_escapes_names_and_reasons(make):
    runs = [make(), make("second/00000002"), make("third/00000003", settings={"model.width": 32})]
    text = as_html("Comparison", group(runs), {"old<b>/00000004": "schema <i>"}, "raybench")
    page = Page(text)
    assert page.tags.count("script") == 1
    assert "i" not in page.tags
    assert len(set(page.ids)) == len(page.ids)
    assert "old<b>/00000004: schema <i>" in page.text
    assert "Not comparable with scenario 1, differs in: model.width 32/16." in page.text
    assert text.count("<tr data-verdict") == 3 * 4
    assert text == as_html("Comparison", group(runs[::-1]), {"old<b>/00000004": "schema <i>"}, "raybench")


def test_the_terminal_has_eighty_columns(make):
    from rich.console import Console

    console = Console(width=80, record=True, markup=False, emoji=False)
    runs = [
        make("a_long_name_of_a_run/00000001"),
        make("second/00000002"),
        make("third/3", settings={"model.width": 8}),
    ]
    for item in renderables(group(runs), {"old/00000004": "its tables have schema 2"}, width=80):
        console.print(item)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "not shown: old/00000004: its tables have schema 2" in text
    assert "..." not in text.replace(MARKUP, "")


@pytest.mark.slow
def test_sixty_methods_in_several_runs_fit(make, board):
    good = next(row for row in board.rows if row.name == "good")
    rows = tuple(replace(good, name=f"selective_pruning_method_{n}", rank=n + 1) for n in range(60))
    many = replace(board, rows=(*board.rows[:2], *rows))
    methods = {row.name: MethodRuns({"lr": 0.1}, frozenset([row.name])) for row in rows}
    runs = [make(f"run{n}/0000000{n}", f"2026-0{n + 1}", board=many, methods=methods) for n in range(3)]
    text = as_html("Leaderboard", group(runs), {}, "raybench")
    assert len(text.encode()) < 5e6
    assert text.count("<tr data-verdict") == 180
    assert "selective_pruning... [3]" in text


def test_a_run_that_cannot_be_shown_says_why(tmp_path):
    store = Store(str(tmp_path))
    with pytest.raises(NotComparable, match="no manifest"):
        read_summary(store, "old/00000001", dict)
    store.write_json("old/00000001/manifest.json", {"schema_version": "2"})
    with pytest.raises(NotComparable, match=f"have schema 2, and this version reads schema {tables.VERSION}"):
        read_summary(store, "old/00000001", dict)
    store.write_json("old/00000001/manifest.json", {"schema_version": tables.VERSION})
    with pytest.raises(NotComparable, match="not evaluated yet"):
        read_summary(store, "old/00000001", dict)

"""The reported results: transcribed without errors, under the names of raybench, with known inconsistencies marked."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from rich.console import Console

from raybench import methods, metrics, paper_tables, registry
from raybench.commands.listing import print_list
from raybench.config.schema import Paper
from raybench.errors import UserError
from raybench.jobs import plan
from raybench.methods.framework.spec import check
from raybench.metrics import conformal, membership_inference
from raybench.metrics.framework.spec import MetricSpec
from raybench.metrics.functions import population
from raybench.metrics.functions.composite import nomus
from raybench.metrics.functions.epsilon import ceiling
from raybench.pipeline.manifest import manifest
from raybench.scenario.prepare import prepare
from raybench.storage.store import Store

PAGE = Path(__file__).parents[2] / "docs" / "reported-results.md"
NOMUS_TABLES = ("mufac_age", "mucac_multilabel", "mucac_gender", "mucac_smiling", "mucac_young")
TABLES = paper_tables.tables()


@pytest.fixture(scope="module")
def everything():
    return pd.concat([paper_tables.load(name) for name in TABLES], ignore_index=True)


def reported(name, place, metric, split=""):
    frame = paper_tables.load(name)
    found = frame[(frame.place.str.startswith(place)) & (frame.metric == metric) & (frame.split == split)]
    return found.set_index(["method", "preset_or_variant"])["value"]


# -- the transcription -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOMUS_TABLES)
def test_accuracy_and_score_give_the_reported_nomus_of_all_nine_columns(name):
    accuracy, score, total = (
        reported(name, "Table", metric, split)
        for metric, split in (("accuracy", "test"), ("forgetting_score", ""), ("nomus", ""))
    )
    assert len(total) == 9
    for method in total.index:
        assert nomus(accuracy[method], score[method]) == pytest.approx(total[method], abs=1.5e-4), method


def test_the_readme_of_mufac_differs_from_the_paper_by_a_cut_off_digit_in_four_cells():
    gap = reported("mufac_age", "README", "nomus") - reported("mufac_age", "Table 1", "nomus")
    assert (gap.abs() > 5e-5).sum() == 4
    assert gap.abs().max() < 1.5e-4


def test_every_score_of_the_notebooks_gives_the_nomus_that_they_print(everything):
    runs = everything[everything.place.str.startswith("notebooks")]
    for _, run in runs.groupby(["source", "table", "place", "method", "preset_or_variant"]):
        values = {(row.metric, row.split): row.value for row in run.itertuples()}
        if ("nomus", "") in values:
            total = nomus(values["accuracy", "test"], values["forgetting_score", ""])
            assert total == pytest.approx(values["nomus", ""], abs=1.5e-4)


def test_no_reported_epsilon_exceeds_the_ceiling_of_its_models_and_each_is_on_the_lattice():
    found = reported("eth_cifar10", "report", "epsilon_released_median", "forget")
    assert len(found) == 8
    assert found.max() <= ceiling(80, 80, 0.05)
    for epsilon in found:  # medians over samples are logarithms of whole numbers, where the best cut has one error
        assert any(round(math.log(k), 2) == epsilon for k in range(2, 76)), epsilon
    (null,) = reported("eth_cifar10", "report", "epsilon_released_median_null", "forget")
    assert null == pytest.approx(math.log(2.4), abs=0.005)
    assert null < found.min()


def test_every_reported_epsilon_of_agedb_is_below_the_ceiling():
    assert reported("eth_agedb", "report", "epsilon_released_median", "forget").max() < ceiling(80, 80, 0.05)


def test_the_third_partys_ratios_follow_from_its_coverages_and_errors():
    frame = paper_tables.load("third_party_toy").set_index(["method_reported", "metric_reported"])["value"]
    rows = frame.unstack()
    assert len(rows) == 13
    for split in ("forget", "test"):
        ratio = rows[f"Coverage {split}"] / rows[f"Set Size {split}"]
        assert (ratio - rows[f"CR {split}"]).abs().max() < 0.003  # sizes have two digits
    expected = 1 - (1 - rows["Coverage forget"]) / rows["UA"].replace(0, np.nan)
    assert (expected - rows["in-set / mis-label"]).abs().max() < 0.002
    assert ((rows["in-set"] / rows["mis-label"]) - rows["in-set / mis-label"]).abs().max() < 0.001
    assert (rows["mis-label"] / 200 - rows["UA"]).abs().max() < 1e-9


def test_values_are_the_reported_text_with_percentages_as_fractions(everything):
    for row in everything.itertuples():
        text = row.reported.replace("about", "").strip(" %+>")
        if "-" in text[1:]:  # a range
            low, high = map(float, text.split("-"))
            assert row.value in (low, high)
            continue
        scales = {"fraction": (1, 100, 1000)}.get(row.unit, (1,))
        assert any(row.value == pytest.approx(float(text) / scale) for scale in scales), row
        if row.unit == "fraction":
            assert 0 <= row.value <= 1, row


def test_constant_predictors_are_marked_by_the_share_of_their_class_in_the_test_set():
    males, smiling, young, count = 364, 919, 1707, 2065
    shares = {"mucac_gender": males, "mucac_smiling": count - smiling, "mucac_young": count - young}
    for name, right in shares.items():
        frame = paper_tables.load(name)
        tests = frame[(frame.metric == "accuracy") & frame.place.str.startswith("Table")]
        collapsed = tests[tests.value == math.floor(1e4 * right / count) / 1e4]
        assert len(collapsed) == (1 if name == "mucac_young" else 2)
        assert not collapsed.consistent.any()
        assert collapsed.note.str.startswith("collapsed").all()


# -- the names ---------------------------------------------------------------------------------------------------------


def test_every_metric_is_one_that_an_evaluation_writes_under_that_name(everything):
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(60, 3)), random.integers(0, 3, 60)
    parts = {f"coverage{end}" for end in conformal.coverage(logits, labels, logits, labels, 0.1)}
    parts |= {f"mia{end}" for end in membership_inference.mia(logits, labels, logits, labels)}
    companions = {name + end for name in population.specs() for end in ("", *paper_tables.COMPANIONS)}
    known = {*registry.discover(metrics.__name__, MetricSpec), *parts, *companions, paper_tables.DERIVED}
    assert set(everything.metric) <= known


def test_every_split_is_one_that_its_metric_is_measured_on(everything):
    specs = registry.discover(metrics.__name__, MetricSpec)
    statistics = population.specs()
    for metric, split in set(zip(everything.metric, everything.split)):
        base = next((metric.removesuffix(end) for end in paper_tables.COMPANIONS if metric.endswith(end)), metric)
        owner = next((name for name in sorted(specs, key=len, reverse=True) if base.startswith(name)), None)
        spec = statistics.get(base) or (owner and specs[owner].raybench_spec)
        if spec:
            assert split in (spec.splits or ("",)), metric


def test_every_method_and_variant_is_one_that_an_experiment_can_name(everything):
    for method, variant in set(zip(everything.method, everything.preset_or_variant)):
        if method in ("original", "retrained", ""):
            assert not variant
        elif variant:
            check(method, methods.get(method), json.loads(variant))
        else:
            assert method in methods.names()


def test_rows_of_one_method_are_told_apart_by_their_variant(everything):
    key = ["source", "table", "place", "method", "preset_or_variant", "metric_reported", "metric", "split"]
    ranges = everything.reported.str.match(r"\d[\d.]*-\d")
    once = everything[~ranges & ~everything.table.eq("gains") & ~everything.metric_reported.eq("test pass")]
    assert not once.duplicated([*key, "dataset"]).any()


def test_a_number_without_a_method_is_one_that_nothing_is_compared_with(everything):
    assert set(everything.loc[everything.method == "", "metric"]) == {paper_tables.DERIVED}


def test_every_inconsistent_row_has_its_reason_in_the_table_and_on_the_page(everything):
    page = PAGE.read_text(encoding="utf-8").splitlines()
    wrong = everything[~everything.consistent]
    assert len(wrong) > 50
    for row in wrong.itertuples():
        name = f"`{row.source}_{row.table}`"
        lines = [line for line in page if line.startswith(f"| {name} ") and row.method_reported in line.split("|")[2]]
        assert any(row.note.split("; ")[0] in line for line in lines), (name, row.method_reported, row.note)


def test_the_page_counts_the_numbers_of_every_table(everything):
    page = PAGE.read_text(encoding="utf-8")
    for name in TABLES:
        frame = paper_tables.load(name)
        line = next(line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line)
        names, *_, counts, wrong = (cell.strip().split(", ") for cell in line.strip("|").split("|"))
        place = names.index(f"`{name}`")
        assert int(counts[place]) == len(frame)
        assert int(wrong[min(place, len(wrong) - 1)]) == (~frame.consistent).sum()


# -- loading -----------------------------------------------------------------------------------------------------------


def test_an_unknown_table_is_refused_with_its_nearest_name():
    with pytest.raises(UserError, match="did you mean 'mufac_age'"):
        paper_tables.load("mufac_ages")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "acuracy"}, "acuracy is neither a metric"),
        ({"consistent": "maybe"}, "consistent = true or false"),
        ({"source": "mucac"}, "its source and table"),
    ],
)
def test_a_broken_file_is_refused_with_what_is_wrong(tmp_path, monkeypatch, change, words):
    row = dict.fromkeys(paper_tables.COLUMNS, "") | {"source": "mufac", "table": "made_up", "value": "0.5"}
    row |= {"metric": "accuracy", "consistent": "true", **change}
    pd.DataFrame([row]).to_csv(tmp_path / "mufac_made_up.csv", index=False)
    monkeypatch.setattr(paper_tables, "files", lambda _: tmp_path)
    with pytest.raises(UserError, match=words):
        paper_tables.load("mufac_made_up")


def test_a_file_with_other_columns_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mufac_made_up.csv").write_text("method,value\nscrub,0.5\n")
    monkeypatch.setattr(paper_tables, "files", lambda _: tmp_path)
    with pytest.raises(UserError, match="has the columns method, value, not source"):
        paper_tables.load("mufac_made_up")


@pytest.mark.parametrize("name", ["accuracy", "coverage_set_size", "epsilon_released_median_null", "u_lira_auc"])
def test_metrics_parts_and_companions_are_known(name):
    assert paper_tables.is_metric(name)


@pytest.mark.parametrize("name", ["acuracy", "epsilon_median", "accuracies", "_null", ""])
def test_what_no_evaluation_writes_is_not_known(name):
    assert not paper_tables.is_metric(name)


# -- where they are named ----------------------------------------------------------------------------------------------


def test_an_experiment_that_names_an_unknown_table_is_refused_with_the_nearest():
    with pytest.raises((UserError, ValidationError), match="did you mean 'eth_cifar10'"):
        Paper(table="eth_cifar", protocol="released")
    with pytest.raises(ValidationError, match="protocol"):
        Paper.model_validate({"table": "eth_cifar10", "protocol": "own"})


def test_naming_a_table_changes_no_key_and_stands_in_the_manifest(make_experiment, tmp_path):
    store = Store(str(tmp_path))
    plain, named = (
        prepare(make_experiment(**changes), store)
        for changes in ({}, {"paper": {"table": "mufac_age", "protocol": "released"}})
    )
    jobs = [plan.train_jobs(scenario) for scenario in (plain, named)]
    assert jobs[0] == jobs[1]
    original = jobs[0][0].key
    assert plan.search_jobs(plain, original) == plan.search_jobs(named, original)
    assert manifest(named.experiment, "", {})["paper"] == {"table": "mufac_age", "protocol": "released"}
    assert manifest(plain.experiment, "", {})["paper"] is None


def test_the_list_names_every_table_and_which_rows_are_inconsistent():
    stream = io.StringIO()
    print_list("tables", Console(file=stream, width=100))
    lines = stream.getvalue().splitlines()
    starts = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert starts == TABLES
    wrong = lines[next(i for i, line in enumerate(lines) if line.startswith("mufac_age")) + 2]
    assert "SCRUB" in wrong
    assert "Fine-tuning" not in wrong

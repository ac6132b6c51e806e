"""Reported results compared with measured ones: matching rows, columns per protocol, and reasons for missing values."""

import json
import math

import pandas as pd
import pytest

from raybench import paper_tables
from raybench.report.reported import Run, compare_with_paper, to_rows
from raybench.report.reported_text import describe
from raybench.storage import tables

STAGES = [{"preset": "mufac", "repair_epochs": stage} for stage in (0, 1)]


def number(method, value, *, metric="accuracy", split="test", place="Table 1", **more):
    row = dict.fromkeys(paper_tables.COLUMNS, "") | {"source": "mufac", "table": "age", "unit": "fraction"}
    row |= {"method": method, "method_reported": method.upper(), "metric": metric, "metric_reported": metric}
    row |= {"split": split, "place": place, "value": value, "reported": f"{100 * value:g}", "consistent": True}
    return row | more


def run(rows, *, name="mine", settings=None):
    """Build a run from (method, metric, split, setting, values of the seeds)."""
    found = []
    for method, metric, split, setting, values in rows:
        kind = "population" if setting == "population" else method if method in ("original", "retrained") else None
        for seed, value in enumerate(values):
            row = {"kind": kind or "unlearned", "method": method, "metric": metric, "split": split, "seed": seed}
            ends = {"low": value - 0.02, "high": value + 0.04} if isinstance(value, float) else {"reason": value}
            number_of = value if isinstance(value, float) else None
            found.append({**row, "setting": setting, "value": number_of, "n": 100, **ends})
    given = {method: {} for method, *_ in rows if method not in ("original", "retrained")}
    models = [
        {"kind": "unlearned", "method": entry, "hyperparameters": json.dumps(values)}
        | {"function": values.get("method", entry)}
        for entry, values in {**given, **(settings or {})}.items()
    ]
    frames = tables.table("metrics", found), tables.table("models", models)
    return Run(name, *(frame.to_pandas() for frame in frames))


def only(frame, **where):
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


# -- which number is compared with which ------------------------------------------------------------------------------


def test_reported_released_corrected_and_their_difference_are_in_one_row():
    reported = pd.DataFrame([number("scrub", 0.65), number("original", 0.9)])
    released = run([("scrub", "accuracy", "test", "", [0.5, 0.6, 0.7]), ("original", "accuracy", "test", "", [0.88])])
    corrected = run([("scrub", "accuracy", "test", "", [0.7, 0.72])], name="ours")
    frame = compare_with_paper(reported, {"released": released, "corrected": corrected})
    scrub = only(frame, method="scrub")
    assert scrub.reported == 0.65
    assert scrub.released == pytest.approx(0.6)
    assert (scrub.released_high - scrub.released_low) / 2 == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-5)
    assert (scrub.released_n, scrub.released_run, scrub.corrected_run) == (3, "mine", "ours")
    assert scrub.corrected == pytest.approx(0.71)
    assert scrub.difference == pytest.approx(0.05)
    original = only(frame, method="original")  # one model: the interval of its samples
    assert (original.released_low, original.released_high) == pytest.approx((0.86, 0.92))
    assert original.released_n == 1
    assert original.difference == pytest.approx(0.02)
    assert original.corrected_reason == "not run"


def test_the_two_stages_of_one_method_are_matched_by_what_the_run_was_set_to():
    reported = pd.DataFrame(
        [number("unsir_mufac", 0.5 + i / 10, preset_or_variant=json.dumps(STAGES[i])) for i in (0, 1)]
    )
    measured = run([("unsir_mufac", "accuracy", "test", "", [0.58])], settings={"unsir_mufac": {"repair_epochs": 1}})
    frame = compare_with_paper(reported, {"released": measured})
    first, second = (only(frame, reported=0.5 + i / 10) for i in (0, 1))
    assert math.isnan(first.released)
    assert first.released_reason == "run with repair_epochs = 1"
    assert second.released == pytest.approx(0.58)


def test_a_method_that_is_reported_once_is_compared_whatever_its_setting():
    reported = pd.DataFrame([number("scrub", 0.65, preset_or_variant='{"preset": "mufac", "temperature": 4.0}')])
    measured = run([("scrub", "accuracy", "test", "", [0.6])], settings={"scrub": {"temperature": 2.0}})
    assert only(compare_with_paper(reported, {"corrected": measured}), method="scrub").corrected == pytest.approx(0.6)


def test_only_the_alpha_that_is_reported_is_compared():
    measured = run([("scrub", "cr", "forget", f"alpha={alpha}", [value]) for alpha, value in ((0.05, 0.4), (0.1, 0.5))])
    at = pd.DataFrame([number("scrub", 0.45, metric="cr", split="forget", metric_setting="alpha=0.1")])
    assert only(compare_with_paper(at, {"released": measured}), method="scrub").released == pytest.approx(0.5)
    anywhere = pd.DataFrame([number("scrub", 0.45, metric="cr", split="forget")])
    row = only(compare_with_paper(anywhere, {"released": measured}), method="scrub")
    assert math.isnan(row.released)
    assert row.released_reason == "measured at several settings: alpha=0.05; alpha=0.1"


def test_a_metric_in_its_released_form_is_found_whatever_else_its_setting_says():
    measured = run([("scrub", "forgetting_score", None, "balance=truncate_members", [0.1, 0.2])])
    reported = pd.DataFrame([number("scrub", 0.14, metric="forgetting_score", split="")])
    assert only(compare_with_paper(reported, {"released": measured}), method="scrub").released == pytest.approx(0.15)


def test_the_baseline_of_a_population_is_its_null_and_the_unreported_original_its_control():
    at = {"split": "forget", "metric_setting": "population", "unit": "nats"}
    reported = pd.DataFrame(
        [
            number("retrained", 0.88, metric="epsilon_released_median_null", **at),
            number("finetune", 3.74, metric="epsilon_released_median", **at),
        ]
    )
    measured = run(
        [
            (method, f"epsilon_released_median{end}", "forget", "population", [value])
            for method in ("finetune", "scrub")
            for end, value in (("", 3.7), ("_null", 0.9), ("_control", 4.0))
        ]
    )
    frame = compare_with_paper(reported, {"released": measured})
    null = only(frame, method="retrained")
    assert null.difference == pytest.approx(-0.02)
    assert null.released_n == 100
    assert only(frame, method="finetune").difference == pytest.approx(0.04)
    control = only(frame, method="original")
    assert (control.metric, control.released) == ("epsilon_released_median_control", 4.0)
    assert math.isnan(control.reported)


def test_reasons_say_why_a_reported_number_is_alone():
    reported = pd.DataFrame(
        [
            number("scrub", 0.5),
            number("cf_k", 0.6),
            number("scrub", 0.7, metric="top_2"),
            number("scrub", 0.8, split="unseen"),
        ]
    )
    measured = run([("scrub", "accuracy", "test", "", ["it diverged"]), ("scrub", "accuracy", "retain", "", [0.5])])
    frame = compare_with_paper(reported, {"released": measured})
    assert only(frame, reported=0.5).released_reason == "it diverged"
    assert only(frame, reported=0.6).released_reason == "not run"
    assert only(frame, reported=0.7).released_reason == "not in the run's evaluate.metrics"
    assert only(frame, reported=0.8).released_reason == "not in the run's evaluate.metrics"
    assert set(frame.corrected_reason) == {"no run of this protocol on the storage"}
    assert frame.difference.isna().all()


def test_methods_that_are_not_reported_follow_with_their_own_numbers():
    reported = pd.DataFrame([number("scrub", 0.65), number("retrained", 0.5)])
    measured = run([(name, "accuracy", "test", "", [0.6]) for name in ("salun", "original", "retrained", "scrub")])
    frame = compare_with_paper(reported, {"corrected": measured})
    assert frame.method.tolist() == ["scrub", "retrained", "original", "salun"]
    assert frame.reported.isna().tolist() == [False, False, True, True]
    assert frame.corrected.tolist() == pytest.approx([0.6] * 4)


def test_a_derived_number_is_kept_and_compared_with_nothing():
    frame = compare_with_paper(pd.DataFrame([number("scrub", 0.65, metric="derived", split="")]), {"released": run([])})
    assert frame.released_reason.tolist() == ["no metric of raybench"]


@pytest.mark.parametrize("name", paper_tables.tables())
def test_every_table_of_the_papers_can_be_compared_with_a_run(name):
    reported = paper_tables.load(name)
    measured = {"released": run([("finetune", "accuracy", "test", "", [0.5, 0.6])])}
    frame = compare_with_paper(reported, measured)
    content = tables.table("reported", to_rows(frame))
    assert content["reported"].to_pylist()[: len(reported)] == reported["value"].tolist()
    shown = describe(frame, "released", measured)
    wrong = reported[~reported.consistent & (reported.metric != paper_tables.DERIVED)]
    for note in wrong.loc[~wrong.place.isin(["README"]), "note"]:
        assert note in shown.markdown()


# -- in words ----------------------------------------------------------------------------------------------------------


def words(rows, found, protocol="released"):
    return describe(compare_with_paper(pd.DataFrame(rows), found), protocol, found)


def lines_of(text, word):
    return [line for line in text.splitlines() if line.startswith("|") and word in line]


def test_an_inconsistent_number_is_marked_and_its_reason_is_below_the_table():
    rows = [number("scrub", 0.65, consistent=False, note="misprint: 0.56 in the CSV"), number("cf_k", 0.6)]
    text = words(rows, {"released": run([("scrub", "accuracy", "test", "", [0.6])])}).markdown()
    assert "0.6500!" in lines_of(text, "SCRUB")[0]
    assert "!" not in lines_of(text, "CF_K")[0]
    assert "- ! SCRUB: misprint: 0.56 in the CSV" in text[text.index("| scrub") :]


def test_other_places_of_the_same_number_stand_in_the_note_and_not_in_the_column():
    rows = [
        number("scrub", 0.65),
        number("scrub", 0.61, place="notebooks, early"),
        number("scrub", 0.63, place="README"),
    ]
    (line,) = lines_of(words(rows, {"released": run([("scrub", "accuracy", "test", "", [0.6])])}).markdown(), "SCRUB")
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:5] == ["0.6500", "0.6000 ±0.0300 (n 1)", "-", "+0.0500"]
    assert "notebooks, early: 0.6100; README: 0.6300" in cells[5]


def test_what_was_not_run_not_reported_and_not_measured_is_said():
    rows = [
        number("scrub", 0.65),
        number("cf_k", 0.6),
        number("scrub", 0.3, metric="derived", metric_reported="seconds"),
    ]
    found = {"corrected": run([(name, "accuracy", "test", "", [0.6]) for name in ("scrub", "salun", "original")])}
    text = words(rows, found, "corrected").markdown()
    assert "- Reported, not run: CF_K." in text
    assert "- Run, not reported: salun." in text
    assert "seconds" in text
    assert "- Released protocol: no run on this storage." in text
    assert "- Corrected protocol: run `mine` (this run)." in text
    assert "not reported" in lines_of(text, "salun")[0]


def test_one_reason_for_both_protocols_is_said_once():
    other = [("scrub", "accuracy", "test", "", [0.6])]
    none = {protocol: run(other, name=protocol) for protocol in ("released", "corrected")}
    (line,) = lines_of(words([number("cf_k", 0.6)], none).markdown(), "CF_K")
    assert line.endswith("| released and corrected: not run |")


def test_the_short_table_has_a_line_per_reported_method_and_leaves_recomputed_columns_to_the_report():
    rows = [number("scrub", 0.65), number("cf_k", 0.6), number("scrub", 0.7, metric="top_2")]
    rows.append(number("scrub", 0.1, metric="nomus", split="", place="recomputed from the released logits"))
    found = {"released": run([("scrub", "accuracy", "test", "", [0.6]), ("salun", "accuracy", "test", "", [0.6])])}
    shown = words(rows, found)
    assert shown.head == ["", "accuracy test", "top_2 test"]
    assert shown.short_rows == [["scrub (SCRUB)", "0.6500 | 0.6000", "0.7000 | -"], ["cf_k (CF_K)", "0.6000 | -", "-"]]
    assert "recomputed" in shown.markdown()


def test_two_entries_of_one_method_are_compared_with_their_reported_variants():
    one, two = (json.dumps({"preset": "mufac", "repair_epochs": epochs}) for epochs in (0, 1))
    reported = pd.DataFrame(
        [number("unsir_mufac", 0.58, preset_or_variant=one), number("unsir_mufac", 0.59, preset_or_variant=two)]
    )
    rows = [("stage_1", "accuracy", "test", "", [0.1]), ("stage_2", "accuracy", "test", "", [0.2])]
    settings = {
        "stage_1": {"method": "unsir_mufac", "repair_epochs": 0},
        "stage_2": {"method": "unsir_mufac", "repair_epochs": 1},
    }
    frame = compare_with_paper(reported, {"released": run(rows, settings=settings)})
    assert frame["released"].tolist() == [0.1, 0.2]

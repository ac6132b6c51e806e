"""Gaps of metrics that compare models with each retrained model: pairs are found and left out by position."""

import numpy as np
import pandas as pd
import pytest

from raybench.metrics.functions.references import gap_to_pairs, mean_of_pairs
from raybench.metrics.functions.statistics import gap_to_reference
from raybench.scoring.metric_rows import with_gaps
from raybench.scoring.pairs import gap_to_rows, has_pairs, mean_among

PAIRS = np.array([[np.nan, 0.8, 0.7, 0.6], [0.8, np.nan, 0.9, 0.5], [0.7, 0.9, np.nan, 0.4], [0.6, 0.5, 0.4, np.nan]])
MINE = [0.2, 0.3, 0.1, 0.35]


def a_row(model, kind, values):
    by_retrained = [None if np.isnan(v) else float(v) for v in values]
    value = float(np.nanmean(np.asarray(values, dtype=float)))
    identity = {"model": model, "kind": kind, "metric": "cka_to_retrained", "split": "forget", "setting": ""}
    return {**identity, "value": value, "by_retrained": by_retrained}


RETRAINED = [a_row(f"r{i}", "retrained", values) for i, values in enumerate(PAIRS)]


def test_an_unlearned_model_is_compared_with_the_pairs_among_retrained_models():
    row = with_gaps([a_row("mine", "unlearned", MINE), *RETRAINED])[0]
    expected = gap_to_pairs(MINE, np.nan_to_num(PAIRS))
    assert (row["gap"], row["gap_low"], row["gap_high"]) == pytest.approx((expected.gap, expected.low, expected.high))
    assert (row["gap_n"], row["gap_interval"]) == (4, expected.interval)


@pytest.mark.parametrize("left_out", range(4))
def test_a_retrained_model_is_compared_with_the_pairs_that_it_is_not_part_of(left_out):
    row = with_gaps(RETRAINED)[left_out]
    others = [i for i in range(4) if i != left_out]
    expected = gap_to_pairs(PAIRS[left_out, others], np.nan_to_num(PAIRS[np.ix_(others, others)]))
    assert (row["gap"], row["gap_low"], row["gap_high"]) == pytest.approx((expected.gap, expected.low, expected.high))


def test_the_order_of_the_rows_and_a_missing_retrained_model_do_not_mix_up_the_pairs():
    rows = [RETRAINED[3], RETRAINED[0], RETRAINED[2], {**RETRAINED[1], "value": None}]
    row = with_gaps([*rows, a_row("mine", "unlearned", MINE)])[-1]
    kept = [3, 0, 2]
    expected = gap_to_pairs(np.array(MINE)[kept], np.nan_to_num(PAIRS[np.ix_(kept, kept)]))
    assert (row["gap"], row["gap_low"]) == pytest.approx((expected.gap, expected.low))


def test_with_two_retrained_models_there_is_a_gap_and_a_reason():
    rows = [a_row(f"r{i}", "retrained", PAIRS[i, :2]) for i in range(2)]
    mine = with_gaps([a_row("mine", "unlearned", MINE[:2]), *rows])[0]
    assert mine["gap"] == pytest.approx(np.mean(MINE[:2]) - 0.8)
    assert (mine["gap_low"], mine["gap_high"]) == (None, None)
    assert "at least 3" in mine["gap_interval"]


def test_rows_read_from_a_table_give_the_same_gap_and_seeds_are_averaged():
    seeds = [a_row("mine", "unlearned", MINE), a_row("mine-2", "unlearned", [0.4] * 4)]
    frame = pd.DataFrame([*seeds, *RETRAINED]).assign(by_retrained=lambda f: f.by_retrained.map(np.array))
    records = frame.to_dict("records")
    expected = gap_to_pairs((np.array(MINE) + 0.4) / 2, np.nan_to_num(PAIRS))
    assert gap_to_rows(records[:2], records[2:]) == expected
    assert mean_among(records[2:]) == mean_of_pairs(np.nan_to_num(PAIRS))


def test_other_metrics_are_compared_with_independent_models():
    rows = [{"value": value, "by_retrained": missing} for value, missing in ((0.1, None), (0.5, None), (0.7, np.nan))]
    assert not has_pairs(rows[2])
    assert gap_to_rows(rows[:1], rows[1:]) == gap_to_reference(0.1, [0.5, 0.7])

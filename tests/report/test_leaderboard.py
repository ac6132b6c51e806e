"""The leaderboard: the order of rows, the meaning of gaps, and that no method is left out."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from raybench.report.build import build_leaderboard
from raybench.report.verdict import details, verdict

ORIGINAL = (1.00, 1.000, 0.89, 0.75, 0.90, 1.00, 0.80)
RETRAINED = (
    (0.86, 0.990, 0.88, 0.53, 0.70, 0.85, 0.93),
    (0.88, 0.995, 0.90, 0.55, 0.72, 0.87, 0.94),
    (0.87, 0.992, 0.89, 0.52, 0.71, 0.84, 0.92),
    (0.89, 0.991, 0.87, 0.54, 0.69, 0.86, 0.93),
    (0.88, 0.993, 0.88, 0.53, 0.70, 0.85, 0.92),
)
LIKE_RETRAINED = [(0.87, 0.992, 0.885, 0.535, 0.705, 0.855, 0.93), (0.88, 0.991, 0.880, 0.540, 0.700, 0.860, 0.93)]
LIKE_ORIGINAL = [(1.00, 1.000, 0.890, 0.750, 0.900, 1.000, 0.80)] * 2
OVER = [(0.30, 0.990, 0.880, 0.300, 0.300, 0.400, 0.60)] * 2
USELESS = [(0.87, 0.500, 0.400, 0.535, 0.705, 0.855, 0.93)] * 2


def by_name(board):
    return {row.name: row for row in board.rows}


def lines(board, words):
    return [line for line in verdict(board) if line.startswith(words)]


def test_retrained_and_original_stand_above_the_methods_which_are_ranked_by_their_gap(make_run):
    board = make_run({"close": LIKE_RETRAINED, "same": LIKE_ORIGINAL, "over": OVER, "useless": USELESS}).board()
    assert [row.name for row in board.rows[:2]] == ["retrained", "original"]
    assert [row.rank for row in board.rows[:2]] == [None, None]
    ranked = board.rows[2:]
    assert [row.rank for row in ranked] == [1, 2, 3, 4]
    assert ranked[0].name == "close"
    gaps = [row.gap.value for row in ranked]
    assert gaps == sorted(gaps)


def test_the_order_of_the_tables_does_not_change_the_order_of_the_ranks(make_run):
    methods = {"a": OVER, "b": LIKE_RETRAINED, "c": LIKE_ORIGINAL}
    one, other = make_run(methods).board(), make_run(dict(reversed(methods.items()))).board()
    assert [row.name for row in one.rows] == [row.name for row in other.rows]


def test_tied_methods_stand_next_to_each_other_by_name(make_run):
    board = make_run({"zebra": OVER, "close": LIKE_RETRAINED, "ape": OVER}).board()
    assert [row.name for row in board.rows[2:]] == ["close", "ape", "zebra"]


def test_a_cell_is_the_mean_over_seeds_and_ua_is_what_was_got_wrong(make_run):
    row = by_name(make_run({"close": LIKE_RETRAINED}).board())["close"]
    assert row.cells["UA"].value == pytest.approx(1 - 0.875)
    assert row.cells["RA"].value == pytest.approx(0.9915)
    assert row.cells["MIA AUC"].value == pytest.approx(0.5375)
    assert row.cells["UA"].n == 2
    assert row.relative_cost == pytest.approx(0.05)


def test_gaps_are_signed_as_the_column_is_shown(make_run):
    rows = by_name(make_run({"same": LIKE_ORIGINAL, "over": OVER}).board())
    assert rows["same"].cells["UA"].gap == pytest.approx(0 - 0.125)  # less is wrong than should be
    assert rows["over"].cells["UA"].gap == pytest.approx(0.7 - 0.125)
    assert rows["same"].cells["MIA AUC"].gap > 0 > rows["over"].cells["MIA AUC"].gap
    for row in rows.values():
        for cell in row.cells.values():
            if not math.isnan(cell.gap_low):
                assert cell.gap_low <= cell.gap <= cell.gap_high


def test_a_failed_method_is_a_row_without_a_rank_and_with_its_reason(make_run):
    board = make_run({"close": LIKE_RETRAINED, "broken": "ZeroDivisionError: its own fault"}).board()
    row = board.rows[-1]
    assert (row.name, row.rank) == ("broken", None)
    assert row.failed
    assert row.status_reason == "ZeroDivisionError: its own fault"
    assert row.conclusion == "failed"
    assert not any("broken" in line for line in lines(board, "forgotten"))


def test_a_method_without_numbers_stands_last_without_a_rank_and_is_not_called_a_success(make_run):
    board = make_run({"close": LIKE_RETRAINED, "diverged": [(None,) * 7] * 2}).board()
    assert board.rows[-1].name == "diverged"
    assert math.isnan(board.rows[-1].gap.value)
    assert board.rows[-1].rank is None
    assert board.rows[-1].cells["UA"].reason == "it diverged"


def test_every_method_of_the_trials_is_on_the_board(make_run):
    methods = {"a": OVER, "b": "failed", "c": LIKE_RETRAINED, "d": [(None,) * 7]}
    board = make_run(methods).board()
    assert {row.name for row in board.rows} == {*methods, "retrained", "original"}


# -- the verdict -------------------------------------------------------------------------------------------------------


def test_the_verdict_tells_forgetting_remembering_and_damage_apart(make_run):
    half = [(0.94, 0.992, 0.885, 0.545, 0.705, 0.855, 0.93)] * 4
    close = [LIKE_RETRAINED[0]] * 4
    board = make_run({"close": close, "half": half, "same": LIKE_ORIGINAL, "over": OVER, "useless": USELESS}).board()
    assert {row.name: row.conclusion for row in board.rows[2:]} == {
        "close": "forgotten",
        "half": "remembers",
        "same": "remembers",
        "over": "forgotten",
        "useless": "forgotten",
    }
    (good,) = lines(board, "forgotten (less than 10 % left)")
    assert "close at most" in good
    assert "half about 42 % [" in lines(board, "remembers")[0]
    assert "same about 92 % [" in lines(board, "remembers")[0]
    assert "useless at most" in good
    assert "over (UA +57.5" in lines(board, "over-forgot")[0]
    assert "denies 94 % of the forget samples)" in lines(board, "over-forgot")[0]
    assert "useless (RA -49.2, TA" in lines(board, "lost utility")[0]
    assert "over" not in next(line for line in details(board) if line.startswith("columns that remember"))


def test_a_single_run_often_leaves_open_how_much_could_be_missed(make_run):
    board = make_run({"close": [LIKE_RETRAINED[0]]}).board()
    assert by_name(board)["close"].conclusion == "no difference"
    (line,) = lines(board, "no difference found")
    assert re.search(r"close could miss up to \d+ %", line)


def test_with_few_references_the_verdict_is_withheld_and_says_what_it_needs(make_run):
    run = make_run({"close": LIKE_RETRAINED}, retrained=RETRAINED[:4])
    board = build_leaderboard(*run[:3], memory=run.memory, retraining="40 epochs x 480 samples")
    assert by_name(board)["close"].conclusion == "withheld"
    (line,) = lines(board, "no verdict on forgetting")
    assert "4 retrained models, and a verdict needs 5" in line
    assert "train.retrained_seeds: 8 adds 4 training runs (40 epochs x 480 samples each)" in line
    assert by_name(board)["close"].memory.value == by_name(board)["close"].memory.value  # the number is shown


def test_a_margin_of_the_experiment_decides_what_counts_as_forgotten(make_run):
    run = make_run({"close": [LIKE_RETRAINED[0]] * 4})
    conclusions = [
        by_name(build_leaderboard(*run[:3], memory=run.memory, margin=margin))["close"].conclusion
        for margin in (0.01, 0.3)
    ]
    assert conclusions == ["no difference", "forgotten"]


def test_the_original_is_told_apart_from_the_retrained_models(make_run):
    (line,) = lines(make_run({"close": LIKE_RETRAINED}).board(), "control")
    assert "NO column" not in line
    assert "UA" in line
    assert "MIA AUC" in line


def test_an_audit_that_cannot_see_the_originals_memory_says_so(make_run):
    (line,) = lines(
        make_run({"close": LIKE_RETRAINED}, original=(0.87, 0.992, 0.88, 0.53, 0.7, 0.85, 0.93)).board(), "control"
    )
    assert "NO column separates" in line


def test_retrained_models_among_themselves_are_not_called_different(make_run):
    """A method that is retraining, drawn anew many times, is called different about as rarely as the test promises."""
    random = np.random.default_rng(0)
    mean, spread = np.mean([0.87] * 7), 0.01

    def draw(count):
        return [tuple(mean + spread * random.normal(size=7)) for _ in range(count)]

    original = (1.0,) * 7
    wrong = 0
    for _ in range(25):
        board = make_run({"again": draw(3)}, retrained=draw(5), original=original).board()
        wrong += not by_name(board)["again"].passes
    assert wrong <= 5  # 5 % of 25 is 1.25; the chance of more than 5 is below 1 %


def test_seeds_that_all_land_on_one_retrained_model_are_not_called_different(make_run):
    board = make_run({"close": [(0.86, 0.990, 0.88, 0.53, 0.70, 0.85, 0.93)] * 3}).board()
    assert by_name(board)["close"].passes


def test_where_all_retrained_models_agree_the_level_of_the_comparison_applies(make_run):
    agree = [(*row[:1], 1.0, *row[2:]) for row in RETRAINED]
    for accuracy, different in ((0.965, False), (0.95, True)):  # the half-width is 0.03 at 95 %, 0.041 at the level
        board = make_run({"a": [(0.875, accuracy, 0.88, 0.535, 0.7, 0.855, 0.93)] * 2}, retrained=agree).board()
        assert by_name(board)["a"].cells["RA"].distinguishable == different


def test_a_method_that_is_not_significantly_better_than_its_originals_is_said_to_do_nothing(make_run):
    originals = [ORIGINAL, *([(value - 0.005, *ORIGINAL[1:]) for value in (1.0, 0.99, 0.98)])]
    close = [LIKE_RETRAINED[0]] * 4
    erratic = [LIKE_RETRAINED[0], *[(1.0, 0.8, 0.6, 0.9, 0.9, 1.0, 0.8)] * 2, LIKE_RETRAINED[0]]
    board = make_run({"close": close, "erratic": erratic}, original=originals).board()
    assert [row.no_better_than_original for row in board.rows[2:]] == [False, True]


def test_the_board_of_a_real_run_has_every_method_and_its_numbers(tables_folder, swept):
    frames = [pd.read_parquet(tables_folder / f"{name}.parquet") for name in ("metrics", "models", "trials")]
    board = build_leaderboard(*frames)
    rows = by_name(board)
    assert set(rows) == {"retrained", "original", "retrain", "finetune", "gradient_ascent", "own_tiny_methods.crash"}
    metrics = frames[0]
    own = metrics[(metrics.method == "retrain") & (metrics.metric == "accuracy") & (metrics.split == "test")]
    assert rows["retrain"].cells["TA"].value == pytest.approx(own.value.mean())
    assert rows["retrain"].relative_cost == pytest.approx(1)
    assert rows["own_tiny_methods.crash"].rank is None
    assert "the method's own fault" in rows["own_tiny_methods.crash"].status_reason

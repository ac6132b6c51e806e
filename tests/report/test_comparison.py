"""What the leaderboard claims with one retrained model, and with none."""

import math

import pytest
from scipy.special import ndtri

from raybench.report.build import build_leaderboard
from raybench.report.comparison import IDEAL_COLUMNS
from raybench.report.render import as_markdown
from raybench.report.verdict import details, verdict

ONE = [(0.87, 0.992, 0.885, 0.535, 0.705, 0.855, None)]
NEAR = [(0.875, 0.990, 0.880, 0.530, 0.700, 0.850, 0.93)] * 2
LIKE_ORIGINAL = [(1.00, 1.000, 0.890, 0.750, 0.900, 1.000, 0.80)] * 2
IDEAL = [(0.88, 0.999, 0.885, 0.505, 0.705, 0.855, None)] * 2
USELESS = [(0.41, 0.500, 0.400, 0.505, 0.705, 0.855, None)] * 2
OVER = [(0.30, 0.990, 0.880, 0.300, 0.300, 0.400, None)] * 2
MANIFEST = {
    "raybench": "0.1.0",
    "raybench_commit": "abc",
    "packages": {},
    "host": {"system": "Linux", "cpus": 2, "gpus": []},
    "started": "2026-01-01",
    "experiment": "name: made_up\n",
}


def by_name(board):
    return {row.name: row for row in board.rows}


def line(board, beginning):
    (found,) = [line for line in [*verdict(board), *details(board)] if line.startswith(beginning)]
    return found


# -- one retrained model -----------------------------------------------------------------------------------------------


def test_against_one_retrained_model_only_the_samples_decide_and_the_words_say_so(make_run):
    board = make_run({"near": NEAR, "same": LIKE_ORIGINAL}, retrained=ONE).board()
    assert "1 retrained model, and a verdict needs 5" in line(board, "no verdict on forgetting")
    assert "same (UA -13.0" in line(board, "columns that remember")
    assert "near" not in " ".join(verdict(board)[:2])
    assert {row.conclusion for row in board.rows} == {None, "withheld"}
    assert "separate the original from the one retrained model" in line(board, "control: UA, MIA AUC")
    assert "no noise floor" in " ".join(board.comparison.legend)
    assert "retrained_seeds: 3" in line(board, "references: one retrained model")


def test_a_gap_to_one_retrained_model_has_the_interval_of_both_models_samples(make_run):
    cell = by_name(make_run({"near": NEAR}, retrained=ONE).board())["near"].cells["RA"]
    assert cell.gap == pytest.approx(0.990 - 0.992)
    half = 0.03 * math.sqrt(2) * ndtri(1 - 0.05 / 7 / 2) / ndtri(0.975)  # Bonferroni over seven columns
    assert (cell.gap_low, cell.gap_high) == pytest.approx((cell.gap - half, cell.gap + half))
    assert not cell.distinguishable


def test_one_retrained_model_has_no_noise_floor_and_a_method_that_does_nothing_is_still_named(make_run):
    board = make_run({"near": NEAR, "same": LIKE_ORIGINAL}, retrained=ONE).board()
    rows = by_name(board)
    assert math.isnan(rows["retrained"].gap.value)
    assert rows["near"].rank == 1
    assert rows["same"].gap.value == pytest.approx(rows["original"].gap.value)
    assert "same" in line(board, "no better than the original model")


# -- none --------------------------------------------------------------------------------------------------------------


def test_without_retrained_models_the_gap_to_ideals_ranks_and_there_is_no_retrained_row(without):
    board = without({"same": LIKE_ORIGINAL, "ideal": IDEAL, "useless": USELESS, "over": OVER}).board()
    assert board.rows[0].name == "original"
    ranked = board.rows[1:]
    assert [row.rank for row in ranked] == [1, 2, 3, 4]
    assert ranked[0].name == "ideal"
    assert ranked[0].gap.value == pytest.approx(100 * (0.005 + 0.001 + 0.005 + 0.005) / 4)


def test_without_retrained_models_the_verdict_claims_no_more_than_was_seen(without):
    board = without({"same": LIKE_ORIGINAL, "ideal": IDEAL, "useless": USELESS, "over": OVER}).board()
    assert "0 retrained models, and a verdict needs 5" in line(board, "no verdict on forgetting")
    assert "same (FA-TA +11.0, MIA AUC" in line(board, "above the ideals (still remembers")
    assert "over (FA-TA -58.0, MIA AUC" in line(board, "below the ideals (over-forgot")
    assert "useless (RA -50.0, TA -49.0)" in line(board, "lost utility")
    assert "same" in line(board, "no better than the original model (by the ideals)")
    assert "separate the original from the ideals" in line(board, "control: FA-TA, MIA AUC")
    for said in verdict(board):
        assert not said.startswith(("forgotten", "remembers"))


def test_without_retrained_models_a_run_says_which_columns_lack_a_reference_and_what_one_would_cost(without):
    run = without({"ideal": IDEAL})
    said = line(
        build_leaderboard(*run[:3], memory=run.memory, retraining="40 epochs x 480 samples"),
        "references: no retrained reference",
    )
    for part in ("CR_f, k-NN_f, CKA_f", "FA-TA", "MIA AUC", "MG", "retrained_seeds: 1", "40 epochs x 480 samples"):
        assert part in said


def test_without_retrained_models_an_original_that_stands_out_nowhere_makes_the_audit_blind(without):
    board = without({"ideal": IDEAL}, original=IDEAL[0]).board()
    assert "NO column separates" in line(board, "control:")


def test_ideals_are_fixed_or_the_originals_and_gaps_are_signed_to_them(without):
    rows = by_name(without({"over": OVER}).board())
    cells = rows["over"].cells
    assert list(cells) == [column.title for column in IDEAL_COLUMNS]
    assert cells["MIA AUC"].gap == pytest.approx(0.3 - 0.5)
    assert cells["FA-TA"].gap == pytest.approx(0.3 - 0.88)
    assert cells["TA"].gap == pytest.approx(0.88 - 0.89)
    assert math.isnan(cells["UA"].gap)
    assert cells["UA"].value == pytest.approx(0.7)
    assert math.isnan(rows["original"].cells["RA"].gap)


def test_the_report_of_a_run_without_retrained_models_has_its_own_columns_and_words(without):
    text = as_markdown(without({"same": LIKE_ORIGINAL, "ideal": IDEAL}).board(), "made_up", MANIFEST)
    head = next(row for row in text.splitlines() if row.startswith("|"))
    for title in ("FA-TA", "MG", "MIA AUC"):
        assert title in head
    assert "CKA_f" not in head
    assert "MG at alpha=0.1" in text
    assert "noise floor" not in text
    assert "Signed differences to the ideals" in text


# -- any number --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retrained", [ONE, ONE * 3])
def test_a_method_that_lacks_a_number_the_original_has_is_not_called_clean(make_run, retrained):
    broken = [(0.875, 0.99, 0.88, None, 0.70, 0.85, 0.93)] * 2
    board = make_run({"broken": broken}, retrained=retrained).board()
    assert "broken (MIA AUC)" in line(board, "not fully measured")
    assert not by_name(board)["broken"].passes
    assert by_name(board)["broken"].conclusion != "forgotten"

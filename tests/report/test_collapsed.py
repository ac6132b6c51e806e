"""Reference models that predict a constant, and what a report says about them and about expensive methods."""

import numpy as np
import pytest

from raybench.report.build import build_leaderboard
from raybench.report.collapsed import at_majority, majority_accuracy
from raybench.report.leaderboard import Leaderboard
from raybench.report.verdict import verdict

LABELS = np.repeat([0, 1], [80, 20])


def test_the_majority_of_one_and_of_several_labels():
    assert majority_accuracy(LABELS) == 0.8
    assert majority_accuracy(np.array([[1, 0], [1, 0], [1, 1], [0, 1]])) == pytest.approx((0.75 + 0.5) / 2)


def test_models_within_the_sampling_error_of_the_majority_draw_a_warning():
    limit = 0.8 + 1.96 * np.sqrt(0.8 * 0.2 / 100)
    (warning,) = at_majority({"original": [0.95], "retrained": [0.8, limit, limit + 0.01]}, LABELS)
    assert warning.startswith("warning: 2 of 3 retrained models predict no better than the most common label (80.0 %")
    (warning,) = at_majority({"original": [0.7], "retrained": [0.8]}, LABELS)
    assert "1 of 1 originals and 1 of 1 retrained models" in warning
    assert at_majority({"original": [0.95], "retrained": []}, LABELS) == []
    assert at_majority({"original": [0.1]}, LABELS[:0]) == []


def test_warnings_and_methods_that_cost_more_than_retraining_are_in_the_verdict(make_run):
    good = [(0.87, 0.99, 0.88, 0.53, 0.70, 0.85, 0.93)] * 2
    run = make_run({"dear": good}, cost=2.95)
    board = build_leaderboard(*run[:3], memory=run.memory, warnings=["warning: look"])
    assert verdict(board)[0] == "warning: look"
    assert "costs more than retraining: dear (295 %)" in verdict(board)
    assert Leaderboard.from_table(board.to_table()).warnings == ("warning: look",)
    assert not any("costs more" in line for line in verdict(make_run({"retrain": good}, cost=1.0).board()))

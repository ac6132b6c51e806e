"""What `raybench check` predicts from the sizes of an experiment."""

import math

import pytest

from raybench.commands.predictions import detectable_gaps, memory_bounds, prediction_lines


def lines(scenario):
    return "\n".join(prediction_lines(scenario))


def test_fourteen_forget_samples_show_no_gap_below_thirty_points():
    accuracy, auc = detectable_gaps(14, 400, 8)
    assert 0.3 < accuracy < 0.5
    assert auc > 0.2


def test_the_quickstart_is_predicted_as_it_was_measured():
    """Its report: 80 % power for 12.4 points of UA and 0.074 of MIA AUC; one audit detects 5 %, five runs bound 6 %."""
    accuracy, auc = detectable_gaps(120, 400, 8)
    assert accuracy == pytest.approx(0.124, rel=0.15)
    assert auc == pytest.approx(0.074, rel=0.5)
    assert memory_bounds(120, 8, 1)[0] == pytest.approx(0.05)
    assert memory_bounds(120, 8, 5)[1] < 0.06


def test_more_of_everything_detects_more():
    assert detectable_gaps(480, 400, 8)[0] == pytest.approx(detectable_gaps(120, 400, 8)[0] / 2)
    assert detectable_gaps(120, 400, 3)[0] > detectable_gaps(120, 400, 8)[0] > detectable_gaps(120, 400, 30)[0]
    assert memory_bounds(480, 8, 5) == pytest.approx([value / 2 for value in memory_bounds(120, 8, 5)])
    assert memory_bounds(120, 5, 5) > memory_bounds(120, 8, 5) > memory_bounds(120, 8, 20)
    assert math.isinf(detectable_gaps(120, 0, 8)[1])
    assert detectable_gaps(120, 400, 1)[0] > detectable_gaps(120, 400, 0)[0]


def test_the_lines_say_what_goes_undetected_and_that_they_are_predictions(make_scenario):
    text = lines(make_scenario(forget__count=14, train__retrained_seeds=8))
    assert "14 forget" in text
    assert "one forget sample is 7.1 points" in text
    assert "`forgotten` (less than 10 %) is out of reach" in text
    assert "forget samples are needed" in text
    assert "predictions assume" in text
    assert all(line.startswith(("predicted    ", "  predictions")) for line in text.splitlines())


def test_too_few_retrained_models_withhold_the_verdict(make_scenario):
    text = lines(make_scenario(train__retrained_seeds=2))
    assert "no verdict on forgetting: 2 retrained models, and a verdict needs 5" in text
    assert "retrained_seeds: 8 adds 6 training runs" in text
    assert "UA of any size" in text

"""The numbers that the figures and tables of `report.html` compute themselves."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from raybench.report.html import figures
from raybench.report.html.figures.gaps import in_report_unit, noise_floor
from raybench.report.html.methods import in_words, searched_names
from raybench.report.html.provenance import reported_table
from raybench.report.html.svg import inline_svg
from raybench.report.html.uncertainty import half_widths
from raybench.storage import tables

GOOD = (0.872, 0.992, 0.885, 0.535, 0.705, 0.855, 0.93)


def test_an_interval_excludes_zero_where_and_only_where_the_gap_is_distinguishable(make_run):
    rng = np.random.default_rng(1)
    board = make_run({f"m{n}": [tuple(np.array(GOOD) + rng.normal(0, 0.02, 7))] * 2 for n in range(12)}).board()
    frame = board.to_table().to_pandas()
    frame = frame[frame.kind == "unlearned"]
    flags = 0
    for column in board.comparison.columns:
        intervals = in_report_unit(column, frame)
        excludes = (intervals.low > 0) | (intervals.high < 0)
        assert excludes.tolist() == frame[f"{column.name}_distinguishable"].astype(bool).tolist(), column.title
        flags += excludes.sum()
    assert 0 < flags < 12 * 7


def test_the_noise_floor_is_the_range_of_retrained_models_each_against_the_others(make_run):
    accuracy = np.array([0.85, 0.87, 0.9])
    run = make_run({"good": [GOOD]}, retrained=[(value, *GOOD[1:]) for value in accuracy])
    column = run.board().comparison.columns[0]  # UA = 1 - accuracy on forget
    others = np.array([np.delete(accuracy, n).mean() for n in range(len(accuracy))])
    low, high = 100 * np.min(others - accuracy), 100 * np.max(others - accuracy)
    assert noise_floor(column, run.metrics, "") == pytest.approx((low, high))


def test_searched_settings_are_those_that_differ_among_trials():
    texts = [json.dumps({"lr": lr, "epochs": 3}) for lr in (0.1, 0.2)]
    trials = pd.DataFrame({"method": "good", "phase": "search", "hyperparameters": texts})
    assert searched_names(trials)["good"] == ["lr"]
    assert in_words({"lr": 0.12345678, "epochs": 3}, ["lr"]) == "lr 0.1235"


def test_another_data_set_than_that_of_the_paper_draws_a_warning():
    paper = {"source": "p", "paper_table": "p_1", "dataset": "CIFAR-10", "metric": "accuracy", "split": "forget"}
    row = {**paper, "method": "good", "unit": "percent", "reported": 90.0, "released": 91.5, "difference": -1.5}
    frame = tables.table("reported", [row]).to_pandas()
    toy = {"experiment": "data:\n  dataset: digits\n"}
    assert "This run uses digits, the paper CIFAR-10: do not compare" in reported_table(frame, toy)
    same = {"experiment": "data:\n  dataset: cifar10\n"}
    assert "do not compare" not in reported_table(frame, same)


def test_the_half_widths_are_those_of_a_t_interval_over_runs(make_run):
    accuracies = (0.80, 0.84, 0.83)
    run = make_run({"good": [(*GOOD[:2], value, *GOOD[3:]) for value in accuracies]})
    widths = half_widths(run.metrics, run.board().comparison.columns, "alpha=0.1")
    # utility: mean over RA, whose gap is the same in every run, and TA
    expected = 100 * 4.302653 * np.std(accuracies, ddof=1) / 3**0.5 / 2
    assert widths.loc["good", "utility"] == pytest.approx(expected)
    assert widths.loc["good", "forget"] == pytest.approx(0, abs=1e-9)


def test_figures_without_data_are_none(make_run):
    run = make_run({"broken": "it diverged"})
    frame = run.board().to_table().to_pandas()
    assert figures.memory(frame, 0.1) is None
    assert figures.search(frame, run.trials, None) is None
    assert figures.settings(frame, run.trials, {}) is None
    assert figures.coverage(frame, run.metrics) is None
    assert figures.epsilon(run.metrics, pd.DataFrame({"model": []})) is None


def test_text_in_a_figure_keeps_its_digits_and_its_markup():
    figure = Figure()
    figure.text(0.5, 0.5, "v1.23456 <b>")
    assert ">v1.23456 &lt;b&gt;<" in inline_svg(figure, "key", "title")

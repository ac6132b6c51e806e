"""The leaderboard in print: every number whole at every width, every method in the report."""

import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from raybench import methods
from raybench.pipeline.manifest import manifest
from raybench.progress import Reporter
from raybench.report.cell_text import mean_gap_text, signed_gap_text, value_text
from raybench.report.comparison import NONE, SEVERAL
from raybench.report.leaderboard import Cell, Leaderboard, MeanGap, Row
from raybench.report.render import as_markdown, as_rich
from raybench.report.table import markdown_table
from raybench.report.verdict import verdict
from raybench.report.write import write_report
from raybench.scoring.binding import get_metric, metric_spec

METHODS = {
    "contrastive_unlearning": [(0.861, 0.9921, 0.885, 0.535, 0.705, 0.855, 0.93)] * 2,
    "over": [(0.30, 0.90, 0.70, 0.30, 0.30, 0.40, 0.60), (0.31, 0.91, 0.71, 0.31, 0.31, 0.41, 0.61)],
    "broken": "RuntimeError: no such layer",
}
RETRAINED = [(0.86 + d, 0.99 + d / 10, 0.88 + d, 0.53, 0.7, 0.85 + d, 0.93) for d in (0.0, 0.01, -0.01, 0.02)]
NO_KNN = [(*values[:5], None, values[6]) for values in RETRAINED]
MANIFEST = {
    "raybench": "0.1.0",
    "raybench_commit": "abc",
    "packages": {"torch": "2.9"},
    "host": {"system": "Linux", "cpus": 2, "gpus": []},
    "started": "2026-01-01T00:00:00",
    "experiment": "name: made_up\n",
}


@pytest.fixture
def board(make_run):
    return make_run(METHODS).board()


def shown(board, width):
    stream = io.StringIO()
    Console(file=stream, width=width).print(as_rich(board, width=width))
    return stream.getvalue()


def numbers(text):
    return re.findall(r"\d+\.\d+", text)


def expected(board, row):
    """The numbers of a row as they must appear, without intervals."""
    cells = row.cells
    percent = {title: f"{100 * cells[title].value:.1f}" for title in ("UA", "RA", "TA")}
    return percent | {"MIA AUC": f"{cells['MIA AUC'].value:.3f}"}


@pytest.mark.parametrize(
    ("width", "titles"),
    [(80, ("UA",)), (90, ("UA", "TA")), (110, ("UA", "RA", "TA", "MIA AUC")), (200, ("UA", "RA", "TA", "MIA AUC"))],
)
def test_no_number_is_cut_and_a_narrow_terminal_loses_whole_columns(board, width, titles):
    text = shown(board, width)
    table, legend = text.split("memory left:", 1)
    assert "…" not in table
    found = numbers(table)
    head = table.splitlines()[1]
    for title in ("UA", "RA", "TA", "MIA AUC"):
        assert (title in head) == (title in titles)
        explained, hidden = legend.split("In the report:")
        assert title in (explained if title in titles else hidden)
        for row in board.rows:
            if not row.failed and title in titles:
                assert expected(board, row)[title] in found, f"{row.name}: {title}"
    assert max(len(line) for line in text.splitlines()) <= width
    assert ("±" in table) == ("the intervals" not in " ".join(legend.split()))


def test_the_leaderboard_of_many_methods_fits_the_terminal(make_run):
    names = [*methods.names(), "my_package.methods.with_a_very_long_name"]
    board = make_run(dict.fromkeys(names, METHODS["over"][:1])).board()
    for width in (60, 80, 100, 140):
        text = shown(board, width)
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
        assert "…" not in text
        assert width == 60 or all(name in text for name in methods.names())


def test_a_column_without_a_value_is_left_out(make_run):
    board = make_run({"good": [(*METHODS["over"][0][:5], None, 0.9)]}, retrained=NO_KNN, original=NO_KNN[0]).board()
    assert "k-NN_f" not in [column.title for column in board.columns]
    report = as_markdown(board, "made_up", MANIFEST)
    assert "k-NN" not in report.split("## Environment")[0]
    assert "CR_f" in report
    assert board.rows[-1].pareto == 1
    assert board.rows[-1].findings.not_measured == ()


def test_intervals_have_a_width_and_stay_within_the_range_of_the_metric():
    accuracy, gap = SEVERAL.columns[1], Row("m", "unlearned", {}, MeanGap(63.9, 105.9, 2))
    assert value_text(Cell(0.84, 0.006), accuracy) == "84.0 ±0.6"
    assert value_text(Cell(0.909, 0.196, distinguishable=True), accuracy) == "90.9 [71.3, 100]*"
    assert value_text(Cell(0.003, 0.006), accuracy) == "0.3 [0, 0.9]"
    assert value_text(Cell(0.84, 0.0001), accuracy) == "84.0 ±<0.1"
    assert value_text(Cell(1.0), accuracy) == "100.0"
    assert mean_gap_text(gap) == "63.9 [0, 100]"
    assert (gap.gap.low, gap.gap.high) == (0, 100)
    assert signed_gap_text(Cell(0.9, gap=-0.0001, gap_low=-0.02, gap_high=0.02), accuracy) == "+0.0 [-2.0, +2.0]"
    for columns in (SEVERAL.columns, NONE.columns):
        for column in columns:
            spec = metric_spec(get_metric(column.metric.removesuffix("_auc")))
            assert (column.low, column.high) == (spec.low, spec.high), column.title


def test_models_that_agree_exactly_have_no_interval_instead_of_one_without_width(make_run):
    same = (0.87, 1.0, 0.88, 0.53, 0.70, 0.85, 0.93)
    board = make_run({"good": [same] * 3}, retrained=[(v[0], 1.0, *v[2:]) for v in RETRAINED]).board()
    rows = {row.name: row for row in board.rows}
    assert math.isnan(rows["retrained"].cells["RA"].half_width)
    assert math.isnan(rows["good"].gap.half_width)
    record = board.to_table().to_pylist()[-1]
    assert (record["RA_half_width"], record["gap_half_width"], record["gap_low"]) == (None, None, None)
    report = as_markdown(board, "made_up", MANIFEST)
    assert not re.search(r"±0\.0+\b|\[([+-]?[\d.]+), \1\]", report)


def test_test_accuracy_is_on_the_classes_that_stay_where_whole_classes_are_forgotten(make_run):
    """Original and retrained model differ by the forgotten class only: equal utility, not +9 points."""
    run = make_run({"same": [(0.0, 0.99, 0.80, 0.5, 0.0, 0.0, 0.9)] * 2})
    test = run.metrics[(run.metrics.metric == "accuracy") & (run.metrics.split == "test")]
    values = test.kind.map({"original": 0.95, "retrained": 0.95, "unlearned": 0.80})
    retained = test.assign(metric="accuracy_retained_classes", value=values + 0.001 * np.arange(len(test)))
    board = run._replace(metrics=pd.concat([run.metrics, retained])).board()
    cells = {row.name: row.cells["TA"] for row in board.rows}
    assert cells["original"].value == pytest.approx(0.95, abs=0.01)
    assert not cells["original"].distinguishable
    assert cells["same"].gap == pytest.approx(-0.15, abs=0.02)
    assert "TA is on test samples of the classes that are not forgotten" in as_markdown(board, "made_up", MANIFEST)
    assert Leaderboard.from_table(board.to_table()).comparison == board.comparison


def test_a_row_that_failed_shows_no_number(board):
    line = next(line for line in shown(board, 160).splitlines() if "broken" in line)
    assert numbers(line) == []


def test_a_gap_beyond_the_retrained_spread_is_marked_and_one_within_is_not(board):
    lines = {
        row.name: next(line for line in shown(board, 200).splitlines() if row.name in line) for row in board.rows[2:4]
    }
    assert "*" in lines["over"]
    assert "*" not in lines["contrastive_unlearning"]


def test_the_report_holds_every_method_with_ranks_gaps_reasons_and_the_experiment(board):
    text = as_markdown(board, "made_up", MANIFEST)
    assert text.startswith("# made_up\n")
    for name in (*METHODS, "retrained", "original"):
        assert f"{name} |" in text
    assert "RuntimeError: no such layer" in text
    assert "name: made_up" in text
    assert "torch 2.9" in text
    for line in verdict(board):
        assert line in text


def test_every_line_of_a_markdown_table_has_as_many_cells_as_its_head(board):
    widths = []
    for block in as_markdown(board, "made_up", MANIFEST).split("\n\n"):
        if block.startswith("|"):
            widths.append({line.count("|") for line in block.splitlines()})
    assert len(widths) >= 2
    assert all(len(counts) == 1 for counts in widths)


def test_signed_gaps_in_the_report_carry_their_sign_and_interval(board):
    gaps = as_markdown(board, "made_up", MANIFEST).split("Signed gaps")[1]
    line = next(line for line in gaps.splitlines() if "over |" in line)
    assert re.search(r"\+\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", line)
    assert "-0." in line


@pytest.mark.parametrize("verbosity", [-1, 0])
def test_a_real_run_is_reported_in_a_file_and_on_the_console(trained, tables_folder, verbosity):
    store, run, stream = trained.scenario.store, trained.scenario.folder, io.StringIO()
    store.write_json(f"{run}/manifest.json", manifest(trained.scenario.experiment, "name: tiny\n", {}))
    write_report(store, run, Reporter(Console(file=stream, width=140), verbosity=verbosity))
    report = store.read_bytes(f"{run}/report.md").decode()
    page = store.read_bytes(f"{run}/report.html").decode()
    for method in ("retrain", "finetune", "gradient_ascent", "own_tiny_methods.crash"):
        assert method in report
        assert f'data-value="{method}"' in page
    assert ("finetune" in stream.getvalue()) == (verbosity == 0)
    write_report(store, run, Reporter(Console(file=io.StringIO()), verbosity=-1))
    assert store.read_bytes(f"{run}/report.md").decode() == report
    assert store.read_bytes(f"{run}/report.html").decode() == page


def test_names_and_messages_cannot_end_a_cell_or_begin_a_tag():
    table = markdown_table(["", "a|b"], [["<script>x</script>", "line 1\nline 2"]])
    assert table.splitlines()[0] == "|  | a\\|b |"
    assert table.splitlines()[2] == "| &lt;script>x&lt;/script> | line 1 line 2 |"

"""The leaderboard in print: every number whole at every width, every method in the report."""

import io
import re

import pytest
from rich.console import Console

from raybench.pipeline.manifest import manifest
from raybench.progress import Reporter
from raybench.report import verdict, write_report
from raybench.report.render import as_markdown, as_rich
from raybench.report.table import markdown_table

METHODS = {
    "contrastive_unlearning": [(0.861, 0.9921, 0.885, 0.535, 0.705, 0.855, 0.93)] * 2,
    "over": [(0.30, 0.90, 0.70, 0.30, 0.30, 0.40, 0.60), (0.31, 0.91, 0.71, 0.31, 0.31, 0.41, 0.61)],
    "broken": "RuntimeError: no such layer",
}
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


@pytest.mark.parametrize("width", [90, 120, 140, 200])
def test_no_number_is_cut_or_left_out_at_any_usual_width(board, width):
    text = shown(board, width)
    table = text[: text.index("UA, RA, TA:")]
    assert "…" not in table
    found = numbers(table)
    for row in board.rows:
        if not row.failed:
            for number in expected(board, row).values():
                assert number in found, f"{row.name}: {number}"
    assert max(len(line) for line in table.splitlines()) <= width


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

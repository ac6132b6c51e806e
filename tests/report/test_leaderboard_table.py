"""`leaderboard.parquet`: it holds everything that the report shows, and the report can be rendered from it."""

import io
import math

import duckdb
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from raybench.report.comparison import COLUMNS, IDEAL_COLUMNS, comparison_for
from raybench.report.leaderboard import Leaderboard
from raybench.report.render import as_markdown, as_rich
from raybench.report.verdict import verdict
from raybench.storage import report_schemas

NEAR = (0.87, 0.992, 0.885, 0.535, 0.705, 0.855, 0.93)
METHODS = {
    "near": [NEAR, (0.88, *NEAR[1:])],
    "same": [(1.00, 1.000, 0.890, 0.750, 0.900, 1.000, 0.80)] * 2,
    "over": [(0.30, 0.500, 0.700, 0.300, 0.300, 0.400, 0.60)] * 2,
    "partly": [(*NEAR[:4], None, *NEAR[5:])] * 2,
    "diverged": [(None,) * 7] * 2,
    "broken": "RuntimeError: no such layer",
}
MANIFEST = {
    "raybench": "0.1.0",
    "raybench_commit": "abc",
    "packages": {},
    "host": {"system": "Linux", "cpus": 2, "gpus": []},
    "started": "2026-01-01",
    "experiment": "name: made_up\n",
}


@pytest.fixture
def boards(make_run, without):
    """Return the leaderboards of runs with no, one and several retrained models."""
    return {
        0: without(METHODS).board(),
        1: make_run(METHODS, retrained=(NEAR,)).board(),
        4: make_run(METHODS).board(),
    }


def shown(board):
    stream = io.StringIO()
    Console(file=stream, width=200).print(as_rich(board, width=200))
    return stream.getvalue()


def test_every_column_of_the_report_has_its_columns_in_the_schema():
    names = {column.name for column in (*COLUMNS, *IDEAL_COLUMNS)}
    assert names == set(report_schemas.LEADERBOARD_METRICS)


@pytest.mark.parametrize("num_retrained", [0, 1, 4])
def test_the_report_rendered_from_the_file_is_the_one_rendered_from_the_run(boards, tmp_path, num_retrained):
    board = boards[num_retrained]
    pq.write_table(board.to_table(), tmp_path / "leaderboard.parquet")
    again = Leaderboard.from_table(pq.read_table(tmp_path / "leaderboard.parquet"))
    assert again.comparison is comparison_for(num_retrained)
    assert verdict(again) == verdict(board)
    assert as_markdown(again, "made_up", MANIFEST) == as_markdown(board, "made_up", MANIFEST)
    assert shown(again) == shown(board)
    assert again.to_table().equals(board.to_table())


def test_each_cell_is_in_the_file_with_interval_gap_and_star(boards):
    board = boards[4]
    records = {record["method"]: record for record in board.to_table().to_pylist()}
    for row in board.rows:
        for column in board.comparison.columns:
            cell, record = row.cells[column.title], records[row.name]
            for key, value in {
                column.name: cell.value,
                f"{column.name}_half_width": cell.half_width,
                f"{column.name}_gap": cell.gap,
                f"{column.name}_gap_low": cell.gap_low,
                f"{column.name}_gap_high": cell.gap_high,
                f"{column.name}_distance": cell.distance,
            }.items():
                assert record[key] == (None if math.isnan(value) else value), (row.name, key)
            assert record[f"{column.name}_distinguishable"] in (cell.distinguishable, None)
    assert records["over"]["UA_distinguishable"] is True
    assert records["near"]["UA_distinguishable"] is False
    assert records["partly"]["CR_f_reason"] == "it diverged"
    assert records["near"]["FA_TA"] is None


def test_flags_are_columns_that_duckdb_filters_by(boards, tmp_path):
    path = tmp_path / "leaderboard.parquet"
    pq.write_table(boards[4].to_table(), path)

    def methods(condition):
        rows = duckdb.sql(f"SELECT method FROM '{path}' WHERE kind = 'unlearned' AND {condition} ORDER BY method")
        return [method for (method,) in rows.fetchall()]

    assert methods("passes") == ["near"]
    assert methods("list_contains(remembers, 'MIA AUC')") == ["same"]
    assert methods("list_contains(lost_utility, 'RA') AND list_contains(over_forgot, 'UA')") == ["over"]
    assert methods("not_measured = ['CR_f']") == ["partly"]
    assert methods("no_better_than_original") == ["over", "same"]
    assert methods("failed AND status_reason LIKE 'RuntimeError%'") == ["broken"]
    assert methods("rank IS NULL") == ["broken", "diverged"]

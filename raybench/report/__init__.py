"""Queries on a run's Parquet tables: the leaderboard in the terminal and in Markdown."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from raybench import paper_tables
from raybench.progress import Reporter
from raybench.report import ranking
from raybench.report.evidence import evidence, write_evidence
from raybench.report.leaderboard import Leaderboard, leaderboard
from raybench.report.populations import populations
from raybench.report.printed import as_rows, runs, side_by_side
from raybench.report.printed_text import Beside, beside
from raybench.report.render import as_markdown, as_rich, plain_table
from raybench.storage import tables
from raybench.storage.store import Store

__all__ = ["Leaderboard", "leaderboard", "write_report"]


def write_report(store: Store, name: str, reporter: Reporter) -> None:
    """Write `<run>/report.md`, `<run>/evidence/` and the leaderboard's table from the other tables, and print it.

    Where the experiment names a table of printed numbers, write `<run>/tables/published.parquet` too.
    """
    metrics = store.read_table(f"{name}/tables/metrics.parquet").to_pandas()
    models = store.read_table(f"{name}/tables/models.parquet").to_pandas()
    splits = store.read_table(f"{name}/tables/splits.parquet", columns=["id", "role"]).to_pandas()
    compared = populations(metrics)
    manifest = store.read_json(f"{name}/manifest.json")
    board = leaderboard(
        metrics,
        models,
        store.read_table(f"{name}/tables/trials.parquet").to_pandas(),
        manifest.get("method_notes"),
        retraining=_retraining(manifest, splits),
    )
    store.write_table(f"{name}/tables/leaderboard.parquet", tables.table("leaderboard", ranking.as_rows(board)))
    printed = _beside_printed(store, name, manifest, metrics, models)
    text = as_markdown(board, name, manifest, compared, printed)
    store.write_bytes(f"{name}/report.md", text.encode())
    write_evidence(store, name, evidence(name, board, metrics, models, splits, manifest), text)
    reporter.print()
    if reporter.verbosity >= 0:
        reporter.console.print(as_rich(board, width=reporter.console.width))
        for line in board.verdict:
            reporter.print(line)
        if compared is not None:
            reporter.print()
            reporter.console.print(plain_table(compared.head, compared.brief))
            reporter.print(compared.notes)
        if printed is not None:
            reporter.print()
            reporter.console.print(plain_table(printed.head, printed.brief))
            reporter.print(printed.notes)
    root = store.path(name)
    reporter.print()
    reporter.print(f"tables       {root}/tables/")
    reporter.print(f"report       {root}/report.md")
    reporter.print(f"evidence     {root}/evidence/")
    reporter.print(f"tensorboard  tensorboard --logdir {root}/tensorboard")


def _retraining(manifest: Mapping[str, Any], splits: pd.DataFrame) -> str:
    """Return what training one more reference takes, in words."""
    recipe = manifest.get("retrained_recipe")
    return f"{recipe['epochs']} epochs x {(splits.role == 'retain').sum()} samples" if recipe else ""


def _beside_printed(
    store: Store, name: str, manifest: Mapping[str, Any], metrics: pd.DataFrame, models: pd.DataFrame
) -> Beside | None:
    key, given = f"{name}/tables/published.parquet", manifest.get("published")
    if given is None:
        store.delete(key)  # of an earlier version of this run
        return None
    found = runs(store, name, manifest, metrics, models)
    frame = side_by_side(paper_tables.load(given["table"]), found)
    store.write_table(key, tables.table("published", as_rows(frame)))
    return beside(frame, given["protocol"], found)

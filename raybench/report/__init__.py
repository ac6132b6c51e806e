"""Queries on a run's Parquet tables: the leaderboard in the terminal and in Markdown."""

from raybench.progress import Reporter
from raybench.report.leaderboard import Leaderboard, leaderboard
from raybench.report.populations import populations
from raybench.report.render import as_markdown, as_rich, plain_table
from raybench.store import Store

__all__ = ["Leaderboard", "leaderboard", "write_report"]


def write_report(store: Store, name: str, reporter: Reporter) -> None:
    """Write `<run>/report.md` from the tables and print the leaderboard."""
    metrics = store.read_table(f"{name}/tables/metrics.parquet").to_pandas()
    compared = populations(metrics)
    manifest = store.read_json(f"{name}/manifest.json")
    board = leaderboard(
        metrics,
        store.read_table(f"{name}/tables/models.parquet").to_pandas(),
        store.read_table(f"{name}/tables/trials.parquet").to_pandas(),
        manifest.get("method_notes"),
    )
    store.write_bytes(f"{name}/report.md", as_markdown(board, name, manifest, compared).encode())
    reporter.say()
    if reporter.verbosity >= 0:
        reporter.console.print(as_rich(board, width=reporter.console.width))
        for line in board.verdict:
            reporter.say(line)
        if compared is not None:
            reporter.say()
            reporter.console.print(plain_table(compared.head, compared.brief))
            reporter.say(compared.notes)
    root = store.path(name)
    reporter.say()
    reporter.say(f"tables       {root}/tables/")
    reporter.say(f"report       {root}/report.md")
    reporter.say(f"tensorboard  tensorboard --logdir {root}/tensorboard")

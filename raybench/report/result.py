"""The result of a run for programs: paths, verdicts and the main numbers of the leaderboard, as plain values."""

from typing import Any

from raybench.report.leaderboard import Leaderboard
from raybench.storage.runs import location
from raybench.storage.store import Store

FILES = {
    "report": "report.html",
    "markdown": "report.md",
    "tables": "tables",
    "leaderboard": "tables/leaderboard.parquet",
    "evidence": "evidence",
    "tensorboard": "tensorboard",
    "manifest": "manifest.json",
}


def run_result(store: Store, run: str) -> dict[str, Any]:
    """Return the result of a run (`name/fingerprint`); without a leaderboard if it was stopped before the report.

    Keys: `run`, `storage`, `paths` by kind, `verdicts` by method, `withheld` (why there is no verdict, or null),
    `leaderboard` (rows in its order; gaps in points, memory and cost as fractions).
    """
    result = {"run": run, "storage": store.shown}
    key = f"{run}/tables/leaderboard.parquet"
    if not store.exists(key):
        return {**result, "paths": _paths(store, run, ("tensorboard", "manifest"))}
    board = Leaderboard.from_table(store.read_table(key))
    return {
        **result,
        "paths": _paths(store, run, FILES),
        "verdicts": {row.name: row.conclusion for row in board.rows if row.kind == "unlearned"},
        "withheld": board.withheld,
        "leaderboard": [
            {
                "name": row.name,
                "kind": row.kind,
                "rank": row.rank,
                "verdict": row.conclusion,
                "memory": row.memory.value,
                "memory_low": row.memory.low,
                "memory_high": row.memory.high,
                "gap": row.gap.value,
                "gap_low": row.gap.low,
                "gap_high": row.gap.high,
                "relative_cost": row.relative_cost,
                "failed": row.failed,
                "reason": row.status_reason,
            }
            for row in board.rows
        ],
    }


def _paths(store: Store, run: str, kinds: Any) -> dict[str, str]:
    return {kind: location(store, f"{run}/{FILES[kind]}") for kind in kinds}

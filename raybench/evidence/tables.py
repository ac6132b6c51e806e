"""The part of a run's tables that its verdict is computed from, and the computation of the verdict from it alone."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raybench.evidence.paths import without_paths
from raybench.report.build import build_leaderboard
from raybench.report.leaderboard import Leaderboard
from raybench.scoring.memory import Audits
from raybench.storage import tables
from raybench.storage.store import Store

FOLDER = "tables"
NAMES = ("models", "metrics", "trials", "losses", "forget")
TRIALS = ["method", "phase", "seed", "original", "status", "reason", "hyperparameters", "chosen", "last"]
MEMORY_METRIC = "residual_memory"


@dataclass(frozen=True)
class Outcome:
    """What the tables say: the leaderboard, residual memory per method, and that of every single model."""

    board: Leaderboard
    memory: pd.DataFrame
    single: pd.DataFrame


def subset(store: Store, run: str) -> dict[str, pa.Table]:
    """Return the tables of a run that its verdict needs, without paths of the machine.

    `losses`: of every model on every forget sample; `forget`: ids and groups of the forget samples.
    """

    def read(name: str) -> pa.Table:
        return store.read_table(f"{run}/tables/{name}.parquet")

    models, samples, splits, trials = read("models"), read("samples"), read("splits"), read("trials")
    trials = trials.filter(trials["last"]).select([name for name in TRIALS if name in trials.column_names])
    in_table = pc.is_in(samples["model"], models["model"].combine_chunks())
    losses = samples.filter(pc.and_(pc.equal(samples["split"], "forget"), in_table))
    forget = splits.filter(pc.equal(splits["role"], "forget"))
    kept = {
        "models": models,
        "metrics": read("metrics"),
        "trials": trials,
        "losses": losses.select(["model", "split", "id", "loss"]),
        "forget": forget.select([name for name in ("id", "group") if name in forget.column_names]),
    }
    return {name: _clean(table) for name, table in kept.items()}


def write(folder: Path, content: Mapping[str, pa.Table]) -> None:
    """Write the tables below the evidence folder."""
    (folder / FOLDER).mkdir()
    for name, table in content.items():
        pq.write_table(table, folder / FOLDER / f"{name}.parquet", compression="zstd")


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of an evidence folder; raise OSError or ArrowException for a file that is none."""
    return {name: pq.read_table(folder / FOLDER / f"{name}.parquet").to_pandas() for name in NAMES}


def recompute(frames: Mapping[str, pd.DataFrame], settings: Mapping[str, Any]) -> Outcome:
    """Compute residual memory from the losses, and the leaderboard with its verdicts from that and the metrics."""
    models, losses, forget = frames["models"], frames["losses"], frames["forget"]
    evaluated = models[models.model.isin(set(losses.model))].to_dict("records")
    units = dict(zip(forget.id.tolist(), forget.group.tolist())) if settings["groups_are_units"] else None
    audits = Audits([{str(key): value for key, value in row.items()} for row in evaluated], losses, units)
    memory = tables.table("memory", audits.memory_rows()).to_pandas()
    single = pd.DataFrame(audits.metric_rows())
    board = build_leaderboard(
        frames["metrics"],
        models,
        frames["trials"],
        memory=memory,
        margin=settings["margin"],
        retraining=settings["retraining"],
    )
    return Outcome(board, memory, single[single.metric == MEMORY_METRIC])


def _clean(table: pa.Table) -> pa.Table:
    """Remove paths of the machine from texts and from metadata that is not raybench's."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = [None if text is None else _clean_text(text) for text in table.column(number).to_pylist()]
            table = table.set_column(number, field, pa.array(texts, pa.string()))
    metadata = table.schema.metadata or {}
    return table.replace_schema_metadata(
        {key: value for key, value in metadata.items() if key.startswith(b"raybench_schema")}
    )


def _clean_text(text: str) -> str:
    if text.startswith("{"):
        with suppress(json.JSONDecodeError):
            return json.dumps(without_paths(json.loads(text)), sort_keys=True)
    return str(without_paths(text))

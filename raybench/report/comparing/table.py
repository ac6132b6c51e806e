"""The Parquet table of a comparison: the leaderboards of all runs, one row per run and method, never pooled."""

import json
from collections.abc import Sequence

import pyarrow as pa

from raybench.report.comparing.scenarios import Scenario
from raybench.storage.report_schemas import LEADERBOARD
from raybench.storage.tables import VERSION


def _field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


RUN_COLUMNS = [
    _field("scenario", pa.int64(), "number of the scenario: same data, samples, architecture and training"),
    _field("scenario_title", pa.string(), "the scenario in words"),
    _field("protocol", pa.int64(), "number within the scenario; numbers of different protocols do not compare"),
    _field("protocol_differences", pa.string(), "what differs from the first protocol of the scenario; null for it"),
    _field("run", pa.string(), "the run as name/fingerprint"),
    _field("started", pa.string(), "when the run was started, ISO 8601"),
    _field("data", pa.string(), "fingerprint of the images and labels"),
    _field("roles", pa.string(), "fingerprint of the sample ids of every role"),
    _field("num_retrained", pa.int64(), "retrained models of the run"),
    _field("num_originals", pa.int64(), "originals that the methods started from"),
    _field("hyperparameters", pa.string(), "setting of the method, JSON; null for originals and retrained models"),
]
COMPARISON = pa.schema([*RUN_COLUMNS, *LEADERBOARD])
"""The columns above, then those of `leaderboard.parquet`, whose ranks hold within their run."""


def to_table(scenarios: Sequence[Scenario]) -> pa.Table:
    """Return the rows of all scenarios; the columns of `leaderboard.parquet` follow those of the run."""
    parts = []
    for number, scenario in enumerate(scenarios, start=1):
        for place, protocol in enumerate(scenario.protocols, start=1):
            for run in protocol.runs:
                rows = run.board.to_table().to_pylist()
                facts = {
                    "scenario": number,
                    "scenario_title": scenario.title,
                    "protocol": place,
                    "protocol_differences": ", ".join(protocol.apart) or None,
                    "run": run.name,
                    "started": run.started,
                    **{name: run.fingerprints[name] for name in ("data", "roles")},
                    "num_retrained": run.board.num_retrained,
                    "num_originals": run.board.num_originals,
                }
                for row in rows:
                    method = run.methods.get(row["method"]) if row["kind"] == "unlearned" else None
                    setting = json.dumps(dict(method.hyperparameters), sort_keys=True) if method else None
                    parts.append({**facts, "hyperparameters": setting, **row})
    metadata = {"raybench_table": "comparison", "raybench_schema_version": VERSION}
    return pa.Table.from_pylist(parts, schema=COMPARISON.with_metadata(metadata))

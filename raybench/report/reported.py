"""Compare the results reported in a paper with a run under the released protocol and one under the corrected protocol.

Each protocol has its own columns, and none of these numbers is ranked: the leaderboard ranks the models of one run.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import pandas as pd

from raybench import paper_tables
from raybench.metrics.functions.intervals import mean_interval
from raybench.paper_tables import COMPANIONS, DERIVED, POPULATION
from raybench.storage.runs import evaluated_runs
from raybench.storage.store import Store

PROTOCOLS = ("released", "corrected")
REFERENCES = {"original": "_control", "retrained": "_null"}  # and the suffix of a population statistic of theirs
METRIC_COLUMNS = ["kind", "method", "metric", "split", "setting", "value", "low", "high", "n", "reason"]
KEY = ["metric", "split", "metric_setting"]
ROW = [*KEY, "method", "preset_or_variant"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A finished run: its name and fingerprint, its metrics, and the settings of its models."""

    name: str
    metrics: pd.DataFrame
    models: pd.DataFrame


@dataclass(frozen=True)
class Measured:
    """The mean of one metric over the models of a method, or the reason why there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    reason: str | None = None


def runs_by_protocol(
    store: Store, name: str, manifest: Mapping[str, Any], metrics: pd.DataFrame, models: pd.DataFrame
) -> dict[str, Run]:
    """Return the run under its protocol and, if the storage has one, the newest run under the other protocol."""
    paper = manifest["paper"]
    runs = {paper["protocol"]: Run(name, metrics, models)}
    for protocol in PROTOCOLS:
        if protocol != paper["protocol"] and (run := newest_run(store, paper["table"], protocol, exclude=name)):
            runs[protocol] = run
    return runs


def newest_run(store: Store, table: str, protocol: str, *, exclude: str) -> Run | None:
    """Return the newest finished run, other than `exclude`, that names the table and follows the protocol."""
    paper = {"table": table, "protocol": protocol}
    candidates: list[tuple[float, str]] = []
    for name in evaluated_runs(store):
        manifest = store.read_json(f"{name}/manifest.json") if store.exists(f"{name}/manifest.json") else {}
        if name != exclude and manifest.get("paper") == paper:
            candidates.append((datetime.fromisoformat(manifest["started"]).timestamp(), name))
    if not candidates:
        return None
    newest = max(candidates)[1]
    metrics = store.read_table(f"{newest}/tables/metrics.parquet", columns=METRIC_COLUMNS).to_pandas()
    return Run(newest, metrics, store.read_table(f"{newest}/tables/models.parquet").to_pandas())


def compare_with_paper(reported: pd.DataFrame, runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return the rows of `reported.parquet`: one per reported number, then one per number that only a run has.

    `reported` is a table of `paper_tables.load`; `runs` maps protocols to runs.
    """
    variants = reported.groupby("method")["preset_or_variant"].nunique()
    rows = []
    for row in reported.to_dict("records"):
        base = {
            **row,
            "paper_table": f"{row['source']}_{row['table']}",
            "reported": row["value"],
            "reported_text": row["reported"],
        }
        match_variant = bool(variants.get(row["method"], 0) > 1)
        rows.append(_with_runs(base, runs, match_variant=match_variant))
    rows += [_with_runs(base, runs, match_variant=False) for base in _only_measured(reported, runs)]
    columns = ["paper_table", *(name for name in paper_tables.COLUMNS if name not in ("table", "value", "reported"))]
    measured = [f"{p}{part}" for p in PROTOCOLS for part in ("", "_low", "_high", "_n", "_run", "_reason")]
    return pd.DataFrame(rows, columns=[*columns, "reported", "reported_text", *measured, "difference"])


def to_rows(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of `compare_with_paper` for `tables.table`, with None for missing values."""
    return cast(list[Row], frame.astype(object).where(frame.notna(), None).to_dict("records"))


def _only_measured(reported: pd.DataFrame, runs: Mapping[str, Run]) -> Iterator[Row]:
    """Yield the rows of reported metrics for methods that the runs have and the table lacks."""
    comparable = reported[reported["metric"] != DERIVED]
    in_table = {(row.metric, row.split, row.metric_setting, row.method) for row in comparable.itertuples()}
    methods_run = {name for run in runs.values() for name in run.models["function"].dropna()}
    for key in comparable[[*KEY, "unit"]].drop_duplicates().to_dict("records"):
        if key["metric"].endswith(COMPANIONS):
            continue  # these are the rows of the references for the statistic that they accompany
        for method in (*REFERENCES, *sorted(methods_run - set(reported["method"]))):
            companion = REFERENCES.get(method, "") if key["metric_setting"] == POPULATION else ""
            base = {**key, "metric": key["metric"] + companion, "method": method, "preset_or_variant": ""}
            identity = (base["metric"], key["split"], key["metric_setting"], method)
            if identity not in in_table and any(_measure(run, base).n for run in runs.values()):
                first = reported.iloc[0]
                yield {**base, "source": first["source"], "paper_table": f"{first['source']}_{first['table']}"}


def _with_runs(base: Row, runs: Mapping[str, Run], *, match_variant: bool) -> Row:
    row = dict(base)
    for protocol in PROTOCOLS:
        run = runs.get(protocol)
        if row["metric"] == DERIVED:
            value = Measured(reason="no metric of raybench")
        elif run is None:
            value = Measured(reason="no run of this protocol on the storage")
        else:
            value = _measure(run, row, match_variant=match_variant)
            row[f"{protocol}_run"] = run.name
        for part in ("low", "high", "reason"):
            row[f"{protocol}_{part}"] = getattr(value, part)
        row |= {protocol: value.value, f"{protocol}_n": value.n}
    row["difference"] = row.get("reported", math.nan) - row["released"]
    return row


def _measure(run: Run, row: Row, *, match_variant: bool = False) -> Measured:
    """Return what a run measured for a row; with `match_variant` only if it ran the variant of the row."""
    method, is_population = row["method"], row["metric_setting"] == POPULATION
    metrics = run.metrics[run.metrics.kind == (POPULATION if is_population else _kind(method))]
    if method not in REFERENCES:
        key, reason = _method_key(run.models, row, match_variant=match_variant)
        if reason is not None:
            return Measured(reason=reason)
        metrics = metrics[metrics.method == key]
    elif is_population and len(metrics):  # null and control are repeated for every method
        metrics = metrics[metrics.method == metrics.method.iloc[0]]
    if metrics.empty:
        return Measured(reason="no population was run" if is_population and method in REFERENCES else "not run")
    rows = metrics[(metrics.metric == row["metric"]) & (metrics.split.fillna("") == row["split"])]
    settings = set(filter(None, row["metric_setting"].split(",")))
    rows = rows[[settings <= set(text.split(",")) for text in rows.setting.fillna("")]]
    if rows.empty:
        return Measured(reason="not in the run's evaluate.metrics")
    if rows.setting.nunique() > 1:
        return Measured(reason=f"measured at several settings: {'; '.join(sorted(rows.setting.unique()))}")
    values = rows.value.dropna().to_numpy(dtype=float)
    if not len(values):
        return Measured(reason=str(next(iter(rows.reason.dropna()), "no value")))
    if len(values) > 1:
        mean = mean_interval(values)
        return Measured(mean.value, mean.low, mean.high, len(values))
    single = rows[rows.value.notna()].iloc[0]
    low, high = (float(end) if pd.notna(end) else math.nan for end in (single.low, single.high))
    return Measured(float(single.value), low, high, int(single.n) if is_population else 1)


def _kind(method: str) -> str:
    return method if method in REFERENCES else "unlearned"


def _method_key(models: pd.DataFrame, row: Row, *, match_variant: bool) -> tuple[str | None, str | None]:
    """Return the key in the run's `methods:` that a row is about, or the reason why there is none."""
    unlearned = models[models.kind == "unlearned"]
    keys = list(dict.fromkeys(unlearned.loc[unlearned.function == row["method"], "method"]))
    if not keys:
        return None, "not run"
    differences = {key: _different_setting(unlearned, key, row) for key in keys}
    matches = [key for key in keys if differences[key] is None or not (match_variant or len(keys) > 1)]
    if not matches:
        return None, f"run with {differences[keys[0]]}"
    return (matches[0], None) if len(matches) == 1 else (None, f"run under several keys: {', '.join(matches)}")


def _different_setting(models: pd.DataFrame, key: str, row: Row) -> str | None:
    """Return the first hyperparameter in which the run differs from the variant of the row."""
    texts = models.loc[models.method == key, "hyperparameters"].dropna()
    used = json.loads(texts.iloc[0]) if len(texts) else {}
    variant = json.loads(row["preset_or_variant"] or "{}")
    different = (name for name in variant if name != "preset" and used.get(name) != variant[name])
    return next((f"{name} = {used.get(name)!r}" for name in different), None)

"""Printed numbers beside measured ones, of a run that follows a source's protocol and of its sibling that corrects it.

Every number stays in the column of its protocol, and no ranking is made of them: the leaderboard is of one run alone.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from pyarrow import fs

from raybench import paper_tables
from raybench.metrics.functions.intervals import mean_interval
from raybench.paper_tables import COMPANIONS, DERIVED, POPULATION
from raybench.storage.store import Store

PROTOCOLS = ("released", "corrected")
REFERENCES = {"original": "_control", "retrained": "_null"}  # and what a population's statistic of theirs is called
READ = ["kind", "method", "metric", "split", "setting", "value", "low", "high", "n", "reason"]
KEY = ["metric", "split", "metric_setting"]
ROW = [*KEY, "method", "preset_or_variant"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A finished run: its name, its metrics, and the settings of its models."""

    name: str
    metrics: pd.DataFrame
    models: pd.DataFrame


@dataclass(frozen=True)
class Measured:
    """One value, the mean over its models, or the reason why there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    reason: str | None = None


def runs(
    store: Store, name: str, manifest: Mapping[str, Any], metrics: pd.DataFrame, models: pd.DataFrame
) -> dict[str, Run]:
    """Return the run under its own protocol and, where the storage holds one, its sibling under the other."""
    given = manifest["published"]
    found = {given["protocol"]: Run(name, metrics, models)}
    for protocol in PROTOCOLS:
        if protocol != given["protocol"] and (other := sibling(store, given["table"], protocol, own=name)):
            found[protocol] = other
    return found


def sibling(store: Store, table: str, protocol: str, *, own: str) -> Run | None:
    """Return the newest other run with tables that names the same printed table and has the given protocol."""
    wanted = {"table": table, "protocol": protocol}
    found: list[tuple[float, str]] = []
    for info in store.filesystem.get_file_info(fs.FileSelector(store.root, allow_not_found=True)):
        name = info.base_name
        if info.type != fs.FileType.Directory or name == own or not store.exists(f"{name}/manifest.json"):
            continue
        manifest = store.read_json(f"{name}/manifest.json")
        if manifest.get("published") == wanted and store.exists(f"{name}/tables/metrics.parquet"):
            found.append((datetime.fromisoformat(manifest["started"]).timestamp(), name))
    if not found:
        return None
    newest = max(found)[1]
    metrics = store.read_table(f"{newest}/tables/metrics.parquet", columns=READ).to_pandas()
    return Run(newest, metrics, store.read_table(f"{newest}/tables/models.parquet").to_pandas())


def side_by_side(printed: pd.DataFrame, found: Mapping[str, Run]) -> pd.DataFrame:
    """Return one row per printed number, then one per number of a method that is not printed; see `tables.PUBLISHED`.

    `printed` is a table of `paper_tables.load`, `found` a run for each protocol there is one for.
    """
    variants = printed.groupby("method")["preset_or_variant"].nunique()
    rows = []
    for row in printed.to_dict("records"):
        base = {
            **row,
            "printed_table": f"{row['source']}_{row['table']}",
            "printed": row["value"],
            "printed_text": row["printed"],
        }
        told_apart = bool(variants.get(row["method"], 0) > 1)
        rows.append(_with_runs(base, found, told_apart=told_apart))
    rows += [_with_runs(base, found, told_apart=False) for base in _not_printed(printed, found)]
    columns = ["printed_table", *(name for name in paper_tables.COLUMNS if name not in ("table", "value", "printed"))]
    measured = [f"{p}{part}" for p in PROTOCOLS for part in ("", "_low", "_high", "_n", "_run", "_reason")]
    return pd.DataFrame(rows, columns=[*columns, "printed", "printed_text", *measured, "difference"])


def as_rows(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of `side_by_side` for `tables.table`: what is missing is None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def _not_printed(printed: pd.DataFrame, found: Mapping[str, Run]) -> Iterator[Row]:
    """Yield what the runs measured by a printed metric of methods that the table does not have."""
    known = printed[printed["metric"] != DERIVED]
    there = {(row.metric, row.split, row.metric_setting, row.method) for row in known.itertuples()}
    ran = {name for run in found.values() for name in run.models["function"].dropna()}
    for key in known[[*KEY, "unit"]].drop_duplicates().to_dict("records"):
        if key["metric"].endswith(COMPANIONS):
            continue  # they are the references' rows of the statistic that they accompany
        for method in (*REFERENCES, *sorted(ran - set(printed["method"]))):
            companion = REFERENCES.get(method, "") if key["metric_setting"] == POPULATION else ""
            base = {**key, "metric": key["metric"] + companion, "method": method, "preset_or_variant": ""}
            place = (base["metric"], key["split"], key["metric_setting"], method)
            if place not in there and any(_measure(run, base).n for run in found.values()):
                source = printed.iloc[0]
                yield {**base, "source": source["source"], "printed_table": f"{source['source']}_{source['table']}"}


def _with_runs(base: Row, found: Mapping[str, Run], *, told_apart: bool) -> Row:
    row = dict(base)
    for protocol in PROTOCOLS:
        run = found.get(protocol)
        if row["metric"] == DERIVED:
            value = Measured(reason="nothing that raybench measures")
        elif run is None:
            value = Measured(reason="no run of this protocol on the storage")
        else:
            value = _measure(run, row, told_apart=told_apart)
            row[f"{protocol}_run"] = run.name
        for part in ("low", "high", "reason"):
            row[f"{protocol}_{part}"] = getattr(value, part)
        row |= {protocol: value.value, f"{protocol}_n": value.n}
    row["difference"] = row.get("printed", math.nan) - row["released"]
    return row


def _measure(run: Run, row: Row, *, told_apart: bool = False) -> Measured:
    """Return what a run has for a row; `told_apart`: only if it ran the variant that the row is of."""
    method, population = row["method"], row["metric_setting"] == POPULATION
    own = run.metrics[run.metrics.kind == (POPULATION if population else _kind(method))]
    if method not in REFERENCES:
        entry, reason = _entry(run.models, row, told_apart=told_apart)
        if reason is not None:
            return Measured(reason=reason)
        own = own[own.method == entry]
    elif population and len(own):  # null and control accompany every method, and are the same
        own = own[own.method == own.method.iloc[0]]
    if own.empty:
        return Measured(reason="no population was run" if population and method in REFERENCES else "not run")
    at = own[(own.metric == row["metric"]) & (own.split.fillna("") == row["split"])]
    wanted = set(filter(None, row["metric_setting"].split(",")))
    at = at[[wanted <= set(text.split(",")) for text in at.setting.fillna("")]]
    if at.empty:
        return Measured(reason="not in the run's evaluate.metrics")
    if at.setting.nunique() > 1:
        return Measured(reason=f"measured at several settings: {'; '.join(sorted(at.setting.unique()))}")
    values = at.value.dropna().to_numpy(dtype=float)
    if not len(values):
        return Measured(reason=str(next(iter(at.reason.dropna()), "no value")))
    if len(values) > 1:
        mean = mean_interval(values)
        return Measured(mean.value, mean.low, mean.high, len(values))
    one = at[at.value.notna()].iloc[0]
    low, high = (float(end) if pd.notna(end) else math.nan for end in (one.low, one.high))
    return Measured(float(one.value), low, high, int(one.n) if population else 1)


def _kind(method: str) -> str:
    return method if method in REFERENCES else "unlearned"


def _entry(models: pd.DataFrame, row: Row, *, told_apart: bool) -> tuple[str | None, str | None]:
    """Return which entry of the run's `methods:` a row is about, or why none is."""
    unlearned = models[models.kind == "unlearned"]
    entries = list(dict.fromkeys(unlearned.loc[unlearned.function == row["method"], "method"]))
    if not entries:
        return None, "not run"
    others = {entry: _other_setting(unlearned, entry, row) for entry in entries}
    fitting = [entry for entry in entries if others[entry] is None or not (told_apart or len(entries) > 1)]
    if not fitting:
        return None, f"run with {others[entries[0]]}"
    return (fitting[0], None) if len(fitting) == 1 else (None, f"run as several entries: {', '.join(fitting)}")


def _other_setting(models: pd.DataFrame, entry: str, row: Row) -> str | None:
    """Return the first value by which the run's setting of an entry is another than the printed row's."""
    texts = models.loc[models.method == entry, "hyperparameters"].dropna()
    ran = json.loads(texts.iloc[0]) if len(texts) else {}
    wanted = json.loads(row["preset_or_variant"] or "{}")
    differs = (key for key in wanted if key != "preset" and ran.get(key) != wanted[key])
    return next((f"{key} = {ran.get(key)!r}" for key in differs), None)

"""The report's section on reported results: one Markdown table per metric, and a short table for the terminal."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from raybench.paper_tables import COMPANIONS, DERIVED, SOURCES
from raybench.report.cell_text import interval_text
from raybench.report.reported import KEY, PROTOCOLS, ROW, Run
from raybench.report.table import markdown_table

INCONSISTENT = "!"
RANGES = {"fraction": (0.0, 1.0), "percent": (0.0, 100.0)}  # of reported numbers, by unit
NOTHING = "-"
EXPLANATION = (
    "Measured values are means over n models ± the half-width of the 95 % interval, or its [ends] (over "
    "samples for a single model; none where all models agree). "
    "Each protocol has its own column; the leaderboard ranks this run only."
)
INCONSISTENT_LEGEND = f"{INCONSISTENT} = the reported number is known to be inconsistent"


@dataclass(frozen=True)
class PaperComparison:
    """The rows of `compare_with_paper`, the introduction, the tables in Markdown, and the short table."""

    frame: pd.DataFrame
    introduction: list[str]
    sections: list[str]
    head: list[str]
    short_rows: list[list[str]]
    notes: str

    def markdown(self) -> str:
        """Return the section of `report.md`."""
        return "\n\n".join(["\n".join(f"- {line}" for line in self.introduction), *self.sections])


def describe(frame: pd.DataFrame, protocol: str, runs: Mapping[str, Run]) -> PaperComparison:
    """Format the rows of `compare_with_paper`; `protocol` is that of the run, `runs` the runs compared."""
    rows = frame[frame["metric"] != DERIVED].fillna(dict.fromkeys((*ROW, "place", "note"), ""))
    rows = rows.assign(base=rows["metric"].map(_base))
    keys = rows[["base", *KEY[1:]]].drop_duplicates().to_dict("records")
    groups = [rows[(rows[list(key)] == pd.Series(key)).all(axis=1)] for key in keys]
    from_paper = [group for group in groups if not group["place"].iloc[0].startswith("recomputed")]
    head, short_rows = _short_table(from_paper, protocol)
    name = str(frame["paper_table"].iloc[0])
    notes = (
        f"reported ({name}) | measured ({protocol} protocol, mean over models); {INCONSISTENT_LEGEND}, see report.md"
    )
    introduction = [*_introduction(frame, protocol, runs)]
    return PaperComparison(frame, introduction, [_section(group) for group in groups], head, short_rows, notes)


def _base(metric: str) -> str:
    return next((metric.removesuffix(end) for end in COMPANIONS if metric.endswith(end)), metric)


def _introduction(frame: pd.DataFrame, protocol: str, runs: Mapping[str, Run]) -> Iterator[str]:
    first = frame[frame["setting"] == frame["setting"].mode()[0]].iloc[0]
    yield f"Reported: `{first['paper_table']}`, {SOURCES[first['source']]}; {first['dataset']}, {first['setting']}."
    for name in PROTOCOLS:
        run = runs.get(name)
        text = f"run `{run.name}`{' (this run)' if name == protocol else ''}" if run else "no run on this storage"
        yield f"{name.capitalize()} protocol: {text}."
    yield EXPLANATION
    reported = frame[frame["reported"].notna()]
    comparable = reported[reported["metric"] != DERIVED]
    methods_run = {m for run in runs.values() for m in run.metrics.loc[run.metrics.kind != "population", "method"]}
    not_run = comparable.loc[~comparable["method"].isin(methods_run), "method_reported"].drop_duplicates()
    yield f"Reported, not run: {', '.join(not_run) or 'none'}."
    methods_reported = {*reported["method"], "original", "retrained"}
    yield f"Run, not reported: {', '.join(sorted(methods_run - methods_reported)) or 'none'}."
    derived = reported.loc[reported["metric"] == DERIVED, "metric_reported"].drop_duplicates()
    if len(derived):
        yield f"Reported, but no metric of raybench (in reported.parquet): {'; '.join(derived)}."


def _section(rows: pd.DataFrame) -> str:
    main = rows[~rows.duplicated(ROW)]
    first = main.iloc[0]
    setting = f" at {first['metric_setting']}" if "=" in first["metric_setting"] else ""
    title = f"### {_title(first)}{setting} ({first['metric_reported']}; {first['place']})"
    head = ["", "reported", *(f"{name} protocol" for name in PROTOCOLS), "reported - released", "note"]
    lines = [
        [
            _label(row),
            _reported(row),
            *(_measured(row, name) for name in PROTOCOLS),
            NOTHING if pd.isna(row["difference"]) else f"{row['difference']:+.{_digits(row)}f}",
            _note(row, rows),
        ]
        for row in main.to_dict("records")
    ]
    annotated = main[main["note"] != ""].drop_duplicates(["method_reported", "note"]).to_dict("records")
    remarks = [
        f"- {'' if row['consistent'] else f'{INCONSISTENT} '}{row['method_reported']}: {row['note']}"
        for row in annotated
    ]
    return "\n\n".join([title, markdown_table(head, lines), *(["\n".join(remarks)] if remarks else [])])


def _short_table(groups: list[pd.DataFrame], protocol: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and one row per reported method: per metric, reported | measured by this run."""
    cells: dict[tuple[str, str], dict[int, str]] = {}
    labels: dict[tuple[str, str], str] = {}
    for number, rows in enumerate(groups):
        main = rows[~rows.duplicated(ROW) & rows["reported"].notna()]
        for row in main.to_dict("records"):
            key = row["method"], row["preset_or_variant"]
            labels.setdefault(key, _label(row))
            measured = NOTHING if pd.isna(row[protocol]) else f"{row[protocol]:.{_digits(row)}f}"
            cells.setdefault(key, {})[number] = f"{_reported(row)} | {measured}"
    head = ["", *(_title(rows.iloc[0]) for rows in groups)]
    return head, [[labels[key], *(row.get(i, NOTHING) for i in range(len(groups)))] for key, row in cells.items()]


def _title(row: Mapping[Any, Any] | pd.Series) -> str:
    return f"{row['base']} {row['split']}".strip()


def _label(row: Mapping[Any, Any]) -> str:
    return str(row["method"]) if pd.isna(row["reported"]) else f"{row['method']} ({row['method_reported']})"


def _digits(row: Mapping[Any, Any]) -> int:
    return 4 if row["unit"] == "fraction" else 2


def _reported(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["reported"]):
        return NOTHING
    return f"{row['reported']:.{_digits(row)}f}{'' if row['consistent'] else INCONSISTENT}"


def _measured(row: Mapping[Any, Any], protocol: str) -> str:
    if pd.isna(row[protocol]):
        return NOTHING
    digits, low, high = _digits(row), row[f"{protocol}_low"], row[f"{protocol}_high"]
    half_width = (high - low) / 2 if pd.notna(low) and high > low else math.nan
    interval = interval_text(row[protocol], half_width, *RANGES.get(row["unit"], (-math.inf, math.inf)), digits)
    return f"{row[protocol]:.{digits}f}{interval} (n {row[f'{protocol}_n']})"


def _note(row: Mapping[Any, Any], rows: pd.DataFrame) -> str:
    """Return where else the same number is reported, and why a run has no value for it."""
    if pd.isna(row["reported"]):
        return "not reported"
    same_number = rows[(rows[ROW] == pd.Series({name: row[name] for name in ROW})).all(axis=1)]
    parts = []
    for other in same_number.iloc[1:].to_dict("records"):
        remark = f" ({other['note']})" if other["note"] not in ("", row["note"]) else ""
        parts.append(f"{other['place']}: {other['reported']:.{_digits(other)}f}{remark}")
    protocols: dict[str, list[str]] = {}
    for name in PROTOCOLS:
        if pd.notna(row[f"{name}_run"]) and pd.isna(row[name]):
            protocols.setdefault(row[f"{name}_reason"], []).append(name)
    return "; ".join([*parts, *(f"{' and '.join(names)}: {reason}" for reason, names in protocols.items())])

"""The section of printed numbers: one Markdown table per metric, and a short table for the terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from raybench.paper_tables import COMPANIONS, DERIVED, SOURCES
from raybench.report.printed import KEY, PROTOCOLS, ROW, Run
from raybench.report.table import markdown_table

MARK = "!"
NOTHING = "-"
HOW = (
    "Measured values are mean ± half of the 95 % interval over n models, over samples for one model (n 1). Each "
    "protocol has a column of its own, and the ranking above is of this run alone."
)
MARKED = f"{MARK} = the printed number is known to be inconsistent"


@dataclass(frozen=True)
class Beside:
    """The rows of `side_by_side`, the words above them, the tables in Markdown, and the short form."""

    frame: pd.DataFrame
    about: list[str]
    sections: list[str]
    head: list[str]
    brief: list[list[str]]
    notes: str

    def markdown(self) -> str:
        return "\n\n".join(["\n".join(f"- {line}" for line in self.about), *self.sections])


def beside(frame: pd.DataFrame, protocol: str, found: Mapping[str, Run]) -> Beside:
    """Put the rows of `side_by_side` into words; `protocol` is the run's own, `found` the runs that were compared."""
    shown = frame[frame["metric"] != DERIVED].fillna(dict.fromkeys((*ROW, "place", "note"), ""))
    shown = shown.assign(base=shown["metric"].map(_base))
    keys = shown[["base", *KEY[1:]]].drop_duplicates().to_dict("records")
    parts = [shown[(shown[list(key)] == pd.Series(key)).all(axis=1)] for key in keys]
    printed = [part for part in parts if not part["place"].iloc[0].startswith("recomputed")]
    head, brief = _brief(printed, protocol)
    name = str(frame["printed_table"].iloc[0])
    notes = f"printed ({name}) | measured ({protocol} protocol, mean over models); {MARKED}, see report.md"
    return Beside(frame, [*_about(frame, protocol, found)], [_section(part) for part in parts], head, brief, notes)


def _base(metric: str) -> str:
    return next((metric.removesuffix(end) for end in COMPANIONS if metric.endswith(end)), metric)


def _about(frame: pd.DataFrame, protocol: str, found: Mapping[str, Run]) -> Iterator[str]:
    first = frame[frame["setting"] == frame["setting"].mode()[0]].iloc[0]
    yield f"Printed: `{first['printed_table']}`, {SOURCES[first['source']]}; {first['dataset']}, {first['setting']}."
    for name in PROTOCOLS:
        run = found.get(name)
        there = f"run `{run.name}`{' (this one)' if name == protocol else ''}" if run else "no run on this storage"
        yield f"{name.capitalize()} protocol: {there}."
    yield HOW
    printed = frame[frame["printed"].notna()]
    measured = printed[printed["metric"] != DERIVED]
    ran = {m for run in found.values() for m in run.metrics.loc[run.metrics.kind != "population", "method"]}
    missing = measured.loc[~measured["method"].isin(ran), "method_printed"].drop_duplicates()
    yield f"Printed, not run: {', '.join(missing) or 'none'}."
    known = {*printed["method"], "original", "retrained"}
    yield f"Run, not printed: {', '.join(sorted(ran - known)) or 'none'}."
    derived = printed.loc[printed["metric"] == DERIVED, "metric_printed"].drop_duplicates()
    if len(derived):
        yield f"Printed, and nothing that raybench measures (in published.parquet): {'; '.join(derived)}."


def _section(rows: pd.DataFrame) -> str:
    main = rows[~rows.duplicated(ROW)]
    first = main.iloc[0]
    where = f" at {first['metric_setting']}" if "=" in first["metric_setting"] else ""
    title = f"### {_title(first)}{where} ({first['metric_printed']}; {first['place']})"
    head = ["", "printed", *(f"{name} protocol" for name in PROTOCOLS), "printed - released", "note"]
    lines = [
        [
            _label(row),
            _printed(row),
            *(_measured(row, name) for name in PROTOCOLS),
            NOTHING if pd.isna(row["difference"]) else f"{row['difference']:+.{_digits(row)}f}",
            _note(row, rows),
        ]
        for row in main.to_dict("records")
    ]
    noted = main[main["note"] != ""].drop_duplicates(["method_printed", "note"]).to_dict("records")
    remarks = [f"- {'' if row['consistent'] else f'{MARK} '}{row['method_printed']}: {row['note']}" for row in noted]
    return "\n\n".join([title, markdown_table(head, lines), *(["\n".join(remarks)] if remarks else [])])


def _brief(parts: list[pd.DataFrame], protocol: str) -> tuple[list[str], list[list[str]]]:
    """Return a line per printed method and a column per metric: printed | measured by this run."""
    cells: dict[tuple[str, str], dict[int, str]] = {}
    labels: dict[tuple[str, str], str] = {}
    for number, rows in enumerate(parts):
        main = rows[~rows.duplicated(ROW) & rows["printed"].notna()]
        for row in main.to_dict("records"):
            key = row["method"], row["preset_or_variant"]
            labels.setdefault(key, _label(row))
            measured = NOTHING if pd.isna(row[protocol]) else f"{row[protocol]:.{_digits(row)}f}"
            cells.setdefault(key, {})[number] = f"{_printed(row)} | {measured}"
    head = ["", *(_title(rows.iloc[0]) for rows in parts)]
    return head, [[labels[key], *(own.get(i, NOTHING) for i in range(len(parts)))] for key, own in cells.items()]


def _title(row: Mapping[Any, Any] | pd.Series) -> str:
    return f"{row['base']} {row['split']}".strip()


def _label(row: Mapping[Any, Any]) -> str:
    return row["method"] if pd.isna(row["printed"]) else f"{row['method']} ({row['method_printed']})"


def _digits(row: Mapping[Any, Any]) -> int:
    return 4 if row["unit"] == "fraction" else 2


def _printed(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["printed"]):
        return NOTHING
    return f"{row['printed']:.{_digits(row)}f}{'' if row['consistent'] else MARK}"


def _measured(row: Mapping[Any, Any], protocol: str) -> str:
    if pd.isna(row[protocol]):
        return NOTHING
    digits, low, high = _digits(row), row[f"{protocol}_low"], row[f"{protocol}_high"]
    half = "" if pd.isna(low) or pd.isna(high) else f" ±{(high - low) / 2:.{digits}f}"
    return f"{row[protocol]:.{digits}f}{half} (n {row[f'{protocol}_n']})"


def _note(row: Mapping[Any, Any], rows: pd.DataFrame) -> str:
    """Return what else is printed of the same number, and why a run that is there has none."""
    if pd.isna(row["printed"]):
        return "not printed"
    same = rows[(rows[ROW] == pd.Series({name: row[name] for name in ROW})).all(axis=1)].iloc[1:]
    others = []
    for other in same.to_dict("records"):
        why = f" ({other['note']})" if other["note"] not in ("", row["note"]) else ""
        others.append(f"{other['place']}: {other['printed']:.{_digits(other)}f}{why}")
    reasons: dict[str, list[str]] = {}
    for name in PROTOCOLS:
        if pd.notna(row[f"{name}_run"]) and pd.isna(row[name]):
            reasons.setdefault(row[f"{name}_reason"], []).append(name)
    return "; ".join([*others, *(f"{' and '.join(names)}: {reason}" for reason, names in reasons.items())])

"""The section of the report on the hyperparameter search: what it saw, and whether more trials would help."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from raybench.report.table import markdown_table


def tuned_on(sweep: Mapping[str, Any]) -> str:
    """Say on which samples settings were selected, and whether these samples are reported; `sweep` of the manifest."""
    if sweep["tuning_request"] == "separate":
        return (
            "on another deletion request of the same kind and size: no sample that the search measured, and no model "
            "that it aimed at, is part of the reported results"
        )
    return (
        "on the reported retain and forget samples and on validation samples, and with the same retrained models (if "
        "any) that judge the results; test and unseen samples were not used"
    )


def search_section(search: pd.DataFrame | None, sweep: Mapping[str, Any]) -> str | None:
    """Return the section as Markdown, None if nothing was searched.

    `search`: the table of that name, if the run has one. One line per method: the expected best objective after some of
    the trials, what the second half of them gains, and the objective of the chosen setting when it ran again.
    """
    if not sweep["searched"]:
        return None
    lines = [f"Hyperparameters were selected by {sweep['objective']} {tuned_on(sweep)}."]
    if search is not None:
        lines.append(
            "Best objective after some of the trials: expected, over their order. More trials help a method whose "
            "second half of trials still gains. A chosen setting that is worse when it runs again, on other originals "
            "or seeds, was partly luck."
        )
        head = ["", "trials", "best after some", "gain of the second half", "chosen setting", "run again"]
        rows = [_row(str(method), rows) for method, rows in search.groupby("method", sort=False)]
        lines.append(markdown_table(head, rows))
    return "\n\n".join(lines)


def _row(method: str, rows: pd.DataFrame) -> list[str]:
    curve = dict(zip(rows.trials, rows.expected_best))
    total, last = max(curve), rows.iloc[-1]
    shown = sorted({1, math.ceil(total / 4), math.ceil(total / 2), total} & set(curve))
    half = curve.get(math.ceil(total / 2))
    return [
        method,
        str(total),
        ", ".join(f"{number}: {curve[number]:.3g}" for number in shown),
        "-" if half is None or total == 1 else f"{abs(half - curve[total]):.2g}",
        f"{last.chosen_value:.3g}",
        f"{last.chosen_again:.3g} ({int(last.runs_again)} runs)" if last.runs_again else "-",
    ]

"""What the page says of the settings of each method."""

import json
from html import escape
from typing import Any

import pandas as pd

from raybench.report.html.leaderboard_table import name_cell, sortable


def chosen_settings(models: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the hyperparameters of each method."""
    rows = models[(models.kind == "unlearned") & models.hyperparameters.notna()].drop_duplicates("method")
    return {str(row.method): json.loads(row.hyperparameters) for row in rows.itertuples()}


def searched_names(trials: pd.DataFrame) -> dict[str, list[str]]:
    """Return the hyperparameters that differ among the search trials of each method."""
    searched: dict[str, list[str]] = {}
    for method, rows in trials[trials.phase == "search"].groupby("method", sort=False):
        values = [json.loads(text) for text in rows.hyperparameters.dropna().unique()]
        names = sorted({name for value in values for name in value})
        searched[str(method)] = [n for n in names if len({json.dumps(value.get(n)) for value in values}) > 1]
    return searched


def in_words(settings: dict[str, Any], names: list[str]) -> str:
    """Return some of the settings as `lr 0.1, epochs 5`."""
    return ", ".join(f"{name} {_short(settings[name])}" for name in names if name in settings)


def settings_section(models: pd.DataFrame, trials: pd.DataFrame) -> str | None:
    """Return the table of chosen hyperparameters; those that a search chose first, all others on demand."""
    chosen, searched = chosen_settings(models), searched_names(trials)
    if not chosen:
        return None
    lines = []
    for method, settings in chosen.items():
        names = [name for name in searched.get(method, []) if name in settings]
        rest = in_words(settings, [name for name in settings if name not in names])
        lines.append(
            f"<tr>{name_cell(method)}"
            f'<td class="text">{escape(in_words(settings, names)) or "not searched"}</td>'
            f'<td class="text"><details class="on-demand"><summary>{len(settings) - len(names)} settings</summary>'
            f"{escape(rest)}</details></td></tr>"
        )
    head = [("method", "text"), ("chosen by the search", "text"), ("fixed", "text")]
    return sortable("settings", "Chosen hyperparameters", head, lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

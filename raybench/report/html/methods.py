"""What the page says of the settings of each method, and of the most exposed samples."""

import json
import math
from html import escape
from typing import Any

import pandas as pd

from raybench.report.html.leaderboard_table import name_cell, sortable

WORST = 8  # samples listed per method


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


def worst_samples(exposure: pd.DataFrame) -> str:
    """Return, per method on demand, the most exposed forget samples and their predictions before and after."""
    parts = []
    for method, rows in exposure.groupby("method", sort=False):
        worst = rows.sort_values(["exposure", "id"], ascending=[False, True], kind="stable").head(WORST)
        lines = [
            f"<tr><td>{row.id}</td><td>{100 * row.exposure:.0f} %</td><td>{_probability(row.original_confidence)}</td>"
            f"<td>{_probability(row.confidence)}</td><td>{_probability(row.retrained_confidence)}</td></tr>"
            for row in worst.itertuples()
        ]
        exposed = int((rows.exposure >= 0.5).sum())
        head = ["sample id", "exposure", "original", "this method", "retrained"]
        titles = "".join(f'<th scope="col">{title}</th>' for title in head)
        parts.append(
            f"<details><summary>{escape(str(method))}: {exposed} of {len(rows)} exposed by 50 % or more</summary>"
            f'<div class="scroll"><table><caption>Most exposed samples, with the probability of their true label'
            f"</caption><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></details>"
        )
    listed = "\n".join(parts)
    return f'<details class="on-demand"><summary>Most exposed samples of each method</summary>{listed}</details>'


def _probability(confidence: float) -> str:
    """Return the probability of the true label in percent, from its log-odds."""
    if math.isnan(confidence):
        return "-"
    probability = 100 / (1 + math.exp(-min(max(confidence, -700), 700)))
    return f"{probability:.0f} %" if 1 <= probability <= 99 else "< 1 %" if probability < 1 else "> 99 %"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

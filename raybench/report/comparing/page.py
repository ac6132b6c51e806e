"""A comparison of runs as one HTML page that opens from disk, in the style of `report.html`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

import pandas as pd

from raybench.report.cell_text import cost_text, mean_gap_text, value_text
from raybench.report.comparing.differences import Interval, MethodDifference, method_differences
from raybench.report.comparing.run_summary import RunSummary
from raybench.report.comparing.scenarios import Protocol, Scenario, apart, in_words
from raybench.report.conclusion import memory_text
from raybench.report.html import figures
from raybench.report.html.document import Section, count_of, document, figure_block, paragraph
from raybench.report.html.figures.style import shortened
from raybench.report.html.leaderboard_table import (
    name_cell,
    number_cell,
    sortable,
    verdict_cell,
)
from raybench.report.html.methods import in_words as settings_in_words
from raybench.report.leaderboard import Row

Numbers = Mapping[str, int]
"""The number of each run in the comparison, by its name."""


def as_html(title: str, scenarios: Sequence[Scenario], skipped: Mapping[str, str], footer: str) -> str:
    """Return the page; `skipped`: the reason of each run that is not shown. The same runs give the same text."""
    numbers = run_numbers(scenarios)
    subtitle = ", ".join([count_of(len(numbers), "run"), count_of(len(scenarios), "scenario")])
    sections = [Section("summary", "Summary", _summary(scenarios, skipped, numbers))]
    sections += [_scenario(number, scenario, numbers) for number, scenario in enumerate(scenarios, start=1)]
    return document(title, subtitle, sections, footer, kind="comparison")


def run_numbers(scenarios: Sequence[Scenario]) -> dict[str, int]:
    """Return the number of each run, in the order in which they are shown."""
    return {run.name: number for number, run in enumerate((r for s in scenarios for r in s.runs), start=1)}


def rows_of(protocol: Protocol) -> list[tuple[RunSummary, Row]]:
    """Return the methods of all runs of a protocol: smallest gap first, those without one last."""
    rows = [(run, row) for run in protocol.runs for row in run.board.rows if row.kind == "unlearned"]
    return sorted(rows, key=lambda item: math.inf if math.isnan(item[1].gap.value) else item[1].gap.value)


def _summary(scenarios: Sequence[Scenario], skipped: Mapping[str, str], numbers: Numbers) -> str:
    missing = "".join(f"<li>{escape(run)}: {escape(reason)}</li>" for run, reason in skipped.items())
    warning = f'<div class="warning">Not shown:<ul>{missing}</ul></div>\n' if skipped else ""
    text = paragraph(
        "Numbers compare within one table only: the same data, samples, architecture and training, measured and tuned "
        "in the same way. Each table says how it differs from the others. Runs are never averaged with each other."
    )
    controls = (
        '<form class="controls" role="search" hidden>'
        '<label>Filter methods by name <input type="search" id="filter-name"></label>'
        ' <label>by verdict <select id="filter-verdict"><option value="">all</option>'
        + "".join(f'<option value="{word}">{word}</option>' for word in _words(scenarios))
        + '</select></label> <span id="filter-count" role="status"></span></form>\n'
    )
    return warning + text + _verdicts(scenarios, numbers) + controls


def _words(scenarios: Sequence[Scenario]) -> list[str]:
    rows = (row for scenario in scenarios for protocol in scenario.protocols for _, row in rows_of(protocol))
    return list(dict.fromkeys(row.conclusion for row in rows if row.conclusion))


def _verdicts(scenarios: Sequence[Scenario], numbers: Numbers) -> str:
    """Return the table of verdicts: a line per method, a column per scenario."""
    methods = dict.fromkeys(
        row.name for scenario in scenarios for protocol in scenario.protocols for _, row in rows_of(protocol)
    )
    lines = []
    for method in methods:
        cells = []
        for scenario in scenarios:
            found = [
                (numbers[run.name], row.conclusion or "")
                for protocol in scenario.protocols
                for run, row in rows_of(protocol)
                if row.name == method
            ]
            words = escape(" ".join(word for _, word in found))
            chips = " ".join(_chip(word, number) for number, word in sorted(found))
            cells.append(f'<td class="text" data-value="{words}">{chips or "-"}</td>')
        lines.append(f"<tr>{name_cell(method)}{''.join(cells)}</tr>")
    head = [("method", "text"), *((f"scenario {n}", "text") for n in range(1, len(scenarios) + 1))]
    items = "".join(
        f'<li><a href="#scenario-{number}">Scenario {number}</a>: {escape(scenario.title)} '
        f"({count_of(len(scenario.runs), 'run')})</li>"
        for number, scenario in enumerate(scenarios, start=1)
    )
    table = sortable("verdicts", "Verdicts of each method, with the number of the run", head, lines)
    return f"<ul>{items}</ul>\n{table}\n"


def _chip(word: str, number: int) -> str:
    return f'<span class="nowrap">[{number}] <span class="chip {word.replace(" ", "-")}">{escape(word)}</span></span>'


def _scenario(number: int, scenario: Scenario, numbers: Numbers) -> Section:
    parts = [paragraph(scenario.title + ".")]
    if scenario.nearest is not None:
        parts.append(paragraph(apart(f"scenario {scenario.nearest + 1}", scenario.apart)))
    parts.append(_runs(number, scenario, numbers))
    for place, protocol in enumerate(scenario.protocols, start=1):
        parts += _protocol(f"{number}-{place}", place, protocol, numbers, alone=len(scenario.protocols) == 1)
    return Section(f"scenario-{number}", f"Scenario {number}", "".join(parts))


def _runs(number: int, scenario: Scenario, numbers: Numbers) -> str:
    head = [("run", "number"), ("name", "text"), ("started", "text"), ("protocol", "number"), ("retrained", "number")]
    head += [("originals", "number"), ("runs", "number"), ("trials", "number")]
    head += [("gap of retrained", "number"), ("gap of original", "number"), ("raybench", "text")]
    lines = []
    for place, protocol in enumerate(scenario.protocols, start=1):
        for run in protocol.runs:
            board, trials = run.board, run.settings.get("sweep.trials") if run.searched else 0
            counts = (place, board.num_retrained, board.num_originals, board.num_seeds, trials)
            gaps = {row.kind: row for row in board.rows if row.kind != "unlearned"}
            cells = [
                number_cell(numbers[run.name], f"[{numbers[run.name]}]"),
                _short(run.name),
                _short(run.started[:16].replace("T", " ")),
                *(number_cell(value, str(value)) for value in counts),
                *(
                    number_cell(gaps[kind].gap.value, mean_gap_text(gaps[kind])) if kind in gaps else "<td>-</td>"
                    for kind in ("retrained", "original")
                ),
                _short(f"{run.facts['raybench']}, {run.facts['commit'][:8]}"),
            ]
            lines.append(f"<tr>{''.join(cells)}</tr>")
    caption = (
        f"Runs of scenario {number}, newest first. Originals, runs, search trials: per method; gap of retrained "
        "models: noise floor"
    )
    return sortable(f"runs-{number}", caption, head, lines) + "\n"


def _short(text: str) -> str:
    return f'<td class="text short" data-value="{escape(text)}">{escape(text)}</td>'


def _protocol(key: str, place: int, protocol: Protocol, numbers: Numbers, *, alone: bool) -> Iterator[str]:
    if not alone:
        yield f"<h3>Protocol {place}</h3>\n"
    if protocol.apart:
        yield paragraph(apart("protocol 1", protocol.apart))
    yield _leaderboard(key, protocol, numbers)
    frame = _frame(protocol, numbers)
    margin = protocol.runs[0].board.margin
    yield figure_block(figures.memory(frame, margin), f"memory-{key}", "Residual memory of each method and run")
    yield _differences(key, protocol, numbers)
    plot = figures.tradeoff(frame, pd.DataFrame(columns=["forget", "utility"], dtype=float))
    caption = "Mean forget gap against mean utility gap and cost, by method and run"
    block = figure_block(plot, f"tradeoff-{key}", caption)
    yield f"<details><summary>Forgetting, utility and cost</summary>{block}</details>\n" if plot else ""


def _leaderboard(key: str, protocol: Protocol, numbers: Numbers) -> str:
    columns = [column for column in protocol.runs[0].board.comparison.columns if column.about == "utility"]
    head = [("method", "text"), ("run", "number"), ("verdict", "text"), ("memory left", "number")]
    head += [*((f"{column.title}, %", "number") for column in columns), ("cost", "number"), ("gap", "number")]
    lines = []
    for run, row in rows_of(protocol):
        runs = run.methods.get(row.name)
        setting = settings_in_words(dict(runs.hyperparameters), list(runs.hyperparameters)) if runs else None
        cells = [
            name_cell(row.name),
            number_cell(numbers[run.name], f"[{numbers[run.name]}]"),
            verdict_cell(row, run.board, setting),
            number_cell(row.memory.value, memory_text(row.memory), row.memory.reason),
            *(
                number_cell(row.cells[c.title].value, value_text(row.cells[c.title], c), row.cells[c.title].reason)
                for c in columns
            ),
            number_cell(row.relative_cost, cost_text(row.relative_cost)),
            number_cell(row.gap.value, mean_gap_text(row)),
        ]
        word = escape(row.conclusion or "")
        lines.append(f'<tr data-verdict="{word}" data-name="{escape(row.name.lower())}">{"".join(cells)}</tr>')
    return sortable(f"leaderboard-{key}", "Methods of all runs, smallest gap first", head, lines) + "\n"


def _frame(protocol: Protocol, numbers: Numbers) -> pd.DataFrame:
    """Return the leaderboards of the runs as one frame; methods carry the number of their run."""
    order = {(row.name, run.name): place for place, (run, row) in enumerate(rows_of(protocol))}
    parts = []
    for run in protocol.runs:
        frame = run.board.to_table().to_pandas()
        frame = frame[frame.kind == "unlearned"]
        places = [order[name, run.name] for name in frame.method]
        names = [f"{shortened(name, 20)} [{numbers[run.name]}]" for name in frame.method]
        parts.append(frame.assign(place=places, method=names, pareto=math.nan))
    parts = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(parts, ignore_index=True).sort_values("place", ignore_index=True)


def _differences(key: str, protocol: Protocol, numbers: Numbers) -> str:
    """Return the table of the methods that several runs have."""
    items = method_differences(protocol)
    if not items:
        return ""
    titles = list(dict.fromkeys(title for item in items for title in item.values))
    head = [("method", "text"), ("runs", "text"), ("settings that differ", "text")]
    head += [(title, "number") for title in titles]
    lines = []
    for item in items:
        newer, older = (numbers[protocol.runs[place].name] for place in (item.newer, item.older))
        cells = [number_cell(item.values[t].value, difference_text(item.values[t])) for t in titles]
        lines.append(
            f"<tr>{name_cell(item.method)}{_short(f'[{newer}] - [{older}]')}"
            f'<td class="text">{escape(settings_text(item))}</td>{"".join(cells)}</tr>'
        )
    text = paragraph(
        "The newest run of a method minus each other run, with 95 % intervals that take both runs as independent "
        "(MOVER); bounds of memory left are one-sided. Intervals hold one at a time."
    )
    table = sortable(f"differences-{key}", "Differences between runs of the same method", head, lines)
    return f"<details open><summary>The same method in several runs</summary>{text}{table}</details>\n"


def difference_text(value: Interval) -> str:
    """Return a difference with its bounds, with signs."""
    if math.isnan(value.value):
        return "-"
    bounds = "" if math.isnan(value.low) or math.isnan(value.high) else f" [{value.low:+.1f}, {value.high:+.1f}]"
    return f"{value.value:+.1f}{bounds}"


def settings_text(item: MethodDifference) -> str:
    """Return which hyperparameters differ, newer/older."""
    if item.same_models:
        return "none; the same models"
    return in_words(item.settings) or "none; the models were made separately"

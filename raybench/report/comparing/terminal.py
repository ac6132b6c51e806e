"""A comparison of runs for a terminal of 80 columns or more."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from raybench.report.cell_text import mean_gap_text
from raybench.report.comparing.differences import method_differences
from raybench.report.comparing.page import difference_text, rows_of, run_numbers, settings_text
from raybench.report.comparing.scenarios import Protocol, Scenario, apart
from raybench.report.conclusion import memory_text

ROWS = 40  # of one table; the page has all


def renderables(scenarios: Sequence[Scenario], skipped: Mapping[str, str], *, width: int) -> Iterator[RenderableType]:
    """Yield what is printed: per scenario its runs, and per protocol a table and the differences between runs."""
    numbers = run_numbers(scenarios)
    for number, scenario in enumerate(scenarios, start=1):
        yield _wrapped(f"Scenario {number}: {scenario.title}", width)
        if scenario.nearest is not None:
            yield _wrapped(apart(f"scenario {scenario.nearest + 1}", scenario.apart), width)
        for place, protocol in enumerate(scenario.protocols, start=1):
            if len(scenario.protocols) > 1:
                yield _wrapped(f"Protocol {place}", width)
            if protocol.apart:
                yield _wrapped(apart("protocol 1", protocol.apart), width)
            for run in protocol.runs:
                retrained = f"{run.board.num_retrained} retrained"
                yield _wrapped(f"[{numbers[run.name]}] {run.name}, {run.date}, {retrained}", width)
            yield from _tables(protocol, numbers, width)
    for name, reason in skipped.items():
        yield _wrapped(f"not shown: {name}: {reason}", width)


def _tables(protocol: Protocol, numbers: Mapping[str, int], width: int) -> Iterator[RenderableType]:
    rows = rows_of(protocol)
    lines = []
    for run, row in rows[:ROWS]:
        verdict = row.conclusion or ""
        gap = "-" if math.isnan(row.gap.value) else mean_gap_text(row)
        lines.append([row.name, f"[{numbers[run.name]}]", verdict, memory_text(row.memory), gap])
    yield text_table(["", "run", "verdict", "memory left", "gap"], lines, right=("memory left", "gap"))
    if len(rows) > ROWS:
        yield Text(f"and {len(rows) - ROWS} more in the page")
    for item in method_differences(protocol)[:ROWS]:
        newer, older = (numbers[protocol.runs[place].name] for place in (item.newer, item.older))
        values = "; ".join(
            f"{title.replace(', %', '').replace(', points', '')} {difference_text(value)}"
            for title, value in item.values.items()
            if not math.isnan(value.value)
        )
        yield _wrapped(f"{item.method} [{newer}] - [{older}]: {values} (settings: {settings_text(item)})", width)
    yield Text("")


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> Table:
    """Return a table for the terminal; `right`: titles of the columns of numbers. The first two columns do not fold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(head):
        table.add_column(title, justify="right" if title in right else "left", overflow="fold", no_wrap=number < 2)
    for line in lines:
        table.add_row(*line)
    return table


def _wrapped(text: str, width: int) -> Text:
    return Text("\n".join(textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)))

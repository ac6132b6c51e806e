"""The page: its sections in order, each left out where the run has no data for it."""

from collections.abc import Iterator
from html import escape

import pandas as pd

from raybench.report.html import figures
from raybench.report.html.document import Section, count_of, document, figure_block, paragraph
from raybench.report.html.inputs import RunFrames
from raybench.report.html.leaderboard_table import column_table, gap_table, headline_table, meanings
from raybench.report.html.methods import chosen_settings, in_words, searched_names, settings_section
from raybench.report.html.provenance import environment, reported_table, reproduction
from raybench.report.html.thumbnails import Thumbnails, thumbnails
from raybench.report.html.uncertainty import half_widths
from raybench.report.html.worst_samples import worst_ids, worst_samples
from raybench.report.search import tuned_on
from raybench.report.verdict import details, verdict

WORDS = ("forgotten", "no difference", "remembers", "withheld", "failed")
GAP_PANELS = 4  # columns of the leaderboard in one figure


def as_html(run: RunFrames) -> str:
    """Return `report.html`; the same tables give the same text."""
    footer = f"raybench {run.manifest['raybench']}, run started {run.manifest['started']}"
    small = thumbnails(run.pictures, worst_ids(_exposure(run))) if run.exposure is not None else thumbnails(None, ())
    return document(run.name, _subtitle(run), list(_sections(run, small)), footer, style=small.style)


def _subtitle(run: RunFrames) -> str:
    board = run.board
    methods = sum(row.kind == "unlearned" for row in board.rows)
    parts = [
        count_of(methods, "method"),
        count_of(board.num_seeds, "run") + " each",
        count_of(board.num_originals, "original"),
        count_of(board.num_retrained, "retrained model"),
    ]
    return ", ".join(parts)


def _sections(run: RunFrames, small: Thumbnails) -> Iterator[Section]:
    board, leaderboard = run.board, run.leaderboard
    yield Section("summary", "Summary", _summary(run, leaderboard))
    columns, comparison = board.columns, board.comparison
    plots = ""
    for number, start in enumerate(range(0, len(columns), GAP_PANELS)):
        plots += figure_block(
            figures.gaps(
                leaderboard,
                run.metrics,
                columns[start : start + GAP_PANELS],
                setting=board.alpha,
            ),
            f"gaps-{number + 1}",
            f"Gaps of each method. {meanings(columns[start : start + GAP_PANELS])}",
        )
    if plots:
        yield Section("gaps", comparison.gaps_title.split(",")[0], plots + _gap_text(run) + _gap_table(run))
    plot = figure_block(
        figures.tradeoff(leaderboard, half_widths(run.metrics, columns, board.alpha)),
        "tradeoff",
        "Mean forget gap against mean utility gap and cost",
    )
    if plot:
        yield Section(
            "tradeoff",
            "Forgetting, utility and cost",
            plot
            + paragraph(
                "Closer to the lower left is better. Bars are 95 % intervals over runs; very long ones are cut. No "
                "other method is better than one on the Pareto front in forget gap, utility gap and cost at once."
            ),
        )
    yield from _sample_sections(run, leaderboard, small)
    yield from _run_sections(run, leaderboard)
    yield Section("provenance", "Provenance and reproduction", _provenance(run))


def _sample_sections(run: RunFrames, leaderboard: pd.DataFrame, small: Thumbnails) -> Iterator[Section]:
    if run.samples is not None:
        margin, loss = (
            figure_block(
                figures.distributions(leaderboard, run.models, run.samples, value),
                value,
                f"Distribution of the {value} of forget and unseen samples, by method",
            )
            for value in ("margin", "loss")
        )
        if margin or loss:
            text = paragraph("A method that forgot has its forget samples where retrained models have theirs.")
            more = f"<details><summary>loss</summary>{loss}</details>" if margin and loss else loss
            yield Section("distributions", "Distributions of margin and loss", text + margin + more)
    if run.exposure is not None and len(run.exposure):
        table = _exposure(run)
        plot = figure_block(figures.exposure(table), "exposure", "Exposure of the forget samples, by method")
        text = paragraph(
            "A mean over the forget set can hide that a few samples are still known. Exposure is the probability that "
            "a model was trained on a sample, given its confidence, compared with originals and retrained models."
        )
        yield Section("exposure", "Exposure of single samples", text + plot + worst_samples(table, run, small))
    plot = figure_block(figures.coverage(leaderboard, run.metrics), "coverage", "Coverage against 1 - alpha, by method")
    if plot:
        yield Section("coverage", "Coverage of conformal prediction sets", plot)
    plot = figure_block(figures.transfer(leaderboard, run.metrics), "transfer", "k-NN accuracy on each downstream set")
    if plot:
        text = "Lines are ranges over runs. Band and vertical line: range and mean of the retrained models."
        yield Section("transfer", "Transfer of the features to downstream sets", plot + paragraph(text))
    if run.samples is not None:
        plot = figure_block(figures.epsilon(run.metrics, run.samples), "epsilon", "Distribution of epsilon, by method")
        if plot:
            yield Section("epsilon", "Populations: epsilon of single samples", plot)


def _exposure(run: RunFrames) -> pd.DataFrame:
    """Return the exposure with the methods in the order of the leaderboard."""
    assert run.exposure is not None
    places = {row.name: place for place, row in enumerate(run.board.rows)}
    return run.exposure.sort_values("method", key=lambda names: names.map(places), kind="stable")


def _run_sections(run: RunFrames, leaderboard: pd.DataFrame) -> Iterator[Section]:
    plot = figure_block(
        figures.search(leaderboard, run.trials, run.search), "search", "Objective of each search trial, by method"
    )
    if plot:
        sweep = run.manifest["sweep"]
        tuned = f" {tuned_on(sweep)}" if "tuning_request" in sweep else ""
        text = f"Hyperparameters were selected by {sweep['objective']}{tuned}."
        yield Section(
            "search", "Hyperparameter search", paragraph(text) + plot + _objective_by_setting(run, leaderboard)
        )
    plot = figure_block(figures.training(leaderboard, run.trials), "training", "Accuracy by epoch, by method")
    if plot:
        yield Section("training", "Curves of the reported runs", plot)
    if run.reported is not None and len(run.reported):
        plot = figure_block(
            figures.reported(run.reported), "reported-figure", "Reported and measured numbers, by method"
        )
        yield Section(
            "reported-numbers", "Comparison with reported results", reported_table(run.reported, run.manifest) + plot
        )
    settings = settings_section(run.models, run.trials)
    if settings:
        yield Section("settings-section", "Chosen hyperparameters", settings)


def _summary(run: RunFrames, leaderboard: pd.DataFrame) -> str:
    board = run.board
    chosen, searched = chosen_settings(run.models), searched_names(run.trials)
    settings = {name: in_words(values, searched.get(name, [])) for name, values in chosen.items()}
    counts = {word: sum(row.conclusion == word for row in board.rows) for word in WORDS}
    counted = "Verdicts: " + ", ".join(f"{word} {count}" for word, count in counts.items() if count) + "."
    warning = f'<p class="warning">No verdict on forgetting: {escape(board.withheld)}</p>\n' if board.withheld else ""
    options = "".join(f'<option value="{word}">{word}</option>' for word, count in counts.items() if count)
    controls = (
        '<form class="controls" role="search" hidden>'
        '<label>Filter by name <input type="search" id="filter-name"></label>'
        f' <label>by verdict <select id="filter-verdict"><option value="">all</option>{options}</select></label>'
        ' <span id="filter-count" role="status"></span></form>\n'
    )
    plot = figure_block(
        figures.memory(leaderboard, board.margin), "memory", "Residual memory of each method, with bounds"
    )
    explained = board.comparison.legend_of([column.title for column in board.columns])
    legend = "".join(f"<li>{escape(line)}</li>" for line in explained)
    findings = [line.removesuffix(" (see the notes in report.md)") for line in [*verdict(board), *details(board)]]
    lines = "".join(f"<li>{escape(line)}</li>" for line in findings)
    return (
        f"{warning}{paragraph(counted)}{controls}{headline_table(board, settings)}\n{plot}"
        f"<details><summary>What the columns mean</summary><ul>{legend}</ul></details>\n"
        f"<details><summary>Every finding, control, and power of this evaluation</summary><ul>{lines}</ul></details>\n"
        f"<details><summary>Every metric of the leaderboard</summary>{column_table(board)}</details>"
    )


def _objective_by_setting(run: RunFrames, leaderboard: pd.DataFrame) -> str:
    caption = "Objective of the search trials against each hyperparameter; red: chosen"
    plot = figure_block(figures.settings(leaderboard, run.trials, searched_names(run.trials)), "by-setting", caption)
    summary = "<summary>Objective against each hyperparameter</summary>"
    return f'<details class="on-demand">{summary}{plot}</details>' if plot else ""


def _gap_text(run: RunFrames) -> str:
    several = run.board.num_retrained > 1
    band = " Gray band: range of the retrained models, each against the others." if several else ""
    text = (
        "Filled and red: distinguishable from the reference. Intervals hold for all columns together (95 %, "
        f"Bonferroni), so an interval without 0 and a filled marker mean the same.{band}"
    )
    return paragraph(text)


def _gap_table(run: RunFrames) -> str:
    table = gap_table(run.board)
    return f"<details><summary>The gaps as a table</summary>{table}</details>"


def _provenance(run: RunFrames) -> str:
    exportable = next((row.name for row in run.board.ranked), None)
    return reproduction(run.name, run.manifest, exportable) + "\n" + environment(run.manifest)

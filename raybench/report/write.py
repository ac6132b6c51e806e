"""The report of a run, from its tables: the leaderboard in terminal, Markdown, HTML and Parquet, and the evidence."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from raybench import paper_tables
from raybench.progress import Reporter
from raybench.report.build import build_leaderboard
from raybench.report.collapsed import at_majority
from raybench.report.evidence import evidence, write_evidence
from raybench.report.exposure import exposure_section
from raybench.report.populations import populations
from raybench.report.render import as_markdown, as_rich, plain_table
from raybench.report.reported import compare_with_paper, runs_by_protocol, to_rows
from raybench.report.reported_text import PaperComparison, describe
from raybench.report.retain_privacy import retain_privacy
from raybench.report.search import search_section
from raybench.report.stored import cost_of_retraining, read_if_exists, read_manifest, read_run_table
from raybench.report.verdict import verdict
from raybench.storage import tables
from raybench.storage.runs import location
from raybench.storage.store import Store

if TYPE_CHECKING:
    from raybench.report.html.thumbnails import Pictures


def write_report(store: Store, name: str, reporter: Reporter, pictures: "Pictures | None" = None) -> None:
    """Write and print the report of a run (its folder, `name/fingerprint`) from its tables.

    Write `<run>/report.md`, `<run>/report.html`, `<run>/evidence/`, `<run>/tables/leaderboard.parquet` and, if the
    experiment names a table of reported results, `<run>/tables/reported.parquet`. `pictures`: the images of the run,
    for the most exposed forget samples in `report.html`.
    """
    from raybench.report.html import as_html, read_frames  # takes half a second: it imports matplotlib
    from raybench.report.tensorboard import write_evaluation

    metrics = read_run_table(store, name, "metrics").to_pandas()
    models = read_run_table(store, name, "models").to_pandas()
    splits = read_run_table(store, name, "splits").select(["id", "role", "label", "labels"]).to_pandas()
    trials = read_run_table(store, name, "trials").to_pandas()
    manifest = read_manifest(store, name)
    board = build_leaderboard(
        metrics,
        models,
        trials,
        manifest.get("method_notes"),
        memory=_read(store, name, "memory"),
        margin=manifest.get("margin", 0.1),
        retraining=cost_of_retraining(manifest, splits["role"]),
        warnings=_warnings(models, splits),
    )
    store.write_table(f"{name}/tables/leaderboard.parquet", board.to_table())
    population_table = populations(metrics)
    paper = _compare_with_paper(store, name, manifest, metrics, models)
    retained = retain_privacy(metrics, [row.name for row in board.rows if row.kind == "unlearned"])
    search = search_section(_read(store, name, "search"), manifest["sweep"])
    exposure = _read(store, name, "exposure")
    sections = {
        "Most exposed forget samples": None if exposure is None else exposure_section(exposure),
        "Populations": population_table and population_table.markdown(),
        "Comparison with reported results": paper and paper.markdown(),
        "Privacy of the retain samples": retained and retained.markdown(),
        "Hyperparameter search": search,
    }
    markdown = as_markdown(board, name, manifest, {title: text for title, text in sections.items() if text})
    store.write_bytes(f"{name}/report.md", markdown.encode())
    frames = read_frames(store, name, board, manifest, metrics, models, trials, pictures)
    store.write_bytes(f"{name}/report.html", as_html(frames).encode())
    write_evidence(store, name, evidence(name, board, metrics, models, splits, manifest), markdown)
    write_evaluation(store, name, board, models, markdown)
    reporter.print()
    if reporter.verbosity >= 0:
        reporter.console.print(as_rich(board, width=reporter.console.width))
        for line in verdict(board):
            reporter.print(line)
        for section in (population_table, paper):
            if section is None:
                continue
            reporter.print()
            reporter.console.print(plain_table(section.head, section.short_rows))
            reporter.print(section.notes)
    root = location(store, name)
    reporter.print()
    reporter.print(f"tables       {root}/tables/")
    reporter.print(f"report       {root}/report.html")
    reporter.print(f"markdown     {root}/report.md")
    reporter.print(f"evidence     {root}/evidence/")
    reporter.print(f"tensorboard  tensorboard --logdir {root}/tensorboard")


def _read(store: Store, name: str, table: str) -> pd.DataFrame | None:
    content = read_if_exists(store, name, table)
    return None if content is None else content.to_pandas()


def _warnings(models: pd.DataFrame, splits: pd.DataFrame) -> list[str]:
    """Return what is wrong with the reference models."""
    validation = splits[splits.role == "validation"]
    column = "labels" if validation["label"].isna().any() else "label"
    labels = np.array(validation[column].tolist(), dtype=np.int64)
    kinds = models[models.kind.isin(["original", "retrained"])]
    accuracies = {str(kind): rows.validation_accuracy.dropna().tolist() for kind, rows in kinds.groupby("kind")}
    return at_majority(accuracies, labels)


def _compare_with_paper(
    store: Store, name: str, manifest: Mapping[str, Any], metrics: pd.DataFrame, models: pd.DataFrame
) -> PaperComparison | None:
    key, paper = f"{name}/tables/reported.parquet", manifest.get("paper")
    if paper is None:
        store.delete(key)  # an earlier version of this run may have written it
        return None
    runs = runs_by_protocol(store, name, manifest, metrics, models)
    frame = compare_with_paper(paper_tables.load(paper["table"]), runs)
    store.write_table(key, tables.table("reported", to_rows(frame)))
    return describe(frame, paper["protocol"], runs)

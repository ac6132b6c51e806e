"""The results of an audit: tables, leaderboard and verdict, from metric rows and predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from raybench.api.results import Results
from raybench.engine.prediction import Predictions
from raybench.errors import unknown
from raybench.jobs.piece_files import predictions_table
from raybench.jobs.score import SAMPLED
from raybench.jobs.specs import EvaluatedModel
from raybench.metrics.functions import signals
from raybench.report.build import build_leaderboard
from raybench.report.conclusion import MIN_RETRAINED
from raybench.report.leaderboard import Leaderboard
from raybench.scoring.average_gap import average_gap_rows, ideal_gap_rows
from raybench.scoring.memory import Audits
from raybench.scoring.metric_rows import Row, with_gaps
from raybench.storage import tables

if TYPE_CHECKING:
    from raybench.report.html import RunFrames

TABLES = ("leaderboard", "metrics", "samples", "memory", "exposure")


class Audit(Results):
    """The results of `raybench.audit`; tables are built when they are first used and then kept."""

    def __init__(
        self,
        models: Sequence[EvaluatedModel],
        rows: Sequence[Row],
        predictions: Mapping[tuple[str, str], Predictions],
        *,
        units: Mapping[int, int] | None,
        margin: float,
        notes: Sequence[str] = (),
    ) -> None:
        self._notes = notes
        self._models, self._rows, self._predictions, self._margin = models, rows, predictions, margin
        self._audits = Audits([model.identity for model in models], self._losses(), units)

    @property
    def title(self) -> str:
        sizes = {role: len(predictions.ids) for (_, role), predictions in self._predictions.items()}
        kinds = [model.kind for model in self._models]
        counts = [f"{kinds.count(kind)} {kind}" for kind in ("original", "retrained", "unlearned")]
        samples = ", ".join(f"{size} {role}" for role, size in sizes.items())
        return f"raybench audit of {', '.join(counts)} models on {samples} samples"

    @cached_property
    def board(self) -> Leaderboard:
        methods = self._trials_frame.method
        board = build_leaderboard(
            self.metrics,
            self._models_frame,
            self._trials_frame,
            dict.fromkeys(methods, ""),
            memory=self.memory,
            margin=self._margin,
        )
        if board.num_retrained >= MIN_RETRAINED:
            return board
        few = f"{board.num_retrained} retrained model{'' if board.num_retrained == 1 else 's'}"
        reason = (
            f"{few}, and a verdict needs {MIN_RETRAINED}: train more models on the retain samples only (retrained=)"
        )
        return replace(board, withheld=reason)

    @cached_property
    def verdict(self) -> list[str]:
        """Sentences as those of a run; the references are named by the argument that takes them."""
        return [line for line in super().verdict if not line.startswith("references:")]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per model, split, metric and setting: value, interval, gap to the retrained models, reason."""
        rows = with_gaps(self._rows)
        rows += [*average_gap_rows(rows), *ideal_gap_rows(rows), *self._audits.metric_rows()]
        return self._table("metrics", rows)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per model and sample of forget, test and unseen: loss, margin and attack score."""
        parts = [self._sample_table(model, role) for model in self._models for role in SAMPLED]
        return pa.concat_tables(parts).to_pandas()

    @cached_property
    def memory(self) -> pd.DataFrame:
        """Residual memory per method, 0 as retrained and 1 as the original, with one-sided 95 % bounds."""
        return self._table("memory", self._audits.memory_rows())

    @cached_property
    def exposure(self) -> pd.DataFrame:
        """One row per method and forget sample: the probability that a model was trained on it."""
        return self._table("exposure", self._audits.exposure_rows())

    def table(self, name: str) -> pa.Table:
        """Return one table as pyarrow, with the schema of the table of a run and its version in the metadata.

        `name`: "leaderboard", "metrics", "samples", "memory" or "exposure". Raise UserError for another name.
        """
        if name not in TABLES:
            raise unknown("table of an audit:", name, TABLES)
        if name == "leaderboard":
            return self.board.to_table()
        content: pd.DataFrame = getattr(self, name)
        return tables.cast(name, pa.Table.from_pandas(content, preserve_index=False))

    def predictions(self, model: str, split: str | None = None) -> pa.Table:
        """Return ids, labels, logits and features of one model, one row per sample, as pyarrow.

        `model`: a `name` of the table `metrics`, for example "original" or "unlearned-0". `split`: "forget", "retain",
        ...; by default all of them, which the column `split` tells apart. Raise UserError for an unknown model or
        split.
        """
        names = [known.name for known in self._models]
        if model not in names:
            raise unknown("model of this audit:", model, names)
        splits = [role for name, role in self._predictions if name == model]
        if split is not None and split not in splits:
            raise unknown("split of this audit:", split, splits)
        chosen = splits if split is None else [split]
        return pa.concat_tables(predictions_table(self._predictions[model, role], model, role) for role in chosen)

    def _frames(self) -> "RunFrames":
        from raybench.report.html import RunFrames

        return RunFrames(
            "audit",
            self.board,
            {},
            self.metrics,
            self._models_frame,
            self._trials_frame,
            samples=self.samples,
            exposure=self.exposure,
        )

    @cached_property
    def _models_frame(self) -> pd.DataFrame:
        return self._table("models", [{**model.identity, "status": "finished"} for model in self._models])

    @cached_property
    def _trials_frame(self) -> pd.DataFrame:
        """Return one row per method, as a run has for its trials."""
        methods = dict.fromkeys(model.method for model in self._models if model.kind == "unlearned")
        return self._table("trials", [{"method": method, "status": "finished"} for method in methods])

    def _sample_table(self, model: EvaluatedModel, role: str) -> pa.Table:
        predictions = self._predictions[model.id, role]
        rows = len(predictions.ids)
        columns = {
            "model": pa.array([model.id] * rows),
            "original": pa.array([model.original] * rows, pa.int64()),
            "split": pa.array([role] * rows),
            "id": pa.array(predictions.ids),
        }
        if np.isfinite(predictions.logits).all():  # the rows of a model that diverged stay empty
            losses = signals.loss(predictions.logits, predictions.labels)
            columns |= {"loss": pa.array(losses), "attack_score": pa.array(-losses)}
            if predictions.labels.ndim == 1:
                columns["margin"] = pa.array(signals.margin(predictions.logits, predictions.labels))
        return tables.cast("samples", pa.table(columns))

    def _losses(self) -> pd.DataFrame:
        """Return the losses on the forget samples; those of a model with logits that are not finite are missing."""
        parts = []
        for model in self._models:
            on_forget = self._predictions[model.id, "forget"]
            finite = np.isfinite(on_forget.logits).all()
            loss = signals.loss(on_forget.logits, on_forget.labels) if finite else np.full(len(on_forget.ids), np.nan)
            parts.append(pd.DataFrame({"model": model.id, "id": on_forget.ids, "loss": loss}))
        return pd.concat(parts, ignore_index=True)

    @staticmethod
    def _table(name: str, rows: Sequence[Row]) -> pd.DataFrame:
        return tables.table(name, rows).to_pandas()

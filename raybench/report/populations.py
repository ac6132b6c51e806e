"""Populations in the report: many runs of a method against many retrained models, beside null and control."""

from dataclasses import dataclass

import pandas as pd

from raybench.report.table import markdown_table

COLUMNS = {
    "eps released": "epsilon_released_median",
    "eps cross-fitted": "epsilon_cross_fitted_median",
    "eps gaussian": "epsilon_gaussian_median",
    "infinite": "epsilon_released_infinite_share",
    "certified": "epsilon_certified_share",
    "U-LiRA AUC": "u_lira_auc",
    "KLoM": "klom_median",
    "F": "forgetting_quality",
}
LEGEND = (
    "eps: median over forget samples of the epsilon that an attack shows (delta as in the experiment), by three "
    "estimators; infinite: share of samples whose released epsilon is infinite; certified: share with a positive lower "
    "bound (Clopper-Pearson); F: the NeurIPS-2023 forgetting quality. The null row is retrained against retrained at "
    "half the models: no method can read lower; `+` is a method's excess over it, both at half the models. The control "
    "is the untouched original."
)


@dataclass(frozen=True)
class Populations:
    """The table: titles, one row of texts per line with and without intervals, and what no number can exceed."""

    head: list[str]
    rows: list[list[str]]
    brief: list[list[str]]
    notes: str

    def markdown(self) -> str:
        return "\n\n".join([markdown_table(self.head, self.rows), self.notes, LEGEND])


def populations(metrics: pd.DataFrame) -> Populations | None:
    """Build the table from the rows of kind `population`; None where the experiment asked for none."""
    found = metrics[metrics.kind == "population"]
    if found.empty:
        return None
    values = {(row.method, row.metric): row for row in found.itertuples()}
    methods = list(dict.fromkeys(found.method))

    def text(method: str, metric: str, *, wide: bool, excess: bool = False) -> str:
        row = values.get((method, metric))
        if row is None or pd.isna(row.value):
            return "-"
        interval = "" if pd.isna(row.low) or not wide else f" [{row.low:.2f}, {row.high:.2f}]"
        more = values.get((method, f"{metric}_excess"))
        over = f" ({more.value:+.2f})" if excess and more is not None and pd.notna(more.value) else ""
        return f"{row.value:.2f}{interval}{over}"

    def lines(*, wide: bool) -> list[list[str]]:
        null = [text(methods[0], f"{metric}_null", wide=wide) for metric in COLUMNS.values()]
        control = [text(methods[0], f"{metric}_control", wide=wide) for metric in COLUMNS.values()]
        own = [[m, *(text(m, metric, wide=wide, excess=True) for metric in COLUMNS.values())] for m in methods]
        return [["retrained (null)", *null], ["original (control)", *control], *own]

    ceiling = values.get((methods[0], "epsilon_ceiling"))
    notes: list[str] = []
    if ceiling is not None and pd.notna(ceiling.value):
        notes.append(f"No finite epsilon of {ceiling.n} models a side can exceed {ceiling.value:.2f}.")
    without = found[found.reason.notna()].drop_duplicates("method")
    notes += [f"{row.method}: {row.reason}." for row in without.itertuples()]
    return Populations(["", *COLUMNS], lines(wide=True), lines(wide=False), " ".join(notes))

"""The population section: many runs of a method against many retrained models, with null and control."""

from dataclasses import dataclass

import pandas as pd

from raybench.report.table import markdown_table

COLUMNS = {
    "eps released": "epsilon_released_median",
    "eps cross-fitted": "epsilon_cross_fitted_median",
    "eps gaussian": "epsilon_gaussian_median",
    "infinite": "epsilon_released_infinite_fraction",
    "certified": "epsilon_certified_fraction",
    "U-LiRA AUC": "u_lira_auc",
    "KLoM": "klom_median",
    "F": "forgetting_quality",
}
LEGEND = (
    "eps: median over forget samples of the epsilon that an attack demonstrates (delta as in the experiment), by three "
    "estimators. infinite: fraction of samples whose released epsilon is infinite. certified: fraction with a positive "
    "lower bound (Clopper-Pearson). U-LiRA: unlearning likelihood-ratio attack (0.5 = chance). KLoM: KL divergence of "
    "margins. F: forgetting quality of the NeurIPS 2023 competition. Null: retrained against retrained at half the "
    "models, the lowest value a method can reach; `(+x)`: excess of a method over the null, both at half the models. "
    "Control: the originals."
)


@dataclass(frozen=True)
class Populations:
    """The table: head, one row of texts per line with and without intervals, and notes on bounds and missing rows."""

    head: list[str]
    rows: list[list[str]]
    short_rows: list[list[str]]
    notes: str

    def markdown(self) -> str:
        """Return the section of `report.md`."""
        return "\n\n".join([markdown_table(self.head, self.rows), self.notes, LEGEND])


def populations(metrics: pd.DataFrame) -> Populations | None:
    """Build the table from the metric rows of kind `population`; None if there are none."""
    rows = metrics[metrics.kind == "population"]
    if rows.empty:
        return None
    cells = {(row.method, row.metric): row for row in rows.itertuples()}
    methods = list(dict.fromkeys(rows.method))

    def text(method: str, metric: str, *, interval: bool, excess: bool = False) -> str:
        cell = cells.get((method, metric))
        if cell is None or pd.isna(cell.value):
            return "-"
        ends = f" [{cell.low:.2f}, {cell.high:.2f}]" if interval and pd.notna(cell.low) else ""
        over_null = cells.get((method, f"{metric}_excess"))
        if not excess or over_null is None or pd.isna(over_null.value):
            return f"{cell.value:.2f}{ends}"
        return f"{cell.value:.2f}{ends} ({over_null.value:+.2f})"

    def lines(*, interval: bool) -> list[list[str]]:
        null = [text(methods[0], f"{metric}_null", interval=interval) for metric in COLUMNS.values()]
        control = [text(methods[0], f"{metric}_control", interval=interval) for metric in COLUMNS.values()]
        of_methods = [
            [method, *(text(method, metric, interval=interval, excess=True) for metric in COLUMNS.values())]
            for method in methods
        ]
        return [["retrained (null)", *null], ["original (control)", *control], *of_methods]

    ceiling = cells.get((methods[0], "epsilon_ceiling"))
    notes: list[str] = []
    if ceiling is not None and pd.notna(ceiling.value):
        notes.append(f"A finite epsilon from {ceiling.n} models per side is at most {ceiling.value:.2f}.")
    without_value = rows[rows.reason.notna()].drop_duplicates("method")
    notes += [f"{row.method}: {row.reason}." for row in without_value.itertuples()]
    return Populations(["", *COLUMNS], lines(interval=True), lines(interval=False), " ".join(notes))

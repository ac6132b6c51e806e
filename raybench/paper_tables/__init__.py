"""Results reported in papers: one CSV per table, one row per number, with its place, its setting and known errors.

`value` holds fractions as fractions even if the paper reports percentages; `reported` keeps the original text. A row
that is not `consistent` contradicts the code, the notebooks or the CSV of its own authors, or belongs to a collapsed
model; `note` says which. Numbers that no metric of raybench measures have the metric `derived`.
"""

from importlib.resources import files
from typing import TYPE_CHECKING

from raybench.errors import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd

DERIVED = "derived"
POPULATION = "population"  # metric_setting of numbers that compare many runs with many retrained models
COLUMNS = (
    "source",
    "table",
    "place",  # "Table 1", "README", "notebooks, early"; the first row of a number is the one that is compared
    "dataset",
    "setting",
    "method",  # name in raybench, `original` or `retrained`; may be empty for derived numbers
    "method_reported",
    "preset_or_variant",  # JSON: the hyperparameters that distinguish it from other rows of the same method
    "metric_reported",
    "metric",
    "split",
    "metric_setting",  # "alpha=0.05", "population", or empty
    "value",
    "unit",
    "reported",
    "consistent",
    "note",
)
SOURCES = {
    "conformal": "Shi et al. 2025, arXiv 2501.19403, as quoted by others",
    "eth": "Kraehenmann et al. 2023, Forget with Precision (ETH Zurich)",
    "mucac": "Choi and Na 2023, arXiv 2311.02240",
    "mufac": "Choi and Na 2023, arXiv 2311.02240",
    "third_party": "not the authors: a small run of the code of arXiv 2501.19403 by nmaher2022/icml2026-reproductions",
}
COMPANIONS = ("_null", "_excess", "_control")  # suffixes of a population's statistics


def tables() -> list[str]:
    """Return the names of the tables, `<source>_<table>`, sorted."""
    names = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".csv") for name in names if name.endswith(".csv"))


def check_name(name: str) -> None:
    """Raise UserError, with the nearest valid name, if there is no such table."""
    if name not in tables():
        raise unknown("table of reported results", name, tables(), hint="; see `raybench list tables`")


def load(name: str) -> "pd.DataFrame":
    """Read a table with the columns of `COLUMNS`, in the order of the file; `value` is float, `consistent` is bool.

    Raise UserError for an unknown name, and for a file with invalid columns, metrics or flags.
    """
    import pandas as pd

    check_name(name)
    with files(__name__).joinpath(f"{name}.csv").open(encoding="utf-8") as stream:
        frame = pd.read_csv(stream, dtype=str, keep_default_na=False)
    file = f"paper_tables/{name}.csv"
    if tuple(frame.columns) != COLUMNS:
        raise UserError(f"{file} has the columns {', '.join(frame.columns)}, not {', '.join(COLUMNS)}")
    if invalid := sorted({metric for metric in frame["metric"] if metric != DERIVED and not is_metric(metric)}):
        raise UserError(f"{file}: {', '.join(invalid)} is neither a metric of raybench nor {DERIVED!r}")
    if set(frame["source"] + "_" + frame["table"]) != {name} or not set(frame["consistent"]) <= {"true", "false"}:
        raise UserError(f"{file}: every row needs its source and table, and consistent = true or false")
    return frame.assign(value=frame["value"].astype(float), consistent=frame["consistent"] == "true")


def is_metric(name: str) -> bool:
    """Return whether an evaluation writes `name`: a metric, a component of one, or a population's statistic."""
    from raybench import metrics, registry
    from raybench.metrics.framework.spec import MetricSpec
    from raybench.metrics.functions import population

    base = next((name.removesuffix(end) for end in COMPANIONS if name.endswith(end)), name)
    known = registry.discover(metrics.__name__, MetricSpec)
    return base in population.specs() or any(name == metric or name.startswith(f"{metric}_") for metric in known)

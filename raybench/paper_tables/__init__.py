"""What the sources print: one CSV per table, one row per number, with its place, its setting and what is known of it.

A fraction is a fraction here even where it is printed in percent; `printed` keeps the text. A row that is not
`consistent` disagrees with its own source (its code, its notebooks, its CSV) or belongs to a collapsed model, and
`note` says which. Numbers that no metric of raybench measures are kept under the metric `derived`.
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
    "place",  # "Table 1", "README", "notebooks, early": the first place of a number is where it counts as printed
    "dataset",
    "setting",
    "method",  # raybench's name, `original` or `retrained`; may be empty for derived numbers
    "method_printed",
    "preset_or_variant",  # JSON: the settings that tell it from other rows of the same method
    "metric_printed",
    "metric",
    "split",
    "metric_setting",  # "alpha=0.05", "population", or empty
    "value",
    "unit",
    "printed",
    "consistent",
    "note",
)
SOURCES = {
    "conformal": "Shi et al. 2025, arXiv 2501.19403, as far as others quote it",
    "eth": "Kraehenmann et al. 2023, Forget with Precision (ETH Zurich)",
    "mucac": "Choi and Na 2023, arXiv 2311.02240",
    "mufac": "Choi and Na 2023, arXiv 2311.02240",
    "third_party": "not an author: a small run of the code of arXiv 2501.19403 by nmaher2022/icml2026-reproductions",
}
COMPANIONS = ("_null", "_excess", "_control")  # of a population's statistics


def tables() -> list[str]:
    """Return the names of the tables, `<source>_<table>`, sorted."""
    names = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".csv") for name in names if name.endswith(".csv"))


def check_name(name: str) -> None:
    """Raise UserError, with the nearest name, where there is no such table."""
    if name not in tables():
        raise unknown("table of printed numbers", name, tables(), hint="; see `raybench list tables`")


def load(name: str) -> "pd.DataFrame":
    """Return a table with the columns of `COLUMNS`, in the order of the file; `value` is float, `consistent` bool.

    Raise UserError for a name that does not exist, and for a file whose columns, metrics or flags are not what they
    should be.
    """
    import pandas as pd

    check_name(name)
    with files(__name__).joinpath(f"{name}.csv").open(encoding="utf-8") as stream:
        frame = pd.read_csv(stream, dtype=str, keep_default_na=False)
    if tuple(frame.columns) != COLUMNS:
        raise UserError(f"published/{name}.csv has the columns {', '.join(frame.columns)}, not {', '.join(COLUMNS)}")
    if strange := sorted({metric for metric in frame["metric"] if metric != DERIVED and not is_metric(metric)}):
        raise UserError(f"published/{name}.csv: {', '.join(strange)} is neither a metric of raybench nor {DERIVED!r}")
    if set(frame["source"] + "_" + frame["table"]) != {name} or not set(frame["consistent"]) <= {"true", "false"}:
        raise UserError(f"published/{name}.csv: every row needs its source and table, and consistent = true or false")
    return frame.assign(value=frame["value"].astype(float), consistent=frame["consistent"] == "true")


def is_metric(name: str) -> bool:
    """Say whether raybench measures `name`: a metric, a part of one (coverage_set_size), a population's statistic."""
    from raybench import metrics, registry
    from raybench.metrics.framework.spec import MetricSpec
    from raybench.metrics.functions import population

    base = next((name.removesuffix(end) for end in COMPANIONS if name.endswith(end)), name)
    known = registry.discover(metrics.__name__, MetricSpec)
    return base in population.specs() or any(name == own or name.startswith(f"{own}_") for own in known)

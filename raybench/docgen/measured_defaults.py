"""What `benchmarks/defaults.py` measured: every method at its defaults, and with the best draws of its ranges."""

import csv
import functools
from collections.abc import Mapping
from pathlib import Path

TABLE = Path(__file__).with_name("method_defaults.csv")
SCENARIOS = {  # names in the table, and in prose
    "digits": "digits",
    "fashion": "Fashion-MNIST",
    "lfw": "people of LFW",
    "digits_class": "a class of the digits",
    "digits_many": "held out, 300 of 1,000 digits",
    "digits_adam": "held out, digits with Adam",
}
EXPLANATION = (
    '"Measured" compares each method with doing nothing by the gap to retrained models that the sweep minimizes: the '
    "mean absolute difference in retain, forget and validation accuracy and in the AUC of the loss attack, in points. "
    "*better* and *worse* are differences larger than the noise floor, which is the gap among retrained models. "
    "`benchmarks/defaults.py` describes the scenarios: random forgetting on 600 digits and on 2,000 images of "
    "Fashion-MNIST, people of LFW, and a whole class of the digits. Defaults and ranges were chosen by looking at "
    "these, so their results are optimistic; the scenarios called *held out* played no part. A search tries a few "
    "draws of the shipped ranges on one original, and its gap is that of the best draw on another original with "
    "another seed."
)


@functools.cache
def rows() -> Mapping[tuple[str, str], Mapping[str, str]]:
    """Return the rows of the table by method and scenario."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {(row["method"], row["scenario"]): row for row in csv.DictReader(file)}


def measured_line(method: str) -> str:
    """Return what was measured of a method in one paragraph, or nothing for a method that is not in the table."""
    known = {name: rows()[method, name] for name in SCENARIOS if (method, name) in rows()}
    if not known:
        return ""
    at_defaults = "; ".join(
        f"{SCENARIOS[name]} {row['verdict']} (gap {points(row['doing_nothing'])} -> {points(row['gap'])})"
        for name, row in known.items()
    )
    searched = {name: row for name, row in known.items() if row["searched_gap"]}
    best = "; ".join(
        f"{SCENARIOS[name]} {row['searched_verdict']} ({points(row['searched_gap'])}, best of {row['draws']})"
        for name, row in searched.items()
    )
    date = max(row["date"] for row in known.values())
    return f"**Measured** ({date}): at its defaults, {at_defaults}." + (f" With a search: {best}." if best else "")


def points(text: str) -> str:
    """Return a number of the table to one decimal."""
    return f"{float(text):.1f}"

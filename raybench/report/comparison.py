"""What a run's numbers are compared with (several retrained models, one, or none), and what the report may then claim.

- Several retrained models: their variance is known, so a gap can be called larger than the differences among them.
- One retrained model: its variance is unknown; only the intervals over samples decide.
- None: ideal values replace it. They assume that forgotten samples behave like test samples, that an attack is at
  chance, and that utility is that of the original model.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One metric column of the leaderboard, and the reference of its gap."""

    title: str
    metric: str
    split: str | None
    about: Literal["memory", "utility", "features"]
    remembers: int = 0  # memory columns: the sign of a gap that means the model remembers
    percent: bool = False
    complement: bool = False  # shown as 1 - value
    reference: Literal["retrained", "original"] | float | None = "retrained"  # a number is an ideal value
    low: float = 0.0  # range of the values
    high: float = 1.0

    @property
    def name(self) -> str:
        """Return the name of the column in `leaderboard.parquet`."""
        return self.title.replace("-", "_").replace(" ", "_")

    @property
    def scale(self) -> tuple[int, int]:
        """Return the factor and the number of digits with which the report shows its values."""
        return (100, 1) if self.percent else (1, 3)


COLUMNS = (
    Column("UA", "accuracy", "forget", "memory", -1, percent=True, complement=True),
    Column("RA", "accuracy", "retain", "utility", percent=True),
    Column("TA", "accuracy", "test", "utility", percent=True),
    Column("MIA AUC", "mia_auc", None, "memory", +1),
    Column("CR_f", "cr", "forget", "memory", +1),
    Column("k-NN_f", "knn", "forget", "memory", +1, percent=True),
    Column("CKA_f", "cka_to_retrained", "forget", "features", low=-1),
)
IDEAL_COLUMNS = (
    Column("UA", "accuracy", "forget", "memory", percent=True, complement=True, reference=None),
    Column("RA", "accuracy", "retain", "utility", percent=True, reference="original"),
    Column("TA", "accuracy", "test", "utility", percent=True, reference="original"),
    Column("FA-TA", "accuracy_gap", None, "memory", +1, percent=True, reference=0.0, low=-1),
    Column("MIA AUC", "mia_auc", None, "memory", +1, reference=0.5),
    Column("MG", "memory_gap", None, "memory", +1, percent=True, reference=0.0, low=-1),
)
RETAINED_CLASSES = "accuracy_retained_classes"  # the metric of TA where whole classes are forgotten
PER_ALPHA = {"cr": "CR", "memory_gap": "MG"}  # metrics shown at the first alpha of the experiment only

MEMORY_LEGEND = (
    "memory left: how much of what originals know about the forget samples is left, in % [lower and upper 95 % bound]; "
    "0 % as retrained, 100 % as the original."
)
ACCURACIES = {"UA": "unlearning (1 - forget)", "RA": "retain", "TA": "test"}
ATTACK = {"MIA AUC": "membership inference attack, 0.5 = chance"}
ON_FORGET = {
    "CR_f": "conformal ratio",
    "k-NN_f": "k-NN accuracy",
    "CKA_f": "feature similarity to the retrained models (centered kernel alignment)",
}
TO_TEST = {
    "FA-TA": "accuracy on forget minus test samples",
    "MG": "memory gap, conformal coverage of forget minus test samples",
}
_RETAINED_CLASSES = "TA is on test samples of the classes that are not forgotten."
_CLASS_ATTACK = (
    "It compares forgotten classes with unseen samples of all classes, so here it shows how the classes are predicted, "
    "not membership."
)
_HALF_WIDTH = (
    "±: half-width of the 95 % interval over originals (with one original over seeds, for a single model over "
    "samples), as [low, high] where it reaches a bound; none where all models agree. "
)
_COST = "cost: relative to one retraining (1 backward pass = 2 forward passes)."


@dataclass(frozen=True)
class Comparison:
    """The columns, the metric that ranks methods, and the wording of the report."""

    columns: tuple[Column, ...]
    gap_metric: str
    legend: tuple[str, ...]  # of intervals, stars, gap and cost
    gaps_title: str
    passes: str  # a method with no finding
    within: str  # columns without a finding
    remembers: str
    over_forgot: str
    control: str  # the control line: "UA separates ..."
    no_better: str = "no better than the original model"
    lost_utility: str = "lost utility"
    features_differ: str = "features differ"
    not_measured: str = "not fully measured"

    @property
    def main_columns(self) -> tuple[Column, ...]:
        """Return the columns that a terminal shows: accuracies and the attack; the report has all."""
        return tuple(column for column in self.columns if column.title in (*ACCURACIES, *ATTACK))

    def legend_of(self, titles: Collection[str], *, interval: bool = True) -> tuple[str, ...]:
        """Return the lines of the legend that explain these columns, the intervals, the gap and the cost."""
        short = [title for title in ACCURACIES if title in titles]
        parts = [f"{', '.join(short)}: {_listed([ACCURACIES[title] for title in short])} accuracy."] if short else []
        if "TA" in titles and self.retained_classes:
            parts.append(_RETAINED_CLASSES)
        single = {**TO_TEST, **ATTACK}
        parts += [f"{column.title}: {single[column.title]}." for column in self.columns if column.title in single]
        if self.retained_classes:
            parts.append(_CLASS_ATTACK)
        others = [title for title in ON_FORGET if title in titles]
        if others:
            parts.append(f"{', '.join(others)}, on forget samples: {', '.join(ON_FORGET[title] for title in others)}.")
        lines = self.legend if interval else (self.legend[0].removeprefix(_HALF_WIDTH), *self.legend[1:])
        return (" ".join(parts), *lines)

    @property
    def retained_classes(self) -> bool:
        """Return whether TA leaves out classes that are forgotten."""
        return any(column.metric == RETAINED_CLASSES for column in self.columns)

    @property
    def level(self) -> float:
        """Return the significance level of one column: 5 % over all columns, by Bonferroni."""
        return 0.05 / sum(column.reference is not None for column in self.columns)


SEVERAL = Comparison(
    COLUMNS,
    "average_gap",
    (
        _HALF_WIDTH + "*: distinguishable from the retrained models (95 %, Bonferroni over columns).",
        "gap: mean absolute gap of UA, RA, TA and MIA AUC to the retrained mean, in points; retrained row: "
        "leave-one-out (noise floor). " + _COST,
    ),
    "Signed gaps to the retrained models, with the intervals behind the stars",
    "no column differs from retrained",
    "within the differences among retrained models",
    "columns that remember",
    "over-forgot",
    "the original from the retrained models",
)
ONE = Comparison(
    COLUMNS,
    "average_gap",
    (
        _HALF_WIDTH + "*: the gap to the one retrained model exceeds the interval over samples (95 %, Bonferroni over "
        "columns); another retrained model might differ as much.",
        "gap: mean absolute gap of UA, RA, TA and MIA AUC to the one retrained model, in points (no noise floor). "
        + _COST,
    ),
    "Signed gaps to the one retrained model, with the intervals over samples behind the stars",
    "no column differs from the one retrained model",
    "gap to the one retrained model within the interval over samples",
    "columns that remember",
    "over-forgot",
    "the original from the one retrained model",
)
NONE = Comparison(
    IDEAL_COLUMNS,
    "gap_to_ideal",
    (
        _HALF_WIDTH
        + "*: further from the ideal than the interval over samples (95 %, Bonferroni over columns). Ideals: "
        "0 for FA-TA and MG, 0.5 for MIA AUC, RA and TA of the original.",
        "gap: mean absolute difference of FA-TA, RA, TA and MIA AUC to their ideals, in points. The ideals assume that "
        "forget samples are as hard as test samples. " + _COST,
    ),
    "Signed differences to the ideals, with the intervals over samples behind the stars",
    "no column differs from the ideals",
    "within the interval over samples of the ideal",
    "above the ideals (still remembers, or forget samples are easier than test samples)",
    "below the ideals (over-forgot, or forget samples are harder than test samples)",
    "the original from the ideals",
    "no better than the original model (by the ideals)",
)


def comparison_for(num_retrained: int, *, retained_classes: bool = False) -> Comparison:
    """Return the comparison for a run with that many retrained models.

    `retained_classes`: whole classes are forgotten, and TA is on test samples of the others.
    """
    comparison = NONE if num_retrained == 0 else ONE if num_retrained == 1 else SEVERAL
    if not retained_classes:
        return comparison
    columns = (replace(c, metric=RETAINED_CLASSES) if c.title == "TA" else c for c in comparison.columns)
    return replace(comparison, columns=tuple(columns))


def _listed(words: list[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def missing_references(num_retrained: int, retraining: str) -> str | None:
    """Return what cannot be computed with fewer than two retrained models and how to enable it; None with more.

    `retraining`: the cost of one training run, "40 epochs x 480 samples"; empty if unknown.
    """
    cost = f" ({retraining})" if retraining else ""
    if num_retrained == 0:
        missing = [column.title for column in COLUMNS if column.title not in {other.title for other in IDEAL_COLUMNS}]
        return (
            f"references: no retrained reference, so {', '.join(missing)} and gaps to retrained models cannot be "
            "computed; FA-TA (ideal 0), MIA AUC (ideal 0.5) and MG (ideal 0) replace them. train.retrained_seeds: 1 "
            f"adds one training run{cost} and enables them"
        )
    if num_retrained == 1:
        return (
            "references: one retrained model, so CKA_f among retrained models and the differences among them are "
            f"unknown, and a gap may be random. train.retrained_seeds: 3 adds two training runs{cost} and estimates "
            "them"
        )
    return None

"""What a run's numbers are held against: several retrained models, one, or none; and what may be said in each case.

Several show how much they differ among themselves, so a gap can be called real. One has no such spread: only the
samples limit what is seen. Without any, what a model should look like is an assumption: forgotten samples are like
test samples, an attack is at chance, utility is the original's.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One metric of the leaderboard: where it stands in the table, and which sign of its gap means memory."""

    title: str
    metric: str
    split: str | None
    about: Literal["memory", "utility", "features"]
    remembers: int = 0  # of memory: the sign of a gap which says that something is remembered
    percent: bool = False
    complement: bool = False  # shown as 1 - value
    anchor: Literal["retrained", "original"] | float | None = "retrained"  # what its gap is to; a number is an ideal

    @property
    def scale(self) -> tuple[int, int]:
        """Return the factor and the number of digits that its numbers are printed with."""
        return (100, 1) if self.percent else (1, 3)


COLUMNS = (
    Column("UA", "accuracy", "forget", "memory", -1, percent=True, complement=True),
    Column("RA", "accuracy", "retain", "utility", percent=True),
    Column("TA", "accuracy", "test", "utility", percent=True),
    Column("MIA AUC", "mia_auc", None, "memory", +1),
    Column("CR_f", "cr", "forget", "memory", +1),
    Column("k-NN_f", "knn", "forget", "memory", +1, percent=True),
    Column("CKA_f", "cka_to_retrained", "forget", "features"),
)
UNANCHORED = (
    Column("UA", "accuracy", "forget", "memory", percent=True, complement=True, anchor=None),
    Column("RA", "accuracy", "retain", "utility", percent=True, anchor="original"),
    Column("TA", "accuracy", "test", "utility", percent=True, anchor="original"),
    Column("FA-TA", "accuracy_gap", None, "memory", +1, percent=True, anchor=0.0),
    Column("MIA AUC", "mia_auc", None, "memory", +1, anchor=0.5),
    Column("MG", "memory_gap", None, "memory", +1, percent=True, anchor=0.0),
)
PER_ALPHA = ("cr", "memory_gap")  # metrics of which the table shows the first alpha of the experiment

_MEAN = "mean ± half of the 95 % interval (over seeds; over samples for one model). "
_COST = "cost = sample passes as a share of retraining."


@dataclass(frozen=True)
class Anchor:
    """The columns, the metric that ranks, and the words."""

    columns: tuple[Column, ...]
    gap_metric: str
    legend: str
    gaps_title: str
    clean: str  # of a method in which nothing is found
    within: str  # of single columns in which nothing is found
    remembers: str
    forgot_too_much: str
    control: str  # how the sentence about the original begins
    idle: str = "no nearer to retraining than doing nothing"

    @property
    def level(self) -> float:
        """Return the level of the test of one column: 5 % for all of them together, by Bonferroni."""
        return 0.05 / sum(column.anchor is not None for column in self.columns)


SEVERAL = Anchor(
    COLUMNS,
    "average_gap",
    _MEAN + "* = the gap to the retrained models is "
    "larger than they show among themselves (95 %, Bonferroni over the columns). gap = mean absolute gap of UA, RA, TA "
    "and MIA AUC to the retrained mean, in points; the retrained row's is each against the others: the noise floor. "
    + _COST,
    "Signed gaps to the retrained models, with 95 % intervals",
    "indistinguishable from retrained",
    "within what retrained models show among themselves",
    "still remembers",
    "over-forgot",
    "the original against the retrained models is",
)
ONE = Anchor(
    COLUMNS,
    "average_gap",
    _MEAN + "There is one retrained model: how much retrained models differ among themselves is not known, so there is "
    "no noise floor. * = the gap to it is larger than the samples explain (95 %, Bonferroni over the columns); another "
    "retrained model might be as far away. gap = mean absolute gap of UA, RA, TA and MIA AUC to it, in points. "
    + _COST,
    "Signed gaps to the one retrained model, with 95 % intervals of the samples",
    "not told from the one retrained model by these samples",
    "no further from the one retrained model than the samples explain",
    "still remembers",
    "over-forgot",
    "the original against the one retrained model is",
)
NONE = Anchor(
    UNANCHORED,
    "gap_to_ideal",
    _MEAN + "There is no retrained model. FA-TA: accuracy on forget minus test samples. MG: conformal coverage of "
    "forget minus test samples. * = further from the ideal than the samples explain (95 %, Bonferroni over the "
    "columns); the ideals are 0 for FA-TA and MG, 0.5 for MIA AUC, the original's RA and TA. gap = mean absolute "
    "difference, in points, of FA-TA, RA, TA and MIA AUC to these. They take forget samples to be as hard as test "
    "samples, and cannot see that they are easier or harder. " + _COST,
    "Signed differences to the ideals, with 95 % intervals of the samples",
    "no trace seen without a retrained model",
    "no further from the ideal than the samples explain",
    "forget samples stand out (still remembered, or easier than test samples)",
    "forget samples fall short (over-forgot, or harder than test samples)",
    "the original's memory of the forget set is",
    "no nearer to the ideals than doing nothing",
)


def anchor_for(num_retrained: int) -> Anchor:
    """Return what the numbers of a run with that many retrained models are held against."""
    return NONE if num_retrained == 0 else ONE if num_retrained == 1 else SEVERAL


def anchor_note(num_retrained: int, retraining: str) -> str | None:
    """Return what is lost with fewer than two retrained models, and what it would take to have it; None with more.

    `retraining`: what one retraining takes, "40 epochs x 480 samples"; empty where that is not known.
    """
    takes = f", which takes {retraining}" if retraining else ""
    if num_retrained == 0:
        lost = [column.title for column in COLUMNS if column.title not in {other.title for other in UNANCHORED}]
        return (
            f"anchor: none, so {', '.join(lost)} and every gap to retrained models have nothing to be held against; "
            "FA-TA (ideal 0), MIA AUC (ideal 0.5) and MG (ideal 0) stand in. One retrained model "
            f"(train.retrained_seeds: 1{takes}) would anchor the rest"
        )
    if num_retrained == 1:
        return (
            "anchor: one retrained model, so CKA_f has no value among retrained models to reach, and no gap can be "
            f"called larger than chance between trainings. A second one (train.retrained_seeds: 2{takes}) would show it"
        )
    return None

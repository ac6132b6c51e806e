"""Forget the first training samples in row order, whoever they are of: the cut that MUFAC was released with."""

import numpy as np

from raybench.data.forget_rules.amount import warn_of_cut_groups, whole
from raybench.data.forget_rules.spec import Candidates, forget_rule


@forget_rule(source="Choi and Na 2023, arXiv 2311.02240: the first 1,500 rows of the training CSV")
def first_rows(candidates: Candidates, *, count: int) -> np.ndarray:
    """Select the `count` training samples with the smallest ids.

    Warns where the cut splits a group: that person, or family, is then both forgotten and trained on.
    """
    chosen = candidates.ids[: whole("first_rows", "count", count, most=len(candidates.ids))]
    warn_of_cut_groups("first_rows", candidates, chosen)
    return chosen

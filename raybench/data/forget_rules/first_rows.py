"""Forget the first training samples in row order, regardless of identity: the released forget set of MUFAC."""

import numpy as np

from raybench.data.forget_rules.framework.amount import warn_of_split_groups, whole_number
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule


@forget_rule(source="Choi and Na 2023, arXiv 2311.02240: the first 1,500 rows of the training CSV")
def first_rows(candidates: Candidates, *, count: int) -> np.ndarray:
    """Select the `count` training samples with the smallest ids.

    Warns if this splits a group: the model then still trains on a person or family that it should forget.
    """
    selected = candidates.ids[: whole_number("first_rows", "count", count, most=len(candidates.ids))]
    warn_of_split_groups("first_rows", candidates, selected)
    return selected

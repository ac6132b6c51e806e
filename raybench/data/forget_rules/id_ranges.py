"""Forget ranges of group ids or of sample ids."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from raybench.data.forget_rules.framework.amount import warn_of_split_groups
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule
from raybench.errors import UserError


@forget_rule(
    source="Choi and Na 2023, arXiv 2311.02240: MUCAC forgets the identities from 190 to 1,249", counterpart="groups"
)
def id_ranges(
    candidates: Candidates, *, ranges: Sequence[Sequence[int]], of: Literal["group", "sample"] = "group"
) -> np.ndarray:
    """Select everything whose id lies in any of `ranges`, half-open intervals [start, stop) such as [[190, 1250]].

    `of: group` compares group ids (identities); `of: sample` compares sample ids and warns if that splits a group.
    Raises UserError for a range that contains no training sample.
    """
    if of not in ("group", "sample"):
        raise UserError(f"forget rule 'id_ranges': of is {of!r} (allowed: group, sample)")
    if of == "group" and candidates.groups is None:
        raise UserError("forget rule 'id_ranges': this dataset has no groups (identities); set of: sample")
    numbers = candidates.ids if of == "sample" or candidates.groups is None else candidates.groups
    selected = np.zeros(len(numbers), dtype=bool)
    for start, stop in map(bounds, ranges):
        inside = (numbers >= start) & (numbers < stop)
        if not inside.any():
            raise UserError(
                f"forget rule 'id_ranges': no training {of} lies in [{start}, {stop}); they run from {numbers.min()} "
                f"to {numbers.max()}"
            )
        selected |= inside
    if of == "sample":
        warn_of_split_groups("id_ranges", candidates, candidates.ids[selected])
    return candidates.ids[selected]


def bounds(interval: Sequence[int]) -> tuple[int, int]:
    """Return start and stop; raise UserError unless they are two increasing whole numbers."""
    pair = tuple(interval) if isinstance(interval, Sequence) and not isinstance(interval, str) else ()
    are_integers = all(isinstance(value, int) and not isinstance(value, bool) for value in pair)
    if len(pair) != 2 or not are_integers or pair[0] >= pair[1]:
        raise UserError(f"forget rule 'id_ranges': {interval!r} is not a range [start, stop) of whole numbers")
    return int(pair[0]), int(pair[1])

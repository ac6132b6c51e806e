"""Forget ranges of identities or of samples, by number."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from raybench.data.forget_rules.amount import warn_of_cut_groups
from raybench.data.forget_rules.spec import Candidates, forget_rule
from raybench.errors import UserError


@forget_rule(source="Choi and Na 2023, arXiv 2311.02240: MUCAC forgets the identities from 190 to 1,249")
def id_ranges(
    candidates: Candidates, *, ranges: Sequence[Sequence[int]], of: Literal["group", "sample"] = "group"
) -> np.ndarray:
    """Select what has a number in any of `ranges`, each [start, stop) with stop left out: [[190, 1250]].

    `of: group` counts identities, `of: sample` sample ids (and warns where that splits a group). Raises UserError for a
    range in which there is no training sample.
    """
    if of not in ("group", "sample"):
        raise UserError(f"forget rule 'id_ranges': of is {of!r} (allowed: group, sample)")
    if of == "group" and candidates.groups is None:
        raise UserError("forget rule 'id_ranges': this dataset has no groups (identities); give of: sample")
    numbers = candidates.ids if of == "sample" or candidates.groups is None else candidates.groups
    chosen = np.zeros(len(numbers), dtype=bool)
    for start, stop in map(bounds, ranges):
        inside = (numbers >= start) & (numbers < stop)
        if not inside.any():
            raise UserError(
                f"forget rule 'id_ranges': no training {of} lies in [{start}, {stop}); they run from {numbers.min()} "
                f"to {numbers.max()}"
            )
        chosen |= inside
    if of == "sample":
        warn_of_cut_groups("id_ranges", candidates, candidates.ids[chosen])
    return candidates.ids[chosen]


def bounds(given: Sequence[int]) -> tuple[int, int]:
    """Return start and stop, refusing what is not two rising whole numbers."""
    pair = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in pair)
    if len(pair) != 2 or not whole or pair[0] >= pair[1]:
        raise UserError(f"forget rule 'id_ranges': {given!r} is not a range [start, stop) of whole numbers")
    return int(pair[0]), int(pair[1])

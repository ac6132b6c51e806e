"""Forget listed samples and all near-duplicates of them in the training set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data.forget_rules.framework.amount import warn_of_split_groups
from raybench.data.forget_rules.framework.id_list import listed_ids
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule
from raybench.data.perceptual_hash import BITS, is_near
from raybench.errors import UserError


@forget_rule(source="perceptual hash as in Zauner 2010; LoTUS, arXiv 2503.18314, found equal hashes in MUFAC")
def duplicates_of(
    candidates: Candidates,
    *,
    ids: Sequence[int] | None = None,
    file: str | Path | None = None,
    distance: int = 0,
) -> np.ndarray:
    """Select the samples in the list `ids` or in `file`, and all whose 64-bit hash differs in at most `distance` bits.

    Otherwise copies of a deleted image stay in the training set. Decodes every training image.
    """
    if isinstance(distance, bool) or not isinstance(distance, int) or not 0 <= distance < BITS:
        raise UserError(
            f"forget rule 'duplicates_of': distance is {distance!r}; it should be from 0 to {BITS - 1} bits"
        )
    listed = listed_ids("duplicates_of", ids, file)
    is_listed = np.isin(candidates.ids, listed)
    if is_listed.sum() < len(listed):
        return listed  # some are not training samples: `select` refuses them by id
    if candidates.hashes is None:
        raise UserError("forget rule 'duplicates_of' needs Candidates.hashes, the perceptual hashes; it is None")
    hashes = candidates.hashes()
    selected: np.ndarray = candidates.ids[is_listed | is_near(hashes, hashes[is_listed], distance)]
    warn_of_split_groups("duplicates_of", candidates, selected)
    return selected

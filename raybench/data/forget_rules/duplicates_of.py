"""Forget given samples together with every training sample that shows the same picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data.forget_rules.amount import warn_of_cut_groups
from raybench.data.forget_rules.ids import listed_ids
from raybench.data.forget_rules.spec import Candidates, forget_rule
from raybench.data.perceptual_hash import BITS, within
from raybench.errors import UserError


@forget_rule(source="perceptual hash as in Zauner 2010; equal hashes found in MUFAC by LoTUS, arXiv 2503.18314")
def duplicates_of(
    candidates: Candidates,
    *,
    ids: Sequence[int] | None = None,
    file: str | Path | None = None,
    distance: int = 0,
) -> np.ndarray:
    """Select the samples in the list `ids` or in `file`, and all whose 64-bit hash differs in at most `distance` bits.

    Without them a request to delete a picture leaves its copies in the training set. Decodes every training image.
    """
    if isinstance(distance, bool) or not isinstance(distance, int) or not 0 <= distance < BITS:
        raise UserError(
            f"forget rule 'duplicates_of': distance is {distance!r}; it should be from 0 to {BITS - 1} bits"
        )
    named = listed_ids("duplicates_of", ids, file)
    asked = np.isin(candidates.ids, named)
    if asked.sum() < len(named):
        return named  # some are no training samples: `select` refuses them by number
    if candidates.hashes is None:
        raise UserError("forget rule 'duplicates_of' needs the perceptual hashes in Candidates.hashes; there are none")
    hashes = candidates.hashes()
    chosen = candidates.ids[asked | within(hashes, hashes[asked], distance)]
    warn_of_cut_groups("duplicates_of", candidates, chosen)
    return chosen

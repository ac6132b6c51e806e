"""Forget the training samples listed by id, as in a deletion request."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data.forget_rules.framework.id_list import listed_ids
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule


@forget_rule(source="none: the user lists the samples")
def ids(candidates: Candidates, *, ids: Sequence[int] | None = None, file: str | Path | None = None) -> np.ndarray:
    """Select the samples in the list `ids` or in `file`; warn about duplicates and drop them.

    `file` holds one id per line, or is a CSV or Parquet file with a column `id`.
    """
    return listed_ids("ids", ids, file)

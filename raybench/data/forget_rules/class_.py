"""Forget every training sample of one class or several."""

from collections.abc import Sequence

import numpy as np

from raybench.data.forget_rules.spec import Candidates, forget_rule
from raybench.errors import UserError, unknown


@forget_rule(source="class-wise forgetting, e.g. Golatkar et al. 2020, arXiv 1911.04933")
def class_(candidates: Candidates, *, classes: int | str | Sequence[int | str]) -> np.ndarray:
    """Select the samples of `classes`, ids or names; in a multi-label task those that carry any of the labels."""
    listed = [classes] if isinstance(classes, int | str) else list(classes)
    wanted = sorted({class_id(given, candidates.class_names) for given in listed})
    carries = candidates.labels[:, None] == wanted if candidates.labels.ndim == 1 else candidates.labels[:, wanted] == 1
    empty = [c for c, column in zip(wanted, carries.T) if not column.any()]
    if empty:
        raise UserError(f"forget rule 'class': no training sample has class {', '.join(map(str, empty))}")
    return candidates.ids[carries.any(axis=1)]


def class_id(given: int | str, class_names: tuple[str, ...]) -> int:
    """Return the class id of an id or a name, refusing what the dataset does not have."""
    if isinstance(given, str):
        if given not in class_names:
            raise unknown("class", given, class_names)
        return class_names.index(given)
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 0 <= given < len(class_names):
        raise UserError(f"forget rule 'class': {given!r} is not a class; ids run from 0 to {len(class_names) - 1}")
    return int(given)

"""Look up classes by id or name, and the samples that have them."""

from collections.abc import Sequence

import numpy as np

from raybench.data.forget_rules.framework.spec import Candidates
from raybench.errors import UserError, unknown


def class_id(id_or_name: int | str, class_names: tuple[str, ...], *, rule: str) -> int:
    """Return the class id of an id or a name; raise UserError for a class that the dataset does not have."""
    if isinstance(id_or_name, str):
        if id_or_name not in class_names:
            raise unknown("class", id_or_name, class_names)
        return class_names.index(id_or_name)
    is_number = isinstance(id_or_name, int | np.integer) and not isinstance(id_or_name, bool)
    if not is_number or not 0 <= id_or_name < len(class_names):
        raise UserError(
            f"forget rule {rule!r}: {id_or_name!r} is not a class; ids run from 0 to {len(class_names) - 1}"
        )
    return int(id_or_name)


def samples_of(classes: Sequence[int], candidates: Candidates, *, rule: str) -> np.ndarray:
    """Return the ids of all samples of these classes; raise UserError for a class without samples."""
    ids = np.array(classes, dtype=np.int64)
    single = candidates.labels.ndim == 1
    has_samples = np.isin(ids, candidates.labels) if single else candidates.labels[:, ids].any(axis=0)
    if not has_samples.all():
        raise UserError(f"forget rule {rule!r}: no training sample has class {', '.join(map(str, ids[~has_samples]))}")
    selected = np.isin(candidates.labels, ids) if single else candidates.labels[:, ids].any(axis=1)
    return candidates.ids[selected]

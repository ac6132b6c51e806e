"""Forget all training samples of one or more classes."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data import class_lists
from raybench.data.forget_rules.framework.amount import require_exactly_one
from raybench.data.forget_rules.framework.classes import class_id, samples_of
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule


@forget_rule(source="class-wise forgetting, e.g. Golatkar et al. 2020, arXiv 1911.04933", counterpart="classes")
def class_(
    candidates: Candidates,
    *,
    classes: int | str | Sequence[int | str] | None = None,
    file: str | Path | None = None,
    list: str | None = None,
) -> np.ndarray:
    """Select the samples of classes, by id or name; in a multi-label task, samples with any of the labels.

    Set `classes`, or a text `file` with one class per line, or the name of a built-in `list` (random100, top200_cub,
    ...: ImageNet class ids of UUEF). Warns about a class that is listed more than once.
    """
    require_exactly_one("class", classes=classes, file=file, list=list)
    if classes is not None:
        listed = [classes] if isinstance(classes, int | str) else [*classes]
    else:
        path = Path(str(file)).expanduser() if list is None else class_lists.built_in(list)
        listed = class_lists.read(path, candidates.class_names)
    class_ids = [class_id(name, candidates.class_names, rule="class") for name in listed]
    unique = sorted(set(class_ids))
    repeated = [c for c in unique if class_ids.count(c) > 1]
    if repeated:
        warnings.warn(
            f"forget rule 'class': {list or file or '`classes`'} names {', '.join(map(str, repeated))} more than once; "
            f"{len(unique)} classes are forgotten, not {len(class_ids)}",
            stacklevel=2,
        )
    return samples_of(unique, candidates, rule="class")

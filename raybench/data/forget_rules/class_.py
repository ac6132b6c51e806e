"""Forget every training sample of one class or several."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data import class_lists
from raybench.data.forget_rules.amount import exactly_one
from raybench.data.forget_rules.spec import Candidates, forget_rule
from raybench.errors import UserError, unknown


@forget_rule(source="class-wise forgetting, e.g. Golatkar et al. 2020, arXiv 1911.04933")
def class_(
    candidates: Candidates,
    *,
    classes: int | str | Sequence[int | str] | None = None,
    file: str | Path | None = None,
    list: str | None = None,
) -> np.ndarray:
    """Select the samples of classes, ids or names; in a multi-label task those that carry any of the labels.

    The classes are given here, in a text `file` with one per line, or by the name of a shipped `list` (random100,
    top200_cub, ...: ImageNet ids of UUEF). A class that a file names more than once is taken once, with a warning.
    """
    exactly_one("class", classes=classes, file=file, list=list)
    if classes is not None:
        listed = [classes] if isinstance(classes, int | str) else [*classes]
    else:
        path = Path(str(file)).expanduser() if list is None else class_lists.shipped(list)
        listed = class_lists.read(path, candidates.class_names)
    found = [class_id(given, candidates.class_names) for given in listed]
    twice = sorted({c for c in found if found.count(c) > 1})
    if twice:
        warnings.warn(
            f"forget rule 'class': {list or file or '`classes`'} names {', '.join(map(str, twice))} more than once; "
            f"{len(set(found))} classes are forgotten, not {len(found)}",
            stacklevel=2,
        )
    return samples_of(sorted(set(found)), candidates)


def samples_of(classes: Sequence[int], candidates: Candidates, *, rule: str = "class") -> np.ndarray:
    """Return the ids of the samples that have any of these classes, refusing a class that no sample has."""
    wanted = np.array(classes, dtype=np.int64)
    single = candidates.labels.ndim == 1
    there = np.isin(wanted, candidates.labels) if single else candidates.labels[:, wanted].any(axis=0)
    if not there.all():
        raise UserError(f"forget rule {rule!r}: no training sample has class {', '.join(map(str, wanted[~there]))}")
    carries = np.isin(candidates.labels, wanted) if single else candidates.labels[:, wanted].any(axis=1)
    return candidates.ids[carries]


def class_id(given: int | str, class_names: tuple[str, ...], *, rule: str = "class") -> int:
    """Return the class id of an id or a name, refusing what the dataset does not have."""
    if isinstance(given, str):
        if given not in class_names:
            raise unknown("class", given, class_names)
        return class_names.index(given)
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 0 <= given < len(class_names):
        raise UserError(f"forget rule {rule!r}: {given!r} is not a class; ids run from 0 to {len(class_names) - 1}")
    return int(given)

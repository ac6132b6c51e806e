"""Define a forget rule: a pure function from metadata of the training samples to the ids to forget.

    @forget_rule(source="...")
    def oldest(candidates: Candidates, *, count: int) -> np.ndarray: ...

The keyword arguments are the options that an experiment may set under `forget:`. A rule sees training samples only, so
the forget set cannot depend on the data that it is evaluated on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from raybench.registry import attach

Function = TypeVar("Function", bound=Callable[..., np.ndarray])
Counterpart = Literal["samples", "classes", "groups"]


@dataclass(frozen=True)
class Candidates:
    """The training samples that a rule selects from, one row per sample, ids ascending."""

    ids: np.ndarray  # (N,) int64
    labels: np.ndarray  # (N,) int64, or (N, L) uint8 for a multi-label task
    groups: np.ndarray | None = None  # (N,) int64 identity
    class_names: tuple[str, ...] = ()
    mislabeled: np.ndarray | None = None  # (N,) bool: the label is wrong on purpose
    hashes: Callable[[], np.ndarray] | None = None  # compute (N,) uint64 perceptual hashes; decodes every image

    def split_groups(self, selected: np.ndarray) -> np.ndarray:
        """Return the groups, ascending, with some samples in `selected` (ids) and others not; empty without groups."""
        if self.groups is None:
            return np.empty(0, dtype=np.int64)
        is_selected = np.isin(self.ids, selected)
        return np.intersect1d(self.groups[is_selected], self.groups[~is_selected])


@dataclass(frozen=True)
class ForgetRuleSpec:
    """What `raybench list` shows of a forget rule.

    `whole_groups` promises that no group is split. `counterpart`: what a second request of the same kind consists of,
    on which a sweep tunes hyperparameters (`framework/counterpart.py`).
    """

    source: str
    whole_groups: bool
    counterpart: Counterpart


def forget_rule(
    *, source: str, whole_groups: bool = False, counterpart: Counterpart = "samples"
) -> Callable[[Function], Function]:
    """Declare a function of `Candidates` as a forget rule; its name is the name of the function."""

    def decorate(function: Function) -> Function:
        return attach(function, ForgetRuleSpec(source, whole_groups, counterpart))

    return decorate

"""What a forget rule is: a pure function from metadata of the training samples to the ids to forget.

    @forget_rule(source="...")
    def oldest(candidates: Candidates, *, count: int) -> np.ndarray: ...

The keyword arguments are what the experiment may set under `forget:`. A rule never sees pixels of other roles, so the
forget set cannot depend on what it will be tested on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from raybench.registry import attach

Function = TypeVar("Function", bound=Callable[..., np.ndarray])


@dataclass(frozen=True)
class Candidates:
    """The training samples a rule chooses from, one row per sample, ids ascending."""

    ids: np.ndarray  # (N,) int64
    labels: np.ndarray  # (N,) int64, or (N, L) uint8 for a multi-label task
    groups: np.ndarray | None = None  # (N,) int64 identity
    class_names: tuple[str, ...] = ()
    mislabeled: np.ndarray | None = None  # (N,) bool: carries a wrong label on purpose
    hashes: Callable[[], np.ndarray] | None = (
        None  # gives (N,) uint64 perceptual hashes; decodes every image when called
    )

    def cut_groups(self, chosen: np.ndarray) -> np.ndarray:
        """Return the groups, ascending, of which some samples are `chosen` ids and others not; empty without groups."""
        if self.groups is None:
            return np.empty(0, dtype=np.int64)
        taken = np.isin(self.ids, chosen)
        return np.intersect1d(self.groups[taken], self.groups[~taken])


@dataclass(frozen=True)
class ForgetRuleSpec:
    """What the list of forget rules shows; `whole_groups` promises that no group is cut in two."""

    source: str
    whole_groups: bool


def forget_rule(*, source: str, whole_groups: bool = False) -> Callable[[Function], Function]:
    """Mark a function of `Candidates` as a forget rule; its name is the function's."""

    def mark(function: Function) -> Function:
        return attach(function, ForgetRuleSpec(source, whole_groups))

    return mark

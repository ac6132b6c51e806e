"""How much a rule is to forget: a share or a count, and the warnings of rules that may cut an identity in two."""

import warnings

import numpy as np

from raybench.data.forget_rules.spec import Candidates
from raybench.errors import UserError


def amount(rule: str, n: int, *, fraction: float | None, count: int | None) -> int:
    """Return how many of `n` samples a rule takes, rounded; exactly one of `fraction` and `count` is to be given."""
    exactly_one(rule, fraction=fraction, count=count)
    if count is not None:
        return whole(rule, "count", count, most=n)
    return round(share(rule, fraction) * n)


def exactly_one(rule: str, **given: object) -> None:
    """Refuse unless one of the options, and only one, is given."""
    if sum(value is not None for value in given.values()) != 1:
        *names, last = given
        raise UserError(f"forget rule {rule!r} needs exactly one of {', '.join(names)} and {last}")


def share(rule: str, fraction: object) -> float:
    """Return the fraction, refusing what does not lie between 0 and 1."""
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise UserError(f"forget rule {rule!r}: fraction is {fraction!r}; it should lie between 0 and 1")
    return float(fraction)


def whole(rule: str, name: str, value: object, *, most: int) -> int:
    """Return a whole number from 1 to `most`; to take all of them is refused later, since nothing would be retained."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 < value <= most:
        raise UserError(f"forget rule {rule!r}: {name} is {value!r}; it should be a whole number from 1 to {most - 1}")
    return int(value)


def warn_of_cut_groups(rule: str, candidates: Candidates, chosen: np.ndarray) -> None:
    """Warn, naming the first of them, of identities with samples in both forget and retain."""
    cut = candidates.cut_groups(chosen)
    if len(cut):
        listed = ", ".join(str(group) for group in cut[:5]) + (", ..." if len(cut) > 5 else "")
        warnings.warn(
            f"forget rule {rule!r} splits {len(cut)} groups (identities): {listed} have samples in both forget and "
            "retain, so what is to be forgotten is still trained on; the rule 'identity' takes whole groups",
            stacklevel=3,
        )

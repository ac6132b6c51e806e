"""How many samples a rule selects: a fraction or a count; and a warning for rules that may split a group."""

import warnings

import numpy as np

from raybench.data.forget_rules.framework.spec import Candidates
from raybench.data.listing import first_few
from raybench.errors import UserError


def num_to_forget(rule: str, n: int, *, fraction: float | None, count: int | None) -> int:
    """Return how many of `n` samples to select, rounded; exactly one of `fraction` and `count` must be set."""
    require_exactly_one(rule, fraction=fraction, count=count)
    if count is not None:
        return whole_number(rule, "count", count, most=n)
    return round(valid_fraction(rule, fraction) * n)


def require_exactly_one(rule: str, **options: object) -> None:
    """Raise UserError unless exactly one of the options is set."""
    if sum(value is not None for value in options.values()) != 1:
        *names, last = options
        raise UserError(f"forget rule {rule!r} needs exactly one of {', '.join(names)} and {last}")


def valid_fraction(rule: str, fraction: object) -> float:
    """Return the fraction; raise UserError unless it lies strictly between 0 and 1."""
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise UserError(f"forget rule {rule!r}: fraction is {fraction!r}; it should lie between 0 and 1")
    return float(fraction)


def whole_number(rule: str, name: str, value: object, *, most: int) -> int:
    """Return a whole number from 1 to `most`; `select` later refuses a rule that leaves nothing to retain."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 < value <= most:
        raise UserError(f"forget rule {rule!r}: {name} is {value!r}; it should be a whole number from 1 to {most - 1}")
    return int(value)


def warn_of_split_groups(rule: str, candidates: Candidates, selected: np.ndarray) -> None:
    """Warn about groups (identities) with samples in both forget and retain, naming the first few."""
    split = candidates.split_groups(selected)
    if len(split):
        warnings.warn(
            f"forget rule {rule!r} splits {len(split)} groups (identities): {first_few(split)} have samples in both "
            "forget and retain, so the model still trains on people that it should forget; rule 'identity' selects "
            "whole groups",
            stacklevel=3,
        )

"""Sizes of the roles: the defaults, and an example that fits a data set, for messages."""

from collections.abc import Mapping, Sequence

from raybench.errors import UserError

# Defaults, as fractions of an official split; None: the rest of it.
OF_SPLITS: Mapping[str, float | None] = {
    "train": None,
    "validation": 0.1,
    "calibration": 0.2,
    "test": None,
    "unseen": 0.4,
}
# Defaults for data without official splits, which are one pool: half is trained on, and 15 % are left for `test`.
OF_ONE_POOL: Mapping[str, float | None] = {
    "train": 0.5,
    "validation": 0.1,
    "calibration": 0.1,
    "test": None,
    "unseen": 0.15,
}


class SizeError(UserError):
    """Sizes of roles that the data set cannot provide; `scenario.prepare` adds sizes that it can."""


def example(pools: Sequence[tuple[Sequence[str], int]], *, calibration: int = 1) -> str | None:
    """Return a line for the section `data` that divides each pool, given as (its roles, its number of samples).

    At least `calibration` samples calibrate. None if a pool is too small for its roles.
    """
    defaults = OF_ONE_POOL if len(pools) == 1 else OF_SPLITS
    counts: dict[str, int | None] = {}
    for roles, available in pools:
        rest = next((role for role in roles if defaults[role] is None), roles[-1])
        at_least = {"calibration": calibration}
        numbers = {
            role: max(at_least.get(role, 1), int((defaults[role] or 0) * available)) for role in roles if role != rest
        }
        if sum(numbers.values()) >= available:
            return None
        counts |= {**numbers, rest: None}
    listed = (f"{role}: {'null' if counts[role] is None else counts[role]}" for role in OF_SPLITS)
    return f"sizes: {{{', '.join(listed)}}}"

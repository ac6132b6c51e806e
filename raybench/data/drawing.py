"""Draw the samples of several roles from one pool: sizes as counts, stratified orders, whole groups."""

from collections.abc import Mapping

import numpy as np

from raybench.data.images import ImageData
from raybench.data.reading.order import stratified_order
from raybench.data.role_sizes import SizeError
from raybench.errors import UserError


def resolve(sizes: Mapping[str, float | int | None], available: int, pool: str) -> dict[str, int]:
    """Convert the sizes of one pool to counts; the role that takes the rest comes last."""
    counts: dict[str, int] = {}
    rest: list[str] = []
    for role, size in sizes.items():
        if size is None:
            rest.append(role)
        elif isinstance(size, float) and 0 < size < 1:
            # Rounded down, so that fractions that sum to 1 fit; 0.29 * 100 is 28.999999999999996.
            counts[role] = int(size * available + 1e-9)
        elif isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 0:
            counts[role] = int(size)
        else:
            raise UserError(
                f"size of {role} is {size!r}: set a count, a fraction between 0 and 1, or null for the rest"
            )
    if len(rest) > 1:
        raise SizeError(f"{' and '.join(rest)} both take the rest of {pool}; at most one may")
    listed = ", ".join(f"{role} {count}" for role, count in counts.items() if count)
    remaining = available - sum(counts.values())
    if remaining < 0 or (rest and remaining == 0):
        no_rest = f" and nothing is left for {rest[0]}" if rest else ""
        raise SizeError(f"{pool} has {available} samples; the sizes request {sum(counts.values())} ({listed}){no_rest}")
    return counts | dict.fromkeys(rest, remaining)


def draw(
    data: ImageData, pool: np.ndarray, counts: Mapping[str, int], wrong: np.ndarray, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Divide a random order of `pool` into consecutive slices, one per role; ids sorted."""
    ends = np.cumsum(list(counts.values()))
    if data.groups is None or len(pool) == 0:
        classes = data.labels[pool] if data.task == "single" else np.zeros(len(pool), dtype=np.int64)
        order = stratified_order(classes * 2 + wrong[pool], wrong[pool], generator=generator)
    else:
        _, codes, members = np.unique(data.groups[pool], return_inverse=True, return_counts=True)
        sequence = stratified_order(majority_label(data.labels[pool], codes), generator=generator)
        order = np.argsort(np.argsort(sequence)[codes], kind="stable")
        filled = np.concatenate([[0], np.cumsum(members[sequence])])
        # of two equally close ends the later, because an empty role is refused
        ends = np.array([filled[len(filled) - 1 - np.abs(filled - end)[::-1].argmin()] for end in ends], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    drawn = {role: np.sort(pool[order[start:end]]) for role, start, end in zip(counts, starts, ends)}
    for role, count in counts.items():
        if count and len(drawn[role]) == 0:
            raise UserError(
                f"{role} should have {count} samples, but no whole group fits; there are too few groups for these sizes"
            )
    return drawn


def majority_label(labels: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return one stratum per group, int64 (G,): its most frequent label, or set of majority labels."""
    sizes = np.bincount(codes)
    if labels.ndim > 1:
        carriers = np.stack([np.bincount(codes, weights=column) for column in labels.T], axis=1)
        return np.unique(carriers * 2 > sizes[:, None], axis=0, return_inverse=True)[1].reshape(-1)
    pairs, counts = np.unique(np.stack([codes, labels]), axis=1, return_counts=True)  # (2, P) of group and label
    order = np.lexsort([-pairs[1], counts, pairs[0]])  # by group; its most frequent label last, the smaller id on ties
    return np.asarray(pairs[1][order][np.cumsum(np.bincount(pairs[0])) - 1])

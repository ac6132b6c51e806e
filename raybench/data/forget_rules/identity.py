"""Forget identities: whole groups, so that no person is both forgotten and retained."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data.forget_rules.framework.amount import require_exactly_one, valid_fraction, whole_number
from raybench.data.forget_rules.framework.id_list import listed_ids
from raybench.data.forget_rules.framework.spec import Candidates, forget_rule
from raybench.data.listing import first_few
from raybench.data.reading.order import seed_for
from raybench.errors import UserError

MAX_PASSES = 20  # over the forgotten groups; the search usually converges after about three


@forget_rule(
    source="identity forgetting, e.g. Choi and Na 2023, arXiv 2311.02240 (by person, not by row)",
    whole_groups=True,
    counterpart="groups",
)
def identity(
    candidates: Candidates,
    *,
    fraction: float | None = None,
    count: int | None = None,
    ids: Sequence[int] | None = None,
    file: str | Path | None = None,
    seed: int = 0,
    stratified: bool = False,
) -> np.ndarray:
    """Select all samples of `count` identities, of the identities in `ids` or `file`, or of as many as hold a
    `fraction`.

    `fraction` counts samples and is met as closely as whole groups allow; `count` and the ids refer to groups. Every
    identity is equally likely. `stratified` then swaps forgotten identities for others while that brings the label
    distribution of the forget set closer to that of the training set (chi-squared distance); the result is
    deterministic for a seed.
    """
    require_exactly_one("identity", fraction=fraction, count=count, ids=ids, file=file)
    if candidates.groups is None:
        raise UserError("forget rule 'identity': this dataset has no groups (identities); use rule 'random'")
    groups, codes, sizes = np.unique(candidates.groups, return_inverse=True, return_counts=True)
    if fraction is None and count is None:
        if stratified:
            raise UserError("forget rule 'identity': stratified needs fraction or count, not listed ids")
        listed = listed_ids("identity", ids, file)
        absent = np.setdiff1d(listed, groups)
        if len(absent):
            raise UserError(
                f"forget rule 'identity': no training sample belongs to {first_few(absent)} (there are {len(groups)} "
                f"identities, from {groups[0]} to {groups[-1]})"
            )
        return candidates.ids[np.isin(candidates.groups, listed)]
    order = np.random.default_rng(seed_for("forget identity", seed)).permutation(len(groups))
    if count is not None:
        number = whole_number("identity", "count", count, most=len(groups))
        fraction_to_forget = number / len(groups)
    else:
        fraction_to_forget = valid_fraction("identity", fraction)
        number = max(1, nearest(np.cumsum(sizes[order]), fraction_to_forget * len(candidates.ids)))
    forgotten = np.zeros(len(groups), dtype=bool)
    forgotten[order[:number]] = True
    if stratified:
        swap_to_match_labels(forgotten, label_counts(candidates.labels, codes, len(groups)), fraction_to_forget, order)
    return candidates.ids[forgotten[codes]]


def nearest(totals: np.ndarray, target: float) -> int:
    """Return how many leading groups, with these cumulative sizes, come closest to `target` samples."""
    return int(np.abs(np.concatenate([[0], totals]) - target).argmin())


def label_counts(labels: np.ndarray, codes: np.ndarray, num_groups: int) -> np.ndarray:
    """Count the samples of every label in every group, (G, L) float64.

    In a multi-label task, a last column holds the number of samples, so that absent labels are balanced too.
    """
    if labels.ndim == 1:
        present, labels = np.unique(labels, return_inverse=True)
        table = np.bincount(codes * len(present) + labels, minlength=num_groups * len(present))
        return table.reshape(num_groups, -1).astype(np.float64)
    columns = [np.bincount(codes, weights=column, minlength=num_groups) for column in labels.T]
    return np.stack([*columns, np.bincount(codes, minlength=num_groups)], axis=1).astype(np.float64)


def swap_to_match_labels(forgotten: np.ndarray, counts: np.ndarray, fraction: float, order: np.ndarray) -> None:
    """Swap forgotten groups for others, in place, while that reduces sum_l (forgotten_l - fraction * n_l)^2 / n_l.

    Visits forgotten groups in `order` and swaps each for the group that reduces it most, so the result is
    deterministic.
    """
    totals = counts.sum(axis=0)
    scaled = counts[:, totals > 0] / np.sqrt(totals[totals > 0])
    excess = scaled[forgotten].sum(axis=0) - fraction * scaled.sum(axis=0)
    for _ in range(MAX_PASSES):
        swapped = False
        for leaving in order[forgotten[order]]:
            others = order[~forgotten[order]]
            if len(others) == 0:
                return
            without = excess - scaled[leaving]
            distance = ((without + scaled[others]) ** 2).sum(axis=1)
            best = int(distance.argmin())
            if distance[best] < (excess**2).sum() - 1e-9:
                forgotten[leaving], forgotten[others[best]] = False, True
                excess, swapped = without + scaled[others[best]], True
        if not swapped:
            return

"""Forget people: whole groups, so that nobody is both forgotten and trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raybench.data.forget_rules.amount import exactly_one, share, whole
from raybench.data.forget_rules.ids import listed_ids
from raybench.data.forget_rules.spec import Candidates, forget_rule
from raybench.data.reading.order import seed_for
from raybench.errors import UserError

PASSES = 20  # over the forgotten groups, at most; exchanges end by themselves after about three


@forget_rule(
    source="identity forgetting, e.g. Choi and Na 2023, arXiv 2311.02240 (by person, not by row)", whole_groups=True
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
    """Select all samples of `count` identities, of those listed in `ids` or a `file`, or of as many as hold `fraction`.

    `fraction` is a share of the samples, met as nearly as whole groups allow; `count` and the ids are of groups. Every
    identity is equally likely. `stratified` then exchanges forgotten identities for others as long as that brings the
    labels of the forget set nearer to their share of all (least chi-squared distance), which draws from equal seeds
    always in the same way.
    """
    exactly_one("identity", fraction=fraction, count=count, ids=ids, file=file)
    if candidates.groups is None:
        raise UserError("forget rule 'identity': this dataset has no groups (identities); take the rule 'random'")
    groups, codes, sizes = np.unique(candidates.groups, return_inverse=True, return_counts=True)
    if fraction is None and count is None:
        if stratified:
            raise UserError("forget rule 'identity': stratified is for a drawn fraction or count, not for listed ids")
        wanted = listed_ids("identity", ids, file)
        absent = np.setdiff1d(wanted, groups)
        if len(absent):
            listed = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
            raise UserError(
                f"forget rule 'identity': no training sample is of {listed} (there are {len(groups)} identities, from "
                f"{groups[0]} to {groups[-1]})"
            )
        return candidates.ids[np.isin(candidates.groups, wanted)]
    order = np.random.default_rng(seed_for("forget identity", seed)).permutation(len(groups))
    if count is not None:
        number = whole("identity", "count", count, most=len(groups))
        part = number / len(groups)
    else:
        part = share("identity", fraction)
        number = max(1, nearest(np.cumsum(sizes[order]), part * len(candidates.ids)))
    chosen = np.zeros(len(groups), dtype=bool)
    chosen[order[:number]] = True
    if stratified:
        exchange(chosen, label_counts(candidates.labels, codes, len(groups)), part, order)
    return candidates.ids[chosen[codes]]


def nearest(totals: np.ndarray, target: float) -> int:
    """Return how many leading groups, of these running totals, come nearest to `target` samples."""
    return int(np.abs(np.concatenate([[0], totals]) - target).argmin())


def label_counts(labels: np.ndarray, codes: np.ndarray, num_groups: int) -> np.ndarray:
    """Count the samples of every label in every group, (G, L) float64; in a multi-label task also all samples.

    The last column then holds the number of samples, so that absent labels are balanced too.
    """
    if labels.ndim == 1:
        present, labels = np.unique(labels, return_inverse=True)
        table = np.bincount(codes * len(present) + labels, minlength=num_groups * len(present))
        return table.reshape(num_groups, -1).astype(np.float64)
    columns = [np.bincount(codes, weights=column, minlength=num_groups) for column in labels.T]
    return np.stack([*columns, np.bincount(codes, minlength=num_groups)], axis=1).astype(np.float64)


def exchange(chosen: np.ndarray, counts: np.ndarray, part: float, order: np.ndarray) -> None:
    """Swap chosen groups for others, in place, while that lessens sum_l (forgotten_l - part n_l)^2 / n_l.

    Chosen groups are visited in `order`; each goes for the one that lessens it most, so that the outcome is fixed.
    """
    totals = counts.sum(axis=0)
    scaled = counts[:, totals > 0] / np.sqrt(totals[totals > 0])
    excess = scaled[chosen].sum(axis=0) - part * scaled.sum(axis=0)
    for _ in range(PASSES):
        swapped = False
        for leaving in order[chosen[order]]:
            others = order[~chosen[order]]
            if len(others) == 0:
                return
            without = excess - scaled[leaving]
            distance = ((without + scaled[others]) ** 2).sum(axis=1)
            best = int(distance.argmin())
            if distance[best] < (excess**2).sum() - 1e-9:
                chosen[leaving], chosen[others[best]] = False, True
                excess, swapped = without + scaled[others[best]], True
        if not swapped:
            return

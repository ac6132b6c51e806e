"""Likelihood-ratio attacks from many models: LiRA, U-LiRA and RMIA, with every model in turn as the target.

A target is left out of the models that it is compared with, in closed form (`leave_one_out`). Signals are scaled
confidences (`signals.scaled_confidence`), (models, samples); a higher score indicates a member. The models share the
samples, so intervals count both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from raybench.metrics.framework.arrays import Array, Bools, Floats, as_array
from raybench.metrics.framework.spec import Estimate
from raybench.metrics.functions.attack_result import FPRS
from raybench.metrics.functions.leave_one_out import Mode, Variance, check_mode, left_out_scores, need
from raybench.metrics.functions.model_auc import auc_over_models
from raybench.metrics.functions.model_signals import as_population, as_populations
from raybench.metrics.functions.roc import tpr_at_fprs


@dataclass(frozen=True)
class LikelihoodAttack:
    """Scores of every model on every sample, and how well they separate members from non-members."""

    scores: Floats  # (models, samples)
    member: Bools  # (models, samples) bool
    auc: Estimate
    tpr: dict[float, Estimate]  # at each false positive rate


def lira(
    signals: Array,
    member: Array,
    *,
    mode: Mode = "online",
    variance: Variance = "per_example",
    fprs: Sequence[float] = FPRS,
) -> LikelihoodAttack:
    """Run LiRA (likelihood ratio attack) on signals (models, samples); `member` says who trained on what.

    `online` scores ln of the density under the models trained on the sample over that under the others. `offline` fits
    only the others and scores how many standard deviations the target lies above them, which orders samples as 1 - Pr[Z
    > x] does. `global` pools the spread within samples over all of them: better below about 64 models.

    AUC and rates pool all models and samples, 0.5 is chance; their intervals are over models and samples, see
    `auc_over_models` for their coverage. Raise ValueError where a sample has fewer than 3 models on a fitted side (2
    with `global`). Reference: Carlini et al. 2022, arXiv 2112.03570, sections IV to VI.
    """
    x, trained = _signals_and_members(signals, member)
    return _attack(left_out_scores(x, trained, mode, variance), trained, fprs)


def u_lira(
    unlearned: Array, retrained: Array, *, variance: Variance = "per_example", fprs: Sequence[float] = FPRS
) -> LikelihoodAttack:
    """Separate unlearned (M, S) from retrained models (N, S), sample by sample; "member" means unlearned.

    AUC 0.5 means that they are not distinguishable; values slightly below come from leaving the target out. Scores are
    (M + N, S), unlearned first. Raise ValueError for fewer than 3 models per side (2 with `global`). Reference: Hayes
    et al. 2024, arXiv 2403.01218, where each model has its own original and forget set.
    """
    u, r = as_populations(unlearned, retrained)
    x = np.concatenate([u, r])
    trained = np.broadcast_to((np.arange(len(x)) < len(u))[:, None], x.shape)
    return _attack(left_out_scores(x, trained, "online", variance), trained, fprs)


def rmia(
    signals: Array,
    member: Array,
    *,
    mode: Mode = "online",
    gamma: float = 2.0,
    offline_scale: float = 0.3,
    population: Array | None = None,
    fprs: Sequence[float] = FPRS,
) -> LikelihoodAttack:
    """Run RMIA (robust membership inference attack) on signals (models, samples); `member` says who trained on what.

    The score of x, in 0..1, is the fraction of population samples z with p(x | target) / p(x) >= gamma p(z | target) /
    p(z). p(x) is the mean confidence of the other models, half from those trained on x, half from the rest; in mode
    `offline`, and for samples that no model was trained on, it is ((1 + a) p_out + 1 - a) / 2 with a = `offline_scale`.
    z are the samples that the target was not trained on, or `population`: signals (models, Z) of samples that no model
    was trained on.

    Raise ValueError where a sample has fewer than 2 models on a side that is averaged. Reference: Zarifzadeh et al.
    2024, arXiv 2312.03262, algorithm 1.
    """
    x, trained = _signals_and_members(signals, member)
    check_mode(mode)
    if not gamma >= 1 or not 0 <= offline_scale <= 1:
        raise ValueError(f"gamma must be at least 1 and offline_scale in 0..1, got {gamma} and {offline_scale}")
    ratios = _confidence_ratios(x, trained, mode, offline_scale)
    if population is None:
        others = [row[~trained_on] for row, trained_on in zip(ratios, trained)]
    else:
        z = as_population(population, name="population")
        if len(z) != len(x):
            raise ValueError(f"population has {len(z)} models, signals {len(x)}")
        others = list(_confidence_ratios(z, np.zeros(z.shape, dtype=bool), "offline", offline_scale))
    if min(len(row) for row in others) == 0:
        raise ValueError("a model was trained on every sample: pass a population that no model was trained on")
    beaten = [np.searchsorted(np.sort(gamma * z), row, side="right") / len(z) for row, z in zip(ratios, others)]
    return _attack(np.stack(beaten), trained, fprs)


def _signals_and_members(signals: Array, member: Array) -> tuple[Floats, Bools]:
    x = as_population(signals, name="signals")
    trained = as_array(member, name="member", dtype=None)
    if trained.shape != x.shape:
        raise ValueError(f"member of shape {trained.shape} given for signals of shape {x.shape}")
    if trained.dtype != bool and not np.isin(trained, (0, 1)).all():
        raise ValueError("member must contain True and False, or 1 and 0")
    return x, trained.astype(bool, copy=False)


def _attack(scores: Floats, trained: Bools, fprs: Sequence[float]) -> LikelihoodAttack:
    if trained.all() or not trained.any():
        raise ValueError("an attack needs members and non-members")
    # a score depends on its model and on its sample: of the two clustered intervals, the wider end
    by_model, by_sample = (
        tpr_at_fprs(
            scores[trained], scores[~trained], fprs, member_groups=unit[trained], non_member_groups=unit[~trained]
        )
        for unit in (np.indices(scores.shape)[0], np.indices(scores.shape)[1])
    )
    rates = {
        fpr: rate._replace(low=min(rate.low, by_sample[fpr].low), high=max(rate.high, by_sample[fpr].high))
        for fpr, rate in by_model.items()
    }
    return LikelihoodAttack(scores, trained, auc_over_models(scores, trained), rates)


def _confidence_ratios(x: Floats, trained: Bools, mode: str, offline_scale: float) -> Floats:
    """Return the target's confidence over the mean confidence of the other models, (models, samples)."""
    p: Floats = np.maximum(expit(x), 1e-300)  # 0 / 0 where every model underflows
    outside = ~trained

    def left_out_mean(on_side: Bools, side: str) -> Floats:
        count = on_side.sum(axis=0)
        need(count, 2, side)
        total = np.einsum("ij,ij->j", on_side, p)
        means: Floats = np.where(on_side, (total - p) / (count - 1), total / count)
        return means

    out = left_out_mean(outside, "not trained on it")
    if mode == "offline":
        return p / (((1 + offline_scale) * out + 1 - offline_scale) / 2)
    return p / ((left_out_mean(trained, "trained on it") + out) / 2)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import t

from raybench.metrics.functions.intervals import delong
from raybench.metrics.functions.leave_one_out import left_out_scores
from raybench.metrics.functions.model_auc import auc_over_models


def slow_error(scores, member, auc):
    """The standard error clustered by model and by sample, and its degrees of freedom, entry by entry."""
    residuals = np.zeros(scores.shape)
    members, others = scores[member], scores[~member]
    for cell in np.ndindex(*scores.shape):
        rivals, sign = (others, 1) if member[cell] else (members, -1)
        above = np.mean(sign * scores[cell] > sign * rivals) + np.mean(scores[cell] == rivals) / 2
        residuals[cell] = (above - auc) / (len(members) if member[cell] else len(others))
    inside, outside = (residuals * member).sum(axis=1), (residuals * ~member).sum(axis=1)
    m, n, models = member.any(axis=1).sum(), (~member).any(axis=1).sum(), len(scores)
    variance = m / (m - 1) * inside @ inside + n / (n - 1) * outside @ outside
    variance += 2 * models / (models - 1) * inside @ outside
    variance += max(0, (residuals.sum(axis=0) ** 2).sum() - (residuals**2).sum())
    return np.sqrt(variance), min(m + n - 2, models - 1)


def test_eight_models_cover_the_auc_of_lira():
    rng, estimates = np.random.default_rng(0), []
    for _ in range(300):
        member = np.argsort(rng.random((8, 100)), axis=0) < 4
        x = rng.normal(size=(8, 100)) + rng.normal(size=100) + 0.5 * member
        estimates.append(auc_over_models(left_out_scores(x, member, "online", "global"), member))
    truth = np.mean([estimate.value for estimate in estimates])
    assert np.mean([estimate.low <= truth <= estimate.high for estimate in estimates]) >= 0.93


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 9), st.booleans())
def test_the_auc_over_models_is_delongs_and_its_interval_counts_models_and_samples(seed, models, samples, tied):
    rng = np.random.default_rng(seed)
    scores, member = rng.normal(size=(models, samples)), rng.random((models, samples)) < 0.5
    if tied:
        scores = np.round(scores)
    if member.all() or not member.any():
        with pytest.raises(ValueError, match="non-members"):
            auc_over_models(scores, member)
        return
    model = np.broadcast_to(np.arange(models)[:, None], scores.shape)
    expected = delong(scores[member], scores[~member], member_groups=model[member], non_member_groups=model[~member])
    estimate = auc_over_models(scores, member)
    assert (estimate.value, estimate.n) == (pytest.approx(expected.value), expected.n)
    if estimate.interval == expected.interval:
        assert estimate[1:3] == pytest.approx(expected[1:3])  # no variance
        return
    error, freedom = slow_error(scores, member, estimate.value)
    half = t.ppf(0.975, freedom) * error / (estimate.value * (1 - estimate.value))
    assert estimate[1:3] == pytest.approx(expit(logit(estimate.value) + np.array([-half, half])), abs=1e-9)


def test_scores_that_separate_perfectly_have_the_exact_interval_over_models_and_not_over_samples():
    member = np.repeat([[True], [False]], 5, axis=0) & np.ones((1, 1000), dtype=bool)
    found = auc_over_models(member + np.zeros(member.shape), member)
    assert found.value == found.high == 1
    assert found.low < 0.6  # five models per side, however many samples

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score, roc_curve

from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.functions.roc import _binomial_quantile, auc, roc, tpr_at_fprs

scores = st.lists(
    st.one_of(st.integers(-4, 4).map(float), st.floats(-1e300, 1e300), st.sampled_from([0.0, -0.0])),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(scores, scores)
def test_the_curve_is_that_of_scikit_learn_under_any_ties(members, others):
    labels = np.repeat([1, 0], [len(members), len(others)])
    joined = np.array(members + others)
    fpr, tpr, thresholds = roc_curve(labels, joined, drop_intermediate=False)
    curve = roc(members, others)
    assert curve.fpr == pytest.approx(fpr)
    assert curve.tpr == pytest.approx(tpr)
    assert np.array_equal(curve.thresholds, thresholds)
    expected = roc_auc_score(labels, joined)
    assert curve.auc == pytest.approx(expected, abs=1e-12)
    assert auc(members, others) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(scores, scores, st.floats(0, 1))
def test_the_rate_at_a_false_positive_rate_is_the_best_cut_that_keeps_to_it(members, others, fpr):
    members, others = np.array(members), np.array(others)
    cuts = [np.inf, *members, *others]
    allowed = [np.mean(members >= cut) for cut in cuts if np.sum(others >= cut) <= fpr * len(others) + 1e-9]
    assert tpr_at_fprs(members, others, [fpr])[fpr].value == max(allowed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000))
def test_monotone_maps_and_order_change_nothing(seed):
    rng = np.random.default_rng(seed)
    members, others = rng.normal(0.5, 1, 30), rng.normal(0, 1, 40)
    mapped = roc(np.exp(members[::-1]), np.exp(others))
    assert mapped.auc == roc(members, others).auc
    assert np.array_equal(mapped.true_positives, roc(members, others).true_positives)
    assert auc(others, members) == pytest.approx(1 - auc(members, others))


def test_a_rate_below_one_false_positive_says_what_it_was_read_at():
    members, others = np.arange(10.0) + 5, np.arange(10.0)
    strict, loose = tpr_at_fprs(members, others, [0.001, 0.1]).values()
    assert strict.value == 0.5
    assert strict.interval == "mover of clopper-pearson and order statistics, at 0 of 10 false positives"
    exact = clopper_pearson(6, 10)
    assert (loose.value, loose.n, loose.interval) == (0.6, 10, "mover of clopper-pearson and order statistics")
    assert loose.low < exact.low < exact.high < loose.high


def test_a_false_positive_rate_is_not_lost_to_rounding():
    others = np.arange(100.0)
    assert tpr_at_fprs([99.5], others, [0.0])[0.0].value == 1
    assert tpr_at_fprs([70.5], others, [0.29])[0.29].value == 1  # 0.29 * 100 is 28.999999999999996
    with pytest.raises(ValueError, match="false positive rate"):
        tpr_at_fprs([0.0], others, [1.1])


def test_empty_and_nan_scores_are_refused():
    with pytest.raises(ValueError, match="empty"):
        roc([], [1.0])
    with pytest.raises(ValueError, match="NaN"):
        auc([np.nan], [1.0])


@pytest.mark.parametrize(("n", "fpr"), [(120, 0.01), (1000, 0.01), (300, 0.1)])
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_the_interval_covers_the_rate_at_the_true_false_positive_rate(n, fpr, shift):
    rng = np.random.default_rng(0)
    truth, hits = norm.sf(norm.isf(fpr) - shift), 0
    for _ in range(300):
        estimate = tpr_at_fprs(rng.normal(shift, 1, n), rng.normal(size=n), [fpr])[fpr]
        hits += estimate.low <= truth <= estimate.high
    assert hits / 300 >= 0.92


def test_the_interval_covers_where_persons_have_many_samples():
    rng = np.random.default_rng(0)
    groups, truth, hits = np.repeat(np.arange(60), 10), norm.sf(norm.isf(0.1) - 1), 0
    for _ in range(300):
        members, others = np.sqrt(0.9) * rng.normal(size=(2, 60))[:, groups] + np.sqrt(0.1) * rng.normal(size=(2, 600))
        both = {"member_groups": groups, "non_member_groups": groups + 60}
        estimate = tpr_at_fprs(members + 1, others, [0.1], **both)[0.1]
        hits += estimate.low <= truth <= estimate.high
    assert hits / 300 >= 0.92


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.floats(0.001, 0.999), st.sampled_from([0.025, 0.5, 0.975]))
def test_the_quantile_of_a_binomial_is_that_of_scipy(n, p, probability):
    at_most = binom.cdf(_binomial_quantile(probability, n, p), n, p)
    assert at_most >= probability - 1e-9
    assert at_most - binom.pmf(_binomial_quantile(probability, n, p), n, p) <= probability + 1e-9

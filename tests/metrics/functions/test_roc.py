import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.functions.roc import auc, roc, tpr_at_fprs

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
    assert strict.interval == "clopper-pearson, at 0 of 10 false positives"
    assert loose == clopper_pearson(6, 10)


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

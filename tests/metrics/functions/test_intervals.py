import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binomtest, norm, t, ttest_1samp
from sklearn.metrics import roc_auc_score

from raybench.metrics.functions.intervals import (
    clopper_pearson,
    delong,
    jackknife,
    mean_interval,
    proportion,
    resampled_mean,
    sparse_mean,
    wilson,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 20), (7, 20), (20, 20), (364, 2065)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_binomial_intervals_are_those_of_scipy(successes, n, confidence):
    for ours, method in ((clopper_pearson, "exact"), (wilson, "wilson")):
        estimate = ours(successes, n, confidence=confidence)
        expected = binomtest(successes, n).proportion_ci(confidence, method=method)
        assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert (estimate.value, estimate.n) == (successes / n, n)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_counts_that_are_no_proportion_are_refused(successes, n):
    with pytest.raises(ValueError, match=r"no samples|successes"):
        clopper_pearson(successes, n)


def test_a_proportion_without_groups_is_clopper_pearson():
    assert proportion([1, 0, 1, 1]) == clopper_pearson(3, 4)


def test_copies_of_a_person_add_no_certainty():
    outcomes = np.array([1, 0, 1, 1, 0, 0, 1, 1, 1, 0] * 4)
    single = proportion(outcomes, groups=np.arange(40))
    tripled = proportion(np.repeat(outcomes, 3), groups=np.repeat(np.arange(40), 3))
    naive = proportion(np.repeat(outcomes, 3))
    assert tripled[:3] == pytest.approx(single[:3], rel=1e-9)
    assert naive.high - naive.low < 0.7 * (tripled.high - tripled.low)


def test_all_right_with_groups_is_as_sure_as_the_number_of_groups():
    estimate = proportion(np.ones(90), groups=np.repeat(np.arange(9), 10))
    assert (estimate.low, estimate.high) == pytest.approx(clopper_pearson(9, 9)[1:3])


def slow_delong(members, others):
    psi = (members[:, None] > others).astype(float) + 0.5 * (members[:, None] == others)
    variance = psi.mean(1).var(ddof=1) / len(members) + psi.mean(0).var(ddof=1) / len(others)
    freedom = (
        variance**2 / sum((part.var(ddof=1) / len(part)) ** 2 / (len(part) - 1) for part in (psi.mean(1), psi.mean(0)))
        if variance > 0
        else 1
    )
    return psi.mean(), t.ppf(0.975, freedom) * np.sqrt(variance)


scores = st.lists(st.integers(-6, 6).map(float), min_size=2, max_size=25)


@settings(max_examples=80, deadline=None)
@given(scores, scores)
def test_delong_equals_the_pairwise_definition_under_ties(members, others):
    members, others = np.array(members), np.array(others)
    auc, half = slow_delong(members, others)
    estimate = delong(members, others)
    labels = np.repeat([1, 0], [len(members), len(others)])
    assert estimate.value == pytest.approx(auc, abs=1e-12)
    assert estimate.value == pytest.approx(roc_auc_score(labels, np.concatenate([members, others])), abs=1e-12)
    if estimate.interval == "delong, logit t":
        half /= auc * (1 - auc)
        assert (estimate.low, estimate.high) == pytest.approx(expit(logit(auc) + np.array([-half, half])), abs=1e-9)
    else:
        assert half < 1e-7
        assert estimate.low < estimate.high


def test_delong_covers_the_true_auc():
    rng = np.random.default_rng(0)
    truth = 0.7602499389065234  # Phi(1 / sqrt(2)) for two normals one sd apart
    hits = 0
    for _ in range(400):
        estimate = delong(rng.normal(1, 1, 40), rng.normal(0, 1, 60))
        hits += estimate.low <= truth <= estimate.high
    assert 0.91 <= hits / 400 <= 0.98


@pytest.mark.parametrize(
    ("auc", "m", "n", "least"), [(0.99, 50, 50, 0.93), (0.9, 10, 1000, 0.89), (0.7, 10, 1000, 0.93)]
)
def test_delong_covers_an_auc_near_1_and_sets_of_unequal_size(auc, m, n, least):
    rng = np.random.default_rng(0)
    shift, hits = norm.ppf(auc) * np.sqrt(2), 0
    for _ in range(500):
        estimate = delong(rng.normal(shift, 1, m), rng.normal(0, 1, n))
        hits += estimate.low <= auc <= estimate.high
    assert hits / 500 >= least


@pytest.mark.parametrize(
    ("members", "others", "value"), [([2.0, 3.0], [0.0, 1.0], 1.0), ([1.0] * 5, [1.0] * 5, 0.5), ([2.0], [1.0], 1.0)]
)
def test_an_auc_without_visible_variance_is_not_certain(members, others, value):
    estimate = delong(members, others)
    assert estimate.value == value
    assert estimate.high - estimate.low > 0.4
    assert estimate.interval.startswith("clopper-pearson")


def test_copies_of_a_person_add_no_certainty_to_the_auc():
    rng = np.random.default_rng(1)
    members, others = rng.normal(0.5, 1, 30), rng.normal(0, 1, 40)
    single = delong(members, others)
    groups = [np.repeat(np.arange(30), 4), np.repeat(np.arange(40) + 100, 4)]
    copied = delong(np.repeat(members, 4), np.repeat(others, 4), member_groups=groups[0], non_member_groups=groups[1])
    assert copied[:3] == pytest.approx(single[:3], rel=1e-9)
    assert delong(np.repeat(members, 4), np.repeat(others, 4)).low > single.low


def test_groups_on_one_side_only_are_refused():
    with pytest.raises(ValueError, match="or neither"):
        delong([1.0, 2.0], [0.0, 1.0], member_groups=[0, 1])


def test_mean_interval_is_the_t_interval():
    values = [0.1, 0.4, 0.35, 0.8]
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values)[1:3] == pytest.approx((expected.low, expected.high))


def test_one_value_has_no_interval_and_says_so():
    estimate = mean_interval([0.3])
    assert estimate.value == 0.3
    assert np.isnan(estimate.low)
    assert np.isnan(estimate.high)
    assert estimate.interval == "none: one value"


def test_jackknife_of_a_mean_is_its_t_interval():
    values = np.array([0.1, 0.4, 0.35, 0.8, 0.2])
    left_out = [np.delete(values, i).mean() for i in range(5)]
    assert jackknife(left_out, values.mean(), 5)[:3] == pytest.approx(mean_interval(values)[:3])


def test_jackknife_of_one_group_has_no_interval_and_says_so():
    assert jackknife([0.5], 0.5, 10).interval == "none: one group to leave out"


def test_resampled_mean_is_wider_than_the_plain_standard_error_and_covers():
    rng = np.random.default_rng(0)
    shares = rng.binomial(300, 0.5, 10) / 300
    estimate = resampled_mean(shares, n_train=2700, n_test=300, n=3000)
    plain = mean_interval(shares)
    ratio = (estimate.high - estimate.low) / (plain.high - plain.low)
    assert ratio == pytest.approx(np.sqrt((1 / 10 + 1 / 9) * 10))


def test_splits_that_all_agree_are_not_certain():
    assert resampled_mean([1.0] * 10, n_train=90, n_test=10, n=100)[1:3] == pytest.approx(clopper_pearson(10, 10)[1:3])


@pytest.mark.parametrize("outcomes", [[2, 0], [-1, 1], [0.5, 1.5]])
def test_outcomes_outside_0_to_1_are_no_proportion(outcomes):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        proportion(outcomes)


@pytest.mark.parametrize("n", [60, 120, 500])
@pytest.mark.parametrize("changed", [0.01, 0.03, 0.1])
def test_a_mean_of_which_few_values_differ_from_0_is_covered(n, changed):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        estimate = sparse_mean((rng.random(n) < changed) * rng.random(n), high=1)
        hits += estimate.low <= changed / 2 <= estimate.high
    assert hits / 400 >= 0.92


def test_an_unbounded_mean_of_rare_large_values_is_covered():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        estimate = sparse_mean((rng.random(120) < 0.03) * rng.exponential(5, 120))
        hits += estimate.low <= 0.15 <= estimate.high or np.isnan(estimate.low)
    assert hits / 400 >= 0.87


def test_values_that_are_all_0_leave_the_mean_open():
    bounded, unbounded = sparse_mean(np.zeros(60), high=2), sparse_mean(np.zeros(60))
    assert (bounded.value, bounded.low) == (0, 0)
    assert bounded.high == pytest.approx(2 * clopper_pearson(0, 60).high)
    assert np.isnan([unbounded.low, unbounded.high]).all()
    assert unbounded.interval == "none: all values are 0, and they have no bound"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.just(0.0) | st.floats(1e-100, 100), min_size=2, max_size=30).filter(any))
def test_the_interval_of_an_unbounded_mean_holds_it_and_scales_with_it(values):
    estimate, scaled = sparse_mean(values), sparse_mean(3 * np.array(values))
    assert 0 <= estimate.low <= estimate.value <= estimate.high
    assert scaled[1:3] == pytest.approx((3 * estimate.low, 3 * estimate.high))

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtr
from scipy.stats import permutation_test, ttest_ind, ttest_rel

from raybench.metrics.functions.statistics import (
    gap_to_reference,
    holm,
    minimum_detectable_difference,
    paired_test,
    rank_intervals,
)

REFERENCE = np.array([0.86, 0.88, 0.87, 0.90, 0.84])


def test_the_gap_of_one_value_is_a_prediction_interval():
    gap = gap_to_reference(0.80, REFERENCE)
    half = 2.7764451051977987 * REFERENCE.std(ddof=1) * np.sqrt(1 + 1 / 5)
    assert gap.gap == pytest.approx(-0.07)
    assert (gap.low, gap.high) == pytest.approx((-0.07 - half, -0.07 + half))
    assert gap.z == pytest.approx(-0.07 / REFERENCE.std(ddof=1))
    assert (gap.percentile, gap.n, gap.n_reference) == (0.0, 1, 5)


def test_the_gap_of_several_seeds_is_welchs_interval():
    values = [0.80, 0.81, 0.83]
    gap = gap_to_reference(values, REFERENCE)
    expected = ttest_ind(values, REFERENCE, equal_var=False).confidence_interval(0.95)
    assert (gap.low, gap.high) == pytest.approx((expected.low, expected.high))


def test_a_further_retrained_model_lies_within_the_interval_95_times_in_100():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.87, 0.02, (1000, 9))
    inside = [gap.low <= 0 <= gap.high for gap in (gap_to_reference(row[0], row[1:]) for row in draws)]
    assert 0.93 <= np.mean(inside) <= 0.97


def test_one_retrained_model_gives_a_gap_and_a_reason_instead_of_an_interval():
    gap = gap_to_reference(0.8, [0.9])
    assert gap.gap == pytest.approx(-0.1)
    assert np.isnan([gap.low, gap.high, gap.z]).all()
    assert gap.interval == "none: one retrained model"


def test_identical_retrained_models_are_named_and_give_no_infinite_z():
    reference = [0.1] * 7  # their mean is not exactly 0.1
    same, other = gap_to_reference(0.1, reference), gap_to_reference(0.3, reference)
    assert (same.gap, same.low, same.high, same.z, same.percentile) == (0, 0, 0, 0, 50)
    assert np.isnan(other.z)
    assert "identical" in other.interval


def test_the_gap_keeps_its_sign_so_over_forgetting_shows():
    assert gap_to_reference(0.99, REFERENCE).gap > 0 > gap_to_reference(0.5, REFERENCE).gap
    assert gap_to_reference(0.99, REFERENCE).percentile == 100


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.floats(-50, 50))
def test_gaps_do_not_depend_on_the_origin_or_the_order(reference, shift):
    values = np.array(reference)
    first = gap_to_reference(1.0, values)
    second = gap_to_reference(1.0 + shift, (values + shift)[::-1])
    assert second.gap == pytest.approx(first.gap, abs=1e-9)
    assert second.low == pytest.approx(first.low, abs=1e-6)


def test_the_paired_test_agrees_with_scipy():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.5, 1, 9), rng.normal(0, 1, 9)
    result = paired_test(first, second)
    assert result.p_t == pytest.approx(ttest_rel(first, second).pvalue)
    flips = permutation_test((first - second,), lambda d: d.mean(), permutation_type="samples", n_resamples=np.inf)
    assert result.p_permutation == pytest.approx(flips.pvalue)


def test_five_pairs_cannot_reach_five_percent_by_sign_flips():
    assert paired_test([1, 2, 3, 4, 5.5], [0, 0, 0, 0, 0]).p_permutation == pytest.approx(2 / 32)


def test_many_pairs_are_flipped_at_random_and_reproducibly():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.3, 1, 40), rng.normal(0, 1, 40)
    result = paired_test(first, second)
    assert result == paired_test(first, second)
    assert result.p_permutation == pytest.approx(result.p_t, abs=0.02)


def test_unpaired_seeds_are_refused():
    with pytest.raises(ValueError, match="two pairs"):
        paired_test([1.0, 2.0], [1.0])


def test_ranks_across_seeds_separate_only_what_differs():
    noise = np.random.default_rng(1).normal(0, 0.01, (3, 8))
    intervals = rank_intervals(np.array([[1.0], [1.0], [2.0]]) + noise)
    assert [(r.low, r.high) for r in intervals] == [(1, 2), (1, 2), (3, 3)]
    highest = rank_intervals(np.array([[1.0], [1.0], [2.0]]) + noise, best="highest")
    assert [(r.low, r.high) for r in highest] == [(2, 3), (2, 3), (1, 1)]


def test_equal_methods_are_told_apart_5_times_in_100():
    rng = np.random.default_rng(0)
    wrong = [any((r.low, r.high) != (1, 3) for r in rank_intervals(rng.normal(size=(3, 8)))) for _ in range(400)]
    assert 0.02 <= np.mean(wrong) <= 0.08


def test_one_seed_rules_no_rank_out_and_ties_share_it():
    intervals = rank_intervals([[1.0], [1.0], [3.0]])
    assert [(r.rank, r.low, r.high) for r in intervals] == [(1.5, 1, 3), (1.5, 1, 3), (3.0, 1, 3)]


def test_the_minimum_detectable_difference_is_found_with_the_stated_power():
    rng = np.random.default_rng(0)
    difference = minimum_detectable_difference(1.0, n=6, n_reference=8)
    p = [ttest_ind(rng.normal(difference, 1, 6), rng.normal(0, 1, 8), equal_var=False).pvalue for _ in range(600)]
    assert 0.75 <= np.mean(np.array(p) < 0.05) <= 0.86
    few = minimum_detectable_difference(1.0, n_reference=3, alpha=0.05 / 7)
    own, others = rng.normal(few, 1, 40_000), rng.normal(size=(40_000, 3))
    t = (own - others.mean(axis=1)) / (others.std(axis=1, ddof=1) * np.sqrt(1 + 1 / 3))
    assert np.mean(2 * stdtr(2, -np.abs(t)) < 0.05 / 7) == pytest.approx(0.8, abs=0.01)
    assert minimum_detectable_difference(1.0, n_reference=80) < minimum_detectable_difference(1.0, n_reference=5)


@pytest.mark.parametrize(("n", "n_reference", "alpha"), [(2, 3, 0.05), (2, 16, 0.05), (3, 8, 0.05 / 7), (5, 5, 0.05)])
@pytest.mark.parametrize("sd_values", [1.0, 0.2])
def test_several_seeds_find_the_minimum_detectable_difference_with_80_percent_power(n, n_reference, alpha, sd_values):
    rng = np.random.default_rng(0)
    difference = minimum_detectable_difference(1.0, n=n, n_reference=n_reference, sd_values=sd_values, alpha=alpha)
    values, reference = rng.normal(difference, sd_values, (20_000, n)), rng.normal(size=(20_000, n_reference))
    p = ttest_ind(values, reference, axis=1, equal_var=False).pvalue
    assert np.mean(p < alpha) == pytest.approx(0.8, abs=0.012)


def test_without_any_spread_every_difference_is_found():
    assert minimum_detectable_difference(0.0, n=3, n_reference=5) == 0
    with pytest.raises(ValueError, match="sd_values"):
        minimum_detectable_difference(1.0, n_reference=5, sd_values=0.5)


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(p_values)
def test_adjusted_p_values_match_plain_definitions(p):
    p = np.array(p)
    order = np.argsort(p, kind="stable")
    expected = [max(min(1, p[order[j]] * (len(p) - j)) for j in range(i + 1)) for i in range(len(p))]
    assert holm(p)[order] == pytest.approx(expected)
    assert (holm(p) <= np.minimum(1, p * len(p)) + 1e-15).all()


def test_p_values_outside_0_to_1_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        holm([0.5, 1.5])

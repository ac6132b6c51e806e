import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import laplace, norm
from sklearn.metrics import det_curve

from raybench.metrics.functions.epsilon import (
    CAP,
    ceiling,
    competition_score,
    forgetting_quality,
    per_sample,
)

ESTIMATORS = ["released", "threshold", "competition", "cross_fitted", "gaussian"]
# N(0, 1) against N(mean, sd^2): epsilon at delta 0.05, 0.01 and 1e-5
KNOWN = [
    (0.1, 1, 0, 0.092708, 0.340669),
    (0.25, 1, 0.133191, 0.359851, 0.926342),
    (0.5, 1, 0.514258, 0.919458, 1.993091),
    (1, 1, 1.568878, 2.317789, 4.377178),
    (2, 1, 4.573400, 5.997893, 9.997256),
    (3, 1, 8.647367, 10.745801, 16.675494),
    (0, 0.5, 4.232635, 8.412157, None),
    (0, 2, 4.232635, 8.412157, None),
    (0, 0.25, 26.464291, 47.411879, None),
    (1, 0.5, 11.042603, 17.833027, None),
    (1, 2, 6.377126, 11.744455, None),
    (0.5, 0.8, 1.356382, 2.663205, None),
]


def normals(models, samples, *, mean=0.0, sd=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, sd, (models, samples))


def one_sample(unlearned, retrained, delta=0.0, estimator="threshold"):
    return per_sample(np.c_[unlearned], np.c_[retrained], delta, estimator=estimator).item()


def released_loop(unlearned, retrained, delta):
    """The released algorithm as its authors describe it: densities, a swap by medians, scikit-learn's cuts."""
    found = []
    for u, r in zip(unlearned.T, retrained.T):
        u_scores, r_scores = (norm.pdf(x, u.mean(), u.std()) / norm.pdf(x, r.mean(), r.std()) for x in (u, r))
        if np.median(r_scores) > np.median(u_scores):
            u_scores, r_scores = r_scores, u_scores
        labels = np.repeat([0, 1], [len(r_scores), len(u_scores)])
        best = -np.inf
        for fpr, fnr in zip(*det_curve(labels, np.concatenate([r_scores, u_scores]))[:2]):
            if fpr == 0 and fnr == 0:
                best = np.inf
            elif fpr > 0 and fnr > 0:
                for one, other in ((fpr, fnr), (fnr, fpr)):
                    if 1 - delta > one:
                        best = max(best, np.log(1 - delta - one + 1e-8) - np.log(other + 1e-8))
        found.append(best)
    return np.array(found)


def every_event(unlearned, retrained, delta, *, intervals):
    """The best epsilon over all events of one sample, by trying each."""
    levels = np.unique(np.concatenate([unlearned, retrained]))
    edges = [-np.inf, *((levels[1:] + levels[:-1]) / 2), np.inf]
    best = -np.inf
    for low in edges:
        for high in edges:
            if high < low or not (intervals or low == -np.inf or high == np.inf):
                continue
            inside_u = np.mean((unlearned > low) & (unlearned < high))
            inside_r = np.mean((retrained > low) & (retrained < high))
            for fpr, fnr in ((inside_r, 1 - inside_u), (1 - inside_r, inside_u)):
                errors = round(fpr * len(retrained)), round(fnr * len(unlearned))
                if errors == (0, 0):
                    return np.inf
                if 0 in errors:
                    continue
                fpr, fnr = errors[0] / len(retrained), errors[1] / len(unlearned)
                for one, other in ((fpr, fnr), (fnr, fpr)):
                    if 1 - delta - one > 0:
                        best = max(best, np.log((1 - delta - one) / other))
    return best


@pytest.mark.parametrize("models", [8, 40, 80])
def test_the_released_epsilon_is_that_of_the_plain_loop_sample_by_sample(models):
    unlearned, retrained = normals(models, 150, mean=0.5, sd=1.3), normals(models, 150, seed=1)
    found, expected = per_sample(unlearned, retrained), released_loop(unlearned, retrained, 0.05)
    finite = np.isfinite(expected)
    assert np.array_equal(np.isinf(found), ~finite)
    assert found[finite] == pytest.approx(expected[finite], abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=9),
    st.lists(st.integers(0, 6), min_size=2, max_size=9),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_thresholds_and_intervals_are_the_best_of_every_event_under_any_ties(unlearned, retrained, delta):
    u, r = np.array(unlearned, dtype=float), np.array(retrained, dtype=float)
    best = every_event(u, r, delta, intervals=False)
    assert one_sample(u, r, delta) == pytest.approx(0 if best == -np.inf else best)
    best = every_event(u, r, delta, intervals=True)
    narrow, wide = sorted([np.ptp(u), np.ptp(r)])
    expected = CAP if narrow < 0.01 * wide else min(max(best, 0), CAP)
    assert one_sample(u, r, delta, "competition") == pytest.approx(expected)


def test_randomized_response_is_exact_although_all_scores_are_tied():
    retrained, unlearned = [0] * 8 + [1] * 2, [0] * 2 + [1] * 8
    assert one_sample(unlearned, retrained) == pytest.approx(np.log(4))
    assert one_sample(unlearned, retrained, 0.1) == pytest.approx(np.log(3.5))


def test_small_populations_have_their_known_epsilons():
    assert one_sample([3.5, 5, 6, 7], [1, 2, 3, 4]) == pytest.approx(np.log(3))
    assert one_sample([3.5, 5, 6, 7], [1, 2, 3, 4], 0.05) == pytest.approx(np.log(2.8))
    assert one_sample([3, 4], [1, 2]) == np.inf
    assert one_sample([0, 1, 1, 1], [0] * 9 + [1]) == pytest.approx(np.log(7.5))  # 4 against 10 models


@pytest.mark.parametrize("models", [4, 80])
def test_equal_distinct_populations_have_epsilon_0_and_tied_ones_have_no_cut(models):
    same = np.arange(models)
    assert one_sample(same, same) == pytest.approx(0, abs=1e-12)
    assert one_sample(same, same, 0.05) == pytest.approx(np.log(1 - 0.05 * models / (models - 1)))
    for estimator in ESTIMATORS:
        assert one_sample(np.ones(models), np.ones(models), 0.05, estimator) == 0


def test_a_separated_population_is_infinite_or_capped():
    unlearned, retrained = normals(20, 5, mean=50), normals(20, 5, seed=1)
    for estimator in ("released", "threshold"):
        assert np.isinf(per_sample(unlearned, retrained, estimator=estimator)).all()
    for estimator in ("competition", "gaussian"):
        assert (per_sample(unlearned, retrained, estimator=estimator) == CAP).all()


def test_copies_of_one_model_give_numbers():
    copies, retrained = np.repeat(normals(1, 30, mean=2), 40, axis=0), normals(40, 30, seed=1)
    for estimator in ESTIMATORS:
        assert not np.isnan(per_sample(copies, retrained, estimator=estimator)).any()
    assert (per_sample(copies, retrained, 1e-5, estimator="competition") == CAP).all()


def test_margins_of_1e4_do_not_underflow():
    unlearned, retrained = 1e4 + normals(30, 40, sd=1e-3), -1e4 + normals(30, 40, seed=1)
    assert np.isinf(per_sample(unlearned, retrained)).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 60), st.integers(2, 60), st.floats(0, 0.3))
def test_no_finite_epsilon_exceeds_the_ceiling(n_unlearned, n_retrained, delta):
    unlearned, retrained = normals(n_unlearned, 60, mean=1.5), normals(n_retrained, 60, seed=1)
    found = per_sample(unlearned, retrained, delta, estimator="threshold")
    assert (found[np.isfinite(found)] <= ceiling(n_unlearned, n_retrained, delta) + 1e-9).all()


def test_the_ceiling_of_80_models_is_the_logarithm_of_75():
    assert ceiling(80, 80, 0.05) == pytest.approx(np.log(75))
    assert ceiling(4, 10, 0) == pytest.approx(np.log(7.5))
    assert ceiling(1, 1, 0.05) == 0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_epsilon_is_the_same_with_both_sides_exchanged_and_follows_the_samples(estimator):
    unlearned, retrained = normals(24, 30, mean=0.7, sd=1.4), normals(24, 30, seed=1)
    found = per_sample(unlearned, retrained, estimator=estimator)
    assert per_sample(retrained, unlearned, estimator=estimator) == pytest.approx(found)
    order = np.random.default_rng(2).permutation(30)
    assert per_sample(unlearned[:, order], retrained[:, order], estimator=estimator) == pytest.approx(found[order])


@pytest.mark.parametrize("estimator", ["released", "threshold", "competition", "gaussian"])
def test_the_order_of_the_models_does_not_matter(estimator):
    unlearned, retrained = normals(20, 25, mean=0.7), normals(30, 25, seed=1)
    found = per_sample(unlearned, retrained, estimator=estimator)
    assert per_sample(unlearned[::-1], retrained[::-1], estimator=estimator) == pytest.approx(found)


@pytest.mark.parametrize("estimator", ["threshold", "competition"])
def test_cuts_of_the_signal_do_not_change_under_increasing_maps(estimator):
    unlearned, retrained = normals(20, 25, mean=0.7), normals(20, 25, seed=1)
    found = per_sample(unlearned, retrained, estimator=estimator)
    assert np.array_equal(per_sample(np.sinh(unlearned), np.sinh(retrained), estimator=estimator), found)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_epsilon_does_not_rise_with_delta(estimator):
    unlearned, retrained = normals(30, 40, mean=1), normals(30, 40, seed=1)
    found = [np.median(per_sample(unlearned, retrained, delta, estimator=estimator)) for delta in (0, 0.01, 0.05, 0.2)]
    assert found == sorted(found, reverse=True)


def test_the_epsilon_of_two_laplace_distributions_is_the_known_one():
    ranks = (np.arange(1000) + 0.5) / 1000
    retrained = laplace.ppf(ranks)
    for shift, delta in ((1, 0), (1, 0.05), (2, 0.05), (2, 0.2)):
        expected = shift + 2 * np.log(1 - delta)
        found = per_sample(np.c_[retrained + shift], np.c_[retrained], delta, estimator="threshold").item()
        # at delta 0 the far tails, where one model decides, can only add
        assert found >= expected - 0.01
        if delta:
            assert found == pytest.approx(expected, abs=0.01)


def test_forgetting_quality_halves_with_each_half_unit_of_epsilon():
    assert forgetting_quality([-0.1, 0, 0.49]) == 1
    assert forgetting_quality([0.5]) == 1 / 2
    assert forgetting_quality([1.0, 6.49]) == (1 / 4 + 2 / 2**13) / 2
    assert forgetting_quality([6.5, 50, np.inf]) == 0
    assert forgetting_quality([6.5], bins=14) == 2 / 2**14
    with pytest.raises(ValueError, match="NaN"):
        forgetting_quality([1.0, np.nan])


def test_the_competition_score_scales_quality_by_both_accuracy_ratios_and_does_not_clip_them():
    accuracies = {"retain_unlearned": [0.9, 0.9], "retain_retrained": [1.0], "test_unlearned": [0.96, 1.0]}
    assert competition_score(0.5, **accuracies, test_retrained=[0.8]) == pytest.approx(0.5 * 0.9 * 0.98 / 0.8)
    with pytest.raises(ValueError, match="is 0"):
        competition_score(0.5, **accuracies, test_retrained=[0.0])


@pytest.mark.parametrize(
    ("unlearned", "retrained", "settings", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), {}, "3 samples"),
        (np.zeros((1, 3)), np.zeros((2, 3)), {}, "at least 2"),
        (np.zeros(3), np.zeros((2, 3)), {}, "shape"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), {}, "NaN"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"delta": 1.0}, "delta"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"estimator": "best"}, "cross_fitted"),
        (np.zeros((3, 3)), np.zeros((3, 3)), {"estimator": "cross_fitted"}, "folds"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_reason(unlearned, retrained, settings, message):
    with pytest.raises(ValueError, match=message):
        per_sample(unlearned, retrained, **settings)

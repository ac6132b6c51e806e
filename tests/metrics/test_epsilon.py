import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import laplace, norm
from sklearn.metrics import det_curve

from raybench.metrics.epsilon import (
    CAP,
    ceiling,
    certified_lower_bound,
    competition_bins,
    competition_score,
    forgetting_quality,
    gaussian,
    klom,
    legacy,
    margins,
    per_sample,
    scaled_confidences,
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


@pytest.mark.parametrize(("mean", "sd", "at_5", "at_1", "at_1e5"), KNOWN)
def test_the_epsilon_of_two_normals_is_the_known_one_in_both_directions(mean, sd, at_5, at_1, at_1e5):
    for delta, expected in ((0.05, at_5), (0.01, at_1), (1e-5, at_1e5)):
        if expected is not None:
            assert gaussian(0, 1, mean, sd, delta) == pytest.approx(expected, abs=1e-6)
            assert gaussian(mean, sd, 0, 1, delta) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.floats(-3, 3), st.floats(0.3, 3), st.sampled_from([0.2, 0.05, 1e-3]))
def test_no_event_of_two_normals_breaks_their_epsilon_and_some_event_reaches_it(mean, sd, delta):
    epsilon = gaussian(0, 1, mean, sd, delta).item()
    x = np.linspace(-40, 40, 400_001)
    p, q = norm.logpdf(x), norm.logpdf(x, mean, sd)
    worst = max(
        np.trapezoid(np.maximum(np.exp(a) - np.exp(epsilon + b), 0), x) for a, b in ((p, q), (q, p)) if epsilon < 300
    )
    assert worst <= delta + 1e-6
    if epsilon > 0:
        assert worst == pytest.approx(delta, abs=1e-5)


def test_the_epsilon_of_normals_is_infinite_at_delta_0_and_finite_far_out():
    assert gaussian(0, 1, [0, 0.1, 0], [1, 1, 1.1], 0).tolist() == [0, np.inf, np.inf]
    far = gaussian(0, 1, [1000, 0, 0], [1, 1e-3, 1e3], 0.05)
    assert far[0] == pytest.approx(1000**2 / 2 + 1000 * norm.ppf(0.95), rel=1e-5)
    assert far[1] == pytest.approx(far[2])
    assert np.isfinite(far).all()


@pytest.mark.parametrize(("sd", "delta"), [(0, 0.05), (-1, 0.05), (1, 1), (1, -0.1)])
def test_impossible_normals_and_deltas_are_refused(sd, delta):
    with pytest.raises(ValueError, match=r"delta|deviations"):
        gaussian(0, 1, 0, sd, delta)


@pytest.mark.parametrize("models", [8, 40, 80])
def test_the_released_epsilon_is_that_of_the_plain_loop_sample_by_sample(models):
    unlearned, retrained = normals(models, 150, mean=0.5, sd=1.3), normals(models, 150, seed=1)
    found, expected = per_sample(unlearned, retrained), released_loop(unlearned, retrained, 0.05)
    finite = np.isfinite(expected)
    assert np.array_equal(np.isinf(found), ~finite)
    assert found[finite] == pytest.approx(expected[finite], abs=1e-6)


@pytest.mark.parametrize(
    ("models", "median"),
    [(8, 1.28), (16, 1.16), (32, 0.96), (40, 0.875), (64, 0.60), (80, 0.51), (128, 0.31), (256, 0.11)],
)
def test_two_identical_populations_have_the_known_bias(models, median):
    found = per_sample(normals(models, 3000), normals(models, 3000, seed=1))
    # values lie on a lattice, so that a median can jump by a step: count what lies on either side instead
    assert np.mean(found < median - 0.006) <= 0.53
    assert np.mean(found > median + 0.006) <= 0.53


def test_the_bias_of_identical_populations_at_delta_1e_5_does_not_vanish_with_more_models():
    for models in (16, 80, 128):
        found = per_sample(normals(models, 800), normals(models, 800, seed=1), 1e-5)
        assert np.median(found) == pytest.approx(np.log(4), abs=0.01)


@pytest.mark.parametrize(("shift", "at_80"), [(2, 3.7), (3, 4.2)])
def test_large_epsilons_are_underestimated_as_known(shift, at_80):
    found = per_sample(normals(80, 800, mean=shift), normals(80, 800, seed=1))
    assert np.median(found) == pytest.approx(at_80, abs=0.2)


def test_cross_fitting_has_no_bias_from_searching_and_is_conservative():
    medians = [
        np.median(per_sample(normals(80, 2000, mean=shift), normals(80, 2000, seed=1), estimator="cross_fitted"))
        for shift in (0, 0.5, 1, 2)
    ]
    assert medians == pytest.approx([0, 0.34, 1.25, 2.65], abs=0.06)


def test_the_gaussian_estimator_comes_down_to_the_truth_with_more_models_of_normals():
    for shift, truth in ((0.5, 0.514258), (1, 1.568878), (2, 4.573400)):
        few, many = (
            np.median(per_sample(normals(n, 300, mean=shift), normals(n, 300, seed=1), estimator="gaussian"))
            for n in (64, 4096)
        )
        assert truth < many < few
        assert many == pytest.approx(truth, abs=0.12)


def test_the_gaussian_estimator_has_the_known_bias_for_identical_populations():
    null = [
        np.median(per_sample(normals(n, 2000), normals(n, 2000, seed=1), estimator="gaussian")) for n in (40, 80, 256)
    ]
    assert null == pytest.approx([0.19, 0.06, 0.0], abs=0.03)


@pytest.mark.parametrize(("models", "median"), [(80, 2.2), (512, 2.5)])
def test_the_competition_epsilon_of_a_perfect_unlearner_is_far_from_0(models, median):
    found = per_sample(normals(models, 60), normals(models, 60, seed=1), 1e-5, estimator="competition")
    assert np.median(found) == pytest.approx(median, abs=0.2)
    assert forgetting_quality(found) < 0.12


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


def test_randomised_response_is_exact_although_all_scores_are_tied():
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


@pytest.mark.parametrize(
    ("models", "at_one", "at_all"),
    [(40, 2.28, 1.13), (80, 3.00, 1.90), (128, 3.48, 2.39), (256, 4.18, 3.11), (512, 4.88, 3.82)],
)
def test_the_largest_certifiable_epsilon_is_the_known_one(models, at_one, at_all):
    # half of the models choose the cut, the others are counted
    unlearned, retrained = normals(2 * models, 1000, mean=100), normals(2 * models, 1000, seed=1)
    assert certified_lower_bound(unlearned, retrained) == pytest.approx(at_one, abs=0.006)
    for_all = certified_lower_bound(unlearned, retrained, correction="bonferroni")
    assert for_all == pytest.approx(at_all, abs=0.006)


def test_certified_bounds_hold_and_claim_nothing_of_identical_populations():
    bounds = certified_lower_bound(normals(100, 2000, mean=1), normals(100, 2000, seed=1))
    assert np.mean(bounds > 1.568878) <= 0.05
    assert np.median(certified_lower_bound(normals(400, 500, mean=1), normals(400, 500, seed=1))) > 0.4
    assert np.mean(certified_lower_bound(normals(100, 2000), normals(100, 2000, seed=1)) > 0) <= 0.05


def test_a_perfect_unlearner_of_40_models_a_side_has_the_known_forgetting_quality():
    found = per_sample(normals(40, 2000), normals(40, 2000, seed=1), 1e-5, estimator="competition")
    assert forgetting_quality(found, bins=10) == pytest.approx(0.084, abs=0.004)


def test_the_epsilon_of_two_laplace_distributions_is_the_known_one():
    ranks = (np.arange(20_000) + 0.5) / 20_000
    retrained = laplace.ppf(ranks)
    for shift, delta in ((1, 0), (1, 0.05), (2, 0.05), (2, 0.2)):
        expected = shift + 2 * np.log(1 - delta)
        found = per_sample(np.c_[retrained + shift], np.c_[retrained], delta, estimator="threshold").item()
        # at delta 0 the far tails, where one model decides, can only add
        assert found >= expected - 1e-3
        if delta:
            assert found == pytest.approx(expected, abs=2e-3)


def test_forgetting_quality_halves_with_each_half_unit_of_epsilon():
    assert forgetting_quality([-0.1, 0, 0.49]) == 1
    assert forgetting_quality([0.5]) == 1 / 2
    assert forgetting_quality([1.0, 6.49]) == (1 / 4 + 2 / 2**13) / 2
    assert forgetting_quality([6.5, 50, np.inf]) == 0
    assert forgetting_quality([6.5], bins=14) == 2 / 2**14
    with pytest.raises(ValueError, match="NaN"):
        forgetting_quality([1.0, np.nan])


def test_the_competitions_code_has_more_bins_than_its_note_says():
    assert (competition_bins(512), competition_bins(80)) == (14, 10)


def test_the_competition_score_scales_quality_by_both_accuracy_ratios_and_does_not_clip_them():
    accuracies = {"retain_unlearned": [0.9, 0.9], "retain_retrained": [1.0], "test_unlearned": [0.96, 1.0]}
    assert competition_score(0.5, **accuracies, test_retrained=[0.8]) == pytest.approx(0.5 * 0.9 * 0.98 / 0.8)
    with pytest.raises(ValueError, match="is 0"):
        competition_score(0.5, **accuracies, test_retrained=[0.0])


def test_klom_of_a_population_with_itself_is_0_and_of_a_separated_one_is_its_largest_value():
    x = normals(50, 20)
    assert klom(x, x) == pytest.approx(np.zeros(20))
    assert klom(x + 1000, x) == pytest.approx(np.full(20, np.log((1 + 1e-5) / 1e-5)))


def test_klom_counts_the_largest_value_and_knows_no_nan():
    # released code puts the maximum in no bin: two values, of which the larger would vanish on one side only
    assert klom([[0.0], [1.0]], [[0.0], [0.0]]).item() == pytest.approx(
        0.5 * np.log(0.5) + 0.5 * np.log(0.5 / 1e-5), abs=1e-4
    )
    assert klom(np.full((3, 2), 1e6), np.full((3, 2), 2e6)).tolist() == [0, 0]


def test_klom_is_that_of_two_histograms():
    unlearned, retrained = normals(60, 15, mean=0.5), normals(90, 15, seed=1)
    for u, r, found in zip(unlearned.T, retrained.T, klom(unlearned, retrained)):
        edges = np.histogram_bin_edges(np.concatenate([u, r]), 20)
        p, q = (np.histogram(side, edges)[0] / len(side) for side in (u, r))
        q = np.where(p > 0, np.maximum(q, 1e-5), q) / np.where(p > 0, np.maximum(q, 1e-5), q).sum()
        assert found == pytest.approx(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


def test_the_released_layout_is_read_without_taking_the_label_for_a_model():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 12)
    logits = rng.normal(size=(7, 12, 5)).astype(np.float32)
    stored = np.concatenate([np.eye(5, dtype=np.float32)[labels][:, None], logits.swapaxes(0, 1)], axis=1)
    read = legacy(stored)
    assert np.array_equal(read.logits, logits)
    assert np.array_equal(read.labels, labels)
    with pytest.raises(ValueError, match="one-hot"):
        legacy(logits.swapaxes(0, 1))


def test_the_scaled_confidence_lies_below_the_margin_by_at_most_the_logarithm_of_the_other_classes():
    rng = np.random.default_rng(0)
    logits, labels = 5 * rng.normal(size=(6, 40, 10)), rng.integers(0, 10, 40)
    difference = margins(logits, labels) - scaled_confidences(logits, labels)
    assert difference.shape == (6, 40)
    assert (difference >= 0).all()
    assert (difference <= np.log(9)).all()
    shifted = logits + rng.normal(size=(6, 40, 1))
    assert scaled_confidences(list(shifted), labels) == pytest.approx(scaled_confidences(logits, labels))


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


def test_invented_models_with_known_margins_give_the_known_epsilon_through_the_whole_pipeline():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    signs = np.where(labels == 1, 1.0, -1.0)

    def population(mean):
        return np.stack([np.zeros((256, 400)), signs * rng.normal(mean, 1, (256, 400))], axis=2)

    unlearned, retrained = (scaled_confidences(population(mean), labels) for mean in (1, 0))
    assert np.median(per_sample(unlearned, retrained, estimator="gaussian")) == pytest.approx(1.568878, abs=0.25)
    assert np.median(per_sample(unlearned, retrained)) == pytest.approx(
        np.median(per_sample(normals(256, 400, mean=1), normals(256, 400, seed=1))), abs=0.1
    )

"""What each estimator shows of populations whose true epsilon is known: the values that its numbers are read by."""

import numpy as np
import pytest

from raybench.metrics.functions.epsilon import certified_lower_bound, forgetting_quality, per_sample
from raybench.metrics.functions.model_signals import scaled_confidences


def normals(models, samples, *, mean=0.0, sd=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, sd, (models, samples))


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

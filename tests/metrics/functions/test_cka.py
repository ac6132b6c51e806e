import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.functions.cka import cka, cka_estimate


def pair(n, d, e=None, seed=0, shared=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 2
    return x, shared * x @ rng.normal(size=(d, e or d)) / math.sqrt(d) + rng.normal(size=(n, e or d))


def plain(x, y, estimator):
    """CKA from Gram matrices and a dense centring matrix, as its definition reads."""
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return ratio_of_kernels(k, l, estimator)


def ratio_of_kernels(k, l, estimator):  # noqa: E741
    n = len(k)
    one, centring = np.ones(n), np.eye(n) - 1 / n

    def hsic(a, b):
        if estimator == "biased":
            return ((centring @ a @ centring) * (centring @ b @ centring)).sum()
        a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
        cross = one @ a @ one * (one @ b @ one) / ((n - 1) * (n - 2))
        return np.trace(a @ b) + cross - 2 / (n - 2) * (one @ a @ b @ one)

    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize(("n", "d", "e"), [(60, 5, 5), (60, 5, 9), (20, 30, 30), (20, 30, 4), (8, 8, 8), (5, 3, 3)])
def test_both_routes_equal_the_gram_matrices_with_a_centring_matrix(estimator, n, d, e):
    x, y = pair(n, d, e)
    assert cka(x, y, estimator) == pytest.approx(plain(x, y, estimator), abs=1e-12)


@pytest.mark.parametrize("estimator", ["unbiased", "biased", "batched"])
@pytest.mark.parametrize("shape", [(40, 6), (10, 25)])
def test_cka_of_a_matrix_with_itself_is_one(estimator, shape):
    x, _ = pair(*shape)
    assert cka(x, x, estimator) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("estimator", ["unbiased", "biased", "batched"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(8, 40), d=st.integers(2, 20), scale=st.floats(1e-3, 1e3))
def test_rotation_scale_and_shift_change_nothing(estimator, seed, n, d, scale):
    x, y = pair(n, d, seed=seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    assert cka(scale * x @ rotation + 5, y, estimator) == pytest.approx(cka(x, y, estimator), abs=1e-8)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(8, 40), d=st.integers(2, 20))
def test_the_order_of_samples_and_of_features_changes_nothing_and_sides_swap(estimator, seed, n, d):
    x, y = pair(n, d, seed=seed)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(n), rng.permutation(d)
    value = cka(x, y, estimator)
    assert cka(x[rows][:, columns], y[rows], estimator) == pytest.approx(value, abs=1e-10)
    assert cka(y, x, estimator) == pytest.approx(value, abs=1e-10)


def test_unrelated_wide_features_read_zero_unbiased_and_0_80_in_batches():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(512, 2048)).astype(np.float32) for _ in range(2))
    assert abs(cka(x, y)) < 0.01
    assert cka(x, y, "biased") == pytest.approx(0.80, abs=0.01)
    assert cka(x, y, "batched", 512) == pytest.approx(0.80, abs=0.01)
    assert cka(x, y, "batched", 64) == pytest.approx(0.97, abs=0.01)


def test_batches_in_class_order_hide_what_two_models_share():
    rng = np.random.default_rng(0)
    means, labels = 1.6 * rng.normal(size=(20, 16)), np.repeat(np.arange(20), 200)
    x, y = (means[labels] + rng.normal(size=(4000, 16)) for _ in range(2))
    shuffled = rng.permutation(4000)
    exact = cka(x, y)
    assert exact > 0.5
    assert cka(x, y, "batched", 200) < 0.15
    assert cka(x[shuffled], y[shuffled]) == pytest.approx(exact, abs=1e-10)
    assert cka(x[shuffled], y[shuffled], "batched", 200) == pytest.approx(exact, abs=0.05)


def test_batched_is_the_equally_weighted_mean_over_batches_short_last_one_included():
    x, y = pair(25, 4)
    parts = [plain(x[i : i + 10], y[i : i + 10], "biased") for i in (0, 10, 20)]
    assert cka(x, y, "batched", 10) == pytest.approx(np.mean(parts), abs=1e-12)


def test_a_last_batch_of_one_sample_is_refused_instead_of_making_all_nan():
    x, y = pair(21, 4)
    with pytest.raises(ValueError, match="last batch of 10 holds one sample"):
        cka(x, y, "batched", 10)


@pytest.mark.parametrize("shape", [(3000, 40), (200, 400)])
def test_float32_features_far_from_zero_keep_six_digits(shape):
    x, y = pair(*shape)
    x, y = (x + 300).astype(np.float32), (y * 1e4).astype(np.float32)
    assert cka(x, y) == pytest.approx(cka(x.astype(float), y.astype(float)), abs=1e-6)


def test_huge_and_tiny_features_neither_overflow_nor_vanish():
    x, y = pair(50, 6)
    assert cka((x * 1e18).astype(np.float32), (y * 1e-18).astype(np.float32)) == pytest.approx(cka(x, y), abs=1e-5)


@pytest.mark.parametrize("shape", [(30, 4), (4, 30)])
@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e30])
@pytest.mark.parametrize("estimator", ["unbiased", "biased", "batched"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_features_are_refused_with_the_reason(shape, value, estimator, dtype):
    x, _ = pair(*shape)
    with pytest.raises(ValueError, match="constant"):
        cka(x.astype(dtype), np.full(shape, value, dtype=dtype), estimator)


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), "same samples"),
        (np.ones((0, 2)), np.ones((0, 2)), "non-empty"),
        (np.ones(5), np.ones(5), "non-empty"),
        (np.array([[np.nan], [1.0]]), np.ones((2, 1)), "NaN"),
        (np.eye(3), np.eye(3), "at least 4 samples"),
    ],
)
def test_bad_input_is_refused_with_its_reason(x, y, reason):
    with pytest.raises(ValueError, match=reason):
        cka(x, y)


def test_an_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="allowed: unbiased, biased, batched"):
        cka(np.eye(5), np.eye(5), "debiased")


def test_torch_and_half_precision_features_are_accepted():
    x, y = pair(50, 6)
    assert cka(torch.tensor(x), torch.tensor(y)) == cka(x, y)
    assert cka(torch.tensor(x).bfloat16(), y.astype(np.float16)) == pytest.approx(cka(x, y), abs=0.01)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize(("n", "d"), [(61, 5), (33, 40), (14, 3)])
def test_the_jackknife_equals_leaving_each_group_out_by_hand(estimator, n, d):
    x, y = pair(n, d)
    estimate = cka_estimate(x, y, estimator=estimator, groups=20)
    groups = min(20, n)
    left = [plain(x[keep], y[keep], estimator) for keep in (np.arange(n) % groups != g for g in range(groups))]
    error = math.sqrt((groups - 1) / groups * np.sum((left - np.mean(left)) ** 2))
    assert estimate.value == pytest.approx(plain(x, y, estimator), abs=1e-10)
    t = {20: 2.0930, 14: 2.1604}[groups]
    assert estimate.high - estimate.value == pytest.approx(min(t * error, 1 - estimate.value), abs=1e-4)
    assert estimate.n == n


def test_wide_features_finished_one_by_one_have_the_same_interval(monkeypatch):
    x, y = pair(200, 30)
    together = cka_estimate(x, y)
    monkeypatch.setattr("raybench.metrics.functions.cka._FINISHED_TOGETHER", 0)
    alone = cka_estimate(x, y)
    np.testing.assert_allclose(alone[:3], together[:3], atol=1e-12)


def test_the_interval_covers_the_population_value_at_its_level():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(6, 6))

    def draw(n):
        x = rng.normal(size=(n, 6))
        return x, x @ mix + 2 * rng.normal(size=(n, 6))

    truth = cka(*draw(200_000))
    intervals = [cka_estimate(*draw(120)) for _ in range(200)]
    assert np.mean([e.low <= truth <= e.high for e in intervals]) == pytest.approx(0.95, abs=0.05)


def test_four_samples_have_a_value_and_say_why_there_is_no_interval():
    x, _ = pair(4, 2)
    estimate = cka_estimate(x, x)
    assert estimate.value == pytest.approx(1)
    assert math.isnan(estimate.low)
    assert estimate.interval.startswith("none: 4 samples")


def test_features_that_vary_in_one_group_only_say_why_there_is_no_interval():
    x = np.zeros((60, 3))
    x[0] = 1
    estimate = cka_estimate(x, x, estimator="biased")
    assert estimate.value == pytest.approx(1)
    assert estimate.interval == "none: constant features without one group of samples"


@pytest.mark.parametrize("estimator", ["unbiased", "biased", "batched"])
@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 30)])
@pytest.mark.parametrize(
    ("dtype", "scale"), [(np.float32, 2.0**-126), (np.float32, 1e36), (np.float64, 1e-200), (np.float64, 1e300)]
)
def test_the_scale_of_the_features_does_not_change_cka(estimator, n, d, dtype, scale):
    x, y = (part.astype(dtype) for part in pair(n, d))
    scaled = cka(x * dtype(scale), y, estimator)
    assert scaled == pytest.approx(cka(x, y, estimator), rel=1e-4)
    assert cka(y, x * dtype(scale), estimator) == pytest.approx(scaled, rel=1e-4)

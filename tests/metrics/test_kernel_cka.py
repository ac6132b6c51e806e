"""CKA with an RBF kernel: slow references with a centering matrix and with sums over quadruples, sigma, interval."""

import itertools
import math

import numpy as np
import pytest

from raybench.metrics.functions.cka import rbf_cka_estimate
from raybench.metrics.functions.intervals import jackknife
from raybench.metrics.kernel_cka import cka_rbf_to_retrained


def kernel(rows, sigma=None):
    squares = np.array([[np.sum((a - b) ** 2) for b in rows] for a in rows])
    variance = np.median(squares[squares > 0]) if sigma is None else sigma**2
    return np.exp(-squares / (2 * variance))


def biased(k, other):
    n = len(k)
    center = np.eye(n) - 1 / n

    def hsic(a, b):
        return np.trace(a @ center @ b @ center)

    return hsic(k, other) / math.sqrt(hsic(k, k) * hsic(other, other))


def unbiased(k, other):
    """Average k_ij (l_ij + l_qr - 2 l_iq) over all ordered quadruples of different samples."""

    def hsic(a, b):
        terms = [a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q]) for i, j, q, r in itertools.permutations(range(len(a)), 4)]
        return np.mean(terms)

    return hsic(k, other) / math.sqrt(hsic(k, k) * hsic(other, other))


@pytest.fixture
def features():
    x = np.random.default_rng(0).normal(size=(8, 3))
    x[5] = x[2]  # a distance of 0, which the median leaves out
    return x, x @ np.diag([1, 2, 0.5]) + 0.5 * np.random.default_rng(1).normal(size=(8, 3))


@pytest.mark.parametrize("sigma", [None, 0.7, 3.0])
def test_both_estimators_are_those_of_plain_loops(features, sigma):
    x, y = features
    kernels = kernel(x, sigma), kernel(y, sigma)
    assert rbf_cka_estimate(x, y, sigma=sigma, estimator="biased").value == pytest.approx(biased(*kernels), rel=1e-10)
    assert rbf_cka_estimate(x, y, sigma=sigma).value == pytest.approx(unbiased(*kernels), rel=1e-10)


def test_the_interval_is_the_jackknife_with_the_kernels_of_all_samples():
    x, y = np.random.default_rng(0).normal(size=(2, 40, 4))
    kernels = kernel(x), kernel(x + y)
    left_out = []
    for group in range(20):
        kept = np.delete(np.arange(40), np.arange(group, 40, 20))
        left_out.append(biased(*(k[np.ix_(kept, kept)] for k in kernels)))
    expected = jackknife(left_out, biased(*kernels), 40)
    assert rbf_cka_estimate(x, x + y, estimator="biased")[:4] == pytest.approx(expected[:4])


def test_a_median_sigma_ignores_scale_and_a_fixed_one_does_not(features):
    x, y = features
    assert cka_rbf_to_retrained(x, 10 * x).value == pytest.approx(1)
    assert cka_rbf_to_retrained(x, 10 * x, sigma=1.0).value < 0.9
    turned = y @ np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0] + 5
    assert cka_rbf_to_retrained(x, turned, sigma=2.0).value == pytest.approx(
        cka_rbf_to_retrained(x, y, sigma=2.0).value
    )


def test_a_large_sigma_gives_linear_cka(features):
    x, y = features
    linear = [rows @ rows.T for rows in features]
    assert rbf_cka_estimate(x, y, sigma=1e3, estimator="biased").value == pytest.approx(biased(*linear), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"sigma": 0.0}, "above 0"), ({"estimator": "batched"}, "unbiased or biased"), ({}, "constant")],
)
def test_what_is_not_defined_is_refused(features, settings, message):
    x = features[0] if settings else np.ones((8, 3))
    with pytest.raises(ValueError, match=message):
        cka_rbf_to_retrained(x, x, **settings)

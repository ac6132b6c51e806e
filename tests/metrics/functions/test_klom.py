import numpy as np
import pytest

from raybench.metrics.functions.klom import klom


def normals(models, samples, *, mean=0.0, sd=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, sd, (models, samples))


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

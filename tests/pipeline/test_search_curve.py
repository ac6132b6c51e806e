"""The expected best of 1, 2, ... trials."""

import itertools
import math

import numpy as np
import pytest

from raybench.pipeline.search_curve import expected_best


@pytest.mark.parametrize("largest", [False, True])
def test_it_is_the_mean_over_all_subsets_of_their_best_value(largest):
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    best = max if largest else min
    expected = [np.mean([best(some) for some in itertools.combinations(values, t)]) for t in range(1, 7)]
    assert expected_best(values, largest=largest) == pytest.approx(expected)


def test_a_failed_trial_counts_as_the_worst():
    assert expected_best([2.0, math.nan, 6.0]) == pytest.approx(expected_best([2.0, 6.0, 6.0]))
    three = expected_best([2.0, 2.0, 6.0], largest=True)
    assert expected_best([2.0, math.nan, 6.0], largest=True) == pytest.approx(three)
    assert expected_best([math.nan, math.inf]) == []


def test_many_trials_neither_overflow_nor_lose_the_best():
    curve = expected_best(list(range(2000)))
    assert curve[0] == pytest.approx(999.5)
    assert curve[-1] == 0
    assert all(later <= earlier for earlier, later in itertools.pairwise(curve))

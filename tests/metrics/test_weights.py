import math

import numpy as np
import pytest

from raybench.metrics.weights import (
    weight_distance_by_layer,
    weight_distance_to_original,
    weight_distance_to_retrained,
)

ORIGINAL = {"w": np.array([[3.0, 0.0]]), "b": np.array([4.0])}


def test_distance_is_relative_to_the_norm_of_the_original():
    found = weight_distance_to_original({"w": np.array([[3.0, 2.0]]), "b": np.array([4.0])}, ORIGINAL)
    assert found["_l2"].value == pytest.approx(2)
    assert found[""].value == pytest.approx(2 / 5)
    assert found["_cosine"].value == pytest.approx(25 / (5 * math.sqrt(29)))
    assert {estimate.n for estimate in found.values()} == {3}
    assert all(math.isnan(e.low) and e.interval == "none: one pair of models" for e in found.values())


def test_the_same_weights_are_at_distance_zero():
    found = weight_distance_to_retrained(ORIGINAL, ORIGINAL)
    assert (found[""].value, found["_l2"].value, found["_cosine"].value) == (0, 0, 1)


def test_each_layer_has_its_own_distance_and_one_of_zeros_has_none():
    found = weight_distance_by_layer(
        {"w": np.array([[3.0, 3.0]]), "b": np.array([4.0]), "new": np.ones(2)}, {**ORIGINAL, "new": np.zeros(2)}
    )
    assert {name: estimate.value for name, estimate in found.items()} == {"_w": pytest.approx(1), "_b": 0}


def test_weights_of_zeros_have_no_distance_but_a_reason():
    zeros = {"w": np.zeros((1, 2)), "b": np.zeros(1)}
    with pytest.raises(ValueError, match="zero"):
        weight_distance_to_original(ORIGINAL, zeros)
    with pytest.raises(ValueError, match="zero"):
        weight_distance_by_layer(ORIGINAL, zeros)

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.functions.weights import distance, per_layer


def draw(seed=0):
    rng = np.random.default_rng(seed)
    return {"conv": rng.normal(size=(2, 3, 3)), "bias": rng.normal(size=4)}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_distances_equal_those_of_one_long_vector(seed):
    a, b = draw(seed), draw(seed + 1)
    x, y = (np.concatenate([v.ravel() for v in w.values()]) for w in (a, b))
    assert distance(a, b).l2 == pytest.approx(np.linalg.norm(x - y))
    assert distance(a, b).cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert distance(a, b).relative_l2 == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(y))
    assert distance(a, b).size == 22


def test_layers_are_measured_alone_in_their_order_and_add_up():
    a, b = draw(), draw(1)
    layers = per_layer(a, b)
    assert list(layers) == ["conv", "bias"]
    assert layers["bias"].l2 == pytest.approx(np.linalg.norm(a["bias"] - b["bias"]))
    assert math.sqrt(sum(layer.l2**2 for layer in layers.values())) == pytest.approx(distance(a, b).l2)


def test_a_model_is_at_no_distance_from_itself_and_opposite_to_its_negative():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = model.state_dict()
    assert distance(state, state).l2 == 0
    assert distance(state, {name: -value for name, value in state.items()}).cosine == pytest.approx(-1)


def test_batch_counters_are_skipped():
    state = torch.nn.BatchNorm1d(3).state_dict()
    later = {**state, "num_batches_tracked": torch.tensor(500)}
    assert distance(later, state).l2 == 0
    assert "num_batches_tracked" not in per_layer(later, state)


def test_layers_of_zeros_have_no_cosine_and_the_whole_says_so():
    zeros = {"bias": np.zeros(3)}
    layer = per_layer(zeros, zeros)["bias"]
    assert (layer.l2, layer.cosine, layer.relative_l2) == (0, None, None)
    assert distance(zeros, zeros).cosine is None


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ({"w": np.ones(2)}, {"v": np.ones(2)}, "only one of them has"),
        ({"w": np.ones(2)}, {"w": np.ones(3)}, "w has shape"),
        ({"w": np.array([np.nan])}, {"w": np.ones(1)}, "NaN"),
        ({"w": np.array([1])}, {"w": np.array([1])}, "no floating-point"),
        ({}, {}, "no floating-point"),
    ],
)
def test_models_that_do_not_match_are_refused(a, b, reason):
    with pytest.raises(ValueError, match=reason):
        distance(a, b)

import numpy as np
import pytest
import torch

from raybench.metrics.framework.arrays import as_array, as_groups, as_logits_and_labels, as_vector
from raybench.metrics.framework.tensors import as_features


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_torch_tensors_of_every_type_become_float64(dtype):
    array = as_array(torch.tensor([1, 2], dtype=dtype).requires_grad_(dtype.is_floating_point))
    assert array.dtype == np.float64
    assert array.tolist() == [1.0, 2.0]


def test_keeping_the_type_keeps_float32_and_lifts_half():
    assert as_array(np.zeros(2, np.float32), dtype=None).dtype == np.float32
    assert as_array(torch.zeros(2, dtype=torch.bfloat16), dtype=None).dtype == np.float32
    assert as_array(np.zeros(2, np.float16), dtype=None).dtype == np.float32


def test_a_nan_is_refused_with_its_name_and_place():
    with pytest.raises(ValueError, match=r"logits contains 1 values that are NaN or infinite, the first at \[1, 0\]"):
        as_array([[0.0, 1.0], [np.nan, 1.0]], name="logits", finite=True)


def test_words_are_no_numbers():
    with pytest.raises(ValueError, match="must be numbers"):
        as_array(["a"])


def test_vectors_are_checked_for_shape_and_emptiness():
    assert as_vector(3.0).tolist() == [3.0]
    with pytest.raises(ValueError, match="empty"):
        as_vector([])
    with pytest.raises(ValueError, match="shape"):
        as_vector([[1.0], [2.0]])


def test_groups_may_be_names():
    assert as_groups(["F0001/M", "F0001/S"], 2).tolist() == ["F0001/M", "F0001/S"]
    with pytest.raises(ValueError, match="3 samples"):
        as_groups(["a"], 3)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0), "no samples"),
        (np.zeros(3), np.zeros(3), "shape"),
        (np.zeros((2, 3)), np.array([0, 3]), "3 classes"),
        (np.zeros((2, 3)), np.array([-1, 0]), "3 classes"),
        (np.zeros((2, 3)), np.array([0.5, 0]), "whole numbers"),
        (np.zeros((2, 3)), np.zeros(3), "do not match logits"),
        (np.zeros((2, 3)), np.full((2, 3), 2), "0 or 1"),
        (np.zeros((2, 1)), np.zeros(2), "two classes"),
        (np.full((2, 3), np.inf), np.zeros(2), "infinite"),
    ],
)
def test_logits_and_labels_that_do_not_fit_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        as_logits_and_labels(logits, labels)


@pytest.mark.parametrize("read", [as_array, as_vector, as_features, lambda values: as_groups(values, 2)])
def test_masked_values_are_refused_and_an_empty_mask_is_not(read):
    values = np.ma.masked_array(np.ones((2, 2)), mask=[[False, True], [False, False]])
    with pytest.raises(ValueError, match="1 masked value"):
        read(values)
    assert as_array(np.ma.masked_array([1.0, 2.0], mask=False)).tolist() == [1, 2]


def test_rows_of_different_lengths_are_refused_by_name():
    with pytest.raises(ValueError, match="scores must be an array, but its rows have different shapes"):
        as_array([[1.0], [1.0, 2.0]], name="scores")

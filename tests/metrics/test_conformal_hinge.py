import numpy as np
import pytest

from raybench.metrics.conformal import hinge

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])


def test_two_samples_give_the_hand_computed_mean_and_the_released_mean_over_pairs():
    assert hinge(np.log(P), [0, 1], 0.9) == pytest.approx(0.66)
    assert hinge(np.log(P), [0, 1], 0.9, pairs="all_pairs") == pytest.approx(0.36)


@pytest.mark.parametrize(("p", "qhat", "expected"), [(0.5, 0.9, 0.41), (0.01, 0.9, 0.0), (0.0901, 0.9, 0.0001)])
def test_the_hinge_switches_off_once_the_label_is_out_by_the_margin(p, qhat, expected):
    assert hinge(np.log([[p, 1 - p]]), [0], qhat) == pytest.approx(expected, abs=1e-12)


def test_a_threshold_near_one_leaves_a_floor_that_no_model_reaches():
    assert hinge([[-1e4, 1e4]], [0], 0.995) == pytest.approx(0.005)


def test_with_one_forgotten_class_both_ways_agree():
    logits = np.random.default_rng(0).normal(size=(20, 4))
    labels = np.full(20, 2)
    assert hinge(logits, labels, 0.8) == pytest.approx(hinge(logits, labels, 0.8, pairs="all_pairs"))


def test_no_forget_rows_give_exactly_zero():
    assert hinge(np.zeros((0, 3)), [], 0.9) == 0.0

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raybench.metrics.functions.conformal_scores import (
    SCORES,
    aps,
    lac,
    margin,
    raps,
    score_blocks,
    true_label_scores,
)

LOGITS = arrays(np.float64, (6, 5), elements=st.floats(-30, 30, width=32))
P = np.array([[0.5, 0.3, 0.2]])


def test_scores_of_a_three_class_example_are_the_hand_computed_ones():
    logits = np.log(P)
    np.testing.assert_allclose(-np.expm1(-lac(logits)), 1 - P)
    np.testing.assert_allclose(margin(logits), [[-0.2, 0.2, 0.3]])
    np.testing.assert_allclose(aps(logits), [[0.5, 0.8, 1.0]])
    np.testing.assert_allclose(aps(logits, u=[0.5]), [[0.25, 0.65, 0.9]])
    np.testing.assert_allclose(raps(logits, penalty=0.1, free_ranks=1), [[0.5, 0.9, 1.2]])


def test_equal_probabilities_do_not_count_as_more_likely():
    np.testing.assert_allclose(aps(np.zeros((1, 4))), np.full((1, 4), 0.25))


@pytest.mark.parametrize("name", sorted(SCORES))
@settings(max_examples=30, deadline=None)
@given(logits=LOGITS, seed=st.integers(0, 99))
def test_permuting_classes_permutes_scores(name, logits, seed):
    order = np.random.default_rng(seed).permutation(5)
    np.testing.assert_allclose(SCORES[name](logits[:, order]), SCORES[name](logits)[:, order], atol=1e-12)


@pytest.mark.parametrize("name", sorted(SCORES))
@settings(max_examples=30, deadline=None)
@given(logits=LOGITS)
def test_a_more_likely_class_never_scores_worse(name, logits):
    order = np.argsort(-logits, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(SCORES[name](logits), order, axis=1), axis=1) >= -1e-12).all()


@pytest.mark.parametrize("name", sorted(SCORES))
def test_float32_logits_of_ten_thousand_give_finite_scores(name):
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]], dtype=np.float32)
    assert np.isfinite(SCORES[name](logits)).all()


def test_log_scores_tell_apart_what_one_minus_p_cannot():
    scores = lac(np.array([[0.0, -50.0, -500.0]]))
    assert scores[0, 1] < scores[0, 2]
    assert 1 - np.exp(-scores[0, 1]) == 1 - np.exp(-scores[0, 2])


@pytest.mark.parametrize("name", sorted(SCORES))
def test_blocks_give_the_scores_of_the_whole(name, monkeypatch):
    monkeypatch.setattr("raybench.metrics.functions.softmax._BLOCK_ELEMENTS", 64)
    logits, labels = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) % 4
    whole = SCORES[name](logits)
    blocks = list(score_blocks(logits, name))
    assert len(blocks) == 4
    np.testing.assert_array_equal(np.concatenate([scores for _, scores in blocks]), whole)
    np.testing.assert_array_equal(true_label_scores(logits, labels, name), whole[np.arange(50), labels])


def test_an_unknown_score_is_refused_with_the_names_of_the_others():
    with pytest.raises(ValueError, match="allowed: lac, margin, aps, raps"):
        list(score_blocks(np.zeros((2, 2)), "thr"))

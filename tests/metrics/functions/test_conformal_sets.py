import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.functions.conformal_scores import SCORES
from raybench.metrics.functions.conformal_sets import prediction_sets, set_members, single_label
from raybench.metrics.functions.softmax import NARROW


def example(seed, n, classes):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (n, classes)).astype(np.float32), rng.integers(0, classes, n)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.sampled_from([2, 5, NARROW - 1, NARROW, NARROW + 3]),
    st.sampled_from(list(SCORES)),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_sets_hold_every_class_whose_score_is_at_most_its_threshold(seed, n, classes, score, by_class):
    logits, labels = example(seed, n, classes)
    scores = SCORES[score](logits)
    levels = np.quantile(scores, [0.2, 0.7], method="lower")
    cut = np.repeat(levels[:, None], classes, axis=1)
    if by_class:
        cut[:, 0] = np.inf
        cut[1, -1] = -np.inf
    inside, sizes = set_members(logits, labels, cut, score=score)
    for a, q in enumerate(cut):
        for row in range(n):
            members = {c for c in range(classes) if scores[row, c] <= q[c]}
            assert inside[a, row] == (labels[row] in members)
            assert sizes[a, row] == len(members)


def test_one_pass_returns_thresholds_and_the_sets_they_make():
    logits, labels = example(0, 30, 4)
    held_out = example(1, 50, 4)
    cut, inside, sizes = prediction_sets(logits, labels, *held_out, [0.1, 0.3], calibration="mondrian")
    assert cut.shape == (2, 4)
    again = set_members(logits, labels, cut)
    np.testing.assert_array_equal(inside, again[0])
    np.testing.assert_array_equal(sizes, again[1])


def test_calibration_of_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="4 classes here, but 5 in the calibration logits"):
        prediction_sets(*example(0, 10, 4), *example(1, 50, 5), 0.1)


def test_several_labels_a_sample_are_refused():
    logits, _ = example(0, 10, 4)
    with pytest.raises(ValueError, match="these are multi-label"):
        single_label(logits, (logits > 0).astype(np.uint8))

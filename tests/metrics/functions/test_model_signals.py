import numpy as np
import pytest

from raybench.metrics.functions.model_signals import margins, scaled_confidences


def test_the_scaled_confidence_lies_below_the_margin_by_at_most_the_logarithm_of_the_other_classes():
    rng = np.random.default_rng(0)
    logits, labels = 5 * rng.normal(size=(6, 40, 10)), rng.integers(0, 10, 40)
    difference = margins(logits, labels) - scaled_confidences(logits, labels)
    assert difference.shape == (6, 40)
    assert (difference >= 0).all()
    assert (difference <= np.log(9)).all()
    shifted = logits + rng.normal(size=(6, 40, 1))
    assert scaled_confidences(list(shifted), labels) == pytest.approx(scaled_confidences(logits, labels))

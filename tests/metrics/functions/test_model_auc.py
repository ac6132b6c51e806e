import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.functions.intervals import delong
from raybench.metrics.functions.model_auc import auc_over_models


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 9), st.booleans())
def test_the_auc_over_models_is_delongs_with_the_models_as_groups(seed, models, samples, tied):
    rng = np.random.default_rng(seed)
    scores, member = rng.normal(size=(models, samples)), rng.random((models, samples)) < 0.5
    if tied:
        scores = np.round(scores)
    if member.all() or not member.any():
        with pytest.raises(ValueError, match="non-members"):
            auc_over_models(scores, member)
        return
    model = np.broadcast_to(np.arange(models)[:, None], scores.shape)
    expected = delong(scores[member], scores[~member], member_groups=model[member], non_member_groups=model[~member])
    found = auc_over_models(scores, member)
    assert found[:4] == pytest.approx(expected[:4])


def test_scores_that_separate_perfectly_have_the_exact_interval_over_models_and_not_over_samples():
    member = np.repeat([[True], [False]], 5, axis=0) & np.ones((1, 1000), dtype=bool)
    found = auc_over_models(member + np.zeros(member.shape), member)
    assert found.value == found.high == 1
    assert found.low < 0.6  # five models per side, however many samples

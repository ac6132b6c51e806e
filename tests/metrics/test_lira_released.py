"""Offline LiRA as released: the code's expressions with scipy, one-sided and two-sided forms, the metric's rows."""

import numpy as np
import pytest
from scipy.stats import norm

from raybench.metrics.functions.intervals import delong
from raybench.metrics.functions.lira_released import offline_scores
from raybench.metrics.functions.signals import scaled_confidence
from raybench.metrics.lira_released import lira_offline_released


@pytest.fixture
def signals():
    rng = np.random.default_rng(0)
    return rng.normal(size=30), rng.normal(size=(5, 30)) + rng.normal(size=30)


@pytest.mark.parametrize("fix_variance", [True, False])
def test_the_scores_are_those_of_the_released_code(signals, fix_variance):
    target, others = signals
    dat_out = others.T  # (samples, models), as there
    mean_out = np.median(dat_out, 1)
    std_out = np.std(dat_out) if fix_variance else np.std(dat_out, 1)
    score = norm.logpdf(target, mean_out, std_out + 1e-30)
    scores = offline_scores(target, others, spread="fixed" if fix_variance else "per_example")
    np.testing.assert_allclose(scores, -score, rtol=1e-12)  # the code sweeps -score


def test_the_distance_is_in_standard_deviations_above_the_center(signals):
    target, others = signals
    expected = (target - others.mean(axis=0)) / others.std(axis=0)
    np.testing.assert_allclose(
        offline_scores(target, others, center="mean", spread="per_example", form="distance"), expected
    )


def test_a_log_density_is_two_sided_and_a_distance_is_not(signals):
    _, others = signals
    middle = np.median(others, axis=0)
    below, above = (offline_scores(middle + shift, others) for shift in (-3, 3))
    np.testing.assert_allclose(below, above)
    below, above = (offline_scores(middle + shift, others, form="distance") for shift in (-3, 3))
    assert (below < 0).all()
    assert (above > 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"center": "mode"}, "median or mean"),
        ({"spread": "global"}, "fixed or per_example"),
        ({"form": "x"}, "log_density or"),
    ],
)
def test_unknown_settings_are_refused(signals, settings, message):
    with pytest.raises(ValueError, match=message):
        offline_scores(*signals, **settings)


def test_one_model_has_no_spread_per_example(signals):
    with pytest.raises(ValueError, match="at least 2"):
        offline_scores(signals[0], signals[1][:1], spread="per_example")
    with pytest.raises(ValueError, match="others have 30 samples, the target 29"):
        offline_scores(signals[0][1:], signals[1])


def test_the_metric_separates_forget_from_unseen_by_these_scores():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4, 2, 25, 3)), rng.integers(0, 3, (2, 25))
    target, others = logits[0], logits[1:]
    parts = lira_offline_released(target[0], labels[0], target[1], labels[1], list(others[:, 0]), list(others[:, 1]))
    confidences = np.array([[scaled_confidence(model[side], labels[side]) for side in (0, 1)] for model in logits])
    scores = offline_scores(confidences[0].ravel(), confidences[1:].reshape(3, -1))
    assert parts["_auc"] == delong(scores[:25], scores[25:])
    assert set(parts) == {"_auc", "_tpr_at_fpr_0.001", "_tpr_at_fpr_0.01"}
    with pytest.raises(ValueError, match="3 models on forget and 2 on unseen"):
        lira_offline_released(target[0], labels[0], target[1], labels[1], list(others[:, 0]), list(others[1:, 1]))

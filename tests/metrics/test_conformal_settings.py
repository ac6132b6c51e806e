"""Settings of the conformal metrics: penalty and free ranks of RAPS, randomized sets; plain loops, coverage."""

import numpy as np
import pytest
from scipy.special import softmax

from raybench.metrics.conformal import coverage, cr, fake_forgetting
from raybench.metrics.forget_test_gap import memory_gap
from raybench.metrics.functions.conformal_quantile import thresholds
from raybench.metrics.functions.conformal_scores import Score, aps, raps, score_blocks, true_label_scores
from raybench.metrics.functions.conformal_sets import prediction_sets


def draw(n, seed, num_classes=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=n)
    return rng.normal(size=(n, num_classes)) + np.eye(num_classes)[labels], labels


def plain_raps(p, label, u, penalty, free_ranks):
    """The score of one class of one sample, from its definition."""
    larger = [q for q in p if q > p[label]]
    rank = len(larger) + 1
    return sum(larger) + u * p[label] + penalty * max(0, rank - free_ranks)


@pytest.mark.parametrize(("penalty", "free_ranks"), [(0.01, 5), (0.3, 0), (0.1, 2)])
@pytest.mark.parametrize("randomized", [False, True])
def test_sets_are_those_of_a_plain_loop(penalty, free_ranks, randomized):
    held, evaluated = draw(30, 0), draw(20, 1)
    draws = [
        np.random.default_rng([7, stream]).random(n) if randomized else np.ones(n) for stream, n in ((0, 30), (1, 20))
    ]
    scores = [
        np.array([[plain_raps(softmax(z), c, u, penalty, free_ranks) for c in range(5)] for z, u in zip(logits, own)])
        for (logits, _), own in zip((held, evaluated), draws)
    ]
    cut = thresholds(scores[0][np.arange(30), held[1]], held[1], 0.2, num_classes=5)[0, 0]
    inside = scores[1] <= cut + 1e-9
    settings = {"score": "raps", "penalty": penalty, "free_ranks": free_ranks, "randomized": randomized, "seed": 7}
    parts = coverage(*evaluated, *held, 0.2, **settings)
    assert parts[""].value == pytest.approx(inside[np.arange(20), evaluated[1]].mean())
    assert parts["_set_size"].value == pytest.approx(inside.sum(axis=1).mean())
    assert cr(*evaluated, *held, 0.2, **settings).value == pytest.approx(parts[""].value / parts["_set_size"].value)


def test_randomized_sets_cover_exactly_and_are_smaller():
    alpha, settings = 0.2, {"score": "aps", "seed": 3}
    values = {}
    for randomized in (False, True):
        parts = [
            coverage(*draw(200, seed), *draw(99, 1000 + seed), alpha, randomized=randomized, **settings)
            for seed in range(150)
        ]
        values[randomized] = [np.mean([part[name].value for part in parts]) for name in ("", "_set_size")]
    assert values[True][0] == pytest.approx(0.8, abs=0.012)
    assert values[True][1] < values[False][1]


def test_a_large_penalty_makes_sets_equally_large_and_free_ranks_take_it_back():
    evaluated, held = draw(300, 0, num_classes=20), draw(200, 1, num_classes=20)

    def sizes(**settings):
        return prediction_sets(*evaluated, *held, 0.1, score=Score("raps", **settings))[2][0]

    assert np.ptp(sizes(penalty=0.0)) > 5
    assert np.ptp(sizes(penalty=10.0)) <= 1
    np.testing.assert_array_equal(sizes(penalty=10.0, free_ranks=20), sizes(penalty=0.0))


def test_calibration_and_evaluation_get_different_draws_that_the_seed_repeats():
    logits, labels = draw(50, 0)
    score = Score("aps", randomized=True, seed=1)
    first, again = (true_label_scores(logits, labels, score) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != true_label_scores(logits, labels, score, stream=1)).any()
    expected = aps(logits, u=np.random.default_rng([1, 0]).random(50))
    np.testing.assert_array_equal(np.concatenate([s for _, s in score_blocks(logits, score)]), expected)


def test_the_other_conformal_metrics_take_the_same_settings():
    forget, test, held = draw(60, 0), draw(60, 1), draw(60, 2)
    settings = {"score": "raps", "penalty": 0.2, "free_ranks": 1, "randomized": True, "seed": 5}
    parts = [coverage(*side, *held, 0.1, **settings)[""].value for side in (forget, test)]
    assert memory_gap(*forget, *test, *held, 0.1, **settings).value == pytest.approx(parts[0] - parts[1])
    wrong = forget[0].argmax(axis=1) != forget[1]
    fraction = fake_forgetting(*forget, *test, *held, 0.1, **settings)[""]
    assert fraction.n == wrong.sum()


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (Score("lac", randomized=True), "lac has no randomized form"),
        (Score("raps", penalty=-1.0), "must not be negative"),
        (Score("raps", free_ranks=-1), "must not be negative"),
    ],
)
def test_settings_that_mean_nothing_are_refused(score, message):
    with pytest.raises(ValueError, match=message):
        list(score_blocks(np.zeros((2, 3)), score))


def test_raps_without_a_penalty_is_aps():
    logits, _ = draw(20, 0)
    np.testing.assert_array_equal(raps(logits, penalty=0.0), aps(logits))

import numpy as np
import pytest

from raybench.metrics import accuracy
from raybench.metrics.framework import spec
from raybench.metrics.functions import composite
from raybench.metrics.membership_inference import mia, mia_by_identity, mia_label_matched
from raybench.metrics.nomus import forgetting_score, indiscernibility, nomus


def population(seed, strength, n_forget=300, n_unseen=400, classes=4):
    """Logits and labels of forget, unseen and test; `strength` is how much better forgotten samples are known."""
    rng = np.random.default_rng(seed)

    def part(n, gain):
        labels = rng.integers(classes, size=n)
        return rng.normal(size=(n, classes)) + gain * np.eye(classes)[labels], labels

    return part(n_forget, 2 + strength), part(n_unseen, 2), part(500, 2)


def test_a_model_that_never_saw_the_forget_set_is_at_chance():
    forget, unseen, _ = population(1, 0.0)
    found = mia(*forget, *unseen)
    assert found["_auc"].low <= 0.5 <= found["_auc"].high
    assert forgetting_score(*forget, *unseen).low == 0


def test_fewer_forgotten_than_unseen_samples_do_not_look_like_an_attack():
    forget, unseen, _ = population(2, 0.0, n_forget=100, n_unseen=800)
    assert forgetting_score(*forget, *unseen).value < 0.15
    assert forgetting_score(*forget, *unseen, balance="truncate_members").value == pytest.approx(7 / 18, abs=0.01)


def test_the_score_and_nomus_are_made_of_the_same_attack():
    forget, unseen, test = population(3, 2.0)
    attacked = mia(*forget, *unseen)["_accuracy"]
    score, total = forgetting_score(*forget, *unseen), nomus(*forget, *unseen, *test)
    assert score.value == composite.forgetting_score(attacked.value)
    assert score[1:3] == pytest.approx((attacked.low - 0.5, attacked.high - 0.5))
    assert total.value == pytest.approx(composite.nomus(accuracy.accuracy(*test).value, score.value))
    assert total.low < total.value < total.high
    assert total.high - total.low < (score.high - score.low) + 0.1


def test_an_attack_below_one_half_counts_as_a_signal_with_its_interval_mirrored():
    forget, unseen, _ = population(4, 0.0, n_forget=400)
    logits, labels = forget
    flipped = logits - 6 * np.eye(4)[labels]  # over-forgotten: the loss is far higher than on unseen samples
    score = forgetting_score(flipped, labels, *unseen)
    assert 0 < score.low < score.value < score.high <= 0.5
    assert mia(flipped, labels, *unseen)["_auc"].value < 0.5


def test_multilabel_predictions_are_attacked_through_their_mean_binary_loss():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=(600, 3))
    logits = rng.normal(size=(600, 3)) + 2.0 * (2 * labels - 1) * (np.arange(600) < 300)[:, None]
    forget, unseen = (logits[:300], labels[:300]), (logits[300:], labels[300:])
    assert mia(*forget, *unseen)["_auc"].low > 0.7
    assert nomus(*forget, *unseen, *unseen).value < 0.7


def test_every_metric_here_declares_direction_and_range():
    for function in (mia, mia_by_identity, mia_label_matched, forgetting_score, nomus):
        row = function.raybench_spec
        assert isinstance(row, spec.MetricSpec)
        assert row.splits == ()
        assert (row.low, row.high) in {(0, 1), (0, 0.5)}
    assert mia.raybench_spec.direction == "match"


def attacked(seed, gain):
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=600)
    logits = rng.normal(size=(600, 4))
    logits[np.arange(600), labels] += np.where(np.arange(600) < 300, 2 + gain, 2)
    return logits[:300], labels[:300], logits[300:], labels[300:]


@pytest.mark.parametrize("gain", [-3.0, 0.0, 2.0])
def test_it_mirrors_the_accuracy_of_the_attack_and_its_interval(gain):
    sides = attacked(0, gain)
    found, attack, score = indiscernibility(*sides), mia(*sides)["_accuracy"], forgetting_score(*sides)
    assert found.value == pytest.approx(1 - abs(2 * attack.value - 1)) == 1 - 2 * score.value
    assert found[1:3] == pytest.approx((1 - 2 * score.high, 1 - 2 * score.low))
    assert (found.n, found.interval) == (attack.n, attack.interval)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert (found.high == 1) == (attack.low <= 0.5 <= attack.high)


def test_a_constant_model_is_indiscernible():
    found = indiscernibility(np.zeros((40, 3)), np.zeros(40, int), np.zeros((40, 3)), np.ones(40, int))
    assert (found.value, found.high) == (1, 1)


def test_settings_reach_the_attack():
    sides = attacked(1, 1.0)
    assert indiscernibility(*sides, splits=3, test_fraction=0.3, seed=5).value == pytest.approx(
        1 - 2 * forgetting_score(*sides, splits=3, test_fraction=0.3, seed=5).value
    )
    with pytest.raises(ValueError, match="there are no samples"):
        indiscernibility(np.empty((0, 4)), np.empty(0, int), *sides[2:])

import numpy as np
import pytest

from raybench.metrics import accuracy, nomus_metrics
from raybench.metrics.framework import spec
from raybench.metrics.functions import composite, membership
from raybench.metrics.functions.signals import loss
from raybench.metrics.nomus_metrics import forgetting_score, mia, mia_by_identity, mia_label_matched, nomus


def population(seed, strength, n_forget=300, n_unseen=400, classes=4):
    """Logits and labels of forget, unseen and test; `strength` is how much better forgotten samples are known."""
    rng = np.random.default_rng(seed)

    def part(n, gain):
        labels = rng.integers(classes, size=n)
        return rng.normal(size=(n, classes)) + gain * np.eye(classes)[labels], labels

    return part(n_forget, 2 + strength), part(n_unseen, 2), part(500, 2)


def test_mia_is_the_attack_on_the_loss_with_sides_of_equal_size():
    forget, unseen, _ = population(0, 1.0)
    found = mia(*forget, *unseen)
    attack = membership.logistic(loss(*forget), loss(*unseen), balance="smaller_side")
    assert found == {
        "_accuracy": attack.accuracy,
        "_auc": attack.auc,
        "_tpr_at_fpr_0.001": attack.tpr[0.001],
        "_tpr_at_fpr_0.01": attack.tpr[0.01],
        "_efficacy": attack.efficacy,
    }
    assert found["_auc"].low > 0.5
    assert found["_accuracy"].n == 600
    assert found["_auc"].n == 700


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


def test_identities_widen_the_intervals():
    forget, unseen, _ = population(5, 1.0)
    (logits, labels), (other_logits, other_labels) = forget, unseen
    groups = np.arange(300) // 10, 1000 + np.arange(400) // 10
    plain = mia(logits, labels, other_logits, other_labels)
    grouped = mia_by_identity(logits, labels, groups[0], other_logits, other_labels, groups[1])
    assert set(grouped) == set(plain)
    assert grouped["_auc"].value == plain["_auc"].value
    assert grouped["_accuracy"].interval == "korn-graubard"


def test_a_shift_of_labels_alone_is_gone_after_matching():
    rng = np.random.default_rng(6)
    labels = np.concatenate([rng.random(400) < 0.8, rng.random(400) < 0.2]).astype(int)
    logits = rng.normal(0, 0.3, (800, 2)) + np.array([[0.0, 2.0]])  # class 1 is easy, class 0 is hard
    forget, unseen = (logits[:400], labels[:400]), (logits[400:], labels[400:])
    assert mia(*forget, *unseen)["_auc"].low > 0.6
    matched = mia_label_matched(*forget, *unseen)["_auc"]
    assert matched.low <= 0.5 <= matched.high


def test_forgetting_a_whole_class_cannot_be_matched_and_says_why():
    with pytest.raises(ValueError, match="share no label"):
        mia_label_matched(np.zeros((5, 2)), np.zeros(5), np.zeros((5, 2)), np.ones(5))


def test_every_metric_here_declares_direction_and_range():
    for function in (mia, mia_by_identity, mia_label_matched, forgetting_score, nomus):
        row = function.raybench_spec
        assert isinstance(row, spec.MetricSpec)
        assert row.splits == ()
        assert (row.low, row.high) in {(0, 1), (0, 0.5)}
    assert nomus_metrics.mia.raybench_spec.direction == "match"

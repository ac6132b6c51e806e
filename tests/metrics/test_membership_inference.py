import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from raybench.metrics.functions import membership
from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.functions.signals import LOW_FOR_MEMBERS, SIGNALS, loss
from raybench.metrics.membership_inference import mia, mia_by_identity, mia_label_matched, mia_svc, mia_threshold
from raybench.metrics.miacr import miacr


def side(rng, n, gain, classes=10):
    """Logits and labels of samples whose own logit is raised by `gain`."""
    labels = rng.integers(classes, size=n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += gain
    return logits, labels


@pytest.fixture
def model():
    """Members (retain) are known far better than test and calibration samples; `forget` may be either."""
    rng = np.random.default_rng(0)
    retain, test, held_out = side(rng, 4000, 6), side(rng, 2000, 3), side(rng, 2000, 3)
    return {"forgotten": side(rng, 1000, 3), "kept": side(rng, 1000, 6), "rest": (*retain, *test), "held_out": held_out}


def multilabel(rng, n):
    return rng.normal(size=(n, 3)), rng.integers(2, size=(n, 3))


# -- the SVC attack ----------------------------------------------------------------------------------------------------


def test_the_attack_is_the_plain_machine_on_the_confidence_of_as_many_retain_as_test_samples():
    rng = np.random.default_rng(1)
    forget, retain, test = side(rng, 60, 2), side(rng, 300, 3), side(rng, 100, 1)
    found = mia_svc(*forget, *retain, *test, seed=7)
    p_forget, p_retain, p_test = (softmax(z, axis=1)[np.arange(len(y)), y] for z, y in (forget, retain, test))
    rows = np.sort(np.random.default_rng(7).permutation(300)[:100])
    shadow, is_member = np.concatenate([p_retain[rows], p_test])[:, None], np.repeat([1, 0], 100)
    machine = SVC(C=3, gamma="auto", kernel="rbf").fit(shadow, is_member)
    called = int((machine.predict(p_forget[:, None]) == 0).sum())
    assert found["_efficacy"] == clopper_pearson(called, 60)
    assert found["_accuracy"].value == pytest.approx(machine.score(shadow, is_member))
    assert found["_accuracy"].interval.endswith("in sample")
    assert mia_svc(*forget, *retain, *test, seed=8)["_accuracy"] != found["_accuracy"]


def test_what_was_forgotten_is_called_non_member_and_what_was_kept_is_not(model):
    assert mia_svc(*model["forgotten"], *model["rest"])["_efficacy"].low > 0.85
    assert mia_svc(*model["kept"], *model["rest"])["_efficacy"].high < 0.15


def test_fewer_retain_than_test_samples_are_all_taken_so_the_seed_changes_nothing():
    rng = np.random.default_rng(2)
    sides = (*side(rng, 30, 3), *side(rng, 40, 3), *side(rng, 90, 1))
    assert mia_svc(*sides, seed=0) == mia_svc(*sides, seed=1)
    assert mia_svc(*sides)["_accuracy"].n == 130


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_signal_tells_kept_from_forgotten(model, signal):
    kept, forgotten = (
        mia_svc(*model[name], *model["rest"], signal=signal)["_efficacy"] for name in ("kept", "forgotten")
    )
    assert kept.high < forgotten.low


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_forget_and_test_samples_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    forget, retain, test = side(rng, 40, 2), side(rng, 80, 3), side(rng, 60, 1)
    first, second = rng.permutation(40), rng.permutation(60)
    found = mia_svc(*forget, *retain, *test)
    again = mia_svc(forget[0][first], forget[1][first], *retain, test[0][second], test[1][second])
    assert found["_efficacy"] == again["_efficacy"]
    assert found["_accuracy"] == again["_accuracy"]


def test_a_model_that_says_the_same_of_every_sample_has_no_attack():
    rng = np.random.default_rng(3)
    sides = [(np.zeros((n, 4)), rng.integers(4, size=n)) for n in (10, 30, 20)]
    for attack, given_sides in ((mia_svc, sides), (miacr, [*sides, sides[1]])):
        alpha = (0.1,) if attack is miacr else ()
        with pytest.raises(ValueError, match=r"0\.25.* so members and non-members are inseparable"):
            attack(*(array for pair in given_sides for array in pair), *alpha)


def test_the_entropy_of_several_labels_is_a_reason_and_their_mean_confidence_is_not():
    rng = np.random.default_rng(4)
    sides = [array for n in (20, 60, 40) for array in multilabel(rng, n)]
    with pytest.raises(ValueError, match="entropy needs one class per sample"):
        mia_svc(*sides, signal="entropy")
    assert 0 <= mia_svc(*sides)["_efficacy"].value <= 1
    assert 0 <= miacr(*sides, *multilabel(rng, 30), 0.1)[""].value <= 1


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_empty_set_is_a_reason(empty):
    rng = np.random.default_rng(5)
    sides = [side(rng, 0 if i == empty else 30, 1) for i in range(3)]
    with pytest.raises(ValueError, match="there are no samples"):
        mia_svc(*(array for pair in sides for array in pair))


def test_an_unknown_signal_is_refused():
    rng = np.random.default_rng(6)
    with pytest.raises(ValueError, match=r"unknown signal 'logit' \(allowed: confidence, correctness"):
        mia_svc(*side(rng, 5, 1), *side(rng, 5, 1), *side(rng, 5, 1), signal="logit")


# -- the threshold -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_auc_of_a_cut_is_above_one_half_where_members_are_known_better(signal):
    rng = np.random.default_rng(10)
    forget, unseen = side(rng, 300, 4), side(rng, 400, 2)
    found = mia_threshold(*forget, *unseen, signal=signal)
    assert found["_auc"].low > 0.5
    assert found["_accuracy"].low > 0.5
    values = np.concatenate([SIGNALS[signal](*forget), SIGNALS[signal](*unseen)])
    expected = roc_auc_score(np.repeat([1, 0], [300, 400]), -values if signal in LOW_FOR_MEMBERS else values)
    assert found["_auc"].value == pytest.approx(expected)


def test_a_model_that_never_saw_the_forget_set_is_at_chance():
    rng = np.random.default_rng(11)
    found = mia_threshold(*side(rng, 300, 2), *side(rng, 300, 2))
    assert set(found) == {"_accuracy", "_auc", "_tpr_at_fpr_0.001", "_tpr_at_fpr_0.01", "_efficacy"}
    for part in ("_accuracy", "_auc"):
        assert found[part].low <= 0.5 <= found[part].high


def test_a_constant_model_has_an_auc_of_one_half_exactly():
    rng = np.random.default_rng(12)
    found = mia_threshold(np.zeros((30, 3)), rng.integers(3, size=30), np.zeros((40, 3)), rng.integers(3, size=40))
    assert found["_auc"].value == 0.5
    assert found["_accuracy"].value == 0.5


def test_too_few_samples_to_hold_any_out_are_a_reason():
    rng = np.random.default_rng(13)
    with pytest.raises(ValueError, match="5 folds need as many groups on each side, got 3 of members"):
        mia_threshold(*side(rng, 3, 2), *side(rng, 30, 2))


# -- the attack on the loss --------------------------------------------------------------------------------------------


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

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from raybench.metrics.functions.signals import scaled_confidence
from raybench.metrics.likelihood import lira_offline, rmia_offline

N, CLASSES, SHADOWS = 400, 5, 24


def logits_of(rng, hardness, labels, lift=0.0):
    """One model's logits: how sure it is of a label depends on the sample's hardness, plus what it remembers."""
    logits = rng.normal(size=(len(labels), CLASSES))
    logits[np.arange(len(labels)), labels] += hardness + lift
    return logits


@pytest.fixture
def population():
    rng = np.random.default_rng(0)
    hardness, labels = rng.normal(2, 4, size=(2, N)), rng.integers(CLASSES, size=(2, N))
    shadows = [[logits_of(rng, hardness[side], labels[side]) for _ in range(SHADOWS)] for side in (0, 1)]

    def ask(attack, lift, **settings):
        own = [logits_of(rng, hardness[0], labels[0], lift), logits_of(rng, hardness[1], labels[1])]
        return attack(own[0], labels[0], own[1], labels[1], *shadows, **settings)

    return ask


@pytest.mark.parametrize("attack", [lira_offline, rmia_offline])
def test_a_model_that_remembers_is_told_from_one_that_does_not(population, attack):
    remembers, forgot = population(attack, 2.0)["_auc"], population(attack, 0.0)["_auc"]
    assert remembers.low > 0.65
    assert forgot.low < 0.5 < forgot.high
    assert remembers.n == 2 * N


def test_knowing_how_hard_a_sample_is_sees_what_the_bare_confidence_does_not(population):
    bare = []

    def confidences(forget, labels, unseen, unseen_labels, *_):
        scores = [scaled_confidence(forget, labels), scaled_confidence(unseen, unseen_labels)]
        bare.append(roc_auc_score(np.repeat([1, 0], N), np.concatenate(scores)))
        return lira_offline(forget, labels, unseen, unseen_labels, *_)

    informed = population(confidences, 1.5)["_auc"].value
    assert informed > bare[0] + 0.1


def test_lira_is_the_distance_to_the_mean_of_the_shadows_in_their_standard_deviations():
    rng = np.random.default_rng(1)
    forget, unseen = rng.integers(3, size=6), rng.integers(3, size=7)
    own = [rng.normal(size=(len(y), 3)) for y in (forget, unseen)]
    shadows = [[rng.normal(size=(len(y), 3)) for _ in range(4)] for y in (forget, unseen)]
    found = lira_offline(own[0], forget, own[1], unseen, *shadows, variance="per_example")
    scores = []
    for logits, labels, others in zip(own, (forget, unseen), shadows):
        out = np.stack([scaled_confidence(other, labels) for other in others])
        scores.append((scaled_confidence(logits, labels) - out.mean(axis=0)) / out.std(axis=0, ddof=1))
    expected = roc_auc_score(np.repeat([1, 0], [6, 7]), np.concatenate(scores))
    assert found["_auc"].value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("attack", [lira_offline, rmia_offline])
def test_the_order_of_samples_and_of_shadows_changes_nothing(attack):
    rng = np.random.default_rng(2)
    forget, unseen = rng.integers(3, size=20), rng.integers(3, size=30)
    own = [rng.normal(size=(len(y), 3)) for y in (forget, unseen)]
    shadows = [[rng.normal(size=(len(y), 3)) for _ in range(4)] for y in (forget, unseen)]
    order, models = rng.permutation(20), [2, 0, 3, 1]
    first = attack(own[0], forget, own[1], unseen, *shadows)
    moved = [[shadows[0][m][order] for m in models], [shadows[1][m] for m in models]]
    second = attack(own[0][order], forget[order], own[1], unseen, *moved)
    assert second["_auc"].value == pytest.approx(first["_auc"].value, abs=1e-12)


@pytest.mark.parametrize("attack", [lira_offline, rmia_offline])
def test_one_shadow_is_too_few_and_the_reason_says_so(attack):
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(5, 3)), np.array([0, 1, 2, 0, 1])
    with pytest.raises(ValueError, match="at least 2"):
        attack(logits, labels, logits, labels, [logits], [logits])


@pytest.mark.parametrize("attack", [lira_offline, rmia_offline])
def test_retrained_models_that_lack_logits_on_one_set_are_refused(attack):
    rng = np.random.default_rng(0)
    forget, unseen = rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 8, 3))
    labels = np.arange(6) % 3, np.arange(8) % 3
    with pytest.raises(ValueError, match="3 models on forget and 2 on unseen"):
        attack(forget[0], labels[0], unseen[0], labels[1], list(forget[1:]), list(unseen[1:3]))

"""The quick audit: against slow versions, its objective, and the collapse rule."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from raybench.engine.audit import (
    AUDIT_FIELDS,
    DIRECTIONS,
    GAP,
    GAP_PARTS,
    IDEAL_GAP,
    audit,
    better,
    check_objective,
    collapse,
    measure,
    objective,
    reference,
)
from raybench.errors import UserError


class Guarded(dict):
    """Splits of which only what an audit may read can be read."""

    def __getitem__(self, role):
        assert role in ("retain", "forget", "validation"), f"the audit read {role}"
        return super().__getitem__(role)

    def __iter__(self):
        raise AssertionError("the audit went through all splits")

    items = values = keys = __iter__


@pytest.fixture(scope="module")
def model(trained):
    return trained.scenario.load(trained.original)


def slow(model, split):
    """Accuracy and loss one sample at a time."""
    hits, losses = [], []
    with torch.no_grad():
        for position in range(len(split)):
            x, y = split.batch(np.array([position]), generator=None)
            probabilities = torch.softmax(model.eval()(x).double(), dim=1)[0]
            hits.append(int(probabilities.argmax()) == int(y))
            losses.append(-math.log(float(probabilities[int(y)])))
    return float(np.mean(hits)), np.array(losses)


def test_accuracy_and_losses_are_those_of_the_slow_loop(trained, model):
    split = trained.scenario.split("validation")
    accuracy, losses = measure(model, split, batch_size=17)
    expected_accuracy, expected_losses = slow(model, split)
    assert accuracy == pytest.approx(expected_accuracy)
    assert np.allclose(losses, expected_losses, atol=1e-5)
    assert losses.dtype == np.float64


def test_the_attack_ranks_forget_against_validation_by_loss_and_reads_nothing_else(trained, model):
    splits = trained.scenario.audit_splits()
    found = audit(model, Guarded(splits))
    assert set(found) == set(AUDIT_FIELDS)
    losses = {role: slow(model, splits[role])[1] for role in ("forget", "validation")}
    truth = np.repeat([1, 0], [len(losses["forget"]), len(losses["validation"])])
    scores = -np.concatenate([losses["forget"], losses["validation"]])
    assert found["mia_auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-4)


def test_what_an_audit_is_given_holds_no_test_calibration_or_unseen_sample(trained):
    splits = trained.scenario.splits()
    hidden = np.concatenate([splits.ids(role) for role in ("test", "calibration", "unseen")])
    read = np.concatenate([split.ids for split in trained.scenario.audit_splits().values()])
    assert np.intersect1d(hidden, read).size == 0


def test_a_model_is_given_back_in_its_own_mode(trained, model):
    model.train()
    audit(model, trained.scenario.audit_splits())
    assert model.training
    model.eval()


def test_a_diverged_model_has_no_attack_and_is_called_diverged(trained):
    model = trained.scenario.fresh(0)
    torch.nn.init.constant_(model[-1].weight, math.nan)
    found = audit(model, trained.scenario.audit_splits())
    assert math.isnan(found["mia_auc"])
    assert collapse(found, num_classes=10).startswith("diverged")


def test_labels_of_a_multi_label_task_are_decided_one_by_one():
    class Two:
        def __len__(self):
            return 2

        def batch(self, positions, *, generator):
            x = torch.tensor([[1.0, -1.0], [2.0, 3.0]])[positions]
            return x, torch.tensor([[1.0, 0.0], [0.0, 1.0]])[positions]

    accuracy, losses = measure(torch.nn.Linear(2, 2).requires_grad_(False).apply(identity), Two())
    assert accuracy == 0.75
    assert losses.shape == (2,)
    assert losses[0] < losses[1]


def identity(layer):
    layer.weight.copy_(torch.eye(2))
    layer.bias.zero_()


# -- objective ---------------------------------------------------------------------------------------------------------


def an_audit(**values):
    return dict.fromkeys(AUDIT_FIELDS, 0.5) | values


def test_the_gap_is_the_mean_absolute_difference_to_the_mean_retrained_model_in_points():
    retrained = reference([an_audit(forget_accuracy=0.6), an_audit(forget_accuracy=0.8)])
    found = an_audit(forget_accuracy=0.5, retain_accuracy=0.6)
    assert objective(GAP, found, retrained) == pytest.approx(100 * (0.2 + 0.1 + 0 + 0) / 4)
    assert objective(GAP, retrained, retrained) == 0


def test_the_gap_does_not_reward_forgetting_more_than_retraining_does():
    retrained = reference([an_audit(forget_accuracy=0.5)])
    over, under = an_audit(forget_accuracy=0.3), an_audit(forget_accuracy=0.7)
    assert objective(GAP, over, retrained) == pytest.approx(objective(GAP, under, retrained))


def test_the_gap_to_ideals_is_to_the_models_own_validation_accuracy_the_originals_utility_and_an_attack_at_chance():
    original = an_audit(retain_accuracy=0.9, validation_accuracy=0.7, forget_accuracy=1.0)
    aim = reference([], original)
    found = an_audit(retain_accuracy=0.8, validation_accuracy=0.75, forget_accuracy=0.95, mia_auc=0.6)
    assert objective(IDEAL_GAP, found, aim) == pytest.approx(100 * (0.1 + 0.05 + 0.2 + 0.1) / 4)
    ideal = an_audit(retain_accuracy=0.9, validation_accuracy=0.7, forget_accuracy=0.7, mia_auc=0.5)
    assert objective(IDEAL_GAP, ideal, aim) == 0


def test_the_gap_to_ideals_is_the_same_whatever_the_retrained_models_are_like():
    original, found = an_audit(retain_accuracy=0.9), an_audit(mia_auc=0.7)
    values = {objective(IDEAL_GAP, found, reference(some, original)) for some in ([], [an_audit(mia_auc=0.1)])}
    assert len(values) == 1


def test_the_gap_to_ideals_punishes_forgetting_too_much_as_well():
    aim = reference([], an_audit())
    over, under = an_audit(forget_accuracy=0.3, mia_auc=0.4), an_audit(forget_accuracy=0.7, mia_auc=0.6)
    assert objective(IDEAL_GAP, over, aim) == pytest.approx(objective(IDEAL_GAP, under, aim))


def test_a_diverged_model_has_no_gap_to_ideals():
    assert math.isnan(objective(IDEAL_GAP, an_audit(mia_auc=math.nan), reference([], an_audit())))


@pytest.mark.parametrize("name", [name for name in DIRECTIONS if name not in (GAP, IDEAL_GAP)])
def test_a_named_metric_is_the_objective_itself(name):
    assert objective(name, an_audit(**{name: 0.123}), an_audit()) == 0.123


def test_sorting_by_an_objective_puts_the_best_first():
    assert sorted([0.2, 0.1, 0.3], key=better("mia_auc")) == [0.1, 0.2, 0.3]
    assert sorted([0.2, 0.1, 0.3], key=better("retain_accuracy")) == [0.3, 0.2, 0.1]


def test_an_objective_on_data_that_a_sweep_may_not_see_is_refused():
    with pytest.raises(UserError, match=r"unknown sweep\.objective 'test_accuracy'; did you mean"):
        check_objective("test_accuracy")
    for name in (GAP, IDEAL_GAP, *GAP_PARTS):
        check_objective(name)


def test_without_retrained_models_the_gap_to_them_is_refused_and_the_other_one_offered():
    with pytest.raises(UserError, match=r"retrained_seeds is 0: set objective: gap_to_ideal.*retrained_seeds: 1"):
        check_objective(GAP, num_retrained=0)
    for name in DIRECTIONS:
        if name != GAP:
            check_objective(name, num_retrained=0)


# -- collapse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "classes", "multi_label", "collapsed"),
    [
        (0.1, 10, False, True),
        (0.119, 10, False, True),
        (0.12, 10, False, False),
        (0.5, 2, False, True),
        (0.61, 2, False, False),
        (0.55, 40, True, True),
        (0.61, 40, True, False),
        (0.011, 100, False, True),
        (0.02, 100, False, False),
        (1.0, 1, False, False),
    ],
)
def test_a_model_at_chance_has_collapsed(accuracy, classes, multi_label, collapsed):
    reason = collapse(an_audit(retain_accuracy=accuracy), num_classes=classes, multi_label=multi_label)
    assert (reason is not None) == collapsed
    assert reason is None or "at chance" in reason


@pytest.mark.parametrize("role", ["retain", "forget", "validation"])
@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_a_divergence(role, loss):
    assert "diverged" in collapse(an_audit(**{f"{role}_loss": loss}), num_classes=10)

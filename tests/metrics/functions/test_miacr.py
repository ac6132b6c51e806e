import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.svm import SVC

from raybench.metrics.functions.miacr import membership_coverage_ratio, membership_probabilities

TARGETS = [0.05, 0.2, 0.4, 0.6, 0.9]


def calibrated_at(q):
    """Nine members whose largest score is q: the threshold at alpha 0.1."""
    return 1 - np.linspace(0, q, 9)


def test_wide_sets_give_two_singletons_two_pairs_and_one_fake():
    result = membership_coverage_ratio(TARGETS, calibrated_at(0.7), alpha=0.1)
    assert result.threshold == pytest.approx(0.7)
    assert result.ratio.value == pytest.approx(0.4)
    assert result.set_size == pytest.approx(1.4)
    assert result.efficacy == pytest.approx(0.6)
    assert result.member_fraction == pytest.approx(0.4)
    assert result.fake_fraction == pytest.approx(1 / 3)
    excluded = membership_coverage_ratio(TARGETS, calibrated_at(0.7), alpha=0.1, variant="member_excluded")
    assert excluded.ratio.value == pytest.approx(0.4)


def test_empty_sets_inflate_the_released_variant_only():
    singleton = membership_coverage_ratio(TARGETS, calibrated_at(0.3), alpha=0.1)
    released = membership_coverage_ratio(TARGETS, calibrated_at(0.3), alpha=0.1, variant="member_excluded")
    assert singleton.ratio.value == pytest.approx(0.4)
    assert released.ratio.value == pytest.approx(0.8)
    assert singleton.set_size == pytest.approx(0.6)


def test_member_calibration_gives_the_hand_computed_thresholds():
    members = np.linspace(0.95, 0.55, 9)
    assert membership_coverage_ratio(TARGETS, members, alpha=0.1).threshold == pytest.approx(0.45)
    assert membership_coverage_ratio(TARGETS, members, alpha=0.1, rule="numpy_higher").threshold == pytest.approx(0.45)
    assert membership_coverage_ratio(TARGETS, members, alpha=0.2).threshold == pytest.approx(0.40)
    assert membership_coverage_ratio(TARGETS, members, alpha=0.2, rule="numpy_higher").threshold == pytest.approx(0.45)


def test_calibrating_on_non_members_leaves_nothing_to_see():
    result = membership_coverage_ratio(TARGETS, np.zeros(19))
    assert result.threshold == 1
    assert result.ratio.value == 0
    assert result.set_size == 2


def test_members_keep_their_coverage_when_calibrated_on_members():
    rng = np.random.default_rng(0)
    members, unseen_members = rng.beta(4, 2, size=1999), rng.beta(4, 2, size=20_000)
    result = membership_coverage_ratio(unseen_members, members, variant="member_excluded")
    assert 1 - result.ratio.value == pytest.approx(0.95, abs=0.02)


def test_no_target_called_non_member_leaves_the_fake_fraction_undefined_and_not_zero():
    assert membership_coverage_ratio([0.9, 0.8], calibrated_at(0.7), alpha=0.1).fake_fraction is None


@pytest.mark.parametrize(
    ("targets", "reason"),
    [([], "non-empty"), ([0.5, 1.2], "must lie in 0..1"), ([np.nan], "NaN"), ([[0.5]], "non-empty")],
)
def test_what_is_not_a_probability_is_refused(targets, reason):
    with pytest.raises(ValueError, match=reason):
        membership_coverage_ratio(targets, calibrated_at(0.7), alpha=0.1)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="allowed: singleton, member_excluded"):
        membership_coverage_ratio(TARGETS, calibrated_at(0.7), alpha=0.1, variant="ratio")


def test_the_bounded_attack_gives_the_probabilities_of_the_plain_machine():
    rng = np.random.default_rng(0)
    members, others, targets = rng.beta(6, 1, 600), rng.beta(3, 1.2, 400), rng.beta(4, 1.1, 300)
    machine = CalibratedClassifierCV(SVC(C=3, gamma="auto"), method="sigmoid", cv=5, ensemble=False)
    machine.fit(np.concatenate([members, others])[:, None], [1] * 600 + [0] * 400)
    expected = machine.predict_proba(targets[:, None])[:, 1]
    np.testing.assert_allclose(membership_probabilities(members, others, targets), expected, atol=0.02)


def test_the_attack_does_not_depend_on_the_order_of_samples():
    rng = np.random.default_rng(0)
    members, others, targets = rng.beta(6, 1, 200), rng.beta(3, 1.2, 200), rng.beta(4, 1.1, 50)
    again = membership_probabilities(rng.permutation(members), rng.permutation(others), targets)
    np.testing.assert_array_equal(again, membership_probabilities(members, others, targets))


def test_perfectly_separated_sides_stay_finite_and_ordered():
    p = membership_probabilities(np.ones(50), np.zeros(50), [0.0, 0.5, 1.0])
    assert 0 < p[0] < 0.1
    assert p[0] < p[1] < p[2] < 1


def test_equal_confidences_everywhere_are_refused():
    with pytest.raises(ValueError, match="members and non-members are inseparable"):
        membership_probabilities(np.ones(5), np.ones(5), [1.0])

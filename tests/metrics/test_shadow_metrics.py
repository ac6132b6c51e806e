import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from raybench.metrics import shadow_metrics
from raybench.metrics.conformal import coverage_interval
from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.shadow_metrics import LOW_FOR_MEMBERS, SIGNALS, mia_svc, mia_threshold, miacr

TARGETS = [0.05, 0.2, 0.4, 0.6, 0.9]


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
        with pytest.raises(ValueError, match=r"0\.25.* so nothing tells members from non-members"):
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


# -- MIACR -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_probabilities(monkeypatch):
    """Score given P(member): of five forget samples, then of the members that calibrate."""

    def score(targets, members, alpha, **settings):
        p = np.concatenate([targets, members])
        monkeypatch.setattr(shadow_metrics, "membership_probabilities", lambda *sides, **machine: p)
        rng = np.random.default_rng(0)
        retain = side(rng, 2 * len(members), 1)
        rest = (*side(rng, len(members), 1), *side(rng, 3, 1))
        return miacr(*side(rng, len(targets), 1), *retain, *rest, alpha, **settings)

    return score


def test_wide_sets_give_two_singletons_two_pairs_and_one_fake(with_probabilities):
    for variant in ("singleton", "member_excluded"):
        found = with_probabilities(TARGETS, 1 - np.linspace(0, 0.7, 9), 0.1, variant=variant)
        assert found[""] == clopper_pearson(2, 5)
        assert found["_efficacy"] == clopper_pearson(3, 5)
        assert found["_fake_share"] == clopper_pearson(1, 3)
    pairs = clopper_pearson(2, 5)
    assert found["_set_size"][:4] == pytest.approx((1.4, 1 + pairs.low, 1 + pairs.high, 5))


def test_empty_sets_inflate_the_released_variant_only(with_probabilities):
    tight = 1 - np.linspace(0, 0.3, 9)
    assert with_probabilities(TARGETS, tight, 0.1)[""] == clopper_pearson(2, 5)
    found = with_probabilities(TARGETS, tight, 0.1, variant="member_excluded")
    assert found[""] == clopper_pearson(4, 5)
    assert found["_set_size"][:3] == pytest.approx(clopper_pearson(3, 5)[:3])


def test_the_released_quantile_is_one_score_further(with_probabilities):
    members = np.linspace(0.95, 0.55, 9)  # scores 0.05 to 0.45: at alpha 0.2 the eighth, 0.40, or as released the ninth
    for rule, excluded in (("exact", 2), ("numpy_higher", 1)):
        found = with_probabilities([0.58, 0.3], members, 0.2, rule=rule)
        assert found["_set_size"].value == pytest.approx((3 - excluded) / 2)
        excluding = with_probabilities([0.58, 0.3], members, 0.2, rule=rule, variant="member_excluded")
        assert excluding[""].value == pytest.approx(excluded / 2)


def test_no_sample_called_non_member_leaves_the_fake_share_out(with_probabilities):
    assert set(with_probabilities([0.9, 0.8], 1 - np.linspace(0, 0.7, 9), 0.1)) == {"", "_set_size", "_efficacy"}


def test_calibrating_on_held_out_images_leaves_nothing_to_see(model):
    forget, rest, held_out = model["forgotten"], model["rest"], model["held_out"]
    found = miacr(*forget, *rest, *held_out, 0.05)
    released = miacr(*forget, *rest, *held_out, 0.05, calibration="holdout")
    sizes = {f"{found['_set_size'].value:.2f}", f"{released['_set_size'].value:.2f}"}
    ratios = {f"{found[''].value:.2f}", f"{released[''].value:.2f}"}
    assert (ratios, sizes) == ({"0.88", "0.04"}, {"1.04", "1.96"})
    text = miacr.raybench_spec.released
    assert all(number in text for number in ratios | sizes), "the example that the page shows"
    kept = miacr(*model["kept"], *rest, *held_out, 0.05, calibration="holdout")
    assert kept[""].value == 0
    assert kept["_set_size"].value == 2


def test_sets_calibrated_on_members_miss_other_members_at_rate_alpha(model):
    for alpha in (0.05, 0.2):
        found = miacr(*model["kept"], *model["rest"], *model["held_out"], alpha, variant="member_excluded")
        law = coverage_interval(2000, alpha, num_test=1000, confidence=0.999)
        assert law.low <= 1 - found[""].value <= law.high


def test_members_that_calibrate_are_never_those_that_the_attack_was_fitted_on(monkeypatch):
    rng = np.random.default_rng(8)
    forget, retain, test = side(rng, 20, 2), side(rng, 50, 2), side(rng, 40, 1)
    seen = {}

    def fit(members, others, asked, *, C):
        seen.update(fitted=members, asked=asked[20:])
        return np.linspace(0, 1, len(asked))

    monkeypatch.setattr(shadow_metrics, "membership_probabilities", fit)
    miacr(*forget, *retain, *test, *side(rng, 4, 1), 0.1)
    p = np.sort(softmax(retain[0], axis=1)[np.arange(50), retain[1]])
    assert (len(seen["fitted"]), len(seen["asked"])) == (25, 25)
    np.testing.assert_allclose(np.sort(np.concatenate([seen["fitted"], seen["asked"]])), p)


def test_a_smaller_alpha_never_excludes_more(model):
    given_sides = (*model["forgotten"], *model["rest"], *model["held_out"])
    excluded = [miacr(*given_sides, alpha, variant="member_excluded")[""].value for alpha in (0.01, 0.05, 0.1, 0.3)]
    assert excluded == sorted(excluded)


def test_too_few_members_to_calibrate_on_are_a_reason():
    rng = np.random.default_rng(9)
    sides = (*side(rng, 9, 2), *side(rng, 20, 2), *side(rng, 20, 1), *side(rng, 50, 1))
    with pytest.raises(ValueError, match=r"alpha 0\.05 needs 19 calibration samples or more"):
        miacr(*sides, 0.05)
    assert miacr(*sides, 0.05, calibration="holdout")[""].n == 9
    with pytest.raises(ValueError, match="2 retain samples or more, got 1"):
        miacr(*sides[:2], *side(rng, 1, 2), *sides[4:], 0.05)
    with pytest.raises(ValueError, match=r"unknown calibration 'test' \(allowed: members, holdout\)"):
        miacr(*sides, 0.05, calibration="test")


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

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import betabinom

from raybench.metrics import miacr as module
from raybench.metrics.functions.conformal_quantile import rank
from raybench.metrics.functions.intervals import clopper_pearson
from raybench.metrics.miacr import miacr

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


@pytest.fixture
def with_probabilities(monkeypatch):
    """Score given P(member): of five forget samples, then of the members that calibrate."""

    def score(targets, members, alpha, **settings):
        p = np.concatenate([targets, members])
        monkeypatch.setattr(module, "membership_probabilities", lambda *sides, **machine: p)
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
        assert found["_fake_fraction"] == clopper_pearson(1, 3)
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


def test_no_sample_called_non_member_leaves_the_fake_fraction_out(with_probabilities):
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
        k = rank(2000, alpha)
        low, high = betabinom(1000, k, 2001 - k).ppf([0.0005, 0.9995]) / 1000
        assert low <= 1 - found[""].value <= high


def test_members_that_calibrate_are_never_those_that_the_attack_was_fitted_on(monkeypatch):
    rng = np.random.default_rng(8)
    forget, retain, test = side(rng, 20, 2), side(rng, 50, 2), side(rng, 40, 1)
    seen = {}

    def fit(members, others, asked, *, C):
        seen.update(fitted=members, asked=asked[20:])
        return np.linspace(0, 1, len(asked))

    monkeypatch.setattr(module, "membership_probabilities", fit)
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

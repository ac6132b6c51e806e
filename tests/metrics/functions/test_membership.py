import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.svm import SVC

from raybench.metrics.functions.composite import forgetting_score
from raybench.metrics.functions.intervals import delong
from raybench.metrics.functions.logistic_regression import decision_values
from raybench.metrics.functions.membership import logistic, threshold
from raybench.metrics.functions.svc_attack import svc

# MUCAC: men among 10,183 forget and 2,002 unseen images (Choi and Na 2023, counted in the annotation files)
FORGET_MALE = np.arange(10_183) < 2_669
UNSEEN_MALE = np.arange(2_002) < 1_051


def exponential(seed, n_member=400, n_non_member=400, scale=0.5):
    rng = np.random.default_rng(seed)
    return rng.exponential(scale, n_member), rng.exponential(1.0, n_non_member)


def nomus_protocol(forget_losses, unseen_losses):
    """The published attack, written plainly with scikit-learn."""
    forget = forget_losses.copy()
    np.random.RandomState(42).shuffle(forget)
    forget = forget[: len(unseen_losses)]
    features = np.concatenate([unseen_losses, forget])[:, None]
    labels = np.repeat([0, 1], [len(unseen_losses), len(forget)])
    splitter = StratifiedShuffleSplit(n_splits=10, test_size=0.1, random_state=0)
    return [
        LogisticRegression().fit(features[train], labels[train]).score(features[test], labels[test])
        for train, test in splitter.split(features, labels)
    ]


@pytest.mark.parametrize(("n_member", "n_non_member"), [(1500, 1504), (3000, 700), (120, 300)])
def test_the_attack_is_the_nomus_protocol(n_member, n_non_member):
    member, non_member = exponential(0, n_member, n_non_member)
    expected = nomus_protocol(member, non_member)
    exact = logistic(member, non_member, balance="truncate_members", solver="lbfgs")
    assert exact.split_accuracy.tolist() == expected
    assert exact.accuracy.value == pytest.approx(np.mean(expected))
    newton = logistic(member, non_member, balance="truncate_members")
    one_sample = 1 / (0.1 * (min(n_member, n_non_member) + n_non_member))
    assert newton.split_accuracy == pytest.approx(expected, abs=1.01 * one_sample)


def test_newton_finds_the_optimum_even_where_lbfgs_stops_early():
    rng = np.random.default_rng(0)
    member, non_member = rng.pareto(0.5, 300) * 0.6, rng.pareto(0.5, 300)  # losses up to 1e6
    features = np.concatenate([non_member, member])[:, None]
    is_member = np.repeat([False, True], 300)
    everything = np.ones((1, 600), dtype=bool)

    def objective(values):
        weight = np.ptp(values) / np.ptp(features)
        return np.sum(np.logaddexp(0, values) - is_member * values) + weight**2 / 2

    newton = decision_values(features, is_member, everything)[0]
    lbfgs = decision_values(features, is_member, everything, solver="lbfgs")[0]
    assert objective(newton) <= objective(lbfgs) + 1e-9


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("standardize", [False, True])
def test_newton_and_lbfgs_agree_on_several_features(features, standardize):
    rng = np.random.default_rng(0)
    member, non_member = rng.normal(0.3, 2, (300, features)), rng.normal(0, 1, (300, features))
    results = [logistic(member, non_member, standardize=standardize, solver=s) for s in ("newton", "lbfgs")]
    assert results[0].split_accuracy == pytest.approx(results[1].split_accuracy, abs=0.017)
    assert results[0].auc.value == pytest.approx(results[1].auc.value, abs=1e-3)


def test_standardizing_makes_the_attack_independent_of_the_unit():
    member, non_member = exponential(1)
    first, second = (logistic(c * member, c * non_member, standardize=True).split_accuracy for c in (1.0, 1e-5))
    assert first.tolist() == second.tolist()
    raw = logistic(1e-5 * member, 1e-5 * non_member)  # the penalty holds the weight near 0: half the attack is lost
    assert raw.accuracy.value < np.mean(first) + 0.05


def test_the_null_forgetting_score_is_about_one_percent():
    rng = np.random.default_rng(0)
    null = [forgetting_score(logistic(*rng.exponential(1, (2, 1500))).accuracy.value) for _ in range(60)]
    assert 0.006 <= np.mean(null) <= 0.016
    assert np.mean(np.array(null) < 0.03) >= 0.95


def test_the_accuracy_interval_covers_chance_under_the_null():
    rng = np.random.default_rng(1)
    hits = [a.low <= 0.5 <= a.high for a in (logistic(*rng.normal(0, 1, (2, 200))).accuracy for _ in range(100))]
    assert np.mean(hits) >= 0.85


def test_members_with_low_losses_have_an_auc_above_one_half():
    member, non_member = exponential(0)
    attack = logistic(member, non_member)
    assert attack.auc == delong(-member, -non_member)
    assert attack.auc.value > 0.6
    assert logistic(-member, -non_member, member_side="high").auc == attack.auc
    assert attack.chance == 0.5
    assert set(attack.tpr) == {0.001, 0.01}


def test_perfectly_separated_losses_of_any_size_are_told_apart():
    rng = np.random.default_rng(0)
    attack = logistic(rng.random(100) * 1e-8, 1e4 + rng.random(100) * 1e4)
    assert attack.accuracy.value == 1
    assert attack.accuracy.low < 0.9
    assert attack.efficacy.value == 0


def test_constant_losses_tell_nothing():
    attack = logistic(np.ones(50), np.ones(50))
    assert attack.accuracy.value == 0.5
    assert attack.auc.value == 0.5
    assert attack.tpr[0.01].value == 0


def test_unequal_sides_make_always_non_member_look_strong_unless_cut():
    rng = np.random.default_rng(0)
    member, non_member = rng.exponential(1, 120), rng.exponential(1, 480)
    plain, cut = (logistic(member, non_member, balance=b) for b in ("none", "smaller_side"))
    assert plain.accuracy.value == pytest.approx(0.8, abs=0.01)
    assert plain.chance == pytest.approx(0.8)
    assert cut.accuracy.value == pytest.approx(0.5, abs=0.1)
    assert cut.auc == plain.auc  # every sample counts where sizes do not matter


def test_the_attack_is_the_same_for_torch_and_numpy_and_on_every_call():
    member, non_member = exponential(0)
    first = logistic(member, non_member)
    second = logistic(torch.tensor(member), torch.tensor(non_member))
    assert first.accuracy == second.accuracy
    assert first.auc == second.auc
    assert logistic(member, non_member, seed=1).accuracy != first.accuracy


def test_a_two_sided_change_with_equal_means_is_hidden_from_one_feature():
    rng = np.random.default_rng(0)
    member, non_member = rng.normal(5, 0.2, 1500), rng.normal(5, 2, 1500)
    assert logistic(member, non_member).accuracy.value < 0.6
    squared = [np.column_stack([x, (x - 5) ** 2]) for x in (member, non_member)]
    assert logistic(*squared).accuracy.value > 0.8


def test_persons_in_train_and_test_are_a_leak_that_groups_close():
    rng = np.random.default_rng(0)
    persons = rng.normal(size=(60, 8))
    images = np.repeat(persons, 12, axis=0) + 0.1 * rng.normal(size=(720, 8))
    names = np.repeat(np.arange(60), 12)
    member, non_member = np.column_stack([images, images**2])[:360], np.column_stack([images, images**2])[360:]
    leaky = logistic(member, non_member)
    grouped = logistic(member, non_member, groups=(names[:360], names[360:]))
    assert leaky.accuracy.value > grouped.accuracy.value + 0.1
    assert grouped.accuracy.low <= 0.5 <= grouped.accuracy.high
    assert grouped.accuracy.interval == "korn-graubard"


def test_groups_widen_the_interval_of_the_auc():
    member, non_member = exponential(0, 40, 40)
    copies = [np.repeat(member, 5), np.repeat(non_member, 5)]
    groups = (np.repeat(np.arange(40), 5), np.repeat(np.arange(40), 5) + 40)
    plain, grouped = logistic(*copies), logistic(*copies, groups=groups)
    assert grouped.auc.high - grouped.auc.low > 2 * (plain.auc.high - plain.auc.low)
    assert grouped.auc.value == plain.auc.value


def test_knowing_only_the_sex_gives_0_631_on_mucac_and_matched_labels_give_chance():
    attack = threshold(FORGET_MALE, UNSEEN_MALE)
    assert attack.accuracy.value == pytest.approx(0.631, abs=5e-4)
    matched = logistic(FORGET_MALE, UNSEEN_MALE, match=(FORGET_MALE, UNSEEN_MALE))
    assert matched.auc.value == pytest.approx(0.5)
    # exactly equal shares make what is in excess in training short in testing, so M falls below chance: read the AUC
    assert matched.accuracy.value < 0.5


def test_matching_and_groups_work_together():
    member, non_member = exponential(0, 200, 160)
    match = (np.arange(200) % 3, np.arange(160) % 4)
    groups = (np.arange(200) // 2, 100 + np.arange(160) // 2)
    attack = logistic(member, non_member, match=match, groups=groups)
    kept = 2 * (40 + 40 + 40)  # labels 0, 1, 2 occur 67, 67, 66 times among members, 40 times each among the others
    assert attack.accuracy.n == attack.auc.n == kept


def test_the_threshold_attack_is_not_judged_on_the_data_it_was_cut_on():
    rng = np.random.default_rng(0)
    runs = [threshold(*rng.normal(size=(2, 50)), seed=i).accuracy for i in range(150)]
    assert np.mean([run.value for run in runs]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([run.low <= 0.5 <= run.high for run in runs]) >= 0.85


def test_the_threshold_attack_finds_a_perfect_cut_and_calls_targets_by_it():
    attack = threshold(np.arange(20.0), np.arange(20.0) + 30, target=[0.0, 10.0, 24.4, 24.6, 100.0])
    assert attack.accuracy.value == 1
    assert attack.efficacy.value == pytest.approx(0.4)  # the cut lies halfway, at 24.5
    assert threshold(np.arange(20.0), np.arange(20.0) + 30).efficacy.value == 0


def test_the_svc_attack_is_that_of_the_released_code_below_2000_shadow_samples():
    rng = np.random.default_rng(0)
    member, non_member, target = rng.beta(5, 1, 300), rng.beta(3, 1, 300), rng.beta(4, 1, 500)
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    machine.fit(np.concatenate([member, non_member])[:, None], np.repeat([1, 0], 300))
    attack = svc(member, non_member, target)
    assert attack.efficacy.value == 1 - np.mean(machine.predict(target[:, None]))
    joined = np.concatenate([member, non_member])
    assert attack.accuracy.value == machine.score(joined[:, None], np.repeat([1, 0], 300))
    assert attack.accuracy.interval.endswith("in sample")


def test_the_bounded_svc_attack_differs_by_at_most_two_in_a_thousand():
    rng = np.random.default_rng(0)
    member, non_member, target = rng.beta(5, 1, 1500), rng.beta(3, 1, 1500), rng.beta(4, 1, 2000)
    exact, bounded = (svc(member, non_member, target, exact_below=limit) for limit in (10**9, 0))
    assert bounded.accuracy.value == pytest.approx(exact.accuracy.value, abs=0.002)
    assert bounded.efficacy.value == pytest.approx(exact.efficacy.value, abs=0.004)


def test_weighted_points_are_exact_for_correctness():
    rng = np.random.default_rng(0)
    member, non_member, target = (rng.random(n) < p for n, p in ((1200, 0.95), (1200, 0.8), (1000, 0.9)))
    exact, weighted = (svc(member, non_member, target, exact_below=limit) for limit in (10**9, 0))
    assert weighted.efficacy == exact.efficacy
    assert weighted.accuracy == exact.accuracy


def test_the_svc_attack_reads_several_features():
    rng = np.random.default_rng(0)
    sides = [rng.normal(shift, 1, (1100, 2)).round(1) for shift in (1.0, 0.0, 1.0)]
    exact, weighted = (svc(*sides, exact_below=limit) for limit in (10**9, 0))
    assert weighted.efficacy.value == pytest.approx(exact.efficacy.value, abs=0.01)
    with pytest.raises(ValueError, match="1 features"):
        svc(sides[0], sides[1], np.zeros(3))


@pytest.mark.parametrize(
    ("member", "non_member", "options", "message"),
    [
        ([], [1.0], {}, "empty"),
        ([np.nan, 1.0], [1.0, 2.0], {}, "NaN"),
        (np.zeros((4, 2)), np.zeros((4, 3)), {}, "2 features"),
        (np.zeros(9), np.zeros(9), {"member_side": "left"}, "member_side"),
        (np.zeros(90), np.zeros(90), {"solver": "sgd"}, "solver"),
        (np.zeros(9), np.zeros(9), {"groups": (np.zeros(9), np.ones(9))}, "folds need"),
        (np.zeros(9), np.zeros(9), {"groups": (np.zeros(8), np.ones(9))}, "given for 9 samples"),
    ],
)
def test_inputs_on_which_no_attack_is_defined_are_refused(member, non_member, options, message):
    with pytest.raises(ValueError, match=message):
        logistic(member, non_member, **options)

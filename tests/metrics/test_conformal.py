import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.conformal import coverage, cr, fake_forgetting
from raybench.metrics.functions.conformal_scores import SCORES, lac
from raybench.metrics.functions.conformal_sets import coverage_ratio, set_members

P = np.array(
    [
        [0.60, 0.30, 0.06, 0.04],
        [0.40, 0.45, 0.10, 0.05],
        [0.05, 0.80, 0.10, 0.05],
        [0.25, 0.25, 0.25, 0.25],
        [0.97, 0.01, 0.01, 0.01],
    ]
)
LABELS = np.array([0, 0, 0, 2, 0])


def at(qhat, labels=LABELS, p=P):
    """Sets of the five-row example at a threshold of 1 - p (nudged: .92 in floats is not the score of .08)."""
    cut = np.full((1, p.shape[1]), -math.log1p(-qhat) if qhat < 1 else math.inf)
    inside, sizes = set_members(np.log(p), labels, cut)
    return inside[0], sizes[0]


def draw(n, num_classes=5, seed=0, gap=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=n)
    return rng.normal(size=(n, num_classes)) + gap * np.eye(num_classes)[labels], labels


@pytest.mark.parametrize(
    ("qhat", "sizes", "covered", "ratio", "in_set"),
    [
        (0.0, [0, 0, 0, 0, 0], 0.0, None, 0),
        (0.50, [1, 0, 1, 0, 1], 0.4, 2 / 3, 0),
        (0.72, [2, 2, 1, 0, 1], 0.6, 1 / 2, 1),
        (0.92, [2, 3, 2, 4, 1], 0.8, 1 / 3, 2),
        (1.0, [4, 4, 4, 4, 4], 1.0, 1 / 4, 3),
    ],
)
def test_the_five_row_example_gives_the_table_of_coverage_size_and_ratio(qhat, sizes, covered, ratio, in_set):
    inside, found = at(qhat)
    assert found.tolist() == sizes
    assert inside.mean() == pytest.approx(covered)
    if ratio is not None:
        assert inside.mean() / found.mean() == pytest.approx(ratio)
    wrong = P.argmax(axis=1) != LABELS
    assert wrong.sum() == 3
    assert (inside & wrong).sum() == in_set


@pytest.mark.parametrize(("qhat", "expected"), [(0.50, 0), (0.72, 1 / 3), (0.92, 2 / 3)])
def test_fake_forgetting_follows_from_coverage_and_accuracy_where_correct_rows_are_covered(qhat, expected):
    inside, _ = at(qhat)
    wrong = P.argmax(axis=1) != LABELS
    assert (inside & wrong).sum() / wrong.sum() == pytest.approx(expected)
    assert 1 - (1 - inside.mean()) / wrong.mean() == pytest.approx(expected)


def test_the_ratio_is_one_of_means_and_not_a_mean_of_ratios():
    inside, sizes = at(0.92)
    assert inside.mean() / sizes.mean() == pytest.approx(1 / 3)
    assert np.mean(inside / sizes) == pytest.approx(5 / 12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(20, 60))
def test_the_boundary_belongs_to_the_set(seed, n):
    logits, labels = draw(n, seed=seed)
    own = lac(logits)[np.arange(n), labels]
    inside, _ = set_members(logits, labels, np.full((1, 5), own.max()))
    assert inside.all()


def test_one_hot_correct_predictions_give_singletons_and_a_ratio_of_one():
    labels = np.arange(40) % 4
    logits = (2e4 * np.eye(4)[labels] - 1e4).astype(np.float32)
    result = coverage_ratio(logits, labels, logits, labels)
    np.testing.assert_array_equal(result.thresholds, 0)
    np.testing.assert_array_equal(result.ratio, 1)
    np.testing.assert_array_equal(result.set_size, 1)
    estimate = cr(logits, labels, logits, labels, 0.05)
    assert (estimate.value, estimate.high) == (1, 1)
    assert 0.9 < estimate.low < 1


def test_uniform_outputs_give_full_sets_and_a_ratio_of_one_over_the_classes():
    labels = np.arange(40) % 4
    result = coverage_ratio(np.full((40, 4), 3.0), labels, np.full((30, 4), -7.0), labels[:30])
    np.testing.assert_array_equal(result.set_size, 4)
    np.testing.assert_array_equal(result.ratio, 0.25)
    np.testing.assert_allclose(-np.expm1(-result.thresholds), 0.75)


@pytest.mark.parametrize("score", sorted(SCORES))
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_permuting_classes_or_samples_changes_nothing(score, seed):
    (logits, labels), (held, held_labels) = draw(60, seed=seed), draw(45, seed=seed + 1)
    rng = np.random.default_rng(seed)
    order, rows, held_rows = rng.permutation(5), rng.permutation(60), rng.permutation(45)
    rank = np.argsort(order)
    plain = coverage_ratio(logits, labels, held, held_labels, score=score)
    shuffled = coverage_ratio(
        logits[rows][:, order],
        rank[labels[rows]],
        held[held_rows][:, order],
        rank[held_labels[held_rows]],
        score=score,
    )
    np.testing.assert_allclose(shuffled.ratio, plain.ratio, rtol=1e-12)
    np.testing.assert_allclose(shuffled.set_size, plain.set_size, rtol=1e-12)


@pytest.mark.parametrize("score", sorted(SCORES))
@pytest.mark.parametrize("rule", ["exact", "numpy_higher"])
def test_sets_shrink_and_lose_coverage_as_alpha_grows(score, rule):
    (logits, labels), (held, held_labels) = draw(200), draw(150, seed=1)
    alphas = np.linspace(0.02, 0.9, 30)
    result = coverage_ratio(logits, labels, held, held_labels, alphas=alphas, score=score, rule=rule)
    assert (np.diff(result.set_size) <= 0).all()
    assert (np.diff(result.coverage) <= 0).all()


@pytest.mark.parametrize("score", sorted(SCORES))
@pytest.mark.parametrize("calibration", ["marginal", "mondrian"])
def test_all_alphas_in_one_pass_equal_a_plain_loop(score, calibration):
    (logits, labels), (held, held_labels) = draw(70, num_classes=3), draw(120, num_classes=3, seed=1)
    alphas = (0.05, 0.1, 0.15, 0.2)
    result = coverage_ratio(logits, labels, held, held_labels, alphas=alphas, score=score, calibration=calibration)
    scores, held_scores = SCORES[score](logits), SCORES[score](held)
    for a, alpha in enumerate(alphas):
        covered = size = 0
        for i, row in enumerate(scores):
            for c, value in enumerate(row):
                pool = [
                    held_scores[j, y]
                    for j, y in enumerate(held_labels)
                    if calibration == "marginal" or held_labels[j] == c
                ]
                member = (1 + sum(s >= value for s in pool)) > alpha * (len(pool) + 1) + 1e-9
                size += member
                covered += member and c == labels[i]
        assert result.coverage[a] == pytest.approx(covered / 70)
        assert result.set_size[a] == pytest.approx(size / 70)
        assert result.ratio[a] == pytest.approx(covered / size)


def test_log_scores_and_one_minus_p_give_identical_sets():
    (logits, labels), (held, held_labels) = draw(300), draw(199, seed=1)
    p, held_p = np.exp(-lac(logits)), np.exp(-lac(held))
    own = np.sort(1 - held_p[np.arange(199), held_labels])
    result = coverage_ratio(logits, labels, held, held_labels, alphas=(0.05, 0.1))
    for a, k in enumerate((190, 180)):
        sets = 1 - p <= own[k - 1]
        assert result.set_size[a] == sets.sum(axis=1).mean()
        assert result.coverage[a] == sets[np.arange(300), labels].mean()


def test_exchangeable_forget_data_is_covered_at_the_nominal_level_and_memorized_data_fully():
    held, held_labels = draw(2000, seed=1)
    test, test_labels = draw(3000, seed=2)
    forget, forget_labels = draw(3000, seed=3)
    on_forget = coverage_ratio(forget, forget_labels, held, held_labels, alphas=0.05)
    on_test = coverage_ratio(test, test_labels, held, held_labels, alphas=0.05)
    sd = math.sqrt(0.0049**2 + 0.05 * 0.95 / 3000)
    assert abs(on_forget.coverage[0] - 0.95) < 4 * sd
    assert on_forget.ratio[0] == pytest.approx(on_test.ratio[0], abs=0.02)
    memorized = coverage_ratio(forget + 100 * np.eye(5)[forget_labels], forget_labels, held, held_labels, alphas=0.05)
    assert memorized.coverage[0] == 1
    assert memorized.coverage[0] - on_test.coverage[0] == pytest.approx(0.05, abs=4 * sd)


def test_calibrating_on_the_forgotten_class_hides_what_was_unlearned():
    rng = np.random.default_rng(0)
    held_labels, labels = np.repeat([0, 1], 400), np.zeros(400, dtype=int)
    held = rng.normal(size=(800, 2)) + 4 * np.eye(2)[held_labels]
    held[:400, 0] -= 8  # class 0 is forgotten: always called 1
    logits = rng.normal(size=(400, 2)) - np.array([4, 0])
    arguments = (logits, labels, held, held_labels)
    released = coverage(*arguments, 0.05, calibration="forget_only", forget_classes=[0])
    informative = coverage(*arguments, 0.05, calibration="retain_only", forget_classes=[0])
    assert released[""].value > 0.92
    assert released["_set_size"].value > 1.9
    assert informative[""].value < 0.2


def test_metrics_agree_with_the_pass_over_all_alphas_and_carry_intervals():
    (logits, labels), (held, held_labels) = draw(150), draw(99, seed=1)
    result = coverage_ratio(logits, labels, held, held_labels, alphas=0.1)
    covered = coverage(torch.tensor(logits), torch.tensor(labels), held, held_labels, 0.1)
    ratio = cr(logits, labels, held, held_labels, 0.1)
    assert covered[""].value == result.coverage[0]
    assert covered["_set_size"].value == result.set_size[0]
    assert ratio.value == pytest.approx(result.ratio[0])
    for estimate in (covered[""], covered["_set_size"], ratio):
        assert estimate.low < estimate.value < estimate.high
        assert estimate.n == 150


def test_the_interval_of_the_ratio_covers_the_truth_at_its_level():
    held, held_labels = draw(999, seed=1)
    truth = coverage_ratio(*draw(100_000, seed=2), held, held_labels, alphas=0.1).ratio[0]
    hits = 0
    for seed in range(300):
        estimate = cr(*draw(80, seed=1000 + seed), held, held_labels, 0.1)
        hits += estimate.low <= truth <= estimate.high
    assert hits / 300 == pytest.approx(0.95, abs=0.04)


def test_too_few_calibration_samples_are_refused_with_the_number_needed():
    logits, labels = draw(30)
    for metric in (cr, coverage):
        with pytest.raises(ValueError, match="needs 19 calibration samples"):
            metric(logits, labels, logits[:18], labels[:18], 0.05)
    assert coverage_ratio(logits, labels, logits[:18], labels[:18], alphas=0.05).set_size[0] == 5


def test_a_ratio_of_empty_sets_is_refused_and_flagged_but_never_zero():
    confident = 50 * np.eye(4)[np.arange(40) % 4]
    labels, unsure = np.arange(40) % 4, np.zeros((40, 4))
    result = coverage_ratio(unsure, labels, confident, labels, alphas=(0.05, 0.01))
    assert result.all_empty.tolist() == [True, False]  # 40 samples are too few for 0.01: full sets
    assert math.isnan(result.ratio[0])
    assert result.ratio[1] == 0.25
    with pytest.raises(ValueError, match="every prediction set"):
        cr(unsure, labels, confident, labels, 0.05)
    assert coverage(unsure, labels, confident, labels, 0.05)[""].value == 0


def test_fake_forgetting_counts_wrong_answers_whose_label_is_still_in_the_set():
    held, held_labels = draw(999, seed=1)
    forget, forget_labels = draw(2000, seed=2)
    test, test_labels = draw(2000, seed=3)
    found = fake_forgetting(forget, forget_labels, test, test_labels, held, held_labels, 0.05)
    inside = set_members(
        forget, forget_labels, coverage_ratio(forget, forget_labels, held, held_labels, alphas=0.05)[1]
    )
    wrong = forget.argmax(axis=1) != forget_labels
    assert found[""].value == (inside[0][0] & wrong).sum() / wrong.sum()
    assert found["_null"].value == pytest.approx(1 - 0.05 / (test.argmax(axis=1) != test_labels).mean())
    # a forget set like unseen data scores the null value, far from 0
    assert found[""].value == pytest.approx(found["_null"].value, abs=0.03)
    assert found["_null"].low < found["_null"].value < found["_null"].high


def test_the_null_of_fake_forgetting_at_the_published_test_error_is_0_39():
    labels = np.zeros(1000, dtype=int)
    test = np.tile([1.0, 0.0], (1000, 1))
    test[:82] = [0.0, 1.0]
    found = fake_forgetting(test, labels, test, labels, test, labels, 0.05)
    assert found["_null"].value == pytest.approx(0.39, abs=0.001)


def test_fake_forgetting_without_a_mistake_is_refused():
    logits, labels = 50 * np.eye(3), np.arange(3)
    with pytest.raises(ValueError, match="no forget sample is misclassified"):
        fake_forgetting(logits, labels, logits, labels, logits, labels, 0.5)


@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [
        (np.zeros((0, 3)), np.zeros(0, dtype=int), "empty"),
        (np.zeros((2, 3)), [0, 3], "labels span"),
        (np.zeros((2, 3)), np.zeros((2, 3), dtype=int), "multi-label"),
        (np.full((2, 3), np.nan), [0, 1], "NaN"),
        (np.zeros((2, 1)), [0, 0], "two classes"),
        (np.zeros((2, 4)), [0, 1], "4 classes here, but 3"),
    ],
)
def test_bad_input_is_refused_with_its_reason(logits, labels, reason):
    held, held_labels = draw(30, num_classes=3)
    with pytest.raises(ValueError, match=reason):
        cr(logits, labels, held, held_labels, 0.1)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm

from raybench.metrics.functions.leave_one_out import left_out_scores
from raybench.metrics.functions.likelihood import lira, rmia, u_lira
from raybench.metrics.functions.roc import auc


def draw(models=20, samples=30, *, effect=1.0, seed=0):
    """Signals whose normals differ by sample, and who was trained on what: at least 4 models on either side."""
    rng = np.random.default_rng(seed)
    member = np.argsort(rng.random((models, samples)), axis=0) < rng.integers(4, models - 3, samples)
    center, spread = 4 * rng.normal(size=samples), rng.uniform(0.5, 2, samples)
    return center + spread * rng.normal(size=(models, samples)) + effect * member, member


def loop(x, member, score):
    """Apply `score(target, trained models without it, others without it)` to every target and sample."""
    scores = np.empty(x.shape)
    for t, i in np.ndindex(x.shape):
        rest = np.arange(len(x)) != t
        scores[t, i] = score(x[t, i], x[rest & member[:, i], i], x[rest & ~member[:, i], i])
    return scores


def test_online_scores_are_those_of_the_loop_that_leaves_each_target_out():
    x, member = draw()
    expected = loop(
        x,
        member,
        lambda t, a, b: norm.logpdf(t, a.mean(), a.std(ddof=1)) - norm.logpdf(t, b.mean(), b.std(ddof=1)),
    )
    assert lira(x, member).scores == pytest.approx(expected, abs=1e-9)


def test_offline_scores_are_those_of_the_loop_and_order_samples_as_the_one_sided_test_does():
    x, member = draw()
    expected = loop(x, member, lambda t, a, b: (t - b.mean()) / b.std(ddof=1))
    found = lira(x, member, mode="offline")
    assert found.scores == pytest.approx(expected, abs=1e-9)
    tails = norm.cdf(expected)
    assert found.auc.value == pytest.approx(auc(tails[member], tails[~member]), abs=1e-3)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_global_variance_pools_the_spread_within_samples_without_the_target(mode):
    x, member = draw(10, 6)
    expected = np.empty(x.shape)
    for t in range(len(x)):
        rest = np.arange(len(x)) != t
        variances = []
        for on_side in (member, ~member):
            groups = [x[rest & on_side[:, i], i] for i in range(x.shape[1])]
            squares = sum(np.sum((g - g.mean()) ** 2) for g in groups)
            variances.append(squares / sum(len(g) - 1 for g in groups))
        for i in range(x.shape[1]):
            a, b = x[rest & member[:, i], i].mean(), x[rest & ~member[:, i], i].mean()
            into, out = (norm.logpdf(x[t, i], m, v**0.5) for m, v in zip((a, b), variances))
            expected[t, i] = into - out if mode == "online" else (x[t, i] - b) / variances[1] ** 0.5
    assert lira(x, member, mode=mode, variance="global").scores == pytest.approx(expected, abs=1e-9)


def test_u_lira_leaves_each_unlearned_and_retrained_model_out():
    rng = np.random.default_rng(0)
    unlearned, retrained = rng.normal(0.5, 1, (7, 9)), rng.normal(0, 1, (5, 9))
    x = np.concatenate([unlearned, retrained])
    member = np.repeat([[True], [False]], [7, 5], axis=0) & np.ones((1, 9), dtype=bool)
    found = u_lira(unlearned, retrained)
    expected = loop(
        x,
        member,
        lambda t, a, b: norm.logpdf(t, a.mean(), a.std(ddof=1)) - norm.logpdf(t, b.mean(), b.std(ddof=1)),
    )
    assert found.scores == pytest.approx(expected, abs=1e-9)
    assert np.array_equal(found.member, member)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_rmia_is_that_of_the_loop_over_targets_and_population(mode):
    x, member = draw(8, 12)
    p, a, gamma = expit(x), 0.3, 1.5
    expected = np.empty(x.shape)
    for t in range(len(x)):
        rest = np.arange(len(x)) != t

        def ratio(i):
            into, out = p[rest & member[:, i], i].mean(), p[rest & ~member[:, i], i].mean()  # noqa: B023
            mean = (into + out) / 2 if mode == "online" else ((1 + a) * out + 1 - a) / 2
            return p[t, i] / mean  # noqa: B023

        others = [ratio(z) for z in np.flatnonzero(~member[t])]
        expected[t] = [np.mean([ratio(i) >= gamma * other for other in others]) for i in range(x.shape[1])]
    found = rmia(x, member, mode=mode, gamma=gamma, offline_scale=a)
    assert found.scores == pytest.approx(expected, abs=1e-12)


def test_rmia_can_use_samples_that_no_model_was_trained_on():
    x, member = draw(16, 200, effect=4)
    population = draw(16, 300, seed=1, effect=0)[0]
    found = rmia(x, member, population=population)
    assert found.auc.value > 0.7
    assert np.isin(np.round(found.scores * 300, 6) % 1, (0, 1)).all()


def test_blocks_of_samples_give_what_one_block_gives(monkeypatch):
    x, member = draw(12, 70)
    whole = left_out_scores(x, member, "online", "global")
    monkeypatch.setattr("raybench.metrics.functions.leave_one_out._BLOCK_ELEMENTS", 1)
    assert left_out_scores(x, member, "online", "global") == pytest.approx(whole, abs=1e-12)
    assert left_out_scores(x, member, "online", "per_example") == pytest.approx(lira(x, member).scores, abs=1e-12)


@pytest.mark.parametrize("attack", [lira, rmia])
def test_a_strong_effect_is_found_and_no_effect_is_not(attack):
    x, member = draw(32, 200, effect=3)
    strong = attack(x, member)
    assert strong.auc.low > 0.8
    assert strong.tpr[0.01].value > 0.1
    x, member = draw(32, 400, effect=0)
    none = attack(x, member)
    assert none.auc.value == pytest.approx(0.5, abs=0.03)


def test_online_beats_one_threshold_for_all_samples_where_samples_differ_in_difficulty():
    x, member = draw(64, 200, effect=1.5)
    assert lira(x, member).auc.low > auc(x[member], x[~member]) + 0.1


def test_a_change_of_spread_alone_is_seen_online_and_by_u_lira():
    rng = np.random.default_rng(0)
    assert u_lira(rng.normal(0, 0.3, (40, 100)), rng.normal(0, 1, (40, 100))).auc.low > 0.7


def test_two_halves_of_the_retrained_models_are_not_told_apart_by_u_lira():
    rng = np.random.default_rng(0)
    found = u_lira(rng.normal(size=(40, 300)), rng.normal(size=(40, 300)))
    assert found.auc.value == pytest.approx(0.5, abs=0.02)
    assert found.tpr[0.01].value == pytest.approx(0.01, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-1e4, 1e4), st.floats(1e-2, 1e2))
def test_shifting_and_scaling_a_sample_of_all_models_changes_no_score(seed, shift, scale):
    x, member = draw(12, 10, seed=seed)
    moved = lira(scale * x + shift, member)
    assert moved.scores == pytest.approx(lira(x, member).scores, rel=1e-5, abs=1e-5)


def test_the_order_of_models_and_samples_does_not_matter():
    x, member = draw()
    rng = np.random.default_rng(5)
    rows, columns = rng.permutation(len(x))[:, None], rng.permutation(x.shape[1])
    for attack in (lira, rmia):
        found, expected = attack(x[rows, columns], member[rows, columns]), attack(x, member)
        assert found.scores == pytest.approx(expected.scores[rows, columns])
        assert found.auc.value == pytest.approx(expected.auc.value)


def test_models_that_agree_exactly_give_finite_scores():
    member = (np.arange(10)[:, None] + np.arange(4)) % 2 == 0
    for x in (np.zeros((10, 4)), np.where(member, 1e4, -1e4), np.where(member, 1e-9, 0)):
        for mode in ("online", "offline"):
            assert np.isfinite(lira(x, member, mode=mode).scores).all()
            assert np.isfinite(rmia(x, member, mode=mode).scores).all()


def test_confidences_that_underflow_are_tied_and_not_nan():
    x, member = draw()
    assert np.isfinite(rmia(x - 1e5, member).scores).all()


def test_offline_needs_no_model_trained_on_the_sample():
    x, member = draw()
    member[:, 0] = False
    found = lira(x, member, mode="offline").scores[:, 0]
    assert found == pytest.approx(loop(x[:, :1], member[:, :1], lambda t, a, b: (t - b.mean()) / b.std(ddof=1))[:, 0])
    with pytest.raises(ValueError, match="sample 0 has 0 models trained on it"):
        lira(x, member)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, m: lira(x, m[:, :2]), "member of shape"),
        (lambda x, m: lira(x, m, mode="shadow"), "online, offline"),
        (lambda x, m: lira(x, m, variance="pooled"), "per_example, global"),
        (lambda x, m: lira(x, 2 * m.astype(int)), "True and False"),
        (lambda x, m: lira(np.where(x > 0, np.nan, x), m), "NaN"),
        (lambda x, m: rmia(x, m, gamma=0.5), "gamma"),
        (lambda x, m: rmia(x, m, population=x[:3]), "3 models"),
        (lambda x, m: u_lira(x[:2], x[2:]), "at least 3"),
        (lambda x, m: u_lira(x[:5], x[5:, :7]), "samples"),
    ],
)
def test_what_cannot_be_attacked_is_refused_with_the_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call(*draw())


def test_the_interval_of_u_lira_covers_the_spread_over_populations():
    values, found = [], None
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shared = rng.normal(0, 0.5, (24, 1))  # a model is better or worse on all samples
        signals = rng.normal(size=(24, 40)) + shared
        signals[:12] += 0.8
        found = u_lira(signals[:12], signals[12:])
        values.append(found.auc.value)
    assert found is not None
    assert found.auc.high - found.auc.low == pytest.approx(4 * np.std(values), rel=0.5)

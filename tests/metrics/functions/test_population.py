import numpy as np
import pytest

from raybench.metrics.functions.epsilon import CAP, per_sample
from raybench.metrics.functions.population import ESTIMATORS, Models, population_metrics, read_models, specs

LABELS = np.random.default_rng(9).integers(0, 5, 60)


def logits(models, *, memory=0.0, spread=1.0, seed=0):
    """Invented models: every sample has its own difficulty, `memory` raises the label's logit."""
    rng = np.random.default_rng(seed)
    difficulty = np.random.default_rng(7).normal(2, 1, len(LABELS))
    own = np.eye(5)[LABELS] * (difficulty + memory)[:, None]
    return own + spread * rng.normal(size=(models, len(LABELS), 5))


def models(count, *, memory=0.0, spread=1.0, seed=0, accuracy=0.9):
    return read_models(
        logits(count, memory=memory, spread=spread, seed=seed),
        LABELS,
        retain_accuracy=np.full(count, 1.0),
        test_accuracy=np.full(count, accuracy),
    )


@pytest.fixture(scope="module")
def retrained():
    return models(32, seed=1)


@pytest.fixture(scope="module")
def remembering(retrained):
    return population_metrics(
        models(32, memory=3.0, seed=2), retrained, original=models(1, memory=3.0, seed=3), resamples=20
    )


@pytest.fixture(scope="module")
def perfect(retrained):
    return population_metrics(models(32, seed=4), retrained, resamples=20)


def test_every_statistic_is_described_and_has_its_companions(remembering, perfect):
    ceilings = {"epsilon_ceiling", "epsilon_competition_ceiling"}
    names = set(specs())
    assert names <= set(remembering)
    wanted = names | {f"{name}_{kind}" for name in names - ceilings for kind in ("null", "excess", "control")}
    assert set(remembering) == wanted
    assert set(perfect) == {name for name in wanted if not name.endswith("_control")}
    for name in names:
        assert specs()[name].low <= remembering[name].value <= specs()[name].high or name.startswith("epsilon_released")


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_memory_raises_every_epsilon_above_the_null_and_a_perfect_unlearner_stays_there(
    remembering, perfect, estimator
):
    excess = f"epsilon_{estimator}_median_excess"
    assert remembering[excess].low > 0
    assert perfect[excess].low <= 0 <= perfect[excess].high


@pytest.mark.parametrize("name", ["klom_median", "u_lira_auc", "epsilon_released_q90"])
def test_the_other_statistics_see_memory_as_well(remembering, perfect, name):
    assert remembering[f"{name}_excess"].low > 0
    assert perfect[f"{name}_excess"].low <= 0 <= perfect[f"{name}_excess"].high
    assert remembering[name].value > perfect[name].value


def test_forgetting_quality_falls_with_memory_and_is_small_even_for_a_perfect_unlearner(remembering, perfect):
    assert remembering["forgetting_quality"].value < perfect["forgetting_quality"].value < 0.2
    assert remembering["forgetting_quality_excess"].high < 0


def test_the_null_is_that_of_half_the_models_and_the_same_for_every_method(remembering, perfect):
    for name in ("epsilon_released_median_null", "klom_median_null"):
        assert remembering[name].n == 16
        assert remembering[name].value == pytest.approx(perfect[name].value, rel=0.15)
    # 1.16 is the bias of 16 identical models per side
    assert remembering["epsilon_released_median_null"].value == pytest.approx(1.16, abs=0.15)


def test_the_untouched_original_is_the_positive_control(remembering):
    assert remembering["epsilon_released_median_control"].value == CAP
    assert remembering["epsilon_released_infinite_fraction_control"].value > 0.9
    assert remembering["u_lira_auc_control"].value > remembering["u_lira_auc"].value
    assert "copies" in remembering["epsilon_released_median_control"].interval


def test_the_interval_of_a_negative_epsilon_holds_it():
    rng = np.random.default_rng(0)
    u, r = rng.normal(size=(2, 64, 60))
    order = np.argsort(r, axis=0)
    u = np.take_along_axis(r, order, axis=0) + 1e-9  # as alike as two populations can be
    found = population_metrics(Models(u, u), Models(r, r), delta=0.2, resamples=5)["epsilon_released_median"]
    assert found.low <= found.value < 0
    assert found.high >= found.value


def test_intervals_hold_the_value_and_count_models_not_samples(remembering):
    for name in specs():
        found = remembering[name]
        assert found.low <= found.value <= found.high
        assert found.n == 32


def test_intervals_cover_what_other_populations_show(remembering):
    interval = remembering["u_lira_auc"]
    others = [
        population_metrics(models(32, memory=3.0, seed=s), models(32, seed=s + 50), resamples=1)["u_lira_auc"].value
        for s in range(100, 112)
    ]
    inside = [interval.low - 0.02 <= value <= interval.high + 0.02 for value in others]
    assert np.mean(inside) >= 0.75


def test_more_samples_of_the_same_models_do_not_shrink_an_interval_that_comes_from_the_models(retrained):
    rng = np.random.default_rng(0)
    common = rng.normal(0, 1, (2, 32, 1))  # each model is better or worse on all samples

    def interval(samples):
        u, r = (np.sort(rng.normal(0, 0.3, (32, samples)) + c, axis=1) for c in common)
        found = population_metrics(Models(u, u), Models(r, r), resamples=40)["u_lira_auc"]
        return found.high - found.low

    assert interval(200) > 0.6 * interval(40)


def test_few_models_give_values_without_intervals_and_too_few_are_refused():
    found = population_metrics(models(5, memory=1), models(6, seed=1))
    assert set(found) == set(specs())
    assert np.isnan(found["klom_median"].low)
    assert "fewer than 8" in found["klom_median"].interval
    with pytest.raises(ValueError, match="at least 4"):
        population_metrics(models(3), models(6, seed=1))


def test_unequal_numbers_of_models_are_compared_with_a_null_of_the_smaller_number():
    found = population_metrics(models(12, memory=3.0), models(40, seed=1), resamples=5)
    assert found["epsilon_released_median"].n == 12
    assert found["epsilon_released_median_null"].n == 6
    assert found["epsilon_released_median"].value > 0


def test_without_accuracies_there_is_no_competition_score_and_with_them_it_scales_the_quality(retrained):
    bare = Models(retrained.margins, retrained.confidences)
    assert "competition_score" not in population_metrics(models(32, seed=4), bare, resamples=2)
    found = population_metrics(models(32, seed=4, accuracy=0.45), retrained, resamples=2)
    assert found["competition_score"].value == pytest.approx(found["forgetting_quality"].value / 2)


def test_the_same_seed_gives_the_same_numbers(retrained):
    first, second = (population_metrics(models(10), retrained, resamples=4, seed=3) for _ in range(2))
    assert first == second


def test_models_are_read_one_by_one_or_together(retrained):
    one_by_one = read_models(list(logits(32, seed=1)), LABELS)
    assert np.array_equal(one_by_one.margins, retrained.margins)
    assert np.array_equal(one_by_one.confidences, retrained.confidences)
    with pytest.raises(ValueError, match="2 accuracies"):
        read_models(logits(3), LABELS, test_accuracy=[0.9, 0.9])
    with pytest.raises(ValueError, match="do not match logits"):
        read_models([np.zeros((3, 2)), np.zeros((4, 2))], np.zeros(3, dtype=int))


def test_the_quantiles_of_epsilon_over_samples_are_ordered_and_those_of_numpy():
    unlearned, reference = models(16, memory=1.0, seed=2), models(16, seed=1)
    values = population_metrics(unlearned, reference, resamples=2)
    epsilons = np.minimum(per_sample(unlearned.confidences, reference.confidences, 0.05, estimator="gaussian"), CAP)
    expected = np.quantile(epsilons, [0.5, 0.9, 0.99])
    assert [values[f"epsilon_gaussian_{part}"].value for part in ("median", "q90", "q99")] == pytest.approx(expected)

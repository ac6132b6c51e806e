"""Residual memory: simulated models whose memory is known."""

import numpy as np
import pytest
from scipy import stats

from raybench.metrics.functions import residual_memory as module
from raybench.metrics.functions.residual_memory import residual_memory, scaled_confidence

N, RETRAINED, ORIGINALS = 120, 8, 5


class World:
    """Retrained models vary around `easy`; models trained on a sample are `step` more confident of it."""

    def __init__(self, seed, *, memorized=0.15, step=7.0):
        self.rng = np.random.default_rng(seed)
        self.easy = self.rng.normal(4, 2, N)
        self.step = np.where(self.rng.random(N) < memorized, step, 0.3)

    def models(self, count, kept):
        """`kept`: a share of the samples, drawn per model, or the fraction (N,) of each sample's step."""
        fractions = [(self.rng.random(N) < kept) if np.ndim(kept) == 0 else kept for _ in range(count)]
        return np.stack([self.easy + f * self.step for f in fractions]) + self.rng.normal(0, 1.2, (count, N))

    def audit(self, kept, *, runs=1, retrained=RETRAINED, originals=ORIGINALS, **settings):
        references = self.models(retrained, 0.0), self.models(originals, 1.0)
        return residual_memory(self.models(runs, kept), *references, **settings)


@pytest.fixture(scope="module")
def audits():
    return {kept: [World(seed).audit(kept) for seed in range(60)] for kept in (0.0, 0.1, 0.25, 0.5, 1.0)}


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_the_expected_value_is_the_share_that_was_kept(audits, kept):
    values = np.array([audit.value for audit in audits[kept]])
    assert abs(values.mean() - kept) < 3.5 * values.std() / np.sqrt(len(values)) + 0.01


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_the_share_lies_between_the_bounds(audits, kept):
    inside = np.mean([audit.low <= kept <= audit.high for audit in audits[kept]])
    assert inside >= 0.88  # 93 % are expected; 60 draws


def test_power_and_false_alarms(audits):
    found = {kept: np.mean([audit.low > 0 for audit in some]) for kept, some in audits.items()}
    assert found[0.0] <= 0.08
    assert found[0.1] >= 0.6
    assert found[0.25] >= 0.95
    assert found[1.0] == 1.0


def test_a_little_memory_of_every_sample_is_found_by_the_confidence():
    audits = [World(seed).audit(np.full(N, 0.4), runs=5) for seed in range(20)]
    assert np.mean([audit.low > 0 for audit in audits]) >= 0.9
    assert abs(np.mean([audit.readings["confidence"].value for audit in audits]) - 0.4) < 0.05
    assert np.mean([audit.high >= 0.4 for audit in audits]) >= 0.9


def test_the_bound_of_five_exact_runs_is_below_that_of_one():
    one, five = ([World(seed).audit(0.0, runs=runs).high for seed in range(20)] for runs in (1, 5))
    assert np.mean(five) < 0.7 * np.mean(one)


def test_shifts_and_scales_of_the_unit_change_nothing():
    world = World(0)
    parts = world.models(2, 0.3), world.models(8, 0.0), world.models(4, 1.0)
    plain, moved = residual_memory(*parts), residual_memory(*(3 * part - 7 for part in parts))
    assert (plain.value, plain.low, plain.high) == pytest.approx((moved.value, moved.low, moved.high))


def test_the_order_of_samples_and_references_does_not_matter():
    world = World(1)
    run, retrained, originals = world.models(1, 0.3), world.models(8, 0.0), world.models(4, 1.0)
    order = np.random.default_rng(0).permutation(N)
    plain = residual_memory(run, retrained, originals)
    mixed = residual_memory(run[:, order], retrained[::-1][:, order], originals[::-1][:, order])
    assert plain.value == pytest.approx(mixed.value)
    assert plain.exposure[order] == pytest.approx(mixed.exposure)


def test_exposure_is_the_posterior_of_the_likelihood_ratio():
    world = World(2)
    run, retrained, originals = world.models(1, 0.5), world.models(8, 0.0), world.models(4, 1.0)
    audit = residual_memory(run, retrained, originals)
    for sample in (0, 7, 31):
        densities = []
        for group in (originals, retrained):
            variance = ((len(group) - 1) * group.var(0, ddof=1) + 16 * group.var(0, ddof=1).mean()) / (len(group) + 15)
            scale = np.sqrt(variance[sample] * (1 + 1 / len(group)))
            densities.append((group.mean(0)[sample], scale))
        (high, high_scale), (low, low_scale) = densities
        high = max(low, high)
        value = min(max(run[0, sample], low), high)
        odds = 0.02 / 0.98 * stats.t.pdf(value, 7, high, high_scale) / stats.t.pdf(value, 7, low, low_scale)
        assert audit.exposure[sample] == pytest.approx(odds / (1 + odds))


def test_a_run_is_not_compared_with_the_original_that_it_started_from():
    world = World(3)
    retrained, originals = world.models(8, 0.0), world.models(5, 1.0)
    own = residual_memory(originals[:1], retrained, originals, starts=[0])
    others = residual_memory(originals[:1], retrained, originals[1:])
    assert own.exposure == pytest.approx(others.exposure)


def test_one_original_reads_all_of_itself():
    world = World(4)
    retrained, originals = world.models(8, 0.0), world.models(1, 1.0)
    assert residual_memory(originals, retrained, originals, starts=[0]).value == pytest.approx(1)


def test_denied_samples_are_counted():
    world = World(5)
    run = world.models(3, 0.0)
    run[:, :40] -= 15
    audit = residual_memory(run, world.models(8, 0.0), world.models(5, 1.0))
    assert audit.denied == pytest.approx(1 / 3, abs=0.03)
    assert audit.denied_low > 0.25
    assert np.mean([World(seed).audit(0.0).denied_low > 0 for seed in range(60)]) <= 0.05


def test_units_that_are_kept_together_widen_the_interval():
    world = World(6)
    parts = world.models(1, 0.5), world.models(8, 0.0), world.models(5, 1.0)
    alone = residual_memory(*parts)
    together = residual_memory(*parts, units=np.arange(N) // 20)
    assert together.high - together.low > alone.high - alone.low


def test_originals_without_memory_cannot_be_measured():
    rng = np.random.default_rng(0)
    same = rng.normal(0, 1, N) + rng.normal(0, 1, (14, N))
    with pytest.raises(ValueError, match="not more confident"):
        residual_memory(same[:1], same[1:9], same[9:] - 5)
    few = np.where(np.arange(N) < 3, 3.0, 0.0)
    assert residual_memory(same[:1], same[1:9], same[9:] + few).high > 0.5


def test_bad_input():
    world = World(7)
    run, retrained, originals = world.models(1, 0.0), world.models(8, 0.0), world.models(2, 1.0)
    with pytest.raises(ValueError, match="at least 3 retrained models, got 2"):
        residual_memory(run, retrained[:2], originals)
    run[0, 3] = np.nan
    with pytest.raises(ValueError, match="model is not finite"):
        residual_memory(run, retrained, originals)


def test_scaled_confidence_is_the_log_odds_of_the_probability():
    probability = np.array([1e-6, 0.1, 0.5, 0.99])
    assert scaled_confidence(-np.log(probability)) == pytest.approx(np.log(probability / (1 - probability)))
    assert scaled_confidence(np.array([0.0, 1e-300, 1e-20, 50.0, 1e4])) == pytest.approx(
        [100, 100, 46.05170186, -50, -100]
    )
    assert module.LIMIT == 100

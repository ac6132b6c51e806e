import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.data.reading.order import epoch_order, num_rows, seed_for, stratified_order, worker_rows


def test_seeds_tell_numbers_from_text_and_one_cut_from_another():
    seeds = [
        seed_for(1),
        seed_for("1"),
        seed_for("ab", "c"),
        seed_for("a", "bc"),
        seed_for("abc"),
        seed_for(1, 2),
        seed_for(12),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_the_same_in_every_process_and_version():
    # blake2b of "s7:augmenti1:0i1:3", as computed with coreutils' b2sum -l 64, without its lowest bit
    assert seed_for("augment", 0, 3) == 0xAEA3F56515DBD8DE >> 1


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 60), world_size=st.integers(1, 9))
def test_every_sample_of_a_global_batch_belongs_to_one_worker_and_no_worker_is_idle(n, world_size):
    shares = [worker_rows(n, rank=rank, world_size=world_size) for rank in range(world_size)]
    own = [num_rows(n, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(np.concatenate([rows[:k] for rows, k in zip(shares, own)])) == list(range(n))
    assert max(own) - min(own) <= 1
    assert min(map(len, shares)) >= min(2, n)
    for rows in shares:
        assert len(set(rows)) == len(rows)
    assert [len(rows) for rows in shares] == [max(k, min(2, n)) for k in own]


def test_the_order_changes_with_epoch_and_seed_only():
    order = epoch_order(100, seed=0, epoch=0)
    np.testing.assert_array_equal(order, epoch_order(100, seed=0, epoch=0))
    assert (order != epoch_order(100, seed=0, epoch=1)).any()
    assert (order != epoch_order(100, seed=1, epoch=0)).any()


def test_a_rank_outside_the_world_is_refused():
    with pytest.raises(ValueError, match="rank 2"):
        worker_rows(4, rank=2, world_size=2)


@settings(max_examples=50, deadline=None)
@given(strata=st.lists(st.integers(0, 4), min_size=1, max_size=200), seed=st.integers(0, 99), data=st.data())
def test_every_slice_of_a_stratified_order_holds_each_stratum_in_its_share(strata, seed, data):
    strata = np.array(strata)
    order = stratified_order(strata, generator=np.random.default_rng(seed))
    assert sorted(order) == list(range(len(strata)))
    start = data.draw(st.integers(0, len(strata)))
    end = data.draw(st.integers(start, len(strata)))
    for stratum in np.unique(strata):
        expected = (end - start) * (strata == stratum).mean()
        assert abs((strata[order[start:end]] == stratum).sum() - expected) <= len(np.unique(strata))


def test_whole_shares_are_met_exactly():
    strata = np.repeat([0, 1, 2], [100, 50, 10])
    for seed in range(20):
        order = stratified_order(strata, generator=np.random.default_rng(seed))
        assert np.bincount(strata[order[32:48]]).tolist() == [10, 5, 1]


def test_a_sample_of_a_small_stratum_is_as_likely_as_any_other():
    strata = np.array([0] * 9 + [1])
    first = [stratified_order(strata, generator=np.random.default_rng(seed))[0] for seed in range(4000)]
    # Binomial(4000, 0.1) has standard deviation 19; sorting by place alone puts the single sample first 222 times
    assert (np.abs(np.bincount(first, minlength=10) - 400) < 5 * 19).all()

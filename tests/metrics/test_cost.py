import pytest

from raybench.metrics.functions.cost import (
    flops,
    peak_memory,
    peak_memory_share,
    sample_passes,
    share_of_retraining,
    total,
)

RETRAINING = {"samples_forward": 1000, "samples_backward": 1000, "steps": 100, "seconds": 50.0}
METHOD = {"samples_forward": 300, "samples_backward": 100, "steps": 10, "seconds": 5.0, "peak_memory_bytes": 2e9}


def test_shares_divide_each_count_by_that_of_retraining():
    shares = share_of_retraining(METHOD, RETRAINING)
    assert shares.samples_forward == pytest.approx(0.3)
    assert shares.samples_backward == pytest.approx(0.1)
    assert shares.steps == pytest.approx(0.1)
    assert shares.seconds == pytest.approx(0.1)
    assert shares.samples == pytest.approx((300 + 200) / 3000)


def test_retraining_costs_itself_and_several_are_averaged():
    itself = share_of_retraining(RETRAINING, RETRAINING)
    assert (itself.samples, itself.steps, itself.seconds) == (1, 1, 1)
    slower = RETRAINING | {"seconds": 150.0}
    assert share_of_retraining(METHOD, [RETRAINING, slower]).seconds == pytest.approx(0.05)


def test_a_one_shot_edit_has_no_steps_and_still_a_cost():
    shares = share_of_retraining(METHOD | {"steps": 0}, RETRAINING)
    assert shares.steps == 0
    assert shares.samples > 0


def test_costs_add_up_over_stages_and_memory_is_the_largest():
    summed = total([METHOD, METHOD | {"peak_memory_bytes": 3e9}, RETRAINING])
    assert summed["steps"] == 120
    assert summed["peak_memory_bytes"] == 3e9
    assert "peak_memory_bytes" not in total([RETRAINING])
    parts = [sample_passes(ledger) for ledger in (METHOD, METHOD, RETRAINING)]
    assert sample_passes(summed) == sum(parts)


def test_peak_memory_is_a_share_too():
    assert peak_memory_share(METHOD, RETRAINING | {"peak_memory_bytes": 1e9}) == 2
    with pytest.raises(ValueError, match="no ledger"):
        peak_memory([RETRAINING])
    with pytest.raises(ValueError, match="above 0"):
        peak_memory_share(METHOD, RETRAINING | {"peak_memory_bytes": 0})


def test_a_training_pass_of_a_sample_is_three_forward_passes_of_operations():
    assert flops(RETRAINING, forward_flops_per_sample=2e6) == pytest.approx(3 * 1000 * 2e6)
    assert flops(METHOD, forward_flops_per_sample=1.0, backward_per_forward=0) == 300
    with pytest.raises(ValueError, match="above 0"):
        flops(METHOD, forward_flops_per_sample=0)


@pytest.mark.parametrize(
    ("ledger", "message"),
    [
        ({"steps": 1}, "lacks samples_forward, samples_backward, seconds"),
        (METHOD | {"seconds": -1}, "seconds must be"),
        (METHOD | {"steps": float("nan")}, "steps must be"),
    ],
)
def test_ledgers_that_cannot_be_are_refused(ledger, message):
    with pytest.raises(ValueError, match=message):
        share_of_retraining(ledger, RETRAINING)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match="counts no steps"):
        share_of_retraining(METHOD, RETRAINING | {"steps": 0})
    with pytest.raises(ValueError, match="no retraining"):
        share_of_retraining(METHOD, [])

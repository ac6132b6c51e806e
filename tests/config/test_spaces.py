"""Search spaces: which forms are valid, what they draw, and that draws are repeatable."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.config.spaces import Space, draw_settings
from raybench.errors import UserError


@pytest.mark.parametrize("value", [0.1, "cosine", [1, 2], True, None])
def test_anything_but_a_mapping_is_a_fixed_value(value):
    space = Space.parse("methods.x.y", value)
    assert space.kind == "fixed"
    assert space.draw(np.random.default_rng(0)) == value


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"uniform": [1, 0]}, "low < high"),
        ({"uniform": [1]}, "low < high"),
        ({"uniform": 3}, "takes a list"),
        ({"uniform": ["a", "b"]}, "low < high"),
        ({"uniform": [False, True]}, "low < high"),
        ({"loguniform": [0, 1]}, "low > 0"),
        ({"randint": [1.5, 3]}, "whole numbers"),
        ({"choice": []}, "takes a list"),
        ({"choise": [1, 2]}, "did you mean 'choice'"),
        ({"uniform": [0, 1], "choice": [1]}, "a search space has one key"),
        ({}, "a search space has one key"),
    ],
)
def test_a_wrong_space_is_an_error_with_its_key_and_the_reason(given, why):
    with pytest.raises(UserError, match=why) as caught:
        Space.parse("methods.scrub.lr", given)
    assert "methods.scrub.lr" in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(
    low=st.floats(1e-6, 1.0),
    span=st.floats(1e-3, 1e3),
    kind=st.sampled_from(["uniform", "loguniform"]),
    seed=st.integers(0, 99),
)
def test_a_draw_lies_between_the_ends(low, span, kind, seed):
    space = Space.parse("k", {kind: [low, low + span]})
    value = space.draw(np.random.default_rng(seed))
    assert type(value) is float
    assert low * (1 - 1e-12) <= value <= (low + span) * (1 + 1e-12)


def test_randint_draws_both_ends_and_nothing_else():
    space = Space.parse("k", {"randint": [2, 4]})
    random = np.random.default_rng(0)
    assert {space.draw(random) for _ in range(100)} == {2, 3, 4}


def test_loguniform_draws_every_decade_equally_often():
    random = np.random.default_rng(0)
    space = Space.parse("k", {"loguniform": [1e-4, 1.0]})
    decades = np.floor(np.log10([space.draw(random) for _ in range(4000)]))
    assert np.bincount((decades + 4).astype(int), minlength=4) == pytest.approx([1000] * 4, abs=110)


def test_settings_are_the_same_for_the_same_seed_and_a_longer_sweep_begins_with_the_shorter_one():
    spaces = {"lr": Space.parse("lr", {"loguniform": [1e-3, 1.0]}), "epochs": Space.parse("epochs", {"choice": [1, 2]})}
    five = draw_settings(spaces, trials=5, seed=3)
    assert five == draw_settings(spaces, trials=5, seed=3)
    assert five == draw_settings(spaces, trials=8, seed=3)[:5]
    assert five != draw_settings(spaces, trials=5, seed=4)


def test_a_setting_that_was_drawn_before_is_not_run_twice():
    spaces = {"epochs": Space.parse("epochs", {"choice": [1, 2]}), "lr": Space.parse("lr", 0.1)}
    assert len(draw_settings(spaces, trials=50, seed=0)) == 2
    assert draw_settings({}, trials=9, seed=0) == [{}]


def test_settings_are_those_of_a_plain_loop_and_take_linear_time():
    kinds = {"a": {"choice": [[1, 2], [1, 2], [3]]}, "b": {"choice": [1, 1.0, True, None]}, "c": {"randint": [0, 3]}}
    spaces = {key: Space.parse(key, value) for key, value in {**kinds, "d": [1, {"x": 2}]}.items()}
    random, expected = np.random.default_rng(7), []
    for _ in range(200):
        setting = {key: space.draw(random) for key, space in spaces.items()}
        if setting not in expected:
            expected.append(setting)
    assert [repr(setting) for setting in draw_settings(spaces, trials=200, seed=7)] == [repr(e) for e in expected]
    started = time.perf_counter()
    assert len(draw_settings({"lr": Space.parse("lr", {"uniform": [0, 1]})}, trials=50_000, seed=0)) == 50_000
    assert time.perf_counter() - started < 5  # the plain loop takes a minute


def test_every_choice_must_be_valid_but_only_the_ends_of_an_interval():
    assert Space.parse("k", {"choice": [1, 5, 3]}).extremes == (1, 5, 3)
    assert Space.parse("k", {"choice": [7]}).extremes == (7, 7)
    assert Space.parse("k", {"uniform": [0, 1]}).extremes == (0, 1)

"""Passes over the sets: how many steps an epoch has, what is paired with what, and that nothing is left out."""

from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench import methods
from raybench.methods.framework.passes import Passes
from raybench.methods.framework.spec import Settings, check


class Rows:
    """A split without images: x and y are the row numbers."""

    def __init__(self, size: int) -> None:
        self.labels = torch.arange(size)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, positions: np.ndarray, *, generator: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.labels[positions], self.labels[positions]


def passes(forget: int, retain: int, options: Settings, *, seed: int = 0) -> Passes:
    splits: Any = {"forget": Rows(forget), "retain": Rows(retain), "calibration": None}
    return Passes(**splits, seed=seed, settings=options, device=torch.device("cpu"))


MUFAC, MUCAC = (1500, 8525), (10183, 15750)


@pytest.mark.parametrize(
    ("method", "preset", "sizes", "epochs", "steps"),
    [
        ("neggrad_plus", "mufac", MUFAC, 2, 255),
        ("neggrad_plus", "mucac_multilabel", MUCAC, 2, 318),
        ("neggrad_plus", "mucac_binary", MUCAC, 2, 318),
        ("gradient_ascent", "mufac", MUFAC, 2, 255),
        ("gradient_ascent", "mucac_multilabel", MUCAC, 2, 318),
        ("gradient_ascent", "mucac_binary", MUCAC, 2, 489),
        ("unsir_mufac", "mufac", MUFAC, 2, 46),
        ("unsir_mufac", "mucac_binary", MUCAC, 2, 318),
    ],
)
def test_the_mufac_presets_take_as_many_steps_as_the_notebooks(
    method: str, preset: str, sizes: tuple[int, int], epochs: int, steps: int
) -> None:
    arguments, options = check(method, methods.get(method), {"preset": preset})
    data = passes(*sizes, options)
    taken = 0
    for _ in range(epochs):
        forget_only = method == "gradient_ascent" and arguments["driver"] == "forget"
        taken += sum(1 for _ in (data.forget() if forget_only else data.paired(driver=arguments["driver"])))
    assert taken == steps


sizes = st.integers(1, 40)


@given(forget=sizes, retain=sizes, batch=st.integers(1, 12), shuffle=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_pass_holds_every_row_once(forget: int, retain: int, batch: int, shuffle: bool) -> None:
    data = passes(forget, retain, Settings(batch_size=batch, shuffle=shuffle))
    for role, size in (("forget", forget), ("retain", retain)):
        found = list(getattr(data, role)())
        assert len(found) == data.num_batches(role)  # type: ignore[arg-type]
        assert sorted(torch.cat([x for x, _ in found]).tolist()) == list(range(size))
    mixed = list(data.mixed())
    assert len(mixed) == data.num_mixed()
    assert sorted(torch.cat([x[:kept] for x, _, kept in mixed]).tolist()) == list(range(retain))
    assert sorted(torch.cat([x[kept:] for x, _, kept in mixed]).tolist()) == list(range(forget))


@given(forget=sizes, retain=sizes, batch=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_driver_pairs_as_many_batches_as_it_says(forget: int, retain: int, batch: int) -> None:
    for driver in ("retain", "forget", "shortest"):
        data = passes(forget, retain, Settings(batch_size=batch))
        pairs = list(data.paired(driver=driver))  # type: ignore[arg-type]
        assert len(pairs) == data.num_pairs(driver)  # type: ignore[arg-type]
        driven = torch.cat([pair[driver == "forget"][0] for pair in pairs])
        if driver != "shortest":
            assert sorted(driven.tolist()) == list(range(forget if driver == "forget" else retain))


def test_a_cycled_set_is_seen_evenly_over_epochs() -> None:
    data = passes(6, 8, Settings(batch_size=2))
    seen = [int(row) for _ in range(3) for _, (x, _) in data.paired(driver="retain") for row in x]
    assert sorted(seen) == sorted([*range(6)] * 4)


def test_rows_choose_samples_of_a_set() -> None:
    data = passes(4, 20, Settings(batch_size=3))
    rows = np.array([2, 5, 11, 19])
    assert sorted(torch.cat([x for x, _ in data.retain(rows=rows)]).tolist()) == rows.tolist()
    chosen = torch.cat([x[:kept] for x, _, kept in data.mixed(retain_rows=rows)])
    assert sorted(chosen.tolist()) == rows.tolist()


def test_mixed_precision_trains_on_the_weights_as_they_are() -> None:
    forget, retain = tiny.samples(4, seed=1), tiny.samples(12, seed=2)
    model = tiny.net(dtype=torch.float32)
    options: dict[str, Any] = {"lr": 0.2, "epochs": 10}
    full, mixed = (tiny.plain("finetune", model, forget, retain, precision=p, **options) for p in ("fp32", "bf16"))
    assert tiny.distance(full, model) > 0.05
    assert tiny.distance(full, mixed) < 0.1 * tiny.distance(full, model)

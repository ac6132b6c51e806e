"""Metrics of a split that is never held whole equal those of arrays, whatever the pieces and blocks."""

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.framework.streaming import (
    Positions,
    Source,
    Streamed,
    WholeArrayNeeded,
    named,
    streamable,
)
from raybench.metrics.functions.cka import cka_estimate
from raybench.metrics.functions.knn import nearest
from raybench.scoring import tracing
from raybench.scoring.binding import Models, compute_metric, get_metric, input_names, metric_names, metric_spec

CLASSES, WIDTH = 5, 6
SIZES = {"retain": 640, "forget": 170, "test": 230, "unseen": 210, "calibration": 240, "validation": 50}
MODELS = ("model", "original", "first", "second", "untrained")
# what reads a large split as a whole, and says so
WHOLE = {"cka_batched", "cka_rbf_to_retrained", "linear_probe_accuracy"}


class Predicted:
    """Predictions of five models with something to find: members have larger logits of their class."""

    def __init__(self, seed, forgotten_class):
        rng = np.random.default_rng(seed)
        self.arrays = {}
        self.labels = {role: rng.integers(0, CLASSES, n) for role, n in SIZES.items()}
        if forgotten_class:
            self.labels["forget"] = np.zeros(SIZES["forget"], dtype=np.int64)
            self.labels["retain"] = rng.integers(1, CLASSES, SIZES["retain"])
        shared = rng.standard_normal((CLASSES, WIDTH))
        for model, (role, n) in itertools.product(MODELS, SIZES.items()):
            logits = rng.standard_normal((n, CLASSES)) * 2
            logits[np.arange(n), self.labels[role]] += 2 if role in ("retain", "forget") else 1
            features = shared[self.labels[role]] + rng.standard_normal((n, WIDTH)) + 3
            self.arrays[model, role] = logits.astype(np.float32), features.astype(np.float32)


class Split:
    def __init__(self, predicted, model, role, statistics=None, streamed=frozenset()):
        self.ids = np.arange(SIZES[role])
        self.labels = named(predicted.labels[role], Source(None, role, "labels"), model)
        for array, values in zip(("logits", "features"), predicted.arrays[model, role]):
            source = Source(None, role, array)
            whole = named(values, source, model)
            is_streamed = (role, array) in streamed
            setattr(self, array, Streamed(source, model, values.shape, statistics, None) if is_streamed else whole)


class InPieces:
    """Computes what is asked in pieces and blocks of random sizes; keeps the calls."""

    def __init__(self, predicted, rng):
        self.predicted, self.rng, self.calls = predicted, rng, set()

    def whole(self, array):
        raise array.needed()

    def value(self, call, models, given):
        self.calls.add(call)
        spec, settings = streamable(call.function), dict(call.settings)
        pieces = 20 * int(self.rng.integers(1, 3))
        size = SIZES[call.role]
        states, rows_of = [], []
        for piece in range(pieces):
            rows = np.arange(piece, size, pieces)
            accumulator = spec.merge.accumulator(spec.function, settings)
            for start in range(0, len(rows), block := int(self.rng.integers(3, 12))):
                part = rows[start : start + block]
                arrays = {name: self.array(models, source)[part] for name, source in call.streamed}
                arrays |= {name: self.array(models, source) for name, source in call.whole}
                if spec.labels in given:
                    arrays[spec.labels] = self.predicted.labels[call.role][part]
                accumulator.update(arrays, Positions(part, size))
            states.append(accumulator.state())
            rows_of.append(rows)
        order = self.rng.permutation(pieces)
        return spec.merge.result([states[i] for i in order], [rows_of[i] for i in order], settings)

    def array(self, models, source):
        if source.array == "labels":
            return self.predicted.labels[source.role]
        return self.predicted.arrays[models[source.reference], source.role][source.array == "features"]


def models_of(predicted, **how):
    groups = np.arange(max(SIZES.values())) // 4
    weights = lambda key: {"a": np.full(3, len(key), dtype=np.float32)}  # noqa: E731
    names = tuple(map(str, range(CLASSES)))
    read = lambda model, role: Split(predicted, model, role, **how)  # noqa: E731
    return Models(read, "original", ("first", "second"), groups, CLASSES, names, (), "untrained", weights)


def chosen(names):
    return [name for name in names if metric_spec(get_metric(name)).splits != ("downstream",)]


def needs(predicted, names, streamed):
    roles = {
        role: tracing.Role.of(np.arange(n), lambda ids, role=role: predicted.labels[role][ids])
        for role, n in SIZES.items()
    }
    names_of = tuple(map(str, range(CLASSES)))
    groups = np.arange(max(SIZES.values())) // 4
    return tracing.needs(names, [0.2], roles, streamed, num_classes=CLASSES, groups=groups, class_names=names_of)


def everything(roles):
    return frozenset((role, array) for role in roles for array in ("logits", "features"))


def compare(name, predicted, streamed, rng, settings=None):
    plan = needs(predicted, {name: settings or {}}, streamed)
    statistics = InPieces(predicted, rng)
    whole, pieces = models_of(predicted), models_of(predicted, statistics=statistics, streamed=plan.streamed)
    refused = {(refusal.metric, refusal.split) for refusal in plan.refused}
    for split in whole.splits(metric_spec(get_metric(name))):
        alpha = 0.2 if "alpha" in input_names(get_metric(name)) else None
        arguments = (name, settings or {}, "model", split, alpha)
        if (name, split) in refused:
            with pytest.raises(WholeArrayNeeded):
                compute_metric(*arguments, pieces)
            continue
        try:
            expected = compute_metric(*arguments, whole)
        except ValueError as error:
            with pytest.raises(ValueError, match=re.escape(str(error))):
                compute_metric(*arguments, pieces)
            continue
        found = compute_metric(*arguments, pieces)
        assert found.keys() == expected.keys()
        for suffix, (estimate, each) in expected.items():
            np.testing.assert_allclose(
                found[suffix].estimate[:3],
                estimate[:3],
                rtol=1e-6,
                atol=2e-6 if name.startswith("cka") else 1e-7,
                err_msg=name + suffix,
            )
            assert found[suffix].estimate[3:] == estimate[3:]
            if each is not None:
                np.testing.assert_allclose(
                    found[suffix].by_retrained, each, rtol=1e-6, atol=2e-6 if name.startswith("cka") else 1e-7
                )
    # the trace contains every call
    assert statistics.calls <= set(plan.calls)
    return plan


@pytest.mark.parametrize("name", chosen(metric_names()))
def test_a_metric_of_streamed_splits_is_that_of_arrays(name):
    predicted = Predicted(0, forgotten_class=name.startswith(("class_wise", "accuracy_")))
    plan = compare(name, predicted, everything(["retain", "forget", "test", "unseen"]), np.random.default_rng(0))
    assert {refusal.metric for refusal in plan.refused} <= WHOLE


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["accuracy", "coverage", "knn", "cka_to_original", "mia_svc", "js_to_retrained", "feature_drift"]),
    st.sets(st.sampled_from(["retain", "forget", "test", "calibration"])),
)
def test_pieces_blocks_and_their_order_do_not_matter(seed, name, roles):
    compare(name, Predicted(seed, forgotten_class=False), everything(roles), np.random.default_rng(seed))


@pytest.mark.parametrize("name", ["cka_to_original", "cka_to_retrained"])
@pytest.mark.parametrize("settings", [{"limit": None}, {"limit": 60}, {"limit": None, "estimator": "biased"}], ids=str)
def test_cka_of_all_samples_is_merged_and_of_a_few_gathered(name, settings):
    compare(name, Predicted(2, False), everything(["retain", "test"]), np.random.default_rng(2), settings)


def test_randomized_sets_take_the_draws_of_their_samples():
    compare(
        "coverage",
        Predicted(1, False),
        everything(["forget"]),
        np.random.default_rng(1),
        {"score": "aps", "randomized": True},
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("function", ["nearest", "cka_estimate"])
def test_features_on_a_gpu_give_the_same(function):
    rng = np.random.default_rng(0)
    bank, other, queries = (rng.standard_normal((n, 64)).astype(np.float32) for n in (4000, 4000, 300))
    labels = rng.integers(0, 10, 4000)
    if function == "nearest":
        results = [nearest(part, labels, queries, 5) for part in (bank, torch.from_numpy(bank).cuda())]
        assert np.array_equal(results[0].ids, results[1].ids)
    else:
        pairs = ((bank, other), (torch.from_numpy(bank).cuda(), torch.from_numpy(other).cuda()))
        results = [cka_estimate(*pair)[:3] for pair in pairs]
        np.testing.assert_allclose(results[0], results[1], atol=1e-6)

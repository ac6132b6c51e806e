"""Transfer to other images: halves that every model shares, votes and CKA against slow versions, the released form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from raybench.metrics.downstream import (
    cka_batched,
    downstream_cka_to_original,
    downstream_cka_to_retrained,
    downstream_knn,
    downstream_knn_logits,
)
from raybench.metrics.functions.cka import cka
from raybench.metrics.functions.folds import stratified_split


def features(n, d=8, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return (1.5 * np.eye(classes, d)[labels] + rng.normal(size=(n, d))).astype(np.float32), labels


def votes(x, labels, bank, queries, k=5, metric="cosine"):
    """The same by scikit-learn, brute force."""
    found = KNeighborsClassifier(k, metric=metric, algorithm="brute").fit(x[bank], labels[bank]).predict(x[queries])
    return float((found == labels[queries]).mean())


# -- halves ------------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=12, max_size=80), st.integers(0, 5), st.sampled_from([0.1, 0.2, 0.5]))
def test_every_class_gives_its_share_of_the_queries_rounded_and_no_sample_is_in_both_halves(labels, seed, share):
    labels = np.array(labels)
    try:
        bank, queries = stratified_split(labels, share, seed)
    except ValueError:
        assert np.unique(labels, return_counts=True)[1].max() * share <= 0.5
        return
    assert sorted([*bank, *queries]) == list(range(len(labels)))
    for label in np.unique(labels):
        asked, size = (labels[queries] == label).sum(), (labels == label).sum()
        assert abs(asked - share * size) <= 0.5 + 1e-9


def test_halves_depend_on_the_seed_and_on_which_samples_are_of_one_class_and_on_nothing_else():
    labels = np.random.default_rng(0).integers(5, size=200)
    _, queries = stratified_split(labels, 0.2, 3)
    again = stratified_split(labels, 0.2, 3)
    renamed = stratified_split(10 - labels, 0.2, 3)
    other = stratified_split(labels, 0.2, 4)
    assert np.array_equal(queries, again[1])
    assert np.array_equal(queries, renamed[1])
    assert not np.array_equal(queries, other[1])


@pytest.mark.parametrize("labels", [np.arange(20), np.zeros((20, 3), dtype=np.uint8)], ids=["one of each", "several"])
def test_labels_that_no_fifth_can_be_drawn_from_are_refused(labels):
    with pytest.raises(ValueError, match=r"no class is large enough|multi-label"):
        downstream_knn(np.ones((20, 4), "f4"), labels)


def test_a_share_of_nothing_or_of_everything_is_refused():
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            downstream_knn(*features(40), test_fraction=share)


# -- nearest neighbors ------------------------------------------------------------------------------------------------


def test_classes_that_point_their_own_way_are_told_apart_and_random_labels_are_not():
    labels = np.arange(300) % 3
    x = np.eye(3, 6, dtype=np.float32)[labels] * np.random.default_rng(0).uniform(1, 9, (300, 1)).astype("f4")
    assert downstream_knn(x, labels).value == 1
    guessed = downstream_knn(features(300)[0], np.random.default_rng(1).integers(3, size=300))
    assert guessed.low < 1 / 3 < guessed.high
    assert guessed.n == 60


def test_features_that_say_nothing_give_the_label_of_the_first_of_the_rest_by_sample_id():
    labels = np.random.default_rng(2).integers(3, size=90)
    bank, queries = stratified_split(labels, 0.2, 0)
    counts = np.bincount(labels[bank[:5]], minlength=3)
    expected = (labels[queries] == counts.argmax()).mean()
    assert downstream_knn(np.ones((90, 4), "f4"), labels).value == expected


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_vote_is_that_of_scikit_learn(distance):
    x, labels = features(400)
    for k, seed in ((1, 0), (5, 1), (9, 2)):
        bank, queries = stratified_split(labels, 0.2, seed)
        found = downstream_knn(x, labels, k=k, distance=distance, seed=seed)
        if k == 1:  # a tied vote goes to the lowest label here, whatever scikit-learn does
            assert found.value == votes(x, labels, bank, queries, k, distance)
        else:
            assert found.value == pytest.approx(votes(x, labels, bank, queries, k, distance), abs=0.05)
        assert found.n == len(queries)


def test_the_released_vote_splits_as_torch_does_and_reads_logits():
    x, labels = features(403, d=10)
    found = downstream_knn_logits(x, labels, k=1)
    sizes = [int(0.8 * 403), 403 - int(0.8 * 403)]
    parts = torch.utils.data.random_split(range(403), sizes, generator=torch.Generator().manual_seed(2))
    bank, queries = (np.array(part.indices) for part in parts)
    assert found.value == votes(x, labels, bank, queries, 1)
    assert found.n == 81
    assert downstream_knn_logits.__name__ != downstream_knn.__name__


def test_a_head_that_hides_what_the_features_hold_fools_the_released_vote_and_not_ours():
    x, labels = features(500, d=16)
    hidden = np.zeros((500, 4), "f4")
    hidden[:, 0] = 1 + np.random.default_rng(0).uniform(size=500)
    kept, blind = downstream_knn(x, labels).value, downstream_knn_logits(hidden, labels).value
    assert kept > 0.6
    assert blind < 0.4


# -- CKA ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [downstream_cka_to_original, downstream_cka_to_retrained, cka_batched])
def test_features_agree_with_themselves_turned_and_scaled(metric):
    x, _ = features(300)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    assert metric(x, x).value == pytest.approx(1, abs=1e-6)
    assert metric(x, (3 * x @ turn).astype("f4")).value == pytest.approx(1, abs=1e-5)


def test_cka_of_a_downstream_set_is_the_unbiased_one_of_all_its_samples():
    (x, _), (y, _) = features(300), features(300, seed=1)
    for metric in (downstream_cka_to_original, downstream_cka_to_retrained):
        found = metric(x, x + y)
        assert found.value == pytest.approx(cka(x, x + y, "unbiased"), abs=1e-12)
        order = np.random.default_rng(3).permutation(300)
        assert metric(x[order], (x + y)[order]).value == pytest.approx(found.value, abs=1e-6)
        assert found.n == 300


def slow_biased_cka(x, y):
    x, y = x.astype(float), y.astype(float)
    center = np.eye(len(x)) - 1 / len(x)
    k, m = center @ x @ x.T @ center, center @ y @ y.T @ center
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def test_the_released_cka_is_the_plain_mean_over_batches_of_the_biased_one_the_short_last_batch_included():
    (x, _), (y, _) = features(230, d=20), features(230, d=20, seed=1)
    expected = [slow_biased_cka(x[s : s + 64], y[s : s + 64]) for s in range(0, 230, 64)]
    found = cka_batched(x, y, batch_size=64)
    assert found.value == pytest.approx(np.mean(expected), abs=1e-6)
    assert found.value > cka(x, y, "unbiased") + 0.1  # its fault: it calls unrelated features related


def test_a_last_batch_of_one_sample_is_a_reason():
    with pytest.raises(ValueError, match="last batch"):
        cka_batched(features(65)[0], features(65)[0], batch_size=64)

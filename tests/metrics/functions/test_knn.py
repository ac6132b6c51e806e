import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from raybench.metrics.functions.knn import knn_accuracy, knn_predict, nearest


def clusters(n, d, num_classes=6, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=n)
    return (rng.normal(size=(num_classes, d))[labels] * 0.5 + rng.normal(size=(n, d))).astype(dtype), labels


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 4, 5])
def test_predictions_equal_scikit_learn_where_no_ties_occur(metric, dtype, k):
    bank, labels = clusters(700, 24, dtype=dtype)
    queries, _ = clusters(300, 24, seed=1, dtype=dtype)
    reference = KNeighborsClassifier(k, metric=metric, algorithm="brute").fit(bank, labels)
    np.testing.assert_array_equal(knn_predict(bank, labels, queries, k, metric), reference.predict(queries))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_results_do_not_depend_on_the_size_of_the_blocks(metric, monkeypatch):
    bank, labels = clusters(300, 7)
    queries, _ = clusters(90, 7, seed=1)
    whole = nearest(bank, labels, queries, 6, metric)
    monkeypatch.setattr("raybench.metrics.functions.knn._QUERY_BLOCK", 13)
    monkeypatch.setattr("raybench.metrics.functions.knn._BANK_BLOCK", 17)
    for a, b in zip(nearest(bank, labels, queries, 6, metric), whole):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), copies=st.integers(2, 30), shift=st.floats(-3, 3, width=32))
def test_duplicates_with_different_labels_answer_by_id_whatever_the_order_of_the_bank(
    metric, dtype, seed, copies, shift
):
    rng = np.random.default_rng(seed)
    bank = np.repeat(rng.normal(size=(7, 19)) + shift, copies, axis=0).astype(dtype)
    labels, ids = rng.integers(4, size=len(bank)), rng.permutation(10 * len(bank))[: len(bank)]
    queries = (bank[rng.integers(len(bank), size=25)] + 0.1 * rng.normal(size=(25, 19))).astype(dtype)
    found = nearest(bank, labels, queries, 5, metric, bank_ids=ids)
    order = rng.permutation(len(bank))
    again = nearest(bank[order], labels[order], queries, 5, metric, bank_ids=ids[order])
    np.testing.assert_array_equal(found.ids, again.ids)
    np.testing.assert_array_equal(found.similarity, again.similarity)
    assert (found.vote() == again.vote()).all()


def test_ties_at_the_edge_go_to_the_lowest_ids():
    bank, queries = np.tile([1.0, 2.0], (50, 1)), np.array([[1.0, 2.0]])
    ids = np.arange(50)[::-1] + 100
    found = nearest(bank, np.arange(50), queries, 5, bank_ids=ids)
    assert found.ids.tolist() == [[100, 101, 102, 103, 104]]
    assert found.labels.tolist() == [[49, 48, 47, 46, 45]]


def test_a_tied_vote_goes_to_the_lowest_label():
    bank, queries = np.array([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]), np.array([[1.0, 0.0]])
    assert knn_predict(bank, [7, 3, 3, 7], queries, 4).tolist() == [3]
    assert knn_predict(bank, [7, 3, 3, 7], queries, 3).tolist() == [3]
    assert knn_predict(bank, [7, 3, 2, 9], queries, 4).tolist() == [2]


def test_one_search_serves_every_smaller_k():
    bank, labels = clusters(200, 8)
    queries, _ = clusters(50, 8, seed=1)
    found = nearest(bank, labels, queries, 10)
    for k in (1, 3, 10):
        np.testing.assert_array_equal(found.vote(k), knn_predict(bank, labels, queries, k))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_rows_that_single_precision_cannot_order_are_searched_again(metric):
    rng = np.random.default_rng(0)
    # collapsed features of a memorizing network: differences of 1e-6 on a common direction
    bank = (np.ones((400, 32)) + 1e-6 * rng.normal(size=(400, 32))).astype(np.float32)
    queries = (np.ones((20, 32)) + 1e-6 * rng.normal(size=(20, 32))).astype(np.float32)
    q, x = queries.astype(np.longdouble), bank.astype(np.longdouble)
    if metric == "cosine":
        exact = (q @ x.T) / np.sqrt((q * q).sum(1))[:, None] / np.sqrt((x * x).sum(1))
    else:
        exact = -((q[:, None] - x[None]) ** 2).sum(-1)
    found = nearest(bank, np.arange(400), queries, 5, metric)
    kth = np.sort(exact, axis=1)[:, -5]
    assert (np.take_along_axis(exact, found.ids, axis=1) >= kth[:, None] - 1e-15).all()
    np.testing.assert_allclose(found.similarity, np.take_along_axis(exact, found.ids, axis=1).astype(float), atol=1e-14)


def test_reduced_matmul_precision_does_not_reach_the_result():
    bank, labels = clusters(300, 32, dtype=np.float32)
    queries, _ = clusters(40, 32, seed=1, dtype=np.float32)
    expected = nearest(bank, labels, queries)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        np.testing.assert_array_equal(nearest(bank, labels, queries).ids, expected.ids)
    finally:
        torch.set_float32_matmul_precision(before)


def test_zero_rows_have_cosine_zero_and_constant_features_are_all_tied():
    bank = np.array([[0.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    found = nearest(bank, [0, 1, 2], np.array([[2.0, 0.0], [0.0, 0.0]]), 3)
    assert found.ids.tolist() == [[2, 0, 1], [0, 1, 2]]
    constant = nearest(np.full((30, 3), 0.3), np.arange(30), np.full((4, 3), 0.3), 5)
    assert (constant.ids == np.arange(5)).all()


def test_accuracy_counts_right_votes_and_carries_an_interval():
    bank, labels = clusters(400, 10)
    queries, wanted = clusters(100, 10, seed=0)
    estimate = knn_accuracy(torch.tensor(bank), labels, torch.tensor(queries), torch.tensor(wanted), 5, "cosine")
    assert estimate.value == (knn_predict(bank, labels, queries) == wanted).mean()
    assert (estimate.n, estimate.interval) == (100, "wilson")
    assert estimate.low < estimate.value < estimate.high


def test_a_bank_of_one_class_always_answers_it():
    bank, _ = clusters(20, 4)
    assert (knn_predict(bank, [3] * 20, bank) == 3).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"k": 11}, r"k must lie in 1\.\.10"),
        ({"k": 0}, r"k must lie in 1\.\.10"),
        ({"metric": "manhattan"}, "allowed: cosine, euclidean"),
        ({"bank_ids": [0] * 10}, "ids repeat"),
        ({"queries": np.ones((2, 3))}, "bank has 2 features and queries 3"),
        ({"queries": np.ones((0, 2))}, "non-empty"),
        ({"queries": np.array([[np.inf, 0.0]])}, "NaN or infinite"),
        ({"bank_labels": np.zeros((10, 4))}, "multi-label"),
        ({"bank_labels": [0] * 9}, "given for 10 samples"),
    ],
)
def test_bad_input_is_refused_with_its_reason(change, reason):
    rng = np.random.default_rng(0)
    arguments = {"bank": rng.normal(size=(10, 2)), "bank_labels": [0] * 10, "queries": rng.normal(size=(3, 2))}
    with pytest.raises(ValueError, match=reason):
        nearest(**(arguments | change))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.float32, s) for s in (2.0**-126, 1e-25, 3e18, 1e36)] + [(np.float64, s) for s in (1e-200, 1e78, 1e150, 1e300)],
)
def test_the_scale_of_the_features_changes_no_neighbor(metric, dtype, scale):
    bank, labels = clusters(300, 16, dtype=dtype)
    queries, _ = clusters(100, 16, seed=1, dtype=dtype)
    expected = nearest(bank, labels, queries, 5, metric)
    scaled = nearest(bank * dtype(scale), labels, queries * dtype(scale), 5, metric)
    np.testing.assert_array_equal(scaled.vote(), expected.vote())
    if metric == "cosine":
        np.testing.assert_allclose(scaled.similarity, expected.similarity, rtol=1e-5)


def test_cosine_neighbors_do_not_depend_on_the_lengths_of_single_rows():
    bank, labels = clusters(300, 16)
    queries, _ = clusters(100, 16, seed=1)
    lengths = 10.0 ** np.random.default_rng(2).integers(-150, 150, size=(300, 1))
    expected = nearest(bank, labels, queries)
    np.testing.assert_array_equal(nearest(bank * lengths, labels, queries * 1e200).ids, expected.ids)

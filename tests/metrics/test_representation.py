import numpy as np
import pytest

from raybench.metrics.framework.spec import MetricSpec
from raybench.metrics.functions.cka import cka
from raybench.metrics.functions.knn import knn_predict
from raybench.metrics.representation import cka_to_original, cka_to_retrained, knn
from raybench.registry import discover


def features(n, d=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=n)
    return (2 * np.eye(4, d)[labels] + rng.normal(size=(n, d))).astype(np.float32), labels


def test_the_evaluation_finds_each_metric_once_under_its_name():
    found = discover("raybench.metrics", MetricSpec)
    assert {"cka_to_original", "cka_to_retrained", "knn", "coverage", "cr", "fake_forgetting"} <= found.keys()
    assert {"js_to_retrained", "js_to_original", "agreement_to_retrained", "activation_distance"} <= found.keys()


@pytest.mark.parametrize("metric", [cka_to_original, cka_to_retrained])
def test_cka_metrics_return_the_estimator_asked_for_with_an_interval(metric):
    (x, _), (y, _) = features(200), features(200, seed=1)
    for estimator in ("unbiased", "biased", "batched"):
        estimate = metric(x, x + y, estimator=estimator, batch_size=50)
        assert estimate.value == pytest.approx(cka(x, x + y, estimator, 50), abs=1e-12)
        assert estimate.low < estimate.value < estimate.high
        assert estimate.n == 200


def test_knn_asks_the_retain_samples():
    (x, labels), (bank, bank_labels) = features(100), features(300, seed=1)
    estimate = knn(x, labels, bank, bank_labels, k=3, distance="euclidean")
    assert estimate.value == (knn_predict(bank, bank_labels, x, 3, "euclidean") == labels).mean()
    assert estimate.value > 0.5


def test_knn_of_multi_label_samples_is_refused():
    x, _ = features(10)
    with pytest.raises(ValueError, match="multi-label"):
        knn(x, np.zeros((10, 3)), x, np.zeros((10, 3)))
